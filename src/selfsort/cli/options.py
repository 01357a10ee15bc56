"""Options and arguments that several commands share."""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from selfsort.errors import UserError


class Resize(StrEnum):
    """How pictures are made square."""

    crop = "crop"
    pad = "pad"
    squash = "squash"


class Probe(StrEnum):
    """Kinds of probe."""

    linear = "linear"
    svm = "svm"
    knn = "knn"
    centroid = "centroid"


class KeepReason(StrEnum):
    """Reasons why an audit leaves pictures out, which `--keep` overrides."""

    exact = "exact"
    near = "near"
    blank = "blank"


class Map(StrEnum):
    """Kinds of map."""

    tsne = "tsne"
    pca = "pca"


Source = Annotated[
    str,
    typer.Argument(help="Pictures: folder, .zip, .tar, .parquet, .npy, .npz, s3://…, data set name or hf:owner/name."),
]
Run = Annotated[Path, typer.Argument(help="Run folder made by `selfsort fit`.")]
Size = Annotated[
    int | None,
    typer.Option(
        help="Resize pictures to this side, in pixels.", show_default="their own if small and square, else 64"
    ),
]
ResizeBy = Annotated[Resize, typer.Option(help="How pictures are made square.")]
Split = Annotated[str | None, typer.Option(help="Part of the source: train, test, unlabeled …")]
ClassesFrom = Annotated[
    str | None,
    typer.Option(
        help="Which folders are classes: auto; parent (the picture's folder); a level of its path, such as 2; the "
        "folder that contains the classes; or none. For a data set on the hub, a column.",
        show_default="auto",
    ),
]
ValueRange = Annotated[
    str | None,
    typer.Option(
        metavar="set|picture|type|LOW..HIGH",
        help="Which values of pictures with more than 8 bits become black and white: the range of the set, of each "
        "picture, of their type, or from LOW to HIGH.",
        show_default="set",
    ),
]
Page = Annotated[
    str | None,
    typer.Option(
        metavar="NUMBER|max",
        help="Page, slice or frame of each picture, counting from 0; max takes the maximum over all of them.",
        show_default="0",
    ),
]
Channels = Annotated[
    str | None,
    typer.Option(
        metavar="NUMBERS",
        help="1 (grey), 3 (colour), or up to three channels, counting from 0, such as 0,2,4; a single one as 2, with "
        "a comma.",
        show_default="what the pictures have",
    ),
]
Fold = Annotated[int | None, typer.Option(help="One of STL-10's ten training folds, 0 to 9.")]
DataRoot = Annotated[Path | None, typer.Option(help="Folder of torchvision data sets.")]
Download = Annotated[bool, typer.Option("--download", help="Download a torchvision data set that is missing.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Decode into memory and leave no cache on disk.")]
CsvBom = Annotated[
    bool, typer.Option("--csv-bom", help="Start CSV files with a byte order mark, so that Excel reads them as UTF-8.")
]
Account = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.csv",
        help="Write what became of every file of the pictures' source: used, changed or left out, and why.",
    ),
]
Engine = Annotated[
    str,
    typer.Option(metavar="local|ray", help="Who computes shards: this process, or a Ray cluster (docs/scaling.md)."),
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Processes of --engine ray, each on a core or GPU.", show_default="as many as there are"),
]
ShardSize = Annotated[int | None, typer.Option(min=1, help="Pictures per shard.", show_default="1000")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Seed = Annotated[int, typer.Option(help="Random seed.")]
Clusters = Annotated[bool, typer.Option("--clusters", help="Ignore the names given and use RUN's own clusters.")]
Moved = Annotated[str | None, typer.Option(help="The pictures that the run was trained on, if they have moved.")]
Port = Annotated[
    int | None, typer.Option(min=1, max=65535, help="Port of the page.", show_default="the first free one from 8573")
]
Host = Annotated[
    str | None,
    typer.Option(help="Name of this machine on a trusted network, to let others in.", show_default="this machine only"),
]
Password = Annotated[
    str | None, typer.Option(help="Password for others, needed with --host.", show_default="$SELFSORT_PASSWORD")
]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Print the address instead of opening a browser.")]
Simulate = Annotated[
    str | None,
    typer.Option(metavar="SOURCE", help="Let the labels of SOURCE answer instead of a person, without a page."),
]

LabelsFrom = Annotated[
    str | None,
    typer.Option(
        "--classes-from",
        help="Which folders of --simulate SOURCE are labels: auto; parent (the picture's folder); a level of its path, "
        "such as 2; the folder that contains the labels; or none. For a data set on the hub, a column.",
        show_default="auto",
    ),
]


def level_or_name(given: str | None) -> str | int | None:
    """Return the value of `--classes-from`: a number is a level, "./2" a folder."""
    return int(given) if given is not None and given.isdecimal() else given


def reading_of(value_range: str | None, page: str | None, channels: str | None) -> dict[str, Any]:
    """Translate `--value-range`, `--page` and `--channels` into arguments of `load_images`."""
    given = {"value_range": value_range, "page": page, "channels": channels}
    texts = {name: text for name, text in given.items() if text is not None}
    return {name: _READERS[name](text) for name, text in texts.items()}


def _range_of(text: str) -> str | tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split("..")) if ".." in text else text
    except ValueError:
        raise UserError(f"--value-range {text!r} is not LOW..HIGH, such as 400..3000.") from None


def _page_of(text: str) -> str | int:
    return int(text) if text.isdecimal() else text


def _channels_of(text: str) -> int | tuple[int, ...]:
    numbers = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in numbers if part) or not any(numbers):
        raise UserError(f"--channels {text!r} is neither 1 nor 3 nor a list such as 0,2,4.")
    chosen = tuple(int(part) for part in numbers if part)
    return chosen if "," in text else chosen[0]


_READERS: dict[str, Callable[[str], Any]] = {"value_range": _range_of, "page": _page_of, "channels": _channels_of}


def check_labels_from(classes_from: str | None, simulate: str | None) -> None:
    """Raise `UserError` if `--classes-from` is given without `--simulate`, whose labels it selects."""
    if classes_from is not None and simulate is None:
        raise UserError("--classes-from selects the labels of --simulate SOURCE: give both, or neither.")


def check_seed(seed: int) -> None:
    """Raise `UserError` for a seed that no random generator takes."""
    if not 0 <= seed < 2**32:
        raise UserError(f"--seed {seed} must be from 0 to {2**32 - 1}.")


def settings_from(texts: list[str]) -> dict[str, str]:
    """Return the settings given by `--set NAME=VALUE`."""
    for text in texts:
        if "=" not in text:
            raise UserError(f"--set {text!r} is not NAME=VALUE, such as --set temperature=0.2.")
    return dict((part.strip() for part in text.split("=", 1)) for text in texts)  # type: ignore[misc]
