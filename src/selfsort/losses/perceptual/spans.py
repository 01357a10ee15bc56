"""Which positions of a layer's output see which positions of its input: arithmetic on windows, one axis at a time."""

from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch.nn.functional as F
from torch import Tensor, nn


class Span(NamedTuple):
    """Positions along one axis, `stop` not included."""

    start: int
    stop: int


Window = tuple[Span, Span]  # rows, columns
Pads = tuple[tuple[int, int], tuple[int, int]]  # before and after the rows, before and after the columns


@dataclass(frozen=True)
class Axis:
    """One axis of a layer: its output o sees `reach` inputs from stride * o - padding on."""

    stride: int
    padding: int
    reach: int

    def influenced(self, span: Span, size: int) -> Span:
        """Return the outputs, of `size`, that see part of a span of inputs."""
        first = -(-(span.start - self.reach + 1 + self.padding) // self.stride)
        last = (span.stop - 1 + self.padding) // self.stride
        # A stride longer than the reach can step over a small picture: one output is kept to avoid an empty map.
        first = min(max(first, 0), size - 1)
        return Span(first, max(first, min(last, size - 1)) + 1)

    def seen(self, outputs: Span) -> Span:
        """Return the inputs that a span of outputs sees, even beyond the map's edges."""
        last = self.stride * (outputs.stop - 1) - self.padding
        return Span(self.stride * outputs.start - self.padding, last + self.reach)

    def patch(self, outputs: Span, size: int) -> tuple[Span, int]:
        """Return the inputs, of `size`, from which the layer computes a span of outputs, and how many come before it.

        The patch begins at a multiple of the stride, so its outputs are aligned with those of the whole map.
        """
        seen = self.seen(outputs)
        skipped = max(0, seen.start // self.stride)
        return Span(self.stride * skipped, min(size, seen.stop)), outputs.start - skipped


def axes_of(layer: nn.Module) -> tuple[Axis, Axis]:
    """Return how a convolution or pooling moves over rows and columns."""
    settings = cast(Any, layer)
    kernel, strides, dilation = (_pair(settings.kernel_size), _pair(settings.stride), _pair(_dilation(layer)))
    reaches = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    padding = settings.padding
    if isinstance(padding, str):
        padding = [(reach - 1) // 2 if padding == "same" else 0 for reach in reaches]
    rows, columns = (Axis(*axis) for axis in zip(strides, _pair(padding), reaches, strict=True))
    return rows, columns


def _dilation(layer: nn.Module) -> Any:
    return getattr(layer, "dilation", 1)  # average pooling has none


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def cut(maps: Tensor, window: Window) -> Tensor:
    """Return a window of (..., H, W) maps."""
    rows, columns = window
    return maps[..., rows.start : rows.stop, columns.start : columns.stop]


def around(inner: Window, outer: Window) -> Pads:
    """Return the margins of an outer window around an inner one, negative where the inner one extends beyond it."""
    rows, columns = ((i.start - o.start, o.stop - i.stop) for i, o in zip(inner, outer, strict=True))
    return rows, columns


def pad(maps: Tensor, pads: Pads) -> Tensor:
    """Put zeros around (..., H, W) maps, or cut off where a width is negative."""
    widths = (*pads[1], *pads[0])
    grown = F.pad(maps, [max(0, width) for width in widths])
    # Cut off only afterwards: a picture that a stride steps over is removed entirely from one side.
    return F.pad(grown, [min(0, width) for width in widths]) if min(widths) < 0 else grown
