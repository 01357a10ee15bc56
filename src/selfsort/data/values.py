"""Values of more than eight bits: find the range from black to white and convert to `uint8`.

By convention integers fill 0 to 255 or 0 to 65,535, and floats 0 to 1 or 0 to 255. But a microscope writes 12 bits into
16, and a thermal camera a few hundred levels around room temperature. So the range of a set is looked for: the 0.1 and
99.9 % percentiles of a sample of its values, the same for all pictures, so that a bright one stays brighter than a dark
one. If these span more than a quarter of the conventional range, the whole of that is used, so that pictures which
follow a convention stay as they are.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from selfsort.data.reading import Range, ValueRange
from selfsort.data.unreadable import Unreadable

SAMPLE = 1 << 14  # values sampled from a picture to find a range
_QUANTILES = (0.001, 0.999)
LEAST_SHARE = 0.25  # of the conventional range
_INTEGERS, _FLOATS = "integers", "floats"
# The largest value under each convention, the smallest first.
_TOPS = {_INTEGERS: (255, 65_535), _FLOATS: (1, 255)}
_DEEP_MODES = {"I;16": "u2", "I;16L": "u2", "I;16B": "u2", "I": "i4", "F": "f4"}

Box = tuple[int, int, int, int]


class Values(NamedTuple):
    """The values of a picture that is not an 8-bit Pillow image, read part by part.

    Attributes
    ----------
    size : width and height
    dtype : of the values
    part : returns the values (h, w, channels) in a box: left, top, right, bottom
    channels : how many channels there are
    alpha : whether the last channel is transparency
    inverted : whether low values are white
    shown : the channels that are shown, if that is settled

    """

    size: tuple[int, int]
    dtype: np.dtype[Any]
    part: Callable[[Box], NDArray[Any]]
    channels: int = 1
    alpha: bool = False
    inverted: bool = False
    shown: tuple[int, ...] = ()

    @property
    def kind(self) -> str:
        """Return "integers" or "floats"."""
        return kind_of(self.dtype)

    @property
    def deep(self) -> bool:
        """Tell whether there are more than eight bits."""
        return self.dtype != np.uint8

    def sample(self, channels: tuple[int, ...]) -> NDArray[Any]:
        """Return about `SAMPLE` values of some channels, without those that are not numbers."""
        step = max(1, round((self.size[0] * self.size[1] / SAMPLE) ** 0.5))
        width, height = self.size
        rows = [self.part((0, top, width, top + 1))[0, ::step] for top in range(min(step, height) // 2, height, step)]
        found = np.concatenate(rows)[:, channels]
        finite: NDArray[Any] = found[np.isfinite(found)]
        return finite


def is_deep(image: Image.Image) -> bool:
    """Tell whether Pillow holds a picture's values in more than eight bits."""
    return image.mode in _DEEP_MODES


def of_image(image: Image.Image, inverted: bool = False) -> Values:
    """Return the values of a decoded image: grey of more than eight bits, or any number of 8-bit channels."""
    dtype = np.dtype(_DEEP_MODES.get(image.mode, "u1"))

    def part(box: Box) -> NDArray[Any]:
        found = np.asarray(image.crop(box)).astype(dtype, copy=False)
        return found.reshape(*found.shape[:2], -1)

    return Values(image.size, dtype, part, len(image.getbands()), inverted=inverted)


def of_two_bytes(high: Image.Image, low: Image.Image, transparency: bool) -> Values:
    """Return the 16-bit values of two decoded images, which hold the high and the low bytes."""

    def part(box: Box) -> NDArray[Any]:
        found: NDArray[Any] = np.asarray(high.crop(box)).astype(np.uint16) << 8 | np.asarray(low.crop(box))
        return found

    channels = len(high.getbands())
    return Values(high.size, np.dtype(np.uint16), part, channels, channels == 4 and transparency)


def of_pairs(image: Image.Image) -> Values:
    """Return the 16-bit values of a decoded image of four bytes per pixel: level and transparency."""

    def part(box: Box) -> NDArray[Any]:
        found = np.asarray(image.crop(box)).astype(np.uint16)
        return found[:, :, ::2] << 8 | found[:, :, 1::2]

    return Values(image.size, np.dtype(np.uint16), part, 2, alpha=True)


def of_array(array: NDArray[Any], inverted: bool = False) -> Values:
    """Return the values of an array (H, W) or (H, W, C)."""
    array = array if array.ndim == 3 else array[:, :, None]
    size = (array.shape[1], array.shape[0])
    part = lambda box: array[box[1] : box[3], box[0] : box[2]]  # noqa: E731
    return Values(size, array.dtype, part, array.shape[2], inverted=inverted)


def on_white(pixels: NDArray[np.uint8], alpha: NDArray[np.uint16]) -> tuple[NDArray[np.uint8], bool]:
    """Put pixels (h, w, channels) on white by their 16-bit transparency (h, w, 1), and tell whether any had some."""
    if alpha.min() == 65_535:
        return pixels, False
    share = alpha.astype(np.float32) / 65_535
    return np.rint(pixels * share + 255 * (1 - share)).astype(np.uint8), True


def kind_of(dtype: np.dtype[Any]) -> str:
    """Return "integers" or "floats"."""
    return _FLOATS if dtype.kind == "f" else _INTEGERS


def to_8_bit(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Return values as `uint8`, mapping `low` and below to 0, `high` and above to 255.

    Raises `Unreadable` for NaN and infinity.
    """
    if values.dtype == np.uint16:
        return np.take(_table(low, high), values)
    if not np.isfinite(values).all():
        raise Unreadable("not finite (it holds NaN or infinity)")
    scaled = (values.astype(np.float64) - low) * (255 / ((high - low) or 1))
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)


@lru_cache(maxsize=16)
def _table(low: float, high: float) -> NDArray[np.uint8]:
    return to_8_bit(np.arange(1 << 16, dtype=np.float64), low, high)


def range_of(values: Values, chosen: ValueRange, boxes: Iterable[Box], channels: tuple[int, ...]) -> Range:
    """Return which values of some channels become black and white; `boxes` are the parts of the picture."""
    if isinstance(chosen, tuple):
        return chosen
    if chosen == "type":
        return range_by_type(values.dtype, (values.part(box)[:, :, channels] for box in boxes))
    sample = values.sample(channels)
    low, high = np.quantile(sample, _QUANTILES) if len(sample) else (0, 1)
    return float(low), float(high)


def range_by_type(dtype: np.dtype[Any], parts: Iterable[NDArray[Any]]) -> Range:
    """Return the range that a picture's values stand for by their type, as in version 0.1."""
    if dtype == np.uint16:
        return 0, 65_535
    low, high = np.inf, -np.inf
    for part in parts:
        low, high = min(low, float(part.min())), max(high, float(part.max()))
    tops = [top for top in _TOPS[kind_of(dtype)] if low >= 0 and high <= top]
    return (0, tops[0]) if tops else (low, high)


def range_of_set(samples: Sequence[NDArray[Any]], kind: str) -> Range | None:
    """Return the range of a set's values from samples of some of its pictures, all "integers" or all "floats"."""
    found = np.concatenate([np.resize(each, SAMPLE) for each in samples if len(each)] or [np.empty(0)])
    if not len(found):
        return None
    low, high = (float(each) for each in np.quantile(found, _QUANTILES))
    tops = [top for top in _TOPS[kind] if low >= 0 and high <= top]
    if tops and (low == high or high - low > LEAST_SHARE * tops[0]):
        return 0, tops[0]
    if low == high:
        return low, low + 1
    if kind == _INTEGERS:
        return float(np.floor(low)), float(np.ceil(high))
    return float(f"{low:.6g}"), float(f"{high:.6g}")
