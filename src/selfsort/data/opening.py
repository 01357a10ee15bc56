"""Open the file of a picture that is not a JPEG: find its size, what is known about it, and what decodes it."""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from selfsort.data import gif, heif, jpeg, png, tiff, values
from selfsort.data.eight_bit import chosen_channels, image_shown, is_grey, is_opaque
from selfsort.data.limits import Size, check_bytes, check_memory, check_size, too_many_pixels
from selfsort.data.other_formats import LONGEST, RAW, other_format
from selfsort.data.reading import Facts, Reading
from selfsort.data.unreadable import Unreadable, no_channel, no_page
from selfsort.data.values import Values

FORMATS = ("PNG", "WEBP", "BMP", "GIF")  # besides JPEG, TIFF, AVIF and HEIC
# BMP's two letters also begin ordinary text, so they prove nothing.
_SIGNATURES = (jpeg.SIGNATURE, b"\x89PNG\r\n", b"GIF8", *tiff.SIGNATURES)
_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2}  # per pixel in Pillow's memory; 4 in other modes
_DECODER_BYTES = {"WEBP": 8, "AVIF": 8, "HEIF": 8}  # per pixel that the decoder needs besides
_EXIF_ORIENTATION = 0x0112
_FULL_SCALE = (0, 65_535)
# Pillow's `exif_transpose` is not used: it rewrites the metadata, and raises on damaged tags besides the orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = frozenset(_TURNS[number] for number in (5, 6, 7, 8))


class Opened(NamedTuple):
    """A picture that is not decoded yet.

    Attributes
    ----------
    size : its own (width, height)
    grey : whether it is grey; None if only decoding can tell
    deep : whether it has more than eight bits
    load : function that decodes it
    facts : facts known so far

    """

    size: Size
    grey: bool | None
    deep: bool
    load: Callable[[], "Loaded"]
    facts: Facts


class Loaded(NamedTuple):
    """A decoded picture: a Pillow image with at most eight bits, or values; the turn it needs; its colour profile."""

    content: Image.Image | Values
    turn: Image.Transpose | None = None
    profile: bytes | None = None


def first_bytes(stream: BinaryIO) -> bytes:
    """Return the first bytes of a picture, enough to tell its format."""
    stream.seek(0)
    return stream.read(LONGEST)


def open_picture(stream: BinaryIO, reading: Reading, max_pixels: int) -> Opened:
    """Open a picture other than a JPEG, and check that decoding it will not need too much memory."""
    head = first_bytes(stream)
    kind = heif.format_of(head)
    if kind:
        heif.require(kind)
    elif other := other_format(head):
        raise Unreadable(other)
    elif head.startswith(tiff.SIGNATURES):
        return _open_tiff(stream, reading, max_pixels)
    if kind or head.startswith(b"RIFF"):
        check_bytes(stream)  # Pillow reads the whole file
    image = open_as(stream, (kind,) if kind else FORMATS)
    _check_image(image, max_pixels)
    pages = _count_frames(image, stream)
    if reading.page == "max" and pages > 1:
        return _open_largest(image, stream, range(pages), reading, max_pixels)
    page = 0 if reading.page is None or reading.page == "max" else reading.page
    _seek(image, page, pages)
    return opened_image(image, stream, reading, Facts(pages=pages, page=page))


def _open_tiff(stream: BinaryIO, reading: Reading, max_pixels: int) -> Opened:
    tiff.silence()
    head = tiff.read_head(stream)
    if head.raw:
        raise Unreadable(RAW)
    if reading.page == "max" and len(head.pages) < 2:
        reading = replace(reading, page=None)
    if reading.channels or reading.page not in (None, 0):
        return _open_stack(stream, head, reading, max_pixels)
    opened = _open_page(stream, head.pages[0] if head.pages else 0, head.complete, reading, max_pixels)
    return opened._replace(facts=opened.facts._replace(pages=max(1, len(head.pages))))


def _open_page(stream: BinaryIO, place: int, complete: bool, reading: Reading, max_pixels: int) -> Opened:
    """Open a page of a TIFF file, with tifffile if Pillow has no mode for it."""
    try:
        image = open_as(stream, ("TIFF",))
        _check_image(image, max_pixels)
        _seek(image, place, place + 1)
        _check_image(image, max_pixels)
        return opened_image(image, stream, reading, Facts())
    except (_Unidentified, SyntaxError):
        if not complete:
            raise
    page = tiff.read_page(stream, place, 4 * max_pixels)
    found = values.of_array(page.array, page.inverted)
    check_size(found.size, max_pixels)
    turn = _TURNS.get(page.orientation)
    channels = chosen_channels(found, reading, page.colours)
    used = () if len(channels) == found.channels else channels
    facts = Facts(channels=found.channels if used else 0, used=used, turned=turn is not None)
    loaded = Loaded(found._replace(shown=channels), turn)
    return Opened(found.size, len(channels) == 1, found.deep, lambda: loaded, facts)


def _open_stack(stream: BinaryIO, head: tiff.TiffHead, reading: Reading, max_pixels: int) -> Opened:
    """Open chosen pages and channels of a TIFF file."""
    one = replace(reading, page=None, channels=())
    first = _open_page(stream, head.pages[0], head.complete, one, max_pixels)
    samples = first.facts.channels or (1 if first.grey else 3)
    places = tiff.stack_of(stream, head, reading.channels, samples)
    rows = range(len(places)) if reading.page == "max" else [reading.page or 0]
    if rows[0] >= len(places):
        raise no_page(rows[0], len(places))
    columns: Sequence[int] = [0]
    if places.shape[1] > 1:
        columns = reading.channels or (0,)
        if max(columns) >= places.shape[1]:
            raise no_channel(max(columns), places.shape[1])
    size, used = first.size, () if reading.channels else first.facts.used
    check_memory(size, size[0] * size[1] * (4 + 8 * len(columns)), max_pixels, len(rows) * len(columns))

    def values_at(place: int) -> NDArray[Any]:
        loaded = _open_page(stream, place, head.complete, one, max_pixels).load().content
        found = loaded if isinstance(loaded, Values) else values.of_image(image_shown(loaded, 1, None)[0])
        if found.size != size:
            raise Unreadable("pages of different sizes (choose one with page=)")
        return found.part((0, 0, *size))

    def load() -> Loaded:
        planes = [_largest(values_at(places[row, column]) for row in rows) for column in columns]
        settled = tuple(range(len(columns))) if places.shape[1] > 1 else used
        return Loaded(values.of_array(np.concatenate(planes, 2))._replace(shown=settled))

    facts = Facts(pages=len(places), page=None if reading.page == "max" else rows[0])
    if places.shape[1] > 1:
        facts = facts._replace(channels=places.shape[1], used=tuple(columns))
    elif used:
        facts = facts._replace(channels=samples, used=used)
    return Opened(size, None, first.deep, load, facts)


def _open_largest(
    image: ImageFile.ImageFile, stream: BinaryIO, pages: range, reading: Reading, max_pixels: int
) -> Opened:
    """Open an animation to show the largest values over all of its frames."""
    size = image.size
    check_memory(size, size[0] * size[1] * 12, max_pixels, len(pages))

    def load() -> Loaded:
        def frame(number: int) -> NDArray[Any]:
            image.seek(number)
            image.load()
            return values.of_image(image_shown(image, 1, None)[0].convert("RGB")).part((0, 0, *size))

        if image.format == "PNG":
            png.check(stream)
        return Loaded(values.of_array(_largest(map(frame, pages))))

    return Opened(size, False, False, load, Facts(pages=len(pages), page=None))


def _largest(arrays: Iterable[NDArray[Any]]) -> NDArray[Any]:
    return reduce(np.maximum, arrays)


def opened_image(image: ImageFile.ImageFile, stream: BinaryIO, reading: Reading, facts: Facts) -> Opened:
    """Return an opened picture for an image that Pillow has opened."""
    two_bytes = ";16" in _rawmode(image) and not values.is_deep(image)
    grey = None if image.mode in ("P", "PA") else is_grey(image) or _rawmode(image).startswith("LA")
    facts = facts._replace(turned=_turned_by_pillow(image))
    if image.format == "TIFF" and (channels := tiff.count_channels(image)) > (shown := _count_shown(image)):
        facts = facts._replace(channels=channels, used=tuple(range(shown)))
    if two_bytes:
        facts = facts._replace(depth="uint16", low=0, high=_FULL_SCALE[1])

    def load() -> Loaded:
        if image.format == "PNG":
            png.check(stream)
        if two_bytes and reading.found("integers") not in ("type", _FULL_SCALE):
            return Loaded(_two_bytes(image, stream), turn_of(image), image.info.get("icc_profile"))
        image.load()
        # Asked for metadata first, Pillow may load the image, swallow what is wrong with it, and not raise it again.
        turn, profile = turn_of(image), image.info.get("icc_profile")
        if values.is_deep(image):
            return Loaded(values.of_image(image, image.format == "TIFF" and tiff.is_inverted(image)), turn)
        return Loaded(image, turn, profile)

    return Opened(image.size, grey, two_bytes or values.is_deep(image), load, facts)


def _turned_by_pillow(image: ImageFile.ImageFile) -> bool:
    """Tell whether decoding turns an opened image, as it does for TIFF and HEIC."""
    orientation = image.info.get("original_orientation", 1)
    if image.format == "TIFF":
        orientation = image.tag_v2.get(_EXIF_ORIENTATION, 1)  # type: ignore[attr-defined]
    return orientation in _TURNS


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """Return the turn that makes a decoded image upright, according to its metadata."""
    try:
        return _TURNS.get(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # damaged metadata is no reason to lose the picture
        return None


def _rawmode(image: ImageFile.ImageFile) -> str:
    """Return Pillow's name for the way in which the file of an opened image stores its pixels."""
    arguments = image.tile[0].args if image.tile else ""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments or "")


def _two_bytes(image: ImageFile.ImageFile, stream: BinaryIO) -> Values:
    """Return 16-bit colours: Pillow reads only the high bytes, so it is made to read the low ones as well."""
    place, high = image.tell(), _rawmode(image)
    low = open_as(stream, (image.format or "",))
    _seek(low, place, place + 1)
    mode, _, order = high.partition(";16")
    other = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}[order]
    if mode == "LA":
        low._mode, other = "RGBA", "RGBA"  # four bytes: both of the level, both of the transparency
    else:
        other = f"{mode};16{other}"
    low.tile = [
        tile._replace(args=(other, *tile.args[1:]) if isinstance(tile.args, tuple) else other) for tile in low.tile
    ]
    low.load()
    if mode == "LA":
        return values.of_pairs(low)
    image.load()
    return values.of_two_bytes(image, low, transparency=not is_opaque(image))


def open_as(stream: BinaryIO, formats: tuple[str, ...]) -> ImageFile.ImageFile:
    """Have Pillow open a file as one of some formats; raise `Unreadable` if it is none of them."""
    head = first_bytes(stream)
    stream.seek(0)
    try:
        return Image.open(stream, formats=formats)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise too_many_pixels(Image.MAX_IMAGE_PIXELS or 0) from error
    except UnidentifiedImageError as error:
        raise _unidentified(head) from error


def _seek(image: Image.Image, page: int, pages: int) -> None:
    if page == 0:
        return
    try:
        image.seek(page)
    except EOFError as error:
        raise no_page(page, pages) from error


def _count_frames(image: Image.Image, stream: BinaryIO) -> int:
    """Count the frames of an image that is not decoded yet."""
    if image.format != "GIF":
        return int(getattr(image, "n_frames", 1))
    place = stream.tell()
    count = gif.count_frames(stream)
    stream.seek(place)
    return count


def _count_shown(image: Image.Image) -> int:
    """Count the channels of an image that are shown, including transparency."""
    return len(image.getbands()) - is_opaque(image)


def _check_image(image: ImageFile.ImageFile, max_pixels: int) -> None:
    """Check that an opened image will not need too much memory to decode."""
    check_size(image.size, max_pixels)
    bytes_each = _BYTES.get(image.mode, 4) + _DECODER_BYTES.get(image.format or "", 0)
    bytes_each *= 2 if ";16" in _rawmode(image) and not values.is_deep(image) else 1
    beside = tiff.part_bytes(image) if image.format == "TIFF" else 0
    check_memory(image.size, image.size[0] * image.size[1] * bytes_each + beside, max_pixels)


class _Unidentified(Unreadable):
    """Pillow does not recognise a file."""


def _unidentified(head: bytes) -> Unreadable:
    if not head:
        return Unreadable("empty")
    known = head.startswith(_SIGNATURES) or (head.startswith(b"RIFF") and head[8:12] == b"WEBP") or heif.format_of(head)
    if known:
        return _Unidentified("damaged (its header cannot be read)")
    return Unreadable("not a picture (no JPEG, PNG, WebP, AVIF, HEIC, BMP, TIFF or GIF)")
