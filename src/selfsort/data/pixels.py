"""One picture: from the bytes of its file to upright `uint8` pixels of the wanted size.

Only the first frame or page counts. What has more than eight bits a channel comes to eight like this:

- 16-bit grey: the full range, v / 257, so that 65,535 becomes 255;
- 32-bit integers: as they are if within 0..255, v / 257 if within 0..65,535, else stretched from their least to their
  greatest value;
- floats: 255 v if within 0..1, as they are if within 0..255, else stretched likewise.

Transparent pixels show white. Palettes and CMYK become grey or RGB; colour profiles are not applied.
"""

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from selfsort.data.input_spec import InputSpec, Resize

MAX_PIXELS = 178_956_970  # twice PIL's own limit, where it stops warning and refuses
MAX_BYTES = 1 << 30  # of one encoded picture that is read into memory
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")

# BMP's two letters also begin ordinary text, so they prove nothing.
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\0", b"MM\0*")
_JPEG = _SIGNATURES[0]
_GREY_MODES = ("1", "L", "LA", "I", "F")
_FULL_SCALES = {"I": (255, 65_535), "F": (1, 255)}
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

_limits_lock = threading.RLock()
_SIDEWAYS = {_TURNS[5], _TURNS[6], _TURNS[7], _TURNS[8]}


class Unreadable(Exception):
    """A picture cannot be read; the message is the reason that the user is shown."""


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


def read_image(stream: BinaryIO, spec: InputSpec, max_pixels: int = MAX_PIXELS) -> tuple[NDArray[np.uint8], bool]:
    """Decode a picture inside `pillow_limits`.

    Returns its pixels (height, width, channels) and whether it has colour: RGB counts as colour even if it looks grey,
    a palette only if one of its colours is not grey. Raises `Unreadable`, and whatever else PIL raises on damaged data;
    see `explain`.
    """
    jpeg = _read_if_jpeg(stream)
    if jpeg is None or (pixels := _decode_jpeg(jpeg, spec, max_pixels)) is None:
        image = _decode_with_pil(stream, spec, max_pixels)
    else:
        turn = _turn_of_jpeg(jpeg)
        if turn is None and pixels.shape == spec.image_shape:
            return pixels, spec.channels == 3
        image = _turned(to_image(pixels), turn)
    return to_pixels(image, spec), image.mode == "RGB"


def read_header(stream: BinaryIO, max_pixels: int = MAX_PIXELS) -> tuple[tuple[int, int], bool]:
    """Return a picture's (width, height) and whether it has colour, decoding no more than that takes.

    Raises as `read_image` does.
    """
    image = _open(stream, max_pixels)
    if image.mode in ("P", "PA"):
        return image.size, to_grey_or_rgb(image).mode == "RGB"
    return image.size, not _is_grey(image)


def read_whole(stream: BinaryIO, longest: int | None = None, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a picture inside `pillow_limits`: upright, 8-bit grey or RGB, uncut, no side above `longest` pixels.

    Raises as `read_image` does.
    """
    image = _open(stream, max_pixels)
    if longest is not None:
        image.draft(None, (2 * longest, 2 * longest))
    image.load()
    return reduced(to_grey_or_rgb(_turned(image, _turn(image))), longest)


def reduced(image: Image.Image, longest: int | None) -> Image.Image:
    """Reduce an image, in place, until no side is above `longest` pixels; None keeps it as it is."""
    if longest is not None:
        image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return image


def to_image(pixels: NDArray[np.uint8]) -> Image.Image:
    """Return (H, W, 1 or 3) pixels as a grey or RGB image."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


class Scaled(NamedTuple):
    """A picture's pixels (height, width, 1 or 3), perhaps fewer than it has, and its own (width, height)."""

    pixels: NDArray[np.uint8]
    size: tuple[int, int]

    @property
    def whole(self) -> bool:
        """Tell whether these are all pixels."""
        return self.pixels.shape[1::-1] == self.size


def read_scaled(data: bytes, shortest: int, max_pixels: int = MAX_PIXELS) -> Scaled:
    """Decode a picture inside `pillow_limits`: upright, uncut, and down to `shortest` pixels for its shorter side.

    That is by whole factors only, so that it may keep nearly twice as many, and never more than it has. Raises as
    `read_image` does.
    """
    spec = InputSpec(-(-shortest // 2), 3)  # twice as many pixels are kept for it
    if not data.startswith(_JPEG) or (pixels := _decode_jpeg(data, spec, max_pixels)) is None:
        image = _open(io.BytesIO(data), max_pixels)
        size, turn = image.size, _turn(image)
        image.draft(None, _needed(size, spec))
        image.load()
        image = to_grey_or_rgb(image)
        pixels = np.asarray(image).reshape(image.height, image.width, -1)
    else:
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
        size, turn = (width, height), _turn_of_jpeg(data)
    factor = min(pixels.shape[:2]) // shortest
    if factor > 1 or turn is not None:
        image = to_image(pixels)
        image = _turned(image.reduce(factor) if factor > 1 else image, turn)
        pixels = np.asarray(image).reshape(image.height, image.width, -1)
    return Scaled(pixels, size[::-1] if turn in _SIDEWAYS else size)


def to_pixels(image: Image.Image, spec: InputSpec) -> NDArray[np.uint8]:
    """Return a grey or RGB image as pixels (height, width, channels) of the shape that `spec` wants."""
    height, width, channels = spec.image_shape
    if image.size != (width, height):
        image = _fit(image, (width, height), spec.resize)
    pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    return pixels if channels == 3 else pixels[:, :, None]


def to_grey_or_rgb(image: Image.Image) -> Image.Image:
    """Return an image of any mode as 8-bit grey ("L") or "RGB"."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return Image.fromarray(_to_8_bit(image))
    grey, palette = _is_grey(image), image.mode in ("P", "PA")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    image = image.convert("L" if grey else "RGB")
    return image.convert("L") if palette and _looks_grey(image) else image


def _read_if_jpeg(stream: BinaryIO) -> bytes | None:
    if stream.read(len(_JPEG)) != _JPEG:
        return None
    if stream.seek(0, io.SEEK_END) > MAX_BYTES:
        raise Unreadable("too many bytes")
    stream.seek(0)
    return stream.read()


def _decode_jpeg(data: bytes, spec: InputSpec, max_pixels: int) -> NDArray[np.uint8] | None:
    """Decode a grey or RGB JPEG, only as large as `spec` needs, to (H, W, 1 or 3); None: leave it to PIL.

    libjpeg-turbo is fast, and unlike PIL it always notices that data is missing.
    """
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        if height * width > max_pixels:
            raise _too_many_pixels(max_pixels)
        if colours not in ("Gray", "YCbCr", "RGB"):
            return None
        min_width, min_height = _needed((width, height), spec)
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
            data, "GRAY" if colours == "Gray" else "RGB", min_width=min_width, min_height=min_height
        )
        return pixels
    except ValueError as error:
        if "premature end" in str(error).lower():
            raise Unreadable("truncated") from error
        return None


def _turn_of_jpeg(data: bytes) -> Image.Transpose | None:
    if b"Exif\0\0" in data or b"tiff:Orientation" in data:
        return _turn(Image.open(io.BytesIO(data), formats=("JPEG",)))
    return None


def _decode_with_pil(stream: BinaryIO, spec: InputSpec, max_pixels: int) -> Image.Image:
    image = _open(stream, max_pixels)
    image.draft(None, _needed(image.size, spec))
    image.load()
    return to_grey_or_rgb(_turned(image, _turn(image)))


def _open(stream: BinaryIO, max_pixels: int) -> Image.Image:
    stream.seek(0)
    try:
        return Image.open(stream, formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels(max_pixels) from error
    except UnidentifiedImageError as error:
        stream.seek(0)
        raise _unidentified(stream.read(12)) from error


def _needed(size: tuple[int, int], spec: InputSpec) -> tuple[int, int]:
    """Return the (width, height) from which a good reduction can still be made: twice what is wanted."""
    wanted = 2 * spec.image_shape[1], 2 * spec.image_shape[0]
    if spec.resize == "squash":
        return wanted
    leading = _leading_side(size, wanted, spec.resize == "crop")
    width, height = (-(-wanted[leading] * length // size[leading]) for length in size)
    return width, height


def _leading_side(size: tuple[int, int], wanted: tuple[int, int], covering: bool) -> int:
    """Tell whether the width (0) or the height (1) decides by how much a picture is scaled.

    `covering` scales it until it covers what is wanted, else until it lies inside.
    """
    narrow = size[0] * wanted[1] <= size[1] * wanted[0]
    return 0 if narrow == covering else 1


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return what brings an image upright according to its metadata."""
    try:
        return _TURNS.get(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # damaged metadata is no reason to lose the picture
        return None


def _turned(image: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    return image if turn is None else image.transpose(turn)


def _fit(image: Image.Image, wanted: tuple[int, int], resize: Resize) -> Image.Image:
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


def _is_grey(image: Image.Image) -> bool:
    return image.mode in _GREY_MODES or image.mode.startswith("I;16")


def _looks_grey(image: Image.Image) -> bool:
    pixels = np.asarray(image)
    return bool((pixels == pixels[:, :, :1]).all())


def _to_8_bit(image: Image.Image) -> NDArray[np.uint8]:
    values = np.asarray(image)
    if not np.isfinite(values).all():
        raise Unreadable("not finite (it holds NaN or infinity)")
    low, high = float(values.min()), float(values.max())
    tops = [top for top in _FULL_SCALES.get(image.mode, (65_535,)) if low >= 0 and high <= top]
    begin, end = (0.0, tops[0]) if tops else (low, high)
    scaled = (values.astype(np.float64) - begin) * (255 / ((end - begin) or 1))
    return np.rint(scaled).astype(np.uint8)


def _too_many_pixels(limit: int) -> Unreadable:
    return Unreadable(f"too many pixels (more than {limit:,})")


def _unidentified(head: bytes) -> Unreadable:
    if not head:
        return Unreadable("empty")
    known = head.startswith(_SIGNATURES) or (head.startswith(b"RIFF") and head.endswith(b"WEBP"))
    known_formats = "JPEG, PNG, WebP, BMP, TIFF or GIF"
    return Unreadable("damaged (its header cannot be read)" if known else f"not a picture (no {known_formats})")


def explain(error: Exception) -> str:
    """Say in a few words, details in brackets, why a picture could not be opened or decoded."""
    if isinstance(error, Unreadable):
        return str(error)
    if isinstance(error, MemoryError):
        return "too large for the memory"
    if isinstance(error, OSError) and error.errno is not None:
        return f"not readable ({error.strerror})"
    message = " ".join(str(error).split()) or type(error).__name__
    return "truncated" if "truncated" in message.lower() else f"damaged ({message})"
