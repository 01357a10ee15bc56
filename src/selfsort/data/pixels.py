"""One picture: from the bytes of its file to upright `uint8` pixels of the wanted size.

There is one decoder for all purposes: whatever one caller can read, all can, and they see the same.

Transparent pixels are put on white. Palettes and CMYK become grey or RGB, other colour profiles become sRGB. Values of
more than eight bits are converted to eight by their range, as `selfsort.data.values` describes. Of several pages the
first is used, of more than three channels the first, unless a `Reading` chooses others.
"""

from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from selfsort.data.decoder import Content, decode, header, turned
from selfsort.data.eight_bit import to_image
from selfsort.data.input_spec import InputSpec, Resize
from selfsort.data.limits import MAX_PIXELS, Size
from selfsort.data.opening import SIDEWAYS
from selfsort.data.reading import ALONE, Facts, Reading


class Fitted(NamedTuple):
    """A picture fitted to a network's input: pixels (height, width, channels), whether it has colour, and facts.

    RGB counts as colour even if it looks grey, a palette only if one of its colours is not grey.
    """

    pixels: NDArray[np.uint8]
    colour: bool
    facts: Facts


class Scaled(NamedTuple):
    """A picture's pixels (height, width, 1 or 3), perhaps reduced; its full (width, height); and facts."""

    pixels: NDArray[np.uint8]
    size: Size
    facts: Facts

    @property
    def whole(self) -> bool:
        """Tell whether these are all of the picture's pixels."""
        return self.pixels.shape[1::-1] == self.size


def read_image(stream: BinaryIO, spec: InputSpec, max_pixels: int = MAX_PIXELS, reading: Reading = ALONE) -> Fitted:
    """Decode a picture for a network, inside `pillow_limits`.

    Raises `Unreadable`, and whatever else PIL raises on damaged data; see `explain`.
    """
    stored = decode(stream, lambda size: _needed(size, spec), reading, max_pixels)
    content = stored.content
    if stored.turn is None and isinstance(content, np.ndarray) and content.shape == spec.image_shape:
        return Fitted(content, spec.channels == 3, stored.facts)
    image = turned(_as_image(content), stored.turn)
    return Fitted(to_pixels(image, spec), image.mode == "RGB", stored.facts)


def read_header(stream: BinaryIO, max_pixels: int = MAX_PIXELS, reading: Reading = ALONE) -> tuple[Size, bool]:
    """Return a picture's (width, height) and whether it has colour, decoding no more than necessary.

    Raises as `read_image` does.
    """
    return header(stream, reading, max_pixels)


def read_whole(
    stream: BinaryIO, longest: int | None = None, max_pixels: int = MAX_PIXELS, reading: Reading = ALONE
) -> Image.Image:
    """Decode a picture inside `pillow_limits`: upright, 8-bit grey or RGB, uncut, no side over `longest` pixels.

    Raises as `read_image` does.
    """

    def needed(size: Size) -> Size:
        wanted = max(size) if longest is None else 2 * longest
        width, height = (-(-length * wanted // max(size)) for length in size)
        return width, height

    stored = decode(stream, needed, reading, max_pixels)
    return reduced(turned(_as_image(stored.content), stored.turn), longest)


def read_scaled(stream: BinaryIO, shortest: int, max_pixels: int = MAX_PIXELS, reading: Reading = ALONE) -> Scaled:
    """Decode a picture inside `pillow_limits`: upright, uncut, its shorter side reduced towards `shortest` pixels.

    It is reduced by whole factors only, so it may keep nearly twice as many pixels, and is never enlarged. Raises as
    `read_image` does.
    """

    def needed(size: Size) -> Size:
        width, height = (-(-length * shortest // min(size)) for length in size)
        return width, height

    content, size, turn, facts = decode(stream, needed, reading, max_pixels)
    factor = min(_size_of(content)) // shortest
    if factor > 1 or turn is not None:
        image = _as_image(content)
        content = turned(image.reduce(factor) if factor > 1 else image, turn)
    return Scaled(_as_pixels(content), size[::-1] if turn in SIDEWAYS else size, facts)


def reduced(image: Image.Image, longest: int | None) -> Image.Image:
    """Reduce an image, in place, until no side has more than `longest` pixels; None leaves it unchanged."""
    if longest is not None:
        image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return image


def to_pixels(image: Image.Image, spec: InputSpec) -> NDArray[np.uint8]:
    """Return a grey or RGB image as pixels (height, width, channels) of the shape that `spec` wants."""
    height, width, channels = spec.image_shape
    if image.size != (width, height):
        image = _fit(image, (width, height), spec.resize)
    return _as_pixels(image.convert("L" if channels == 1 else "RGB"))


def _as_image(content: Content) -> Image.Image:
    return content if isinstance(content, Image.Image) else to_image(content)


def _as_pixels(content: Content) -> NDArray[np.uint8]:
    if isinstance(content, Image.Image):
        return np.asarray(content).reshape(content.height, content.width, -1)
    return content


def _size_of(content: Content) -> Size:
    return content.size if isinstance(content, Image.Image) else (content.shape[1], content.shape[0])


def _needed(size: Size, spec: InputSpec) -> Size:
    """Return a (width, height) large enough for a good reduction: twice what is wanted."""
    wanted = 2 * spec.image_shape[1], 2 * spec.image_shape[0]
    if spec.resize == "squash":
        return wanted
    leading = _leading_side(size, wanted, spec.resize == "crop")
    width, height = (-(-wanted[leading] * length // size[leading]) for length in size)
    return width, height


def _leading_side(size: Size, wanted: Size, covering: bool) -> int:
    """Tell whether the width (0) or the height (1) decides by how much a picture is scaled.

    If `covering`, it is scaled until it covers what is wanted, otherwise until it fits inside.
    """
    narrow = size[0] * wanted[1] <= size[1] * wanted[0]
    return 0 if narrow == covering else 1


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
    scaled = image.resize(inner, Image.Resampling.BICUBIC, box=box)  # PIL widens the filter against aliasing
    if inner == wanted:
        return scaled
    canvas = Image.new(image.mode, wanted)
    canvas.paste(scaled, ((wanted[0] - inner[0]) // 2, (wanted[1] - inner[1]) // 2))
    return canvas
