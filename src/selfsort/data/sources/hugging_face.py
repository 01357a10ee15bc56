"""Data sets on the Hugging Face hub, or in a local folder, through the library `datasets`."""

import io
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, overload

from selfsort.data.class_folders import same_split
from selfsort.data.hub_labels import hub_labels
from selfsort.data.listing import Listing, Originals, digest, numbered
from selfsort.data.request import Request
from selfsort.errors import UserError

ORDER = 10
PREFIX = "hf:"


def claims(given: Any) -> bool:
    """Tell whether this is a text that begins with "hf:"."""
    return isinstance(given, (str, Path)) and str(given).startswith(PREFIX)


def list_source(given: Any, request: Request) -> Listing:
    """List "hf:owner/name", "hf:owner/name/configuration" or "hf:folder": its first column of pictures.

    The default split is "train", or else the first one. The labels are found by `hub_labels`.
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
    options = request.options("split", "max_pixels", "max_seconds", "classes_from")
    labels, names, told = hub_labels(splits, split, image, source, str(folder.absolute()), request.classes_from)
    return Listing(PREFIX + name, ids, originals, labels, names, options, told=(*_split_line(split, splits), *told))


class Rows(Sequence[dict[str, Any]]):
    """A column of encoded pictures, read from disk only when needed."""

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
    """Open a picture that `datasets` returns as bytes, or as a path, which may lead into an archive."""
    row = row or {}
    path = row.get("path")
    if row.get("bytes") is not None or not path:
        return io.BytesIO(row.get("bytes") or b"")
    if "://" not in path:
        return open(path, "rb")
    import fsspec

    with fsspec.open(path, "rb") as file:
        return io.BytesIO(file.read())


def _open_split(name: str, source: str, request: Request) -> tuple[str, Any]:
    splits = _open(name, source, request.progress)
    wanted = request.split or ("train" if "train" in splits else next(iter(splits)))
    split = next((name for name in splits if name == wanted or same_split(name, wanted)), None)
    if split is None:
        raise UserError(f"{source!r} has no split {wanted!r}; it has {', '.join(splits)}.")
    return split, splits


def _split_line(split: str, splits: Collection[str]) -> tuple[str, ...]:
    return (f"split: {split}, of {', '.join(splits)}",) if len(splits) > 1 else ()


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
        raise UserError(f"{source!r} has no picture column, only {', '.join(table.features)}; choose another data set.")
    return str(images[0])


def _undecoded(table: Any, image: str) -> Any:
    from datasets import Image

    return table.select_columns([image]).cast_column(image, Image(decode=False))
