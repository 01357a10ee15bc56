"""Commands that reproduce the papers' figures and tables: reproduce, search-augmentations."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from selfsort.cli.app import app
from selfsort.cli.inputs import resumable
from selfsort.cli.options import AsJson, DataRoot, settings_from
from selfsort.cli.output import answer, print_table, say
from selfsort.errors import UserError

if TYPE_CHECKING:
    from papers import Experiment, Paper, Scale, Where


def _find_papers() -> None:
    """Make `papers` importable: it lies beside `src` in a checkout, and is not in the wheel."""
    checkout = Path(__file__).parents[3]
    if not (checkout / "papers" / "runner.py").is_file():
        raise UserError(
            "The papers' experiments are not part of the installed package: clone the repository, install it with "
            "`pip install -e .` and run this command again."
        )
    if str(checkout) not in sys.path:
        sys.path.insert(0, str(checkout))


@app.command()
def reproduce(
    paper: Annotated[str | None, typer.Argument(help="Paper, such as paper4; without it, list all.")] = None,
    figure: Annotated[list[int] | None, typer.Option(help="Number of a figure of the paper; may be repeated.")] = None,
    table: Annotated[list[int] | None, typer.Option(help="Number of a table of the paper; may be repeated.")] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the pictures.", show_default="the paper's")
    ] = None,
    subset: Annotated[int | None, typer.Option(min=1, help="Pictures to train on.", show_default="all")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Runs to average.", show_default="3")] = None,
    embedding_size: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Size of the embedding; may be repeated.", show_default="the paper's"),
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option(help="Only this method; may be repeated.", show_default="all")
    ] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(help="Only this data set; may be repeated.", show_default="all")
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="A hyper-parameter of the methods, NAME=VALUE; may be repeated.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    data_root: DataRoot = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for measurements and figures.", show_default="reproduced/PAPER")
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="JSON file of records to add the results to, such as docs/results.json.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Reproduce a paper's figures and tables beside the published values; measurements are kept and reused."""
    _find_papers()
    import papers as made

    wanted = [("figure", number) for number in figure or []] + [("table", number) for number in table or []]
    if wanted and paper is None:
        raise UserError("--figure and --table need a paper, such as: selfsort reproduce paper4 --figure 4.")
    papers = [made.find(name) for name in ([paper] if paper else made.names())]
    if not wanted:
        _list_experiments(papers, as_json)
        return
    experiments = [made.experiment(papers[0], *each) for each in wanted]
    folder = out or Path("reproduced") / papers[0].name
    scale = made.Scale(
        epochs=epochs,
        subset=subset,
        seeds=seeds,
        embedding_sizes=tuple(dict.fromkeys(embedding_size or ())),
        methods=tuple(dict.fromkeys(method or ())),
        datasets=tuple(dict.fromkeys(dataset or ())),
        settings=settings_from(setting or []),
        out=folder,
    )
    made.check_options(experiments, scale)
    for each in experiments:
        each.trials(scale)  # reports errors in the last before the first is measured
    where = made.Where(device, data_root)  # type: ignore[arg-type]
    records: list[Any] = []
    for each in experiments:
        new = _reproduce(papers[0], each, scale, where, folder, as_json)
        if results:
            made.keep(results, new)
            say(f"Wrote {results} and {results.with_suffix('.md')}", as_json)
        records += new
    answer("reproduce", {"out": str(folder), "records": records}, as_json)


def _reproduce(
    paper: "Paper", experiment: "Experiment", scale: "Scale", where: "Where", folder: Path, quiet: bool
) -> list[Any]:
    import papers as made

    command = " ".join(["selfsort", *sys.argv[1:]])
    with resumable(folder, "the same command continues with what is missing"):
        records = made.reproduce(paper, experiment, scale, where, folder, command, lambda line: say(line, quiet))
    say(f"Wrote {folder / experiment.name}.png, .md and .csv", quiet)
    return records


@app.command("search-augmentations")
def search_augmentations(
    source: Annotated[str, typer.Argument(help="A labelled data set, such as mnist, cifar10 or svhn.")],
    transformation: Annotated[
        list[str] | None,
        typer.Option(
            help="Try only this transformation, and pairs of those given; may be repeated.",
            show_default="those that fit the data set",
        ),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the pictures.")] = 30,
    subset: Annotated[int | None, typer.Option(min=1, help="Pictures to train on.", show_default="all")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs to average.")] = 1,
    embedding_size: Annotated[int, typer.Option(min=1, help="Size of the embedding.")] = 300,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="A hyper-parameter of pseudo-label-ae, NAME=VALUE; repeatable.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    data_root: DataRoot = None,
    out: Annotated[Path, typer.Option(help="Folder for measurements, the heat map and the ten best.")] = Path(
        "augmentations"
    ),
    as_json: AsJson = False,
) -> None:
    """Find the random changes that help pseudo-label-ae most: each one and each pair is scored with labels."""
    _find_papers()
    import papers as made
    from papers import paper1

    experiment = paper1.search(source, tuple(transformation or ()))
    scale = made.Scale(
        epochs=epochs,
        subset=subset,
        seeds=seeds,
        embedding_sizes=(embedding_size,),
        settings=settings_from(setting or []),
    )
    made.check_options([experiment], scale)
    where = made.Where(device, data_root)  # type: ignore[arg-type]
    records = _reproduce(paper1.PAPER, experiment, scale, where, out, as_json)
    best = out / paper1.top_ten(experiment.dataset)
    say(f"The ten best: {best}. Next: selfsort fit … --method pseudo-label-ae --views transformations:{best}", as_json)
    answer("search-augmentations", {"out": str(out), "top_ten": str(best), "records": records}, as_json)


def _list_experiments(papers: list[Any], as_json: bool) -> None:
    """List what can be reproduced, the data it needs, and how long it takes on two CPU cores."""
    lines = [
        {
            "what": f"{paper.name} --{each.kind} {each.number}",
            "shows": each.title,
            "data": each.dataset,
            "minutes": each.minutes,
        }
        for paper in papers
        for each in paper.experiments
    ]
    answer("reproduce", {"experiments": lines}, as_json)
    rows = [line | {"minutes": f"{line['minutes']:,.0f}"} for line in lines]
    print_table(["what", "shows", "data", "minutes"], rows, as_json)
    say("Minutes are for the full experiment on two CPU cores; --epochs, --subset and --seeds shorten it.", as_json)
    say("Data sets are torchvision's, in --data-root. Next: selfsort reproduce paper4 --figure 4", as_json)
