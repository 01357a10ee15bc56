"""Values of more than eight bits: from the range that becomes black to white to `uint8`."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfsort.data.unreadable import Unreadable

# The largest value of the conventions that numbers may follow, the least of them first.
_TOPS = {"u": (255, 65_535), "i": (255, 65_535), "f": (1, 255)}


def to_8_bit(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Return values as `uint8`, `low` and what is below becoming 0, `high` and what is above 255."""
    if values.dtype == np.uint16:
        return np.take(_table(low, high), values)
    scaled = (values.astype(np.float64) - low) * (255 / ((high - low) or 1))
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)


@lru_cache(maxsize=16)
def _table(low: float, high: float) -> NDArray[np.uint8]:
    return to_8_bit(np.arange(1 << 16, dtype=np.float64), low, high)


def range_by_type(parts: Iterable[NDArray[Any]]) -> tuple[float, float]:
    """Return the range of one picture's values, given in parts, that the type of their numbers stands for.

    That is 0 to 65,535 for 16 bits. Other integers fill 0 to 255 or 0 to 65,535, floats 0 to 1 or 0 to 255; if they go
    beyond, it is the range of the values. Raises `Unreadable` for NaN and infinity.
    """
    low, high, kind = np.inf, -np.inf, "u"
    for part in parts:
        if part.dtype == np.uint16:
            return 0, 65_535
        kind = part.dtype.kind
        low, high = min(low, float(part.min())), max(high, float(part.max()))
        if not np.isfinite(low + high):
            raise Unreadable("not finite (it holds NaN or infinity)")
    top = next((top for top in _TOPS[kind] if low >= 0 and high <= top), None)
    return (low, high) if top is None else (0, top)
