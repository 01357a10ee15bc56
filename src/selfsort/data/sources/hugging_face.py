"""Data sets on the Hugging Face hub, or in a local folder, through the library `datasets`."""

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, overload

import numpy as np
from numpy.typing import NDArray

from selfsort.data.class_folders import class_folders, listed
from selfsort.data.listing import Listing, Originals, digest, numbered
from selfsort.data.request import Request
from selfsort.errors import UserError

ORDER = 10
PREFIX = "hf:"


def claims(given: Any) -> bool:
    """Tell whether this is a text that begins with "hf:"."""
    return isinstance(given, (str, Path)) and str(given).startswith(PREFIX)


def list_source(given: Any, request: Request) -> Listing:
    """List "hf:owner/name", "hf:owner/name/configuration" or "hf:folder": its first image and first class-label column.

    The default split is "train", or the first one where there is no "train". `classes_from` names another class-label
    column. Of a folder of pictures `class_folders` says the labels, as of one without "hf:".
    """
    source = str(given)
    request.refuse(f"{source!r}", "fold")
    if source == PREFIX:
        raise UserError(f"{source!r} names no data set; write hf:owner/name or hf: and a folder.")
    folder = Path(source.removeprefix(PREFIX)).expanduser()
    name = str(folder.absolute()) if os.path.isdir(folder) else source.removeprefix(PREFIX)
    split, splits = _open_split(name, source, request)
    table = splits[split]
    image = _image_column(table, source)
    rows = Rows(_undecoded(table, image), image)
    if not len(rows):
        raise UserError(f"The split {split!r} of {source!r} is empty; choose another.")
    ids = numbered(f"{folder.name if os.path.isdir(folder) else name}/{split}", len(rows))
    originals = Originals(rows, open_row, digest(name, split, image, table.cache_files))
    options = request.options("split", "max_pixels", "classes_from")
    if _is_of_folders(table, folder, request):
        labels, names, told = _by_folders(splits, split, image, folder, request)
    else:
        labels, names, told = _by_column(table, source, request)
    return Listing(PREFIX + name, ids, originals, labels, names, options, told=told)


class Rows(Sequence[dict[str, Any]]):
    """A column of encoded pictures, read from the disk only where it is asked for."""

    def __init__(self, table: Any, column: str) -> None:
        self._table, self._column = table, column

    def __len__(self) -> int:
        return len(self._table)

    @overload
    def __getitem__(self, place: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, place: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, place: int | slice) -> Any:
        return self._table[place][self._column]


def open_row(row: dict[str, Any] | None) -> BinaryIO:
    """Open a picture that `datasets` hands over as its bytes or as a path."""
    row = row or {}
    if row.get("bytes") is None and row.get("path"):
        return open(row["path"], "rb")
    return io.BytesIO(row.get("bytes") or b"")


def _open_split(name: str, source: str, request: Request) -> tuple[str, Any]:
    splits = _open(name, source, request.progress)
    split = request.split or ("train" if "train" in splits else next(iter(splits)))
    if split not in splits:
        raise UserError(f"{source!r} has no split {split!r}; it has {', '.join(splits)}.")
    return split, splits


def _open(name: str, source: str, progress: bool) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise UserError(f"{source!r} needs the library 'datasets': pip install 'selfsort[hf]'.") from error
    local = Path(name).is_absolute()
    parts = [name] if local else name.split("/")  # owner, name and, perhaps, configuration
    try:
        with _progress_bars(progress):
            return datasets.load_dataset("/".join(parts[:2]), "/".join(parts[2:]) or None)
    except Exception as error:  # the library lets through whatever its network and file layers raise
        problem = (str(error.__cause__ or error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise UserError(f"{source!r} cannot be loaded ({problem}); check its name and the network.") from error


@contextmanager
def _progress_bars(shown: bool) -> Iterator[None]:
    from datasets.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if shown or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def _image_column(table: Any, source: str) -> str:
    from datasets import Image

    images = [name for name, feature in table.features.items() if isinstance(feature, Image)]
    if not images:
        raise UserError(f"{source!r} has no column of pictures, only {', '.join(table.features)}; choose another set.")
    return str(images[0])


def _undecoded(table: Any, image: str) -> Any:
    from datasets import Image

    return table.select_columns([image]).cast_column(image, Image(decode=False))


def _is_of_folders(table: Any, folder: Path, request: Request) -> bool:
    """Tell whether a set is a folder on this machine, whose labels are its folders."""
    if table.info.builder_name != "imagefolder" or not os.path.isdir(folder):
        return False
    return "label" in table.features or request.classes_from is not None


def _by_folders(
    splits: Mapping[str, Any], split: str, image: str, folder: Path, request: Request
) -> tuple[NDArray[np.int64] | None, tuple[str, ...], tuple[str, ...]]:
    """Return labels, their names and what is to be told of them, by the rule for any other folder."""
    paths = {name: _paths(table, image, folder) for name, table in splits.items()}
    found = class_folders(list(chain.from_iterable(paths.values())), str(folder), classes_from=request.classes_from)
    return *found.labels(paths[split]), found.told


def _paths(table: Any, image: str, folder: Path) -> list[str]:
    rows = _undecoded(table, image)[:][image]
    return [Path(os.path.relpath(row["path"], folder)).as_posix() for row in rows]


def _by_column(
    table: Any, source: str, request: Request
) -> tuple[NDArray[np.int64] | None, tuple[str, ...], tuple[str, ...]]:
    """Return labels, their names and what is to be told of them, from the first column of classes or the one named."""
    from datasets import ClassLabel

    columns = [name for name, feature in table.features.items() if isinstance(feature, ClassLabel)]
    wanted = request.classes_from
    if wanted not in (None, "auto", "none", *columns):
        has = f"its columns of classes are {', '.join(columns)}" if columns else "it has no column of classes"
        raise UserError(f"classes_from={wanted!r} gives no class of {source!r}: {has}.")
    column = wanted if wanted in columns else columns[0] if columns else None
    if column is None or wanted == "none":
        return None, (), ()
    values = table.select_columns([column])[:][column]
    labels = np.array([-1 if value is None else value for value in values], np.int64)
    names = tuple(table.features[column].names)
    return labels, names, (f"classes: {listed(names)} in column {column}",)
