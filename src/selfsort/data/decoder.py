"""From the bytes of a picture's file to 8-bit grey or RGB, for whatever it is wanted: the one decoder.

The memory for one picture is bounded before it is decoded: Pillow's image, and what its decoder needs beside it, take
at most four bytes for each of `max_pixels`. What is made of large pictures is made strip by strip.
"""

import io
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import reduce
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from selfsort.data import gif, heif, jpeg, tiff, values
from selfsort.data.other_formats import LONGEST, RAW, other_format
from selfsort.data.profiles import conversion
from selfsort.data.reading import Facts, Reading
from selfsort.data.unreadable import Unreadable
from selfsort.data.values import Box, Values

MAX_PIXELS = 178_956_970  # twice PIL's own limit, where it stops warning and refuses
MAX_BYTES = 1 << 28  # of one encoded picture that is read into memory
FORMATS = ("PNG", "WEBP", "BMP", "GIF")  # beside JPEG and TIFF, and AVIF and HEIC

# BMP's two letters also begin ordinary text, so they prove nothing.
_SIGNATURES = (jpeg.SIGNATURE, b"\x89PNG\r\n", b"GIF8", *tiff.SIGNATURES)
_GREY_MODES = ("1", "L", "LA", "I", "F")
_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2}  # of a pixel in Pillow's memory, 4 in other modes
_DECODER_BYTES = {"WEBP": 8, "AVIF": 8, "HEIF": 8}  # of a pixel, which the decoder needs beside them
_LARGE = 1 << 24  # pixels from which on a picture is reduced by whole factors before it is resized
_LARGEST_FACTOR = 64  # Pillow's sums overflow from some hundreds on
_STRIP = 1 << 22  # pixels of a large picture that are converted at a time
_EXIF_ORIENTATION = 0x0112
_FULL_SCALE = (0, 65_535)
# Not Pillow's `exif_transpose`: it writes the metadata anew, and damaged tags beside the orientation raise there.
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

_HEAVY_PIXELS, _HEAVY_BYTES = 1 << 25, 1 << 23

_limits_lock = threading.RLock()
_light: ContextVar[bool] = ContextVar("_light", default=False)

Size = tuple[int, int]
Needed = Callable[[Size], Size]  # of the (width, height) that is needed of a picture, by its own
Content = Image.Image | NDArray[np.uint8]


@contextmanager
def pillow_limits(max_pixels: int) -> Iterator[None]:
    """For one block, make PIL refuse truncated pictures and those above `max_pixels`, and silence its warnings.

    PIL's limits hold for the whole process: a second thread waits until the block of the first has ended.
    """
    with _limits_lock:
        before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = max_pixels, False
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                yield
        finally:
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = before


class Heavy(BaseException):
    """A picture may take long, and only light ones are to be decoded."""


@contextmanager
def only_light() -> Iterator[None]:
    """For one block of this thread, raise `Heavy` instead of decoding a picture that may take more than seconds."""
    token = _light.set(True)
    try:
        yield
    finally:
        _light.reset(token)


class AsStored(NamedTuple):
    """A picture as it lies in its file: 8-bit grey or RGB, perhaps reduced, its own (width, height), and its turn."""

    content: Content
    size: Size
    turn: Image.Transpose | None
    facts: Facts


class _Opened(NamedTuple):
    """A picture that is not decoded yet.

    Attributes
    ----------
    size : its own (width, height)
    grey : whether it is; None where only decoding tells
    deep : whether it has more than eight bits
    load : decodes it
    facts : what is known so far

    """

    size: Size
    grey: bool | None
    deep: bool
    load: Callable[[], "_Loaded"]
    facts: Facts


class _Loaded(NamedTuple):
    """A decoded picture: an image of Pillow's with at most eight bits, or values; its turn, and its colour profile."""

    content: Image.Image | Values
    turn: Image.Transpose | None = None
    profile: bytes | None = None


def decode(stream: BinaryIO, needed: Needed, reading: Reading, max_pixels: int) -> AsStored:
    """Decode a picture, whatever it is wanted for, to at least the size that is needed of it."""
    if _light.get() and stream.seek(0, io.SEEK_END) > _HEAVY_BYTES:
        raise Heavy
    if _begin(stream).startswith(jpeg.SIGNATURE):
        return _decode_jpeg(read_content(stream), needed, reading, max_pixels)
    opened = _open(stream, reading, max_pixels)
    return _converted(opened, needed, reading)


def header(stream: BinaryIO, reading: Reading, max_pixels: int) -> tuple[Size, bool]:
    """Return a picture's (width, height) and whether it has colour, decoding no more than that takes."""
    if _begin(stream).startswith(jpeg.SIGNATURE):
        head = jpeg.read_head(read_content(stream))
        _check_size(head.size, max_pixels)
        return head.size, len(reading.channels or head.sampling) > 1
    opened = _open(stream, reading, max_pixels)
    if reading.channels:
        return opened.size, len(reading.channels) > 1
    if opened.grey is not None:
        return opened.size, not opened.grey
    content = _converted(opened, lambda size: size, reading).content
    return opened.size, not (isinstance(content, Image.Image) and content.mode == "L")


def sample_values(stream: BinaryIO, reading: Reading, max_pixels: int) -> tuple[str, NDArray[Any]] | None:
    """Return the kind of a picture's values and a sample of them; None where it has no more than eight bits."""
    if _begin(stream).startswith(jpeg.SIGNATURE):
        return None
    opened = _open(stream, reading, max_pixels)
    if not opened.deep:
        return None
    content = opened.load().content
    assert isinstance(content, Values)
    return content.kind, content.sample(_chosen(content, reading))


def too_many_bytes() -> Unreadable:
    """Return why an encoded picture of more than `MAX_BYTES` is not read into memory."""
    return Unreadable(f"too many bytes (more than {MAX_BYTES >> 20} MiB)")


def read_content(stream: BinaryIO) -> bytes:
    """Read an encoded picture whole; raise `Unreadable` for more than `MAX_BYTES`."""
    _check_bytes(stream)
    stream.seek(0)
    return stream.read()


def turned(image: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    """Return an image as it is to be shown."""
    return image if turn is None else image.transpose(turn)


def to_image(pixels: NDArray[np.uint8]) -> Image.Image:
    """Return (H, W, 1 or 3) pixels as a grey or RGB image."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


# Opening


def _begin(stream: BinaryIO) -> bytes:
    """Return the first bytes of a picture, which tell its format."""
    stream.seek(0)
    return stream.read(LONGEST)


def _open(stream: BinaryIO, reading: Reading, max_pixels: int) -> _Opened:
    """Open a picture that is no JPEG, and check that decoding it will not need too much memory."""
    head = _begin(stream)
    kind = heif.format_of(head)
    if kind:
        heif.require(kind)
    elif other := other_format(head):
        raise Unreadable(other)
    elif head.startswith(tiff.SIGNATURES):
        return _open_tiff(stream, reading, max_pixels)
    if kind or head.startswith(b"RIFF"):
        _check_bytes(stream)  # Pillow reads it whole
    image = _open_as(stream, (kind,) if kind else FORMATS)
    _check_image(image, max_pixels)
    pages = _count_frames(image, stream)
    if reading.page == "max" and pages > 1:
        return _open_largest(image, range(pages), reading, max_pixels)
    page = 0 if reading.page is None or reading.page == "max" else reading.page
    _seek(image, page, pages)
    return _of_image(image, stream, reading, Facts(pages=pages, page=page))


def _open_tiff(stream: BinaryIO, reading: Reading, max_pixels: int) -> _Opened:
    tiff.silence()
    head = tiff.read_head(stream)
    if head.raw:
        raise Unreadable(RAW)
    if reading.channels or reading.page not in (None, 0):
        return _open_stack(stream, head, reading, max_pixels)
    opened = _open_page(stream, head.pages[0] if head.pages else 0, head.complete, reading, max_pixels)
    return opened._replace(facts=opened.facts._replace(pages=max(1, len(head.pages))))


def _open_page(stream: BinaryIO, place: int, complete: bool, reading: Reading, max_pixels: int) -> _Opened:
    """Open a page of a TIFF file, with tifffile where Pillow has no mode for it."""
    try:
        image = _open_as(stream, ("TIFF",))
        _check_image(image, max_pixels)
        _seek(image, place, place + 1)
        _check_image(image, max_pixels)
        return _of_image(image, stream, reading, Facts())
    except (_Unidentified, SyntaxError):
        if not complete:
            raise
    page = tiff.read_page(stream, place, 4 * max_pixels)
    found = values.of_array(page.array, page.inverted)
    _check_size(found.size, max_pixels)
    turn = _TURNS.get(page.orientation)
    channels = _chosen(found, reading, page.colours)
    used = () if len(channels) == found.channels else channels
    facts = Facts(channels=found.channels if used else 0, used=used, turned=turn is not None)
    loaded = _Loaded(found._replace(shown=channels), turn)
    return _Opened(found.size, len(channels) == 1, found.deep, lambda: loaded, facts)


def _open_stack(stream: BinaryIO, head: tiff.TiffHead, reading: Reading, max_pixels: int) -> _Opened:
    """Open chosen pages and channels of a TIFF file."""
    one = replace(reading, page=None, channels=())
    first = _open_page(stream, head.pages[0], head.complete, one, max_pixels)
    samples = first.facts.channels or (1 if first.grey else 3)
    places = tiff.stack_of(stream, head, reading.channels, samples)
    rows = range(len(places)) if reading.page == "max" else [reading.page or 0]
    if rows[0] >= len(places):
        raise _no_page(rows[0], len(places))
    columns: Sequence[int] = [0]
    if places.shape[1] > 1:
        columns = reading.channels or (0,)
        if max(columns) >= places.shape[1]:
            raise _no_channel(max(columns), places.shape[1])
    size = first.size
    _check_memory(size, size[0] * size[1] * (4 + 8 * len(columns)), max_pixels, len(rows) * len(columns))

    def values_at(place: int) -> NDArray[Any]:
        loaded = _open_page(stream, place, head.complete, one, max_pixels).load().content
        found = loaded if isinstance(loaded, Values) else values.of_image(_shown(loaded, 1, None)[0])
        if found.size != size:
            raise Unreadable("pages of different sizes (choose one with page=)")
        return found.part((0, 0, *size))

    def load() -> _Loaded:
        planes = [_largest(values_at(places[row, column]) for row in rows) for column in columns]
        settled = tuple(range(len(columns))) if places.shape[1] > 1 else ()
        return _Loaded(values.of_array(np.concatenate(planes, 2))._replace(shown=settled))

    facts = Facts(pages=len(places), page=None if reading.page == "max" else rows[0])
    if places.shape[1] > 1:
        facts = facts._replace(channels=places.shape[1], used=tuple(columns))
    return _Opened(size, None, first.deep, load, facts)


def _open_largest(image: ImageFile.ImageFile, pages: range, reading: Reading, max_pixels: int) -> _Opened:
    """Open the frames of an animation for the largest values over all of them."""
    size = image.size
    _check_memory(size, size[0] * size[1] * 12, max_pixels, len(pages))

    def load() -> _Loaded:
        def frame(number: int) -> NDArray[Any]:
            image.seek(number)
            image.load()
            return values.of_image(_shown(image, 1, None)[0].convert("RGB")).part((0, 0, *size))

        return _Loaded(values.of_array(_largest(map(frame, pages))))

    return _Opened(size, False, False, load, Facts(pages=len(pages), page=None))


def _largest(arrays: Iterable[NDArray[Any]]) -> NDArray[Any]:
    return reduce(np.maximum, arrays)


def _of_image(image: ImageFile.ImageFile, stream: BinaryIO, reading: Reading, facts: Facts) -> _Opened:
    """Return an image that Pillow has opened, and what decodes it."""
    two_bytes = ";16" in _rawmode(image) and not values.is_deep(image)
    grey = None if image.mode in ("P", "PA") else _is_grey(image) or _rawmode(image).startswith("LA")
    facts = facts._replace(turned=_turned_by_pillow(image))
    if image.format == "TIFF" and (channels := tiff.count_channels(image)) > (shown := _count_shown(image)):
        facts = facts._replace(channels=channels, used=tuple(range(shown)))
    if two_bytes:
        facts = facts._replace(depth="uint16", low=0, high=_FULL_SCALE[1])

    def load() -> _Loaded:
        if two_bytes and reading.found("integers") not in ("type", _FULL_SCALE):
            return _Loaded(_two_bytes(image, stream), _turn(image), image.info.get("icc_profile"))
        image.load()
        # Asked for its metadata before, Pillow may load an image, and hide what was wrong when it loads it again.
        turn, profile = _turn(image), image.info.get("icc_profile")
        if values.is_deep(image):
            return _Loaded(values.of_image(image, image.format == "TIFF" and tiff.is_inverted(image)), turn)
        return _Loaded(image, turn, profile)

    return _Opened(image.size, grey, two_bytes or values.is_deep(image), load, facts)


def _turned_by_pillow(image: ImageFile.ImageFile) -> bool:
    """Tell whether an opened image is turned as it is decoded, which TIFF and HEIC are."""
    orientation = image.info.get("original_orientation", 1)
    if image.format == "TIFF":
        orientation = image.tag_v2.get(_EXIF_ORIENTATION, 1)  # type: ignore[attr-defined]
    return orientation in _TURNS


def _rawmode(image: ImageFile.ImageFile) -> str:
    """Return how the file of an opened image holds its pixels, as Pillow names it."""
    arguments = image.tile[0].args if image.tile else ""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments or "")


def _two_bytes(image: ImageFile.ImageFile, stream: BinaryIO) -> Values:
    """Return 16-bit colours, of which Pillow takes the high bytes: it is made to take the low ones, too."""
    place, high = image.tell(), _rawmode(image)
    low = _open_as(stream, (image.format or "",))
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
    return values.of_two_bytes(image, low, transparency=not _opaque(image))


def _open_as(stream: BinaryIO, formats: tuple[str, ...]) -> ImageFile.ImageFile:
    head = _begin(stream)
    stream.seek(0)
    try:
        return Image.open(stream, formats=formats)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels(Image.MAX_IMAGE_PIXELS or 0) from error
    except UnidentifiedImageError as error:
        raise _unidentified(head) from error


def _seek(image: Image.Image, page: int, pages: int) -> None:
    if page == 0:
        return
    try:
        image.seek(page)
    except EOFError as error:
        raise _no_page(page, pages) from error


def _count_frames(image: Image.Image, stream: BinaryIO) -> int:
    """Count the frames of an image that is not decoded yet."""
    if image.format != "GIF":
        return int(getattr(image, "n_frames", 1))
    place = stream.tell()
    count = gif.count_frames(stream)
    stream.seek(place)
    return count


def _check_bytes(stream: BinaryIO) -> None:
    if stream.seek(0, io.SEEK_END) > MAX_BYTES:
        raise too_many_bytes()


def _check_size(size: Size, max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels:
        raise _too_many_pixels(max_pixels)


def _check_memory(size: Size, needed: int, max_pixels: int, times: int = 1) -> None:
    """Refuse what needs more memory than four bytes for each of `max_pixels`, and, where it is to be light, long."""
    if needed > 4 * max_pixels:
        raise _too_many_pixels(4 * max_pixels * size[0] * size[1] // needed)
    if _light.get() and size[0] * size[1] * times > _HEAVY_PIXELS:
        raise Heavy


def _check_image(image: ImageFile.ImageFile, max_pixels: int) -> None:
    """Check that an opened image does not need too much memory when it is decoded."""
    _check_size(image.size, max_pixels)
    bytes_each = _BYTES.get(image.mode, 4) + _DECODER_BYTES.get(image.format or "", 0)
    bytes_each *= 2 if ";16" in _rawmode(image) and not values.is_deep(image) else 1
    beside = tiff.part_bytes(image) if image.format == "TIFF" else 0
    _check_memory(image.size, image.size[0] * image.size[1] * bytes_each + beside, max_pixels)


# Decoding


def _decode_jpeg(data: bytes, needed: Needed, reading: Reading, max_pixels: int) -> AsStored:
    head = jpeg.read_head(data)
    _check_size(head.size, max_pixels)
    least = needed(head.size)
    output = 4 * min(head.size[0] * head.size[1], 4 * least[0] * least[1])
    _check_memory(head.size, head.coefficient_bytes + output, max_pixels)
    if reading.page not in (None, 0, "max"):
        raise _no_page(int(reading.page or 0), 1)
    pixels = jpeg.decode_fast(data, head, least)
    if pixels is not None:
        turn = _turn(_open_as(io.BytesIO(data), ("JPEG",))) if head.orientation else None
        stored = AsStored(pixels, head.size, turn, Facts(turned=turn is not None))
        return _finished(stored, reading, head.profile) if head.profile or reading.channels else stored
    guessed = ""
    if len(head.sampling) == 4 and not head.adobe:
        ycck = len(set(head.sampling)) > 1  # nobody stores ink more coarsely than ink
        data = jpeg.marked_as_ycck(data) if ycck else data
        guessed = f"four channels are {'YCCK' if ycck else 'inverted CMYK'}"
    image = _open_as(io.BytesIO(data), ("JPEG",))
    image.draft(None, least)
    opened = _of_image(image, io.BytesIO(data), reading, Facts(guessed=guessed))
    return _converted(opened, needed, reading)._replace(size=head.size)


def _converted(opened: _Opened, needed: Needed, reading: Reading) -> AsStored:
    """Decode an opened picture."""
    loaded, facts = opened.load(), opened.facts
    content, turn = loaded.content, loaded.turn
    if isinstance(content, Image.Image):
        factor = _factor(content.size, needed)
        shown, flattened, profile = _shown(content, factor, loaded.profile)
        facts = facts._replace(flattened=flattened, profile=profile)
        stored_profile = None if content.mode == "CMYK" else loaded.profile
    else:
        shown, facts = _values_shown(content, _factor(content.size, needed), reading, facts)
        stored_profile = loaded.profile
        reading = replace(reading, channels=())
    facts = facts._replace(turned=facts.turned or turn is not None)
    return _finished(AsStored(shown, opened.size, turn, facts), reading, stored_profile)


def _finished(stored: AsStored, reading: Reading, profile: bytes | None) -> AsStored:
    """Choose channels of a picture in 8 bits, or else convert its colours to sRGB."""
    image = stored.content if isinstance(stored.content, Image.Image) else to_image(stored.content)
    if reading.channels:
        content = values.of_image(image)
        shown, facts = _values_shown(content, 1, reading, stored.facts)
        return stored._replace(content=shown, facts=facts)
    convert, name = conversion(profile, image.mode) if reading.profiles else (None, "")
    if convert is None:
        return stored
    return stored._replace(content=convert(image), facts=stored.facts._replace(profile=name))


def _factor(size: Size, needed: Needed) -> int:
    """Return by which whole factor a large picture can be reduced so that what is needed of it is left."""
    if size[0] * size[1] < _LARGE:
        return 1
    least = needed(size)
    return max(1, min(size[0] // least[0], size[1] // least[1], _LARGEST_FACTOR))


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return what brings a decoded image upright according to its metadata."""
    try:
        return _TURNS.get(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # damaged metadata is no reason to lose the picture
        return None


def _chosen(content: Values, reading: Reading, colours: bool = True) -> tuple[int, ...]:
    """Return the channels of values that are shown; `colours` tells whether three and more are red, green and blue."""
    if content.shown:
        return content.shown
    count = content.channels - content.alpha
    if not reading.channels:
        return (0, 1, 2) if count >= 3 and colours else (0,)
    if max(reading.channels) >= count:
        raise _no_channel(max(reading.channels), count)
    return reading.channels


def _values_shown(content: Values, factor: int, reading: Reading, facts: Facts) -> tuple[Image.Image, Facts]:
    """Return values as 8-bit grey or RGB, reduced, and what is to be told of that."""
    channels, boxes = _chosen(content, reading), list(_boxes(content.size, factor))
    low, high = (0.0, 255.0)
    if content.deep:
        low, high = values.range_of(content, reading.found(content.kind), boxes, channels)
    inside = transparent = False

    def convert(box: Box) -> Image.Image:
        nonlocal inside, transparent
        part = content.part(box)
        chosen = part[:, :, channels]
        inside |= bool((chosen.max() >= low) and (chosen.min() <= high))
        shown = values.to_8_bit(chosen, low, high) if content.deep else chosen
        shown = 255 - shown if content.inverted else shown
        if content.alpha:
            shown, found = values.on_white(shown, part[:, :, -1:])
            transparent |= found
        if len(channels) == 2:
            shown = np.dstack([shown, np.zeros_like(shown[:, :, :1])])
        return to_image(np.ascontiguousarray(shown))

    image = _joined(map(convert, boxes), boxes, content.size, factor)
    if content.deep:
        facts = facts._replace(depth=content.dtype.name, low=low, high=high, outside=not inside)
    if reading.channels and not facts.channels and channels != tuple(range(content.channels - content.alpha)):
        facts = facts._replace(channels=content.channels - content.alpha, used=channels)
    return image, facts._replace(flattened=facts.flattened or transparent)


def _shown(image: Image.Image, factor: int, profile: bytes | None) -> tuple[Image.Image, bool, str]:
    """Return a decoded 8-bit image as grey ("L") or "RGB", reduced.

    Also returns whether parts of it were transparent, and the name of its profile if it is one of ink.
    """
    if image.mode in ("L", "RGB") and not image.has_transparency_data:
        return image.reduce(factor) if factor > 1 else image, False, ""
    from_ink, name = conversion(profile, "CMYK") if image.mode == "CMYK" else (None, "")
    palette, opaque = image.mode in ("P", "PA"), _opaque(image)
    if palette and image.format == "TIFF":
        image = tiff.with_own_colours(image)
    transparent = False

    def convert(box: Box) -> Image.Image:
        nonlocal transparent
        strip = image if box == (0, 0, *image.size) else image.crop(box)
        if from_ink is not None:
            return from_ink(strip)
        shown, found = _on_white(strip, not opaque)
        transparent |= found
        return shown

    boxes = list(_boxes(image.size, factor))
    shown = _joined(map(convert, boxes), boxes, image.size, factor)
    return shown.convert("L") if palette and _looks_grey(shown) else shown, transparent, name


def _count_shown(image: Image.Image) -> int:
    """Count the channels of an image that are shown, with transparency."""
    return len(image.getbands()) - _opaque(image)


def _opaque(image: Image.Image) -> bool:
    """Tell whether the fourth channel of an image is something else than transparency."""
    return image.format == "TIFF" and image.mode == "RGBA" and not tiff.has_alpha(image)


def _on_white(image: Image.Image, transparency: bool) -> tuple[Image.Image, bool]:
    """Return an 8-bit image as grey or RGB, and whether parts of it were transparent."""
    wanted = "L" if _is_grey(image) else "RGB"
    if transparency and image.has_transparency_data:
        coloured = image.convert("RGBA")
        if np.asarray(coloured.getchannel("A")).min() < 255:
            white = Image.new("RGBA", image.size, "white")
            return Image.alpha_composite(white, coloured).convert(wanted), True
    return image if image.mode == wanted else image.convert(wanted), False


def _boxes(size: Size, factor: int) -> Iterator[Box]:
    """Yield the parts of a picture along its longer side, all but the last as long as a multiple of `factor`."""
    longer = 0 if size[0] > size[1] else 1
    step = max(1, _STRIP // (size[1 - longer] * factor)) * factor
    for start in range(0, size[longer], step):
        stop = min(start + step, size[longer])
        yield (start, 0, stop, size[1]) if longer == 0 else (0, start, size[0], stop)


def _joined(parts: Iterable[Image.Image], boxes: Sequence[Box], size: Size, factor: int) -> Image.Image:
    """Reduce the parts of a picture and put them together, so that what is made on the way is never large."""
    made: Image.Image | None = None
    for part, box in zip(parts, boxes, strict=True):
        small = part.reduce(factor) if factor > 1 else part
        if len(boxes) == 1:
            return small
        if made is None:
            made = Image.new(small.mode, (-(-size[0] // factor), -(-size[1] // factor)))
        made.paste(small, (box[0] // factor, box[1] // factor))
    assert made is not None  # a picture has parts
    return made


def _is_grey(image: Image.Image) -> bool:
    return image.mode in _GREY_MODES or image.mode.startswith("I;16")


def _looks_grey(image: Image.Image) -> bool:
    pixels = np.asarray(image)
    return bool((pixels == pixels[:, :, :1]).all())


# Reasons


class _Unidentified(Unreadable):
    """Pillow does not know a file."""


def _too_many_pixels(limit: int) -> Unreadable:
    return Unreadable(f"too many pixels (more than {limit:,})")


def _no_page(page: int, pages: int) -> Unreadable:
    return Unreadable(f"no such page (it has {pages:,}, the first being 0, and not {page:,})")


def _no_channel(channel: int, channels: int) -> Unreadable:
    return Unreadable(f"no such channel (it has {channels:,}, the first being 0, and not {channel:,})")


def _unidentified(head: bytes) -> Unreadable:
    if not head:
        return Unreadable("empty")
    known = head.startswith(_SIGNATURES) or (head.startswith(b"RIFF") and head[8:12] == b"WEBP") or heif.format_of(head)
    if known:
        return _Unidentified("damaged (its header cannot be read)")
    return Unreadable("not a picture (no JPEG, PNG, WebP, AVIF, HEIC, BMP, TIFF or GIF)")
