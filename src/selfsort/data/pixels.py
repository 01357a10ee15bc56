"""One picture: from the bytes of its file to upright `uint8` pixels of the wanted size.

There is one decoder, whatever is wanted of a picture: what one caller can read, all can, and they see the same.

Only the first frame or page counts. What has more than eight bits a channel comes to eight like this:

- 16-bit grey: the full range, v / 257, so that 65,535 becomes 255;
- 32-bit integers: as they are if within 0..255, v / 257 if within 0..65,535, else stretched from their least to their
  greatest value;
- floats: 255 v if within 0..1, as they are if within 0..255, else stretched likewise.

Transparent pixels show white. Palettes and CMYK become grey or RGB; colour profiles are not applied.

The memory for one picture is bounded before it is decoded: Pillow's image, and what its decoder needs beside it, take
at most four bytes for each of `max_pixels`. What is made of large pictures is made strip by strip.
"""

import io
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import chain
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from selfsort.data import gif, jpeg, tiff, values
from selfsort.data.input_spec import InputSpec, Resize
from selfsort.data.reading import Facts
from selfsort.data.unreadable import Unreadable

MAX_PIXELS = 178_956_970  # twice PIL's own limit, where it stops warning and refuses
MAX_BYTES = 1 << 28  # of one encoded picture that is read into memory
FORMATS = ("PNG", "WEBP", "BMP", "TIFF", "GIF")  # beside JPEG

_HEAD = 16  # bytes that tell a format
# BMP's two letters also begin ordinary text, so they prove nothing.
_SIGNATURES = (jpeg.SIGNATURE, b"\x89PNG\r\n", b"GIF8", *tiff.SIGNATURES)
_GREY_MODES = ("1", "L", "LA", "I", "F")
_DEEP_MODES = {"I;16": "uint16", "I;16L": "uint16", "I;16B": "uint16", "I": "int32", "F": "float32"}
_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2}  # of a pixel in Pillow's memory, 4 in other modes
_DECODER_BYTES = {"WEBP": 8}  # of a pixel, which the decoder needs beside them
_LARGE = 1 << 24  # pixels from which on a picture is reduced by whole factors before it is resized
_LARGEST_FACTOR = 64  # Pillow's sums overflow from some hundreds on
_STRIP = 1 << 22  # pixels of a large picture that are converted at a time
_EXIF_ORIENTATION = 0x0112
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
_SIDEWAYS = {_TURNS[5], _TURNS[6], _TURNS[7], _TURNS[8]}

_HEAVY_PIXELS, _HEAVY_BYTES = 1 << 25, 1 << 23

_limits_lock = threading.RLock()
_light: ContextVar[bool] = ContextVar("_light", default=False)

Size = tuple[int, int]
Needed = Callable[[Size], Size]  # of the (width, height) that is needed of a picture, by its own


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


class Fitted(NamedTuple):
    """A picture brought to a network's input: pixels (height, width, channels), whether it has colour, and facts.

    RGB counts as colour even if it looks grey, a palette only if one of its colours is not grey.
    """

    pixels: NDArray[np.uint8]
    colour: bool
    facts: Facts


class Scaled(NamedTuple):
    """A picture's pixels (height, width, 1 or 3), perhaps fewer than it has, its own (width, height), and facts."""

    pixels: NDArray[np.uint8]
    size: Size
    facts: Facts

    @property
    def whole(self) -> bool:
        """Tell whether these are all pixels."""
        return self.pixels.shape[1::-1] == self.size


def read_image(stream: BinaryIO, spec: InputSpec, max_pixels: int = MAX_PIXELS) -> Fitted:
    """Decode a picture inside `pillow_limits` to what a network takes.

    Raises `Unreadable`, and whatever else PIL raises on damaged data; see `explain`.
    """
    stored = _decode(stream, lambda size: _needed(size, spec), max_pixels)
    content = stored.content
    if stored.turn is None and isinstance(content, np.ndarray) and content.shape == spec.image_shape:
        return Fitted(content, spec.channels == 3, stored.facts)
    image = _turned(_as_image(content), stored.turn)
    return Fitted(to_pixels(image, spec), image.mode == "RGB", stored.facts)


def read_header(stream: BinaryIO, max_pixels: int = MAX_PIXELS) -> tuple[Size, bool]:
    """Return a picture's (width, height) and whether it has colour, decoding no more than that takes.

    Raises as `read_image` does.
    """
    if _begin(stream).startswith(jpeg.SIGNATURE):
        head = jpeg.read_head(read_content(stream))
        _check_size(head.size, max_pixels)
        return head.size, len(head.sampling) > 1
    image = _open(stream, max_pixels)
    if image.mode in ("P", "PA"):
        image.load()
        return image.size, _shown(image, 1)[0].mode == "RGB"
    return image.size, not _is_grey(image)


def read_whole(stream: BinaryIO, longest: int | None = None, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a picture inside `pillow_limits`: upright, 8-bit grey or RGB, uncut, no side above `longest` pixels.

    Raises as `read_image` does.
    """

    def needed(size: Size) -> Size:
        wanted = max(size) if longest is None else 2 * longest
        width, height = (-(-length * wanted // max(size)) for length in size)
        return width, height

    stored = _decode(stream, needed, max_pixels)
    return reduced(_turned(_as_image(stored.content), stored.turn), longest)


def read_scaled(stream: BinaryIO, shortest: int, max_pixels: int = MAX_PIXELS) -> Scaled:
    """Decode a picture inside `pillow_limits`: upright, uncut, and down to `shortest` pixels for its shorter side.

    That is by whole factors only, so that it may keep nearly twice as many, and never more than it has. Raises as
    `read_image` does.
    """

    def needed(size: Size) -> Size:
        width, height = (-(-length * shortest // min(size)) for length in size)
        return width, height

    content, size, turn, facts = _decode(stream, needed, max_pixels)
    factor = min(_size_of(content)) // shortest
    if factor > 1 or turn is not None:
        image = _as_image(content)
        content = _turned(image.reduce(factor) if factor > 1 else image, turn)
    return Scaled(_as_pixels(content), size[::-1] if turn in _SIDEWAYS else size, facts)


def reduced(image: Image.Image, longest: int | None) -> Image.Image:
    """Reduce an image, in place, until no side is above `longest` pixels; None keeps it as it is."""
    if longest is not None:
        image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return image


def to_image(pixels: NDArray[np.uint8]) -> Image.Image:
    """Return (H, W, 1 or 3) pixels as a grey or RGB image."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def to_pixels(image: Image.Image, spec: InputSpec) -> NDArray[np.uint8]:
    """Return a grey or RGB image as pixels (height, width, channels) of the shape that `spec` wants."""
    height, width, channels = spec.image_shape
    if image.size != (width, height):
        image = _fit(image, (width, height), spec.resize)
    return _as_pixels(image.convert("L" if channels == 1 else "RGB"))


def too_many_bytes() -> Unreadable:
    """Return why an encoded picture of more than `MAX_BYTES` is not read into memory."""
    return Unreadable(f"too many bytes (more than {MAX_BYTES >> 20} MiB)")


def read_content(stream: BinaryIO) -> bytes:
    """Read an encoded picture whole; raise `Unreadable` for more than `MAX_BYTES`."""
    _check_bytes(stream)
    stream.seek(0)
    return stream.read()


Content = Image.Image | NDArray[np.uint8]


class _Stored(NamedTuple):
    """A picture as it lies in its file: 8-bit grey or RGB, perhaps reduced, its own (width, height), and its turn."""

    content: Content
    size: Size
    turn: Image.Transpose | None
    facts: Facts


def _as_image(content: Content) -> Image.Image:
    return content if isinstance(content, Image.Image) else to_image(content)


def _as_pixels(content: Content) -> NDArray[np.uint8]:
    if isinstance(content, Image.Image):
        return np.asarray(content).reshape(content.height, content.width, -1)
    return content


def _size_of(content: Content) -> Size:
    return content.size if isinstance(content, Image.Image) else (content.shape[1], content.shape[0])


def _decode(stream: BinaryIO, needed: Needed, max_pixels: int) -> _Stored:
    """Decode a picture, whatever it is wanted for, to at least the size that is needed of it."""
    if _light.get() and stream.seek(0, io.SEEK_END) > _HEAVY_BYTES:
        raise Heavy
    if _begin(stream).startswith(jpeg.SIGNATURE):
        return _decode_jpeg(read_content(stream), needed, max_pixels)
    image = _open(stream, max_pixels)
    return _loaded(image, needed, Facts(pages=_count_pages(image, stream)))


def _decode_jpeg(data: bytes, needed: Needed, max_pixels: int) -> _Stored:
    head = jpeg.read_head(data)
    _check_size(head.size, max_pixels)
    least = needed(head.size)
    output = 4 * min(head.size[0] * head.size[1], 4 * least[0] * least[1])
    _check_memory(head.size, head.coefficient_bytes + output, max_pixels)
    pixels = jpeg.decode_fast(data, head, least)
    if pixels is not None:
        turn = _turn(_open_as(io.BytesIO(data), ("JPEG",))) if head.orientation else None
        return _Stored(pixels, head.size, turn, Facts(turned=turn is not None))
    guessed = ""
    if len(head.sampling) == 4 and not head.adobe:
        ycck = len(set(head.sampling)) > 1  # nobody stores ink more coarsely than ink
        data = jpeg.marked_as_ycck(data) if ycck else data
        guessed = f"four channels are {'YCCK' if ycck else 'inverted CMYK'}"
    image = _open_as(io.BytesIO(data), ("JPEG",))
    image.draft(None, least)
    return _loaded(image, needed, Facts(guessed=guessed))._replace(size=head.size)


def _loaded(image: Image.Image, needed: Needed, facts: Facts) -> _Stored:
    """Decode an opened image."""
    size, turned = image.size, _turned_by_pillow(image)
    image.load()
    # Asked for its metadata before, Pillow may load a picture, and when it is loaded again hide what was wrong with it.
    turn = _turn(image)
    content, flattened = _shown(image, _factor(image.size, needed))
    shown = len(image.getbands()) - _opaque(image)
    if image.format == "TIFF" and (channels := tiff.count_channels(image)) > shown:
        facts = facts._replace(channels=channels, used=tuple(range(shown)))
    depth = _DEEP_MODES.get(image.mode, "")
    facts = facts._replace(depth=depth, turned=turned or turn is not None, flattened=flattened)
    return _Stored(content, size, turn, facts)


def _begin(stream: BinaryIO) -> bytes:
    """Return the first bytes of a picture, which tell its format."""
    stream.seek(0)
    return stream.read(_HEAD)


def _check_bytes(stream: BinaryIO) -> None:
    if stream.seek(0, io.SEEK_END) > MAX_BYTES:
        raise too_many_bytes()


def _check_size(size: Size, max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels:
        raise _too_many_pixels(max_pixels)


def _check_memory(size: Size, needed: int, max_pixels: int) -> None:
    """Refuse what needs more memory than four bytes for each of `max_pixels`, and, where it is to be light, long."""
    if needed > 4 * max_pixels:
        raise _too_many_pixels(4 * max_pixels * size[0] * size[1] // needed)
    if _light.get() and size[0] * size[1] > _HEAVY_PIXELS:
        raise Heavy


def _open(stream: BinaryIO, max_pixels: int) -> Image.Image:
    """Open a picture that is no JPEG, and check that decoding it will not need too much memory."""
    head = _begin(stream)
    if head.startswith(tiff.SIGNATURES):
        tiff.silence()
    elif head.startswith(b"RIFF"):
        _check_bytes(stream)  # Pillow reads it whole
    image = _open_as(stream, FORMATS)
    _check_size(image.size, max_pixels)
    bytes_each = _BYTES.get(image.mode, 4) + _DECODER_BYTES.get(image.format or "", 0)
    beside = tiff.part_bytes(image) if image.format == "TIFF" else 0
    _check_memory(image.size, image.size[0] * image.size[1] * bytes_each + beside, max_pixels)
    return image


def _open_as(stream: BinaryIO, formats: tuple[str, ...]) -> Image.Image:
    head = _begin(stream)
    stream.seek(0)
    try:
        return Image.open(stream, formats=formats)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels(Image.MAX_IMAGE_PIXELS or 0) from error
    except UnidentifiedImageError as error:
        raise _unidentified(head) from error


def _count_pages(image: Image.Image, stream: BinaryIO) -> int:
    """Count the pages or frames of an image that is not decoded yet."""
    if image.format == "TIFF":
        place = stream.tell()
        head = tiff.read_head(stream)
        stream.seek(place)
        if head.raw:
            raise Unreadable("RAW camera picture (export it as JPEG or TIFF)")
        return len(head.pages)
    if image.format == "GIF":
        place = stream.tell()
        count = gif.count_frames(stream)
        stream.seek(place)
        return count
    return int(getattr(image, "n_frames", 1))


def _needed(size: Size, spec: InputSpec) -> Size:
    """Return the (width, height) from which a good reduction can still be made: twice what is wanted."""
    wanted = 2 * spec.image_shape[1], 2 * spec.image_shape[0]
    if spec.resize == "squash":
        return wanted
    leading = _leading_side(size, wanted, spec.resize == "crop")
    width, height = (-(-wanted[leading] * length // size[leading]) for length in size)
    return width, height


def _factor(size: Size, needed: Needed) -> int:
    """Return by which whole factor a large picture can be reduced so that what is needed of it is left."""
    if size[0] * size[1] < _LARGE:
        return 1
    least = needed(size)
    return max(1, min(size[0] // least[0], size[1] // least[1], _LARGEST_FACTOR))


def _leading_side(size: Size, wanted: Size, covering: bool) -> int:
    """Tell whether the width (0) or the height (1) decides by how much a picture is scaled.

    `covering` scales it until it covers what is wanted, else until it lies inside.
    """
    narrow = size[0] * wanted[1] <= size[1] * wanted[0]
    return 0 if narrow == covering else 1


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return what brings a decoded image upright according to its metadata."""
    try:
        return _TURNS.get(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # damaged metadata is no reason to lose the picture
        return None


def _turned_by_pillow(image: Image.Image) -> bool:
    """Tell whether Pillow will turn an image while it decodes it, as it does with TIFF alone."""
    return image.format == "TIFF" and image.tag_v2.get(_EXIF_ORIENTATION, 1) in _TURNS  # type: ignore[attr-defined]


def _turned(image: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    return image if turn is None else image.transpose(turn)


def _fit(image: Image.Image, wanted: Size, resize: Resize) -> Image.Image:
    width, height = image.size
    box, inner = None, wanted
    leading = _leading_side(image.size, wanted, resize == "crop")
    if resize == "crop":
        right, lower = (image.size[leading] * length / wanted[leading] for length in wanted)
        box = ((width - right) / 2, (height - lower) / 2, (width + right) / 2, (height + lower) / 2)
    elif resize == "pad":
        across, down = (max(1, round(wanted[leading] * length / image.size[leading])) for length in image.size)
        inner = across, down
    scaled = image.resize(inner, Image.Resampling.BICUBIC, box=box)  # PIL widens the filter to shrink without aliasing
    if inner == wanted:
        return scaled
    canvas = Image.new(image.mode, wanted)
    canvas.paste(scaled, ((wanted[0] - inner[0]) // 2, (wanted[1] - inner[1]) // 2))
    return canvas


def _shown(image: Image.Image, factor: int) -> tuple[Image.Image, bool]:
    """Return a decoded image of any mode as 8-bit grey ("L") or "RGB", reduced, and whether parts were transparent."""
    if image.mode in _DEEP_MODES:
        low, high = values.range_by_type(np.asarray(strip) for strip in _strips(image, factor))
        inverted = image.format == "TIFF" and tiff.is_inverted(image)

        def to_8_bit(strip: Image.Image) -> Image.Image:
            found = values.to_8_bit(np.asarray(strip), low, high)
            return Image.fromarray(255 - found if inverted else found)

        return _by_strips(image, factor, to_8_bit), False
    transparent = False

    def on_white(strip: Image.Image) -> Image.Image:
        nonlocal transparent
        shown, found = _on_white(strip, not _opaque(image))
        transparent |= found
        return shown

    if image.mode in ("L", "RGB") and not image.has_transparency_data:
        return image.reduce(factor) if factor > 1 else image, False
    palette = image.mode in ("P", "PA")
    if palette and image.format == "TIFF":
        image = tiff.with_own_colours(image)
    shown = _by_strips(image, factor, on_white)
    return shown.convert("L") if palette and _looks_grey(shown) else shown, transparent


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


def _strips(image: Image.Image, factor: int = 1) -> Iterator[Image.Image]:
    """Yield an image in parts, along its longer side, of which all but the last are a multiple of `factor` long."""
    longer = 0 if image.width > image.height else 1
    step = max(1, _STRIP // (image.size[1 - longer] * factor)) * factor
    if step >= image.size[longer]:
        yield image
        return
    for start in range(0, image.size[longer], step):
        box = [0, 0, *image.size]
        box[longer], box[2 + longer] = start, min(start + step, image.size[longer])
        yield image.crop((box[0], box[1], box[2], box[3]))


def _by_strips(image: Image.Image, factor: int, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Convert an image strip by strip, and reduce it, so that what is made on the way is never large."""
    parts = (convert(strip) for strip in _strips(image, factor))
    first = next(parts)
    if first.size == image.size:
        return first.reduce(factor) if factor > 1 else first
    made = Image.new(first.mode, (-(-image.width // factor), -(-image.height // factor)))
    across, place = image.width > image.height, 0
    for part in chain([first], parts):
        small = part.reduce(factor)
        made.paste(small, (place, 0) if across else (0, place))
        place += small.width if across else small.height
    return made


def _is_grey(image: Image.Image) -> bool:
    return image.mode in _GREY_MODES or image.mode.startswith("I;16")


def _looks_grey(image: Image.Image) -> bool:
    pixels = np.asarray(image)
    return bool((pixels == pixels[:, :, :1]).all())


def _too_many_pixels(limit: int) -> Unreadable:
    return Unreadable(f"too many pixels (more than {limit:,})")


def _unidentified(head: bytes) -> Unreadable:
    if not head:
        return Unreadable("empty")
    known = head.startswith(_SIGNATURES) or (head.startswith(b"RIFF") and head[8:12] == b"WEBP")
    known_formats = "JPEG, PNG, WebP, BMP, TIFF or GIF"
    return Unreadable("damaged (its header cannot be read)" if known else f"not a picture (no {known_formats})")
