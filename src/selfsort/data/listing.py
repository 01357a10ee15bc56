"""What a source lists: its pictures, not opened yet, with their ids and, kept apart, their labels."""

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, NamedTuple, Self, TypeGuard, cast, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from selfsort.data.input_spec import Resize
from selfsort.data.limits import MAX_SECONDS
from selfsort.data.reading import ALONE, Facts, Reading
from selfsort.data.unreadable import explain
from selfsort.spelling import counted

Opened = BinaryIO | NDArray[np.uint8]
Open = Callable[[Any], Opened]
Labels = tuple[NDArray[np.int64] | None, tuple[str, ...]]

_DIGEST_BYTES = 16
_BLOCK = 1 << 20
_ORIENTATION = 0x0112
_TIFF_MODES = frozenset("1 L LA P RGB RGBA CMYK YCbCr LAB I F I;16 I;16B I;16L".split())
_STORED_AS = {"La": "LA", "RGBa": "RGBA", "PA": "RGBA"}  # modes of Pillow without a file format


class Skipped(NamedTuple):
    """A file that is left out, and why."""

    id: str
    reason: str


def _nothing() -> None:
    """Close nothing."""


@dataclass(frozen=True, eq=False, repr=False)
class Originals:
    """N original pictures, opened one by one.

    Parameters
    ----------
    refs : (N,) what identifies each of them, such as a path or the row of a table
    open : opens one of `refs`: a binary stream of the encoded picture or, if it is not encoded, its `uint8` pixels
        (H, W, 1 or 3); this function and slices of `refs` are sent to other processes
    key : everything besides `stamps` that determines what the pictures look like; None if only their content does
    stamps : (N,) a text for each that changes when its content does, that no picture of other content has, and that is
        known without reading it, such as the path, size and time of change of a file; None if there is none
    close : releases what `open` keeps open between two pictures
    reading : how the encoded pictures are read
    max_seconds : processor time that one of them may take, if decoded in a process that can be killed
    remote : whether opening one waits for a network

    """

    refs: Sequence[Any]
    open: Open
    key: bytes | None = None
    stamps: Sequence[str] | None = None
    close: Callable[[], None] = _nothing
    reading: Reading = ALONE
    max_seconds: float = MAX_SECONDS
    remote: bool = False

    def __len__(self) -> int:
        return len(self.refs)

    @property
    def identity(self) -> bytes | None:
        """Return a hash that changes when one of the pictures does; None if only reading them could tell."""
        return None if self.key is None else digest(self.key, list(self.stamps or ()), self.reading)

    @property
    def array(self) -> NDArray[np.uint8] | None:
        """Return the pictures (N, H, W, C) if they are rows of one array."""
        return self.refs if isinstance(self.refs, np.ndarray) else None

    def read_as(self, model: Reading | None) -> Self:
        """Return the same pictures, read the way a model does."""
        return replace(self, reading=self.reading.over(model))

    def subset(self, positions: NDArray[np.intp]) -> Self:
        """Return the pictures at `positions`, in that order."""
        if len(positions) == len(self) and np.array_equal(positions, np.arange(len(self))):
            return self
        refs = self.refs[positions] if isinstance(self.refs, np.ndarray) else _Selected(self.refs, positions)
        if self.key is None or self.stamps is not None:
            stamps = None if self.stamps is None else [self.stamps[position] for position in positions]
            return replace(self, refs=refs, stamps=stamps)
        return replace(self, refs=refs, key=digest(self.key, positions.tolist()))


class _Selected(Sequence[Any]):
    """Selected items of a sequence, fetched on demand."""

    def __init__(self, items: Sequence[Any], positions: NDArray[np.intp]) -> None:
        self._items, self._positions = items, positions

    def __len__(self) -> int:
        return len(self._positions)

    @overload
    def __getitem__(self, place: int) -> Any: ...
    @overload
    def __getitem__(self, place: slice) -> list[Any]: ...
    def __getitem__(self, place: int | slice) -> Any:
        if isinstance(place, slice):
            return [self._items[int(position)] for position in self._positions[place]]
        return self._items[int(self._positions[place])]


@dataclass(frozen=True, eq=False, repr=False)
class Listing:
    """The content of a source.

    Parameters
    ----------
    source : its name, under which it can be listed again
    ids : (N,) of the pictures
    originals : the N pictures themselves
    labels, label_names : as in `ImageSet`
    options : the arguments, besides `size`, `resize` and `channels`, that list the same pictures again
    skipped : what could not be read, or not even be looked at
    passed_over : what is not one of the source's pictures, such as hidden files, or was excluded by the caller
    elsewhere : ids that belong to other splits of the source
    remarks : notes on where some of the ids come from, such as "a link"
    told : what was taken as splits and classes, one line each
    label : recomputes the labels for a selection of ids, if a label's number depends on which ids there are
    facts : by id, what was changed or left out of the files of the pictures decoded so far
    split : the split that an id belongs to, "" for none; None if the source has no folders

    """

    source: str
    ids: tuple[str, ...]
    originals: Originals
    labels: NDArray[np.int64] | None = None
    label_names: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    skipped: tuple[Skipped, ...] = ()
    passed_over: tuple[Skipped, ...] = ()
    elsewhere: Collection[str] = ()
    remarks: Mapping[str, str] = field(default_factory=dict)
    told: tuple[str, ...] = ()
    label: Callable[[Sequence[str]], Labels] | None = None
    facts: Mapping[str, Facts] = field(default_factory=dict)
    split: Callable[[str], str] | None = None

    def __repr__(self) -> str:
        return f"<Listing of {counted(len(self.ids), 'picture')} in {self.source!r}>"

    def subset(self, positions: NDArray[np.intp]) -> Self:
        """Return the pictures at `positions`, in that order; labels keep their numbers."""
        return replace(
            self,
            ids=tuple(self.ids[position] for position in positions),
            originals=self.originals.subset(positions),
            labels=None if self.labels is None else self.labels[positions],
        )

    def without(self, failures: Iterable[tuple[int, str]]) -> Self:
        """Return the pictures except those at the positions of `failures`, which are added to `skipped`."""
        failed = [Skipped(self.ids[position], reason) for position, reason in failures]
        part = self.keep(positions_without(len(self.ids), failures))
        return replace(part, skipped=tuple(sorted([*self.skipped, *failed])))

    def keep(self, positions: NDArray[np.intp]) -> Self:
        """Return the pictures at `positions` as if the others had never been there."""
        part = self.subset(positions)
        if self.label is None or len(part.ids) == len(self.ids):
            return part
        labels, names = self.label(part.ids)
        return replace(part, labels=labels, label_names=names)

    def sized(self, size: int, channels: int, resize: Resize) -> Self:
        """Return the same listing with options that resize the pictures."""
        how = {} if resize == "crop" else {"resize": resize}
        rest = {name: value for name, value in self.options.items() if name not in ("size", "channels", "resize")}
        chosen = self.originals.reading.channels or channels
        return replace(self, options=rest | how | {"size": size, "channels": chosen})


def positions_without(count: int, failures: Iterable[tuple[int, str]]) -> NDArray[np.intp]:
    """Return those of `count` positions that are not among the failures."""
    kept = np.ones(count, np.bool_)
    kept[[position for position, _ in failures]] = False
    return np.flatnonzero(kept)


def of_rows(pixels: NDArray[np.uint8], reading: Reading = ALONE) -> Originals:
    """Return the rows (H, W, C) of an array as pictures."""
    return Originals(cast(Sequence[Any], pixels), already_open, reading=reading)


def is_images(given: object) -> TypeGuard[Sequence[Image.Image]]:
    """Tell whether this is a list of Pillow images."""
    return isinstance(given, (list, tuple)) and bool(given) and all(isinstance(each, Image.Image) for each in given)


def list_images_of_pillow(images: Sequence[Image.Image]) -> Listing:
    """List Pillow images as if each were a file, so that they are decoded like any other picture."""
    encoded, skipped = dict[str, bytes](), []
    for name, image in zip(numbered("array", len(images)), images, strict=True):
        try:
            encoded[name] = _encoded(image)
        except Exception as error:  # only now is an image read from its file
            skipped.append(Skipped(name, explain(error)))
    return Listing("array", tuple(encoded), Originals(list(encoded.values()), io.BytesIO), skipped=tuple(skipped))


def _encoded(image: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[_ORIENTATION] = image.getexif().get(_ORIENTATION, 1)
    mode = _STORED_AS.get(image.mode, "RGB" if image.mode not in _TIFF_MODES else image.mode)
    if image.has_transparency_data and mode in ("L", "P", "RGB"):
        mode = "RGBA"
    buffer = io.BytesIO()
    image.convert(mode).save(buffer, "TIFF", exif=exif, icc_profile=image.info.get("icc_profile"))
    return buffer.getvalue()


def already_open(row: NDArray[np.uint8]) -> Opened:
    """Take the place of a function that opens files, for pictures that are arrays (H, W, C) already."""
    return row


def open_file(path: str) -> BinaryIO:
    """Open a file for reading its bytes."""
    return open(path, "rb")


def hash_content(opened: Opened) -> str:
    """Return the hexadecimal hash of an opened picture's content; a stream stays open."""
    found = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    if isinstance(opened, np.ndarray):
        found.update(repr(opened.shape).encode() + np.ascontiguousarray(opened).tobytes())
        return found.hexdigest()
    opened.seek(0)
    while block := opened.read(_BLOCK):
        found.update(block)
    return found.hexdigest()


def digest(*parts: object) -> bytes:
    """Hash values by their `repr`."""
    return hashlib.blake2b(repr(parts).encode("utf-8", "surrogateescape")).digest()


def numbered(prefix: str, count: int) -> tuple[str, ...]:
    """Return ids for pictures that have no file name: `prefix/00000` and so on."""
    return tuple(f"{prefix}/{i:05d}" for i in range(count))


def summarise_skipped(skipped: Iterable[Skipped]) -> str:
    """Count the skipped files by reason in one line, or return "" if there are none.

    >>> summarise_skipped([Skipped("a", "not a picture"), Skipped("b", "truncated"), Skipped("c", "not a picture")])
    '3 files skipped: not a picture (2), truncated (1)'
    """
    reasons = [reason for _, reason in skipped]
    return count_files(len(reasons), "skipped", reasons)


def count_files(total: int, how: str, reasons: Iterable[str]) -> str:
    """Say what became of how many files, and why; "" for none."""
    counts = ", ".join(f"{reason} ({count:,})" for reason, count in count_kinds(reasons).most_common())
    return f"{counted(total, 'file')} {how}: {counts}" if total else ""


def count_kinds(reasons: Iterable[str]) -> Counter[str]:
    """Count reasons without their details in brackets, which differ from file to file."""
    return Counter(reason.split(" (")[0] for reason in reasons)
