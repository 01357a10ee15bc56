"""What a source lists: its pictures as they are, still to be opened, with their ids and, kept apart, their labels."""

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
from selfsort.data.reading import ALONE, Facts, Reading
from selfsort.data.unreadable import explain

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
    """N pictures as they are, opened one by one.

    Parameters
    ----------
    refs : (N,) what names each of them, such as a path or the row of a table
    open : opens one of `refs`: a binary stream of the encoded picture or, where there is none, its `uint8` pixels
        (H, W, 1 or 3); it and slices of `refs` are sent to other processes
    key : names all that decides what the pictures look like, apart from `stamps`; None where only their content does
    stamps : (N,) a text for each that changes when its content does, that no picture of another content has, and that
        is known without reading it, such as the path, size and time of change of a file; None where there is none
    close : frees what `open` keeps open between two pictures
    reading : how the encoded pictures are read

    """

    refs: Sequence[Any]
    open: Open
    key: bytes | None = None
    stamps: Sequence[str] | None = None
    close: Callable[[], None] = _nothing
    reading: Reading = ALONE

    def __len__(self) -> int:
        return len(self.refs)

    @property
    def identity(self) -> bytes | None:
        """Return a hash that changes when one of the pictures does; None where only reading them could tell."""
        return None if self.key is None else digest(self.key, list(self.stamps or ()), self.reading)

    @property
    def array(self) -> NDArray[np.uint8] | None:
        """Return the pictures (N, H, W, C) where they lie in one array."""
        return self.refs if isinstance(self.refs, np.ndarray) else None

    def read_as(self, model: Reading | None) -> Self:
        """Return the same as a model reads them."""
        return replace(self, reading=self.reading.over(model))

    def subset(self, positions: NDArray[np.intp]) -> Self:
        """Return the pictures at some positions, in that order."""
        if len(positions) == len(self) and np.array_equal(positions, np.arange(len(self))):
            return self
        refs = self.refs[positions] if isinstance(self.refs, np.ndarray) else _Selected(self.refs, positions)
        if self.key is None or self.stamps is not None:
            stamps = None if self.stamps is None else [self.stamps[position] for position in positions]
            return replace(self, refs=refs, stamps=stamps)
        return replace(self, refs=refs, key=digest(self.key, positions.tolist()))


class _Selected(Sequence[Any]):
    """Some of the items of a sequence, which are fetched when they are asked for."""

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
    """What is in a source.

    Parameters
    ----------
    source : its name, by which it can be listed again
    ids : (N,) of the pictures
    originals : the N pictures
    labels, label_names : as in `ImageSet`
    options : the arguments, beside those of `size`, `resize` and `channels`, that list the same again
    skipped : what could not be read, or not even be looked at
    passed_over : what is none of the source's pictures, such as hidden files, and what was asked to be left out
    elsewhere : ids that belong to other splits of the source
    remarks : what is to be said of where some of the ids come from, such as "a link"
    told : what the source was taken for, in a line each
    label : labels some of the ids anew, where a label's number depends on which ids there are
    facts : of the pictures decoded so far, by id, of whose files anything was changed or left out
    split : the split that an id belongs to, "" for none; None where the source has no folders

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
        return f"<Listing of {len(self.ids):,} pictures in {self.source!r}>"

    def subset(self, positions: NDArray[np.intp]) -> Self:
        """Return the pictures at some positions, in that order; labels keep their numbers."""
        return replace(
            self,
            ids=tuple(self.ids[position] for position in positions),
            originals=self.originals.subset(positions),
            labels=None if self.labels is None else self.labels[positions],
        )

    def without(self, failures: Iterable[tuple[int, str]]) -> Self:
        """Return the pictures but for those at the positions of `failures`, which are then among the skipped."""
        failed = [Skipped(self.ids[position], reason) for position, reason in failures]
        part = self.keep(positions_without(len(self.ids), failures))
        return replace(part, skipped=tuple(sorted([*self.skipped, *failed])))

    def keep(self, positions: NDArray[np.intp]) -> Self:
        """Return the pictures at some positions as if the others had never been there."""
        part = self.subset(positions)
        if self.label is None or len(part.ids) == len(self.ids):
            return part
        labels, names = self.label(part.ids)
        return replace(part, labels=labels, label_names=names)

    def sized(self, size: int, channels: int, resize: Resize) -> Self:
        """Return the same with options that bring the pictures to a size."""
        how = {} if resize == "crop" else {"resize": resize}
        rest = {name: value for name, value in self.options.items() if name not in ("size", "channels", "resize")}
        chosen = self.originals.reading.channels or channels
        return replace(self, options=rest | how | {"size": size, "channels": chosen})


def positions_without(count: int, failures: Iterable[tuple[int, str]]) -> NDArray[np.intp]:
    """Return which of `count` positions are not among the failures."""
    kept = np.ones(count, np.bool_)
    kept[[position for position, _ in failures]] = False
    return np.flatnonzero(kept)


def of_rows(pixels: NDArray[np.uint8], reading: Reading = ALONE) -> Originals:
    """Return the rows (H, W, C) of an array as pictures."""
    return Originals(cast(Sequence[Any], pixels), as_it_is, reading=reading)


def is_images(given: object) -> TypeGuard[Sequence[Image.Image]]:
    """Tell whether this is a list of images of Pillow."""
    return isinstance(given, (list, tuple)) and bool(given) and all(isinstance(each, Image.Image) for each in given)


def list_images_of_pillow(images: Sequence[Image.Image]) -> Listing:
    """List images of Pillow as if each was a file, so that they are decoded as any other picture."""
    encoded, skipped = dict[str, bytes](), []
    for name, image in zip(numbered("array", len(images)), images, strict=True):
        try:
            encoded[name] = _encoded(image)
        except Exception as error:  # an image is read from its file only now
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


def as_it_is(row: NDArray[np.uint8]) -> Opened:
    """Stand in for what opens a file, where pictures are arrays (H, W, C) already."""
    return row


def open_file(path: str) -> BinaryIO:
    """Open a file for reading its bytes."""
    return open(path, "rb")


def hash_content(opened: Opened) -> str:
    """Return the hash of an opened picture's content, hexadecimal; a stream stays open."""
    found = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    if isinstance(opened, np.ndarray):
        found.update(repr(opened.shape).encode() + np.ascontiguousarray(opened).tobytes())
        return found.hexdigest()
    opened.seek(0)
    while block := opened.read(_BLOCK):
        found.update(block)
    return found.hexdigest()


def digest(*parts: object) -> bytes:
    """Return a hash of values that Python prints."""
    return hashlib.blake2b(repr(parts).encode("utf-8", "surrogateescape")).digest()


def numbered(prefix: str, count: int) -> tuple[str, ...]:
    """Return the ids of pictures that have no file name: `prefix/00000` and so on."""
    return tuple(f"{prefix}/{i:05d}" for i in range(count))


def summarise_skipped(skipped: Iterable[Skipped]) -> str:
    """Count the skipped files by reason in one line, or return "" when there are none.

    >>> summarise_skipped([Skipped("a", "not a picture"), Skipped("b", "truncated"), Skipped("c", "not a picture")])
    '3 files skipped: not a picture (2), truncated (1)'
    """
    reasons = [reason for _, reason in skipped]
    return count_files(len(reasons), "skipped", reasons)


def count_files(total: int, how: str, reasons: Iterable[str]) -> str:
    """Say how many files something became of, and why; "" where there are none."""
    counts = ", ".join(f"{reason} ({count:,})" for reason, count in count_kinds(reasons).most_common())
    return f"{total:,} file{'' if total == 1 else 's'} {how}: {counts}" if total else ""


def count_kinds(reasons: Iterable[str]) -> Counter[str]:
    """Count reasons without what stands in brackets, which differs from file to file."""
    return Counter(reason.split(" (")[0] for reason in reasons)
