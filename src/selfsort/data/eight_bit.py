"""Convert a decoded picture to 8-bit grey or RGB, strip by strip, so that intermediate results stay small."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from selfsort.data import tiff, values
from selfsort.data.limits import Size
from selfsort.data.profiles import conversion
from selfsort.data.reading import Facts, Reading
from selfsort.data.unreadable import no_channel
from selfsort.data.values import Box, Values

_GREY_MODES = ("1", "L", "LA", "I", "F")
_LARGE = 1 << 24  # pixels; from here on, a picture is reduced by a whole factor before it is resized
_LARGEST_FACTOR = 64  # Pillow's sums overflow from a few hundred on
_STRIP = 1 << 22  # pixels of a large picture converted at a time
Needed = Callable[[Size], Size]  # from the (width, height) of a picture to the one needed


def to_image(pixels: NDArray[np.uint8]) -> Image.Image:
    """Return (H, W, 1 or 3) pixels as a grey or RGB image."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def whole_factor(size: Size, needed: Needed) -> int:
    """Return the largest whole factor by which a large picture can be reduced to no less than the size needed."""
    if size[0] * size[1] < _LARGE:
        return 1
    least = needed(size)
    return max(1, min(size[0] // least[0], size[1] // least[1], _LARGEST_FACTOR))


def chosen_channels(content: Values, reading: Reading, colours: bool = True) -> tuple[int, ...]:
    """Return the channels that are shown; `colours` tells whether three or more are red, green and blue."""
    if content.shown:
        return content.shown
    count = content.channels - content.alpha
    if not reading.channels:
        return (0, 1, 2) if count >= 3 and colours else (0,)
    if max(reading.channels) >= count:
        raise no_channel(max(reading.channels), count)
    return reading.channels


def values_shown(content: Values, factor: int, reading: Reading, facts: Facts) -> tuple[Image.Image, Facts]:
    """Return values as 8-bit grey or RGB, reduced, and the facts about the conversion."""
    channels, boxes = chosen_channels(content, reading), list(_boxes(content.size, factor))
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


def image_shown(image: Image.Image, factor: int, profile: bytes | None) -> tuple[Image.Image, bool, str]:
    """Return a decoded 8-bit image as grey ("L") or "RGB", reduced.

    Also return whether parts of it were transparent, and the name of its profile if that is one for inks.
    """
    if image.mode in ("L", "RGB") and not image.has_transparency_data:
        return image.reduce(factor) if factor > 1 else image, False, ""
    from_ink, name = conversion(profile, "CMYK") if image.mode == "CMYK" else (None, "")
    palette, opaque = image.mode in ("P", "PA"), is_opaque(image)
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


def is_opaque(image: Image.Image) -> bool:
    """Tell whether the fourth channel of an image is something other than transparency."""
    return image.format == "TIFF" and image.mode == "RGBA" and not tiff.has_alpha(image)


def _on_white(image: Image.Image, transparency: bool) -> tuple[Image.Image, bool]:
    """Return an 8-bit image as grey or RGB, and whether parts of it were transparent."""
    wanted = "L" if is_grey(image) else "RGB"
    if transparency and image.has_transparency_data:
        coloured = image.convert("RGBA")
        if np.asarray(coloured.getchannel("A")).min() < 255:
            white = Image.new("RGBA", image.size, "white")
            return Image.alpha_composite(white, coloured).convert(wanted), True
    return image if image.mode == wanted else image.convert(wanted), False


def _boxes(size: Size, factor: int) -> Iterator[Box]:
    """Yield the parts of a picture along its longer side; the length of all but the last is a multiple of `factor`."""
    longer = 0 if size[0] > size[1] else 1
    step = max(1, _STRIP // (size[1 - longer] * factor)) * factor
    for start in range(0, size[longer], step):
        stop = min(start + step, size[longer])
        yield (start, 0, stop, size[1]) if longer == 0 else (0, start, size[0], stop)


def _joined(parts: Iterable[Image.Image], boxes: Sequence[Box], size: Size, factor: int) -> Image.Image:
    """Reduce the parts of a picture and join them, so that intermediate results stay small."""
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


def is_grey(image: Image.Image) -> bool:
    """Tell whether the mode of a Pillow image has no colour."""
    return image.mode in _GREY_MODES or image.mode.startswith("I;16")


def _looks_grey(image: Image.Image) -> bool:
    pixels = np.asarray(image)
    return bool((pixels == pixels[:, :, :1]).all())
