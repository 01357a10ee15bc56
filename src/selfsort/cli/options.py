"""Options and arguments that several commands have."""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from selfsort.errors import UserError


class Resize(StrEnum):
    """How a picture becomes square."""

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
    """Reasons for which an audit leaves pictures out, which `--keep` overrules."""

    exact = "exact"
    near = "near"
    blank = "blank"


class Map(StrEnum):
    """Kinds of map."""

    tsne = "tsne"
    pca = "pca"


Source = Annotated[str, typer.Argument(help="Pictures: folder, zip, .npy, .npz, data set name or hf:owner/name.")]
Run = Annotated[Path, typer.Argument(help="Run folder that `selfsort fit` made.")]
Size = Annotated[
    int | None,
    typer.Option(
        help="Side in pixels to which pictures are brought.", show_default="their own if small and square, else 64"
    ),
]
ResizeBy = Annotated[Resize, typer.Option(help="How pictures become square.")]
Split = Annotated[str | None, typer.Option(help="Part of the source: train, test, unlabeled …")]
ClassesFrom = Annotated[
    str | None,
    typer.Option(
        help="Which folders are classes: auto, parent (of a picture), a level of its path such as 2, a folder that "
        "they lie in, or none; on the hub a column.",
        show_default="auto",
    ),
]
ValueRange = Annotated[
    str | None,
    typer.Option(
        metavar="set|picture|type|LOW..HIGH",
        help="Which values become black and white, of more than 8 bits: those found over the set, or each picture, "
        "what their type stands for, or LOW and HIGH.",
        show_default="set",
    ),
]
Page = Annotated[
    str | None,
    typer.Option(
        metavar="NUMBER|max",
        help="Page, slice or frame of each picture, the first being 0; max takes the largest values over all.",
        show_default="0",
    ),
]
Channels = Annotated[
    str | None,
    typer.Option(
        metavar="NUMBERS",
        help="1 (grey), 3 (colour), or up to three channels, the first being 0: 0,2,4, and 2, with a comma for one.",
        show_default="what the pictures have",
    ),
]
Fold = Annotated[int | None, typer.Option(help="One of STL-10's ten training folds, 0 to 9.")]
DataRoot = Annotated[Path | None, typer.Option(help="Folder of torchvision data sets.")]
Download = Annotated[bool, typer.Option("--download", help="Fetch a torchvision data set that is missing.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Decode into memory and leave no cache on disk.")]
CsvBom = Annotated[bool, typer.Option("--csv-bom", help="Begin CSV with the mark by which Excel knows UTF-8.")]
Account = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.csv", help="Write what became of every file of SOURCE: used, changed or left out, and why."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Clusters = Annotated[bool, typer.Option("--clusters", help="Ignore the names given: use RUN's own clusters.")]
Moved = Annotated[str | None, typer.Option(help="The pictures the run was trained on, if they have moved.")]
Port = Annotated[int | None, typer.Option(min=1, max=65535, show_default="the first free one from 8573")]
Host = Annotated[
    str | None,
    typer.Option(help="Name of this machine on a trusted network, to let others in.", show_default="this machine only"),
]
Password = Annotated[
    str | None, typer.Option(help="That others give, needed with --host.", show_default="$SELFSORT_PASSWORD")
]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Print the address and open no browser.")]
Simulate = Annotated[
    str | None,
    typer.Option(metavar="SOURCE", help="Answer by the labels of SOURCE instead of a person, without a page."),
]


def level_or_name(given: str | None) -> str | int | None:
    """Return what `--classes-from` means: a number is a level, "./2" a folder."""
    return int(given) if given is not None and given.isdecimal() else given


def reading_of(value_range: str | None, page: str | None, channels: str | None) -> dict[str, Any]:
    """Return the arguments of `load_images` that `--value-range`, `--page` and `--channels` mean."""
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
        raise UserError(f"--channels {text!r} is none of 1, 3, or numbers such as 0,2,4.")
    chosen = tuple(int(part) for part in numbers if part)
    return chosen if "," in text else chosen[0]


_READERS: dict[str, Callable[[str], Any]] = {"value_range": _range_of, "page": _page_of, "channels": _channels_of}


def check_seed(seed: int) -> None:
    """Raise `UserError` for a seed that no random generator takes."""
    if not 0 <= seed < 2**32:
        raise UserError(f"--seed {seed} must be from 0 to {2**32 - 1}.")


def settings_from(texts: list[str]) -> dict[str, str]:
    """Return the settings that `--set NAME=VALUE` gave."""
    for text in texts:
        if "=" not in text:
            raise UserError(f"--set {text!r} is not NAME=VALUE, such as --set temperature=0.2.")
    return dict((part.strip() for part in text.split("=", 1)) for text in texts)  # type: ignore[misc]
