"""TIFF files: their chain of pages, read in bounded time and memory, and corrections where Pillow misreads them."""

import ctypes
import logging
import math
import struct
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, _imaging

from selfsort.data.unreadable import Unreadable

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

INSTALL = "install selfsort[microscopy]"

_LONGEST_DESCRIPTION = 1 << 16
_MOST_PAGES = 1 << 16
_MOST_ENTRIES = 1 << 12  # of one page
_MOST_PARTS = 1 << 18  # strips or tiles of one page; Pillow makes a Python object of each
_WHITE_IS_ZERO, _RGB = 0, 2
# Tags
_WIDTH, _HEIGHT, _ORIENTATION = 256, 257, 274
_BITS, _DESCRIPTION, _ROWS, _TILE_WIDTH, _TILE_HEIGHT = 258, 270, 278, 322, 323
_SUBFILE, _PHOTOMETRIC, _STRIPS, _SAMPLES, _COLOURS, _TILES, _SUB_IFDS, _EXTRA = 254, 262, 273, 277, 320, 324, 330, 338
_DNG_VERSION, _COLOUR_FILTER = 50706, 32803
_SMALL_VERSION, _MASK = 1, 4  # bits of the subfile type


class _Layout(NamedTuple):
    """How numbers are written, as `struct` codes: the byte order, the number of entries, and offsets."""

    order: str
    entries: str
    offset: str

    def read(self, stream: BinaryIO, kind: str) -> int:
        size = struct.calcsize(self.order + kind)
        return int(struct.unpack(self.order + kind, stream.read(size))[0])


class _Entry(NamedTuple):
    """An entry of a page's directory, its value as raw bytes."""

    kind: int
    numbers: int
    value: bytes


class TiffHead(NamedTuple):
    """What the directories of a TIFF file say.

    Attributes
    ----------
    pages : place in the file of each page that is neither a reduced version of another nor a mask
    complete : whether the first page gives its size and the place of its pixels
    raw : whether the file is a camera's raw picture

    """

    pages: tuple[int, ...]
    complete: bool
    raw: bool


def read_head(stream: BinaryIO) -> TiffHead:
    """Read the directories of a TIFF file; raise `Unreadable` if one is damaged beyond use."""
    pages, first, order = [], dict[int, _Entry](), "<"
    with suppress(struct.error):  # use as much as there is of a truncated chain
        for place, (order, entries) in enumerate(_directories(stream)):
            if any(entries[tag].numbers > _MOST_PARTS for tag in (_STRIPS, _TILES) if tag in entries):
                raise Unreadable(f"damaged (it has more than {_MOST_PARTS:,} parts)")
            first = first or entries
            if place == 0 or not _number(entries, _SUBFILE, order) & (_SMALL_VERSION | _MASK):
                pages.append(place)
    small = bool(_number(first, _SUBFILE, order) & _SMALL_VERSION)
    raw = _DNG_VERSION in first or (small and _SUB_IFDS in first)
    raw |= _number(first, _PHOTOMETRIC, order) == _COLOUR_FILTER
    complete = {_WIDTH, _HEIGHT} <= first.keys() and bool({_STRIPS, _TILES} & first.keys())
    return TiffHead(tuple(pages), complete, raw)


def _directories(stream: BinaryIO) -> Iterator[tuple[str, dict[int, _Entry]]]:
    """Yield the byte order and the entries of each page."""
    stream.seek(0)
    head = stream.read(4)
    order = ">" if head[:1] == b"M" else "<"
    big = b"+" in head
    layout = _Layout(order, *("QQ" if big else "HI"))
    if big:
        stream.seek(8)
    place, seen = layout.read(stream, layout.offset), set[int]()
    while place and place not in seen and len(seen) < _MOST_PAGES:
        seen.add(place)
        stream.seek(place)
        count = layout.read(stream, layout.entries)
        if count > _MOST_ENTRIES:
            return
        width = 20 if big else 12
        table = stream.read(count * width)
        yield order, dict(_entry(layout, table[i : i + width]) for i in range(0, len(table) - width + 1, width))
        place = layout.read(stream, layout.offset)


def _entry(layout: _Layout, data: bytes) -> tuple[int, _Entry]:
    tag, kind, count = struct.unpack_from(f"{layout.order}HH{layout.offset}", data)
    return tag, _Entry(kind, count, data[4 + struct.calcsize(layout.order + layout.offset) :])


def _number(entries: dict[int, _Entry], tag: int, order: str) -> int:
    """Return the first number of a tag whose value is stored in its entry, 0 if there is none."""
    entry = entries.get(tag)
    kind = {1: "B", 3: "H", 4: "I"}.get(entry.kind) if entry else None
    if entry is None or kind is None or entry.numbers != 1:
        return 0
    return int(struct.unpack_from(order + kind, entry.value)[0])


def stack_of(stream: BinaryIO, head: TiffHead, channels: tuple[int, ...], samples: int) -> NDArray[np.intp]:
    """Return the places of pages by slice and channel, in a single column if a page holds all of its channels.

    The file's own axes decide; without them every page is a slice or, if channels are wanted, a channel. `samples` is
    the number of channels in one page. Raises `Unreadable` if only tifffile knows the axes.
    """
    if len(head.pages) > 1 and (series := _series(stream)) is not None:
        return series
    pages = np.array(head.pages, np.intp)
    return pages[None] if channels and samples == 1 else pages[:, None]


def _series(stream: BinaryIO) -> NDArray[np.intp] | None:
    """Return the places (slices, channels) of pages whose axes the file names, None if it names none."""
    named = b"<OME" in _description(stream) or b"ImageJ=" in _description(stream)
    if not named:
        return None
    tifffile = _tifffile()
    if tifffile is None:
        raise Unreadable(f"TIFF with unusual axes; {INSTALL}")
    stream.seek(0)
    with tifffile.TiffFile(stream) as file:
        series = file.series[0]
        axes = [(name, length) for name, length in zip(series.axes, series.shape, strict=True) if name not in "YXS"]
        places = np.array([-1 if page is None else page.index for page in series.pages], np.intp)
    shape = [length for _, length in axes]
    if places.size != math.prod(shape) or (places < 0).any():
        raise Unreadable("TIFF whose pages lie in other files (join them into one)")
    names = [name for name, _ in axes]
    if "C" not in names:
        return places.reshape(-1, 1)
    return np.moveaxis(places.reshape(shape), names.index("C"), -1).reshape(-1, shape[names.index("C")])


def _description(stream: BinaryIO) -> bytes:
    """Return the text description of the first page."""
    with suppress(struct.error, StopIteration):
        order, entries = next(_directories(stream))
        if (entry := entries.get(_DESCRIPTION)) is not None and entry.numbers > len(entry.value):
            stream.seek(struct.unpack_from(order + ("Q" if len(entry.value) == 8 else "I"), entry.value)[0])
            return stream.read(min(entry.numbers, _LONGEST_DESCRIPTION))
    return b""


class TiffPage(NamedTuple):
    """A page that Pillow has no mode for.

    Attributes
    ----------
    array : its values (H, W) or (H, W, C)
    colours : whether the first three channels are red, green and blue
    inverted : whether low values are white
    orientation : as EXIF numbers it

    """

    array: NDArray[Any]
    colours: bool
    inverted: bool
    orientation: int


def read_page(stream: BinaryIO, place: int, most_bytes: int) -> TiffPage:
    """Read a page that Pillow has no mode for; raise `Unreadable` if tifffile is missing or cannot read it either."""
    tifffile = _tifffile()
    if tifffile is None:
        raise Unreadable(f"TIFF of an unusual kind; {INSTALL}")
    stream.seek(0)
    with tifffile.TiffFile(stream) as file:
        page = file.pages[place]
        if page.nbytes > most_bytes:
            raise Unreadable("too large for the memory")
        found: NDArray[Any] = page.asarray()
        found = found.transpose(1, 2, 0) if page.axes == "SYX" else found
        if found.ndim not in (2, 3) or found.dtype.kind not in "buif":
            raise Unreadable(f"TIFF of {found.dtype} in axes {page.axes} (convert it)")
        found = found.astype(np.uint8) * 255 if found.dtype == np.bool_ else found
        turned = page.tags.get(_ORIENTATION)
        kind = int(page.photometric)
        return TiffPage(found, kind == _RGB, kind == _WHITE_IS_ZERO, 1 if turned is None else turned.value)


@lru_cache(maxsize=1)
def _tifffile() -> Any:
    try:
        import tifffile
    except ImportError:
        return None
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # problems are raised as exceptions
    return tifffile


def part_bytes(image: Image.Image) -> int:
    """Return the bytes that libtiff needs to decode a strip or tile of an opened picture."""
    tags = image.tag_v2  # type: ignore[attr-defined]
    if image.info.get("compression") == "raw":
        return 0
    width = int(tags.get(_TILE_WIDTH, image.width))
    height = int(tags.get(_TILE_HEIGHT, min(image.height, tags.get(_ROWS, image.height))))
    return width * height * int(sum(tags.get(_BITS, (1,)))) // 8


def with_own_colours(image: Image.Image) -> Image.Image:
    """Correct the palette of a decoded TIFF picture whose colours have 8 bits instead of the usual 16."""
    colours = image.tag_v2.get(_COLOURS, (256,))  # type: ignore[attr-defined]
    if image.mode == "P" and max(colours) < 256:
        image.putpalette(np.array(colours, np.uint8).reshape(3, -1).T.tobytes())
    return image


def count_channels(image: Image.Image) -> int:
    """Count the channels of an opened TIFF picture, including those that Pillow ignores."""
    return int(image.tag_v2.get(_SAMPLES, 1))  # type: ignore[attr-defined]


def has_alpha(image: Image.Image) -> bool:
    """Tell whether a fourth channel is transparency: only if the file says so."""
    return _EXTRA in image.tag_v2  # type: ignore[attr-defined]


def is_inverted(image: Image.Image) -> bool:
    """Tell whether low values of more than eight bits mean white, which Pillow ignores."""
    tags = image.tag_v2  # type: ignore[attr-defined]
    return bool(tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO)


@lru_cache(maxsize=1)
def silence() -> None:
    """Keep libtiff, if it can be reached, from writing to standard error what Pillow reports by an exception."""
    with suppress(OSError, AttributeError):  # for example if it is part of Pillow's own library
        library = ctypes.CDLL(_imaging.__file__)
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            handler = getattr(library, name)
            handler.argtypes, handler.restype = [ctypes.c_void_p], ctypes.c_void_p
            handler(None)
