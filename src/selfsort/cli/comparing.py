"""The command that compares methods on the user's own pictures."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from selfsort.cli.app import app
from selfsort.cli.inputs import check_account, check_outside, listed_images, told
from selfsort.cli.options import (
    Account,
    AsJson,
    Channels,
    ClassesFrom,
    DataRoot,
    Page,
    Seed,
    Size,
    Source,
    Split,
    ValueRange,
    check_seed,
    level_or_name,
    reading_of,
)
from selfsort.cli.output import answer, print_table, say, shell_words
from selfsort.errors import UserError
from selfsort.spelling import counted

if TYPE_CHECKING:
    from selfsort.comparison import MethodResult
    from selfsort.data.image_set import ImageSet


@app.command()
def compare(
    source: Source,
    out: Annotated[Path, typer.Option(help="Folder for the runs, the table and the page.")],
    methods: Annotated[str, typer.Option(metavar="A,B,…", help="Methods, separated by commas.")] = "frozen,simclr",
    minutes: Annotated[float, typer.Option(min=0.01, help="Time for all methods together.")] = 30.0,
    classes: Annotated[
        int | None, typer.Option(min=2, help="Number of clusters, the same for all.", show_default="estimated")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each method, each with a seed of its own.")] = 2,
    views: Annotated[
        str | None, typer.Option(help="Random changes that methods train with.", show_default="what suits the pictures")
    ] = None,
    seed: Seed = 0,
    size: Size = None,
    split: Split = None,
    classes_from: ClassesFrom = None,
    value_range: ValueRange = None,
    page: Page = None,
    channels: Channels = None,
    data_root: DataRoot = None,
    account: Account = None,
    as_json: AsJson = False,
) -> None:
    """Train several methods within a time budget and rank them without labels; the same command continues later."""
    from selfsort.comparison import compare as compared
    from selfsort.reporting.comparison_page import PAGE, write_comparison_page

    check_seed(seed)
    check_outside(out, source)
    check_account(account)
    where: dict[str, Any] = {"split": split, "classes_from": level_or_name(classes_from), "data_root": data_root}
    where |= reading_of(value_range, page, channels)
    images, usual_views = _pictures(source, size, where, as_json, account)
    count = classes or _estimate(images, as_json)
    results = compared(
        [name.strip() for name in methods.split(",") if name.strip()],
        images,
        out,
        n_classes=count,
        minutes=minutes,
        views=views or usual_views,
        n_seeds=seeds,
        random_state=seed,
        progress=lambda line: say(line, as_json),
    )
    ranked, agreement = _ranked(results)
    what = f"{counted(len(images), 'picture')} in {counted(count, 'cluster')}"
    lead = f"{what}, {minutes:g} minute{'' if minutes == 1 else 's'} for {counted(len(results), 'method')}."
    write_comparison_page(ranked, images, out, lead=lead, agreement=agreement)
    _report(ranked, agreement, out, as_json)
    say(f"Wrote {out / PAGE}: the clusters side by side", as_json)
    say(f"Next: selfsort label {shell_words(ranked[0].folders[0])[0]} to name the groups of the best method", as_json)


def _report(ranked: "list[MethodResult]", agreement: float | None, out: Path, as_json: bool) -> None:
    """Print the methods, best first."""
    rows = [_row(result) for result in ranked]
    answer("compare", {"out": str(out), "methods": rows, "rank_correlation": agreement}, as_json)
    done = [row | row["figures"] | {"min": row["minutes"]} for row in rows if not row["failed"]]
    scores = ["accuracy"] if done[0]["accuracy"] is not None else []
    print_table(["method", *done[0]["figures"], "epochs", "min", *scores], done, as_json)
    if agreement is not None:
        say(f"Rank correlation of this order with the accuracy: {agreement:.2f}", as_json)


def _pictures(
    source: str, size: int | None, where: dict[str, Any], quiet: bool, account: Path | None
) -> "tuple[ImageSet, str]":
    """Load pictures at the size, and return the views, that suit a network trained on them from scratch."""
    from selfsort.methods.choice import choose

    images = listed_images(source, size=size, quiet=quiet, **where)
    choice = choose(images)
    if size is None and choice.size:
        images = listed_images(source, size=choice.size, quiet=True, **where)
    return told(images.decoded(), quiet, account), choice.settings.get("views", "natural")


def _estimate(images: "ImageSet", quiet: bool) -> int:
    """Estimate the number of classes from pre-trained features, without labels."""
    from selfsort.methods.frozen import Frozen

    model = Frozen(n_classes="auto").fit(images)
    assert model.class_count_ is not None
    say(f"Number of clusters: {model.class_count_.reason}", quiet)
    return model.class_count_.estimate


def _ranked(results: "list[MethodResult]") -> "tuple[list[MethodResult], float | None]":
    """Return the results, best first and failed ones last, and the rank correlation of this order with the accuracy."""
    from selfsort.comparison import rank, rank_correlation

    done = {result.method: result for result in results if not result.failed}
    failed = [result for result in results if result.failed]
    if not done:
        raise UserError(f"No method gave a result. {failed[0].method}: {failed[0].failed}")
    order = rank({name: result.figures for name, result in done.items()})
    accuracies = [accuracy for name, _ in order if (accuracy := done[name].accuracy) is not None]
    agreement = rank_correlation([-mean for _, mean in order], accuracies) if accuracies else None
    return [*(done[name] for name, _ in order), *failed], agreement


def _row(result: "MethodResult") -> dict[str, Any]:
    """Return a result as in the JSON output."""
    return asdict(replace(result, minutes=round(result.minutes, 3)))
