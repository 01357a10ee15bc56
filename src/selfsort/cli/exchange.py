"""Commands that bring names into a run and write them out: import, suspects, export."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from selfsort.cli.app import app
from selfsort.cli.deploying import MODEL_SUFFIXES, export_backbone, export_model
from selfsort.cli.inputs import training_images
from selfsort.cli.options import AsJson, ClassesFrom, Moved, Run, level_or_name
from selfsort.cli.output import answer, print_table, say, shell_words
from selfsort.errors import UserError
from selfsort.spelling import JUNK, counted

if TYPE_CHECKING:
    from selfsort.data.image_set import ImageSet
    from selfsort.labelling.exchange import Imported

_FEW = 12  # names listed in a line


class Format(StrEnum):
    """Formats in which names are exported."""

    csv = "csv"
    json = "json"
    coco = "coco"
    zip = "zip"
    labelstudio = "labelstudio"
    fiftyone = "fiftyone"
    datasets = "datasets"
    cleanlab = "cleanlab"
    folders = "folders"


@app.command("import")
def import_(
    run: Run,
    source: Annotated[
        str,
        typer.Argument(
            help="Names: a CSV file with the columns id and name, pictures in class folders, or another run folder, "
            "whose answers are copied."
        ),
    ],
    classes_from: ClassesFrom = None,
    as_json: AsJson = False,
) -> None:
    """Import names that pictures have elsewhere, as answers about single pictures; later answers take precedence."""
    from selfsort.labelling.exchange import import_names

    found = import_names(run, source, classes_from=level_or_name(classes_from))
    answer("import", {"run": str(run), **found.to_json()}, as_json)
    _show_imported(found, as_json)
    say(f"Next: selfsort label {shell_words(run)[0]} to review them and to name the others.", as_json)


def _show_imported(found: "Imported", quiet: bool) -> None:
    counts = [f"{name} {count:,}" for name, count in list(found.names.items())[:_FEW]]
    if len(found.names) > _FEW:
        counts.append(f"and {len(found.names) - _FEW} more names")
    many = "" if found.named == 1 else "s"
    say(f"Named {found.named:,} picture{many}{': ' if counts else ''}{', '.join(counts)}.", quiet)
    if found.already:
        say(f"Had that name already: {found.already:,}.", quiet)
    if found.by_file_name:
        say(f"Found by file name alone, as their ids are different here: {found.by_file_name:,}.", quiet)
    if JUNK in found.names:
        say(f"{JUNK.capitalize()} is thrown away: rename it in the source if it is to be a class.", quiet)
    if found.unknown:
        say(f"Not found in the run: {len(found.unknown):,}, such as {found.unknown[0]!r}.", quiet)


@app.command()
def suspects(
    run: Run,
    out: Annotated[Path | None, typer.Option(help="CSV file for the whole list.")] = None,
    images: Moved = None,
    as_json: AsJson = False,
) -> None:
    """List pictures whose imported names the other pictures contradict, the most suspect first."""
    from selfsort.labelling.exchange import find_suspects
    from selfsort.tables import write_table

    rows = [
        {"id": name, "name": each.name, "other": each.other, "chance": each.chance, "own_chance": each.own_chance}
        for name, each in find_suspects(run, _with_bursts(run, images, as_json))
    ]
    columns = ["id", "name", "other", "chance", "own_chance"]
    if out is not None:
        write_table(out, columns, [list(row.values()) for row in rows])
    answer("suspects", {"run": str(run), "out": None if out is None else str(out), "suspects": rows}, as_json)
    own = "has a name of its own" if len(rows) == 1 else "have a name of their own"
    say(f"{counted(len(rows), 'picture')} {own} that the others contradict.", as_json)
    print_table(columns, rows[:_FEW], as_json or not rows)
    if out is not None:
        say(f"Wrote {out}", as_json)
    say(f"Next: selfsort label {shell_words(run)[0]}, and Review there, to look at them one by one.", as_json)


def _with_bursts(run: Path, moved: str | None, quiet: bool) -> "ImageSet | None":
    """Return the pictures of a run whose bursts are not known yet; None also if the pictures are gone."""
    from selfsort import runs
    from selfsort.labelling.kept_shots import kept_shots

    if moved is None and kept_shots(run, runs.read_training_arrays(run)[2]) is not None:
        return None
    try:
        return training_images(run, runs.read_run(run), moved, quiet)
    except UserError as error:
        if moved is not None:
            raise
        say(f"Frames of one burst may judge each other: {error}", quiet)
        return None


def _only_one(out: Path | None, backbone: Path | None) -> Path:
    if out is not None and backbone is not None:
        raise UserError("--out and --backbone write different things: give one of them.")
    target = out or backbone
    if target is None:
        raise UserError("There is nothing to export: give --out FILE, or --backbone FILE for the backbone's weights.")
    return target


@app.command()
def export(
    run: Run,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write: .csv, .json, .coco.json, .labelstudio.json, .fiftyone.json, .parquet (Hugging Face "
            "datasets), .cleanlab.npz or .zip; or a new folder, with one per name; or .onnx or .pt2 for the model, or "
            ".md for its card."
        ),
    ] = None,
    backbone: Annotated[
        Path | None,
        typer.Option(help="Instead of --out: a .pth or .safetensors file for the backbone's weights, for torchvision."),
    ] = None,
    format: Annotated[
        Format | None, typer.Option("--format", help="What to write.", show_default="by the ending of --out")
    ] = None,
    link: Annotated[bool, typer.Option("--link/--copy", help="Fill folders with links or with copies.")] = True,
    given: Annotated[
        bool, typer.Option("--given", help="Only names given by an answer, not those that spread to other pictures.")
    ] = False,
    images: Moved = None,
    as_json: AsJson = False,
) -> None:
    """Export the names that RUN's pictures have now (table, JSON, COCO, zip, folders), or the model or its card."""
    from selfsort import runs
    from selfsort.export.links import check_target
    from selfsort.export.named import FOLDERS, names_format
    from selfsort.labelling.exchange import export_names, needs_pictures

    out = _only_one(out, backbone)
    if backbone is not None:
        return export_backbone(run, out, as_json)
    if format is None and out.suffix.lower() in MODEL_SUFFIXES:
        return export_model(run, out, as_json)
    facts = runs.read_run(run)
    kind = names_format(out, None if format is None else format.value)
    if kind == FOLDERS:
        check_target(out)
    elif not link:
        raise UserError("--copy is for folders: give --out a name without an ending, or leave out --copy.")
    pictures = training_images(run, facts, images, as_json) if needs_pictures(kind) else None
    summary = export_names(run, out, images=pictures, format=kind, copy=not link, given=given)
    folders = {} if summary is None else summary.to_json()
    answer("export", {"out": str(out), "kind": kind, **folders}, as_json)
    say(f"Wrote {out}", as_json)
    for name, count in folders.get("folders", {}).items():
        say(f"  {name}  {count:,}", as_json)
    if missing := folders.get("missing"):
        say(f"  {counted(len(missing), 'picture')} missing, such as {missing[0]!r}", as_json)
