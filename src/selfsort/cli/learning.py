"""Commands up to a trained model (methods, views, audit, fit), and the cache."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from selfsort.cli.app import app
from selfsort.cli.inputs import check_account, check_outside, listed_images, loaded_images, resumable, told
from selfsort.cli.options import (
    Account,
    AsJson,
    Channels,
    ClassesFrom,
    CsvBom,
    DataRoot,
    Download,
    Fold,
    KeepReason,
    NoCache,
    Page,
    Resize,
    ResizeBy,
    Seed,
    Size,
    Source,
    Split,
    ValueRange,
    check_seed,
    level_or_name,
    reading_of,
    settings_from,
)
from selfsort.cli.output import answer, count_clusters, image_facts, print_table, say, shell_words
from selfsort.cli.wording import in_flags
from selfsort.errors import UserError
from selfsort.spelling import counted

if TYPE_CHECKING:
    from selfsort.audit.result import Audit
    from selfsort.data.image_set import ImageSet
    from selfsort.data.input_spec import InputSpec
    from selfsort.features.embedding import Features
    from selfsort.methods.base import Estimator
    from selfsort.methods.choice import Choice


@app.command("methods")
def list_methods(
    name: Annotated[str | None, typer.Argument(help="A method, to see its parameters.")] = None, as_json: AsJson = False
) -> None:
    """List the methods, or the parameters of one."""
    from selfsort import methods

    if name:
        parameters = methods.parameters(name)
        answer("methods", {"method": name, "parameters": parameters}, as_json)
        print_table(["parameter", "default", "meaning"], parameters, as_json)
    else:
        lines = [{"method": each, "about": methods.about(each)} for each in methods.names()]
        answer("methods", {"methods": lines}, as_json)
        print_table(["method", "about"], lines, as_json)
        say("Parameters of one: selfsort methods NAME", as_json)


@app.command()
def views(
    source: Source,
    out: Annotated[Path, typer.Option(help="PNG file to write.")] = Path("views.png"),
    views: Annotated[
        str,
        typer.Option(
            help="Preset (natural, digits, cells, none), optionally with strengths, as "
            "digits:rotation=30,crop_scale=0.5..1; or a list of transformations, as "
            "transformations:rotation,crop+cutout."
        ),
    ] = "natural",
    count: Annotated[int, typer.Option(min=1, max=64, help="Originals to draw.")] = 8,
    size: Size = None,
    resize: ResizeBy = Resize.crop,
    split: Split = None,
    value_range: ValueRange = None,
    page: Page = None,
    channels: Channels = None,
    data_root: DataRoot = None,
    account: Account = None,
    seed: Seed = 0,
) -> None:
    """Show what the augmentation does to your pictures before you train: originals with six views each."""
    import torch

    from selfsort.augment import views_from
    from selfsort.reporting.figures import save_png, views_sheet
    from selfsort.training.data import ImageData

    check_seed(seed)
    check_account(account)
    preset = views_from(views)
    reading = reading_of(value_range, page, channels)
    images = loaded_images(
        source, account=account, size=size, resize=resize, split=split, data_root=data_root, **reading
    )
    torch.manual_seed(seed)
    chosen = torch.randperm(len(images))[:count].sort().values.numpy()
    originals = ImageData(images.images, torch.device("cpu")).inputs(chosen)
    drawn = torch.stack([preset(originals) for _ in range(6)], 1)  # (n, 6, C, H, W)
    pixels = (drawn * 255).round().to(torch.uint8).permute(0, 1, 3, 4, 2).numpy()
    save_png(views_sheet(images.images[chosen], pixels), out)
    say(f"Wrote {out}: {len(chosen)} originals with six views each ({views}).")


@app.command()
def audit(
    source: Source,
    out: Annotated[Path, typer.Option(help="New folder for the page and the tables.")] = Path("audit"),
    write_clean: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also fill this new folder with links to the pictures kept.")
    ] = None,
    keep: Annotated[
        list[KeepReason] | None,
        typer.Option(help="Keep exact duplicates, near duplicates or blank pictures, too; may be repeated."),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="Pre-trained network whose features reveal outliers and rotated duplicates; with none, the audit goes "
            "by colours, layout and texture.",
            show_default="the one that fit starts from",
        ),
    ] = None,
    split: Split = None,
    classes_from: ClassesFrom = None,
    value_range: ValueRange = None,
    page: Page = None,
    channels: Channels = None,
    data_root: DataRoot = None,
    download: Download = False,
    csv_bom: CsvBom = False,
    as_json: AsJson = False,
) -> None:
    """Look for problems in pictures before you train: damaged files, duplicates, leaks, borders, outliers."""
    from functools import partial

    from selfsort import audit as auditing
    from selfsort.data.loading import list_images
    from selfsort.export.links import check_target, link_kept
    from selfsort.reporting.audit_page import write_audit_page

    _check_audit_folders(source, out, write_clean)
    where: dict[str, Any] = {"split": split, "data_root": data_root, "download": download}
    where |= {"classes_from": level_or_name(classes_from)} | reading_of(value_range, page, channels)
    kept = [finding.value for finding in keep or []]
    progress = not as_json and sys.stderr.isatty()
    images = list_images(source, **where)
    features, spec = _features_of(images, backbone, progress)
    found = auditing.audit(images, features=features, keep=kept, progress=progress)
    if write_clean:
        check_target(write_clean)  # something may have been put there meanwhile
    auditing.write_audit(found, out, partial(write_audit_page, found, shown_as=str(out), input_spec=spec), bom=csv_bom)
    linked = None if write_clean is None else link_kept(found, write_clean)
    clean = None if linked is None else {"out": str(write_clean), "pictures": linked}
    answer("audit", {"out": str(out), **found.summary(), "clean": clean}, as_json)
    _show_audit(found, out, as_json)
    if linked is not None:
        say(f"Linked {counted(linked, 'picture')} in {write_clean}", as_json)
    words = shell_words(source, "--audit", out, "--out", Path("runs") / out.name)
    chosen = {"--split": split, "--classes-from": classes_from, "--data-root": data_root}
    chosen |= {"--value-range": value_range, "--page": page, "--channels": channels}
    for option, value in chosen.items():
        words += [] if value is None else [option, *shell_words(value)]
    say(f"Next: selfsort fit {' '.join(words)}", as_json)


def _check_audit_folders(source: str, out: Path, write_clean: Path | None) -> None:
    """Raise `UserError` if an audit cannot write its folders, before it reads any picture."""
    from selfsort.data.loading import has_files
    from selfsort.export.links import check_linkable, check_target

    for folder in filter(None, (out, write_clean)):
        check_target(folder)
        check_outside(folder, source)
    if write_clean:
        one, other = out.resolve(), write_clean.resolve()
        if one.is_relative_to(other) or other.is_relative_to(one):
            raise UserError(f"--out {str(out)!r} and --write-clean {str(write_clean)!r} overlap: choose two folders.")
        check_linkable(source, has_files(source))


def _show_audit(found: "Audit", out: Path, quiet: bool) -> None:
    """Print what was read, what was found, and where it is written."""
    from selfsort.data.account import summarise_account
    from selfsort.data.reading import tell
    from selfsort.reporting.audit_page import PAGE, findings

    summary = found.summary()
    for line in (*found.images.told, *tell(found.looks.facts)):
        say(in_flags(line), quiet)
    if read := summarise_account(found.read):
        say(read, quiet)
    rows = [{"finding": row[1], "pictures": row[2], "proposed": row[3]} for row in findings(summary, found) if row[2]]
    looked_at, seconds = counted(summary["pictures"], "file"), summary["seconds"]
    say(f"{looked_at} in {seconds:.0f} s: {summary['rejected']:,} to leave out", quiet)
    print_table(["finding", "pictures", "proposed"], rows, quiet or not rows)
    for warning in summary["warnings"]:
        say(f"Warning: {warning}", quiet)
    say(f"Wrote {out / PAGE} (the findings), {out / 'pictures.csv'} and {out / 'account.csv'}", quiet)
    say(f"To decide yourself what is kept: selfsort review {shell_words(out)[0]}", quiet)


def _features_of(
    images: "ImageSet", backbone: str | None, progress: bool
) -> tuple["Features | None", "InputSpec | None"]:
    """Return the features that an audit uses, which `fit` later reuses, and their network's input."""
    if backbone == "none":
        return None, None
    from selfsort.methods.choice import choose
    from selfsort.methods.frozen import Frozen

    chosen = backbone or choose(images).settings.get("backbone")
    if not chosen:
        return None, None
    model = Frozen(backbone=chosen)
    try:
        return model.features(images, progress), model.input_of(images)
    except UserError:
        if backbone:
            raise
        return None, None  # no picture can be read: the audit reports that


def _number_or_auto(value: str | None) -> str | None:
    if value is not None and value != "auto" and not value.lstrip("-").isdigit():
        raise typer.BadParameter(f"{value!r} is neither a whole number nor auto.")
    return value


@app.command()
def fit(
    source: Source,
    out: Annotated[Path, typer.Option(help="New folder for the run.")],
    method: Annotated[
        str | None,
        typer.Option(help="Method; `selfsort methods` lists them.", show_default="chosen from the pictures"),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(help="Pre-trained network; `selfsort backbones` lists them.", show_default="the best available"),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(metavar="NUMBER|auto", help="Number of clusters.", show_default="auto", callback=_number_or_auto),
    ] = None,
    views: Annotated[
        str | None,
        typer.Option(help="Random changes: natural, digits, cells, none or transformations:…; see `selfsort views`."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the pictures.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pictures per step.")] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed.", show_default="0")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.", show_default="auto")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, 32 or bf16.", show_default="auto")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="Any parameter of the method; `selfsort methods NAME` lists them."
        ),
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option(min=1, help="Processes that train together, each on its GPU if there are GPUs.", show_default="1"),
    ] = None,
    nodes: Annotated[
        int | None,
        typer.Option(min=1, help="Machines on which they run; see docs/scaling.md.", show_default="1"),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the interrupted run in --out, or start it.")
    ] = False,
    size: Size = None,
    resize: Annotated[
        Resize | None,
        typer.Option(help="How pictures are made square.", show_default="squash for a backbone, else crop"),
    ] = None,
    split: Split = None,
    classes_from: ClassesFrom = None,
    value_range: ValueRange = None,
    page: Page = None,
    channels: Channels = None,
    fold: Fold = None,
    audit: Annotated[
        Path | None,
        typer.Option(help="Audit of SOURCE, a folder made by `selfsort audit`: train without what it leaves out."),
    ] = None,
    data_root: DataRoot = None,
    download: Download = False,
    no_cache: NoCache = False,
    account: Account = None,
    as_json: AsJson = False,
) -> None:
    """Learn clusters from pictures and save the model in a run folder."""
    from selfsort import methods, ranks, runs
    from selfsort.training.processes import processes

    if resume and runs.RunFolder(out).is_complete():
        answer("fit", {"run": str(out), "status": "complete"}, as_json)
        say(f"{out} is complete already.", as_json)
        return
    runs.check_startable(out, resume)
    check_outside(out, source)
    check_account(account)
    flags = {"n_classes": classes, "views": views, "epochs": epochs, "batch_size": batch_size}
    flags |= {"random_state": seed, "device": device, "precision": precision, "backbone": backbone}
    given = {name: str(value) for name, value in flags.items() if value is not None} | settings_from(setting or [])
    where: dict[str, Any] = {
        "split": split,
        "fold": fold,
        "data_root": data_root,
        "download": download,
        "cache": not no_cache,
    }
    where |= {"classes_from": level_or_name(classes_from), "resize": resize or Resize.crop}
    where |= {"exclude": _rejected(audit, as_json)} | reading_of(value_range, page, channels)
    if method is not None:
        methods.make(method, given)  # reports wrong settings before the pictures are listed
    with processes(devices, nodes, cast(Any, device or "auto")):
        with ranks.first_ahead():
            images = listed_images(source, size=size, quiet=as_json, **where)
            choice = _choice(method, backbone, images)
            say(
                f"Method: {choice.method}, as {choice.reason}; --method chooses another.", as_json or method is not None
            )
            usual = {} if method else {"n_classes": "auto"}
            model = methods.make(choice.method, usual | choice.settings | given)
            if model.method == "frozen":
                model = _at_own_size(model, size, resize)
                model.check(images)
            else:
                other = None if size else choice.size
                images = images if other is None else listed_images(source, size=other, quiet=True, **where)
                images = images.decoded()
        with resumable(out):
            with ranks.first_ahead():
                images = model.prepared(images, not as_json and ranks.is_first())
            told(images, as_json, account if ranks.is_first() else None)
            model.fit(images, run_dir=out, resume=resume, progress=not as_json)
        if ranks.is_first():
            _report_fit(model, images, out, as_json)


def _choice(method: str | None, backbone: str | None, images: "ImageSet") -> "Choice":
    from selfsort.methods.choice import Choice, choose

    if method is not None:
        return Choice(method, {}, None, "")
    if backbone is not None:
        return Choice("frozen", {}, None, "a backbone was given")
    return choose(images)


def _at_own_size(model: "Estimator", size: int | None, resize: Resize | None) -> "Estimator":
    if size is not None:
        raise UserError(f"--size {size} is for methods that train from scratch: leave it out, a backbone has its own.")
    return model if resize is None else model.set_params(resize=resize.value)


def _rejected(audit: Path | None, quiet: bool) -> tuple[str, ...]:
    """Return the ids of the pictures that an audit, if there is one, leaves out."""
    if audit is None:
        return ()
    from selfsort.audit import read_rejected

    ids = read_rejected(audit)
    say(f"{counted(len(ids), 'picture')} left out by {audit}", quiet)
    return ids


def _report_fit(model: "Estimator", images: "ImageSet", out: Path, as_json: bool) -> None:
    from selfsort.data.loading import has_files
    from selfsort.evaluation.group_quality import GroupQuality
    from selfsort.training.collapse import of_final_model

    counts, data = count_clusters(model.labels_, model.n_clusters_), model.run_["data"]
    training = model.run_["training"]
    facts = {"run": str(out), "status": "complete", "method": model.method, **image_facts(images), "clusters": counts}
    facts |= {name: training[name] for name in ("minutes", "warnings", "class_count", "groups") if name in training}
    answer("fit", facts, as_json)
    sizes = ", ".join(f"{count:,}" for count in counts)
    minutes = f"{training['minutes']:.1f} minutes"
    say(f"{model.method}: {model.n_clusters_} clusters of {sizes} pictures in {minutes}", as_json)
    if len(losses := training.get("head_losses", [])) > 1:
        head = training["head"]
        say(f"Head {head + 1} of {len(losses)} has the lowest loss, {losses[head]:.3f}, and is used", as_json)
    if model.class_count_ is not None:
        say(f"Number of clusters: {model.class_count_.reason}", as_json)
    say(f"Do the groups mean anything? {' '.join(GroupQuality.from_json(training['groups']).sentences())}", as_json)
    for warning in of_final_model(training["warnings"], training["epochs"]):
        say(f"Warning: {warning}", as_json)
    how = "" if has_files(data["source"]) else " --copy"
    run, source = shell_words(out, data["source"])
    say(f"Next: selfsort label {run} to name its groups, selfsort report {run} to see them,", as_json)
    say(f"      selfsort sort {run} {source} --out sorted{how}", as_json)


@app.command()
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Delete everything in the cache.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show or clear the cache: decoded pictures, features, UMAP layouts, converted weights."""
    from selfsort.clustering.kept import LAYOUTS
    from selfsort.data import cache as pictures
    from selfsort.features import store as features
    from selfsort.models.weights.kept import WEIGHTS

    freed = sum(room.clear() for room in (pictures, features, LAYOUTS, WEIGHTS)) if clear else 0
    sets, entries, made, files = pictures.usage(), features.usage(), LAYOUTS.usage(), WEIGHTS.usage()
    total = sets.bytes + entries[1] + made[1] + files[1]
    facts = {"folder": str(sets.path), "sets": sets.sets, "features": entries[0]}
    facts |= {"layouts": made[0], "weights": files[0]}
    answer("cache", {**facts, "bytes": total, "freed": freed}, as_json)
    freed_size = f"; {freed / 1e6:,.1f} MB freed" if clear else ""
    counted = f"{sets.sets} sets of pictures, {entries[0]} of features, {made[0]} layouts, {files[0]} converted weights"
    say(f"{pictures.root()}: {counted}, {total / 1e6:,.1f} MB{freed_size}", as_json)
