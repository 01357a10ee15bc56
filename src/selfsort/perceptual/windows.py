"""Run local layers on the part of a canvas that a picture can influence.

Outside that window every activation equals the blank canvas's, so a layer needs its own window and, around it, a halo
of blank activations. A convolution is linear: it runs on the window alone, zeros around it, and the halo's share of
its result is a constant map. Other layers get the halo pasted around the window.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_POOLS = (nn.MaxPool2d, nn.AvgPool2d)
_POINTWISE = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus),
    *(nn.Sigmoid, nn.Tanh, nn.Hardsigmoid, nn.Hardswish, nn.Identity, nn.Dropout, nn.Dropout2d, nn.BatchNorm2d),
)

Step = Callable[[Tensor], Tensor]


class Span(NamedTuple):
    """Positions along one axis, `stop` not included."""

    start: int
    stop: int


Window = tuple[Span, Span]  # rows, columns


@dataclass(frozen=True)
class Blank:
    """What a layer makes of the blank canvas, (1, C, H, W), and the window of it that a picture can influence."""

    activations: Tensor
    window: Window

    def hollow(self) -> Tensor:
        """Return the activations with zeros in the window."""
        activations = self.activations.clone()
        _cut(activations, self.window).zero_()
        return activations


@dataclass(frozen=True)
class Plan:
    """Steps from a picture, (B, C, h, w), to the window of the last layer's output."""

    steps: tuple[Step, ...]
    blank: Blank

    def __call__(self, images: Tensor) -> Tensor:
        """Return the window of the output, (B, C, rows, columns)."""
        for step in self.steps:
            images = step(images)
        return images


def make_plan(layers: nn.Module, canvas: Tensor, window: Window) -> Plan:
    """Plan how `layers` run on a picture at `window` of a blank (1, C, H, W) canvas; all in eval mode."""
    if isinstance(layers, nn.Sequential):
        return _chain(list(layers), Blank(canvas, window))
    return _plan_layer(layers, Blank(canvas, window))


def find_not_local(layers: nn.Module, path: str = "") -> tuple[str, nn.Module] | None:
    """Return the path and the module of the first layer that no window can stand for, if there is one."""
    if isinstance(layers, nn.Sequential) or _is_fire(layers):
        found = (find_not_local(child, f"{path}{name}.") for name, child in layers.named_children())
        return next((layer for layer in found if layer), None)
    return None if _is_local(layers) else (path.rstrip("."), layers)


def _is_local(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d):
        return layer.padding_mode == "zeros"
    if isinstance(layer, nn.MaxPool2d):
        return not layer.return_indices
    if isinstance(layer, nn.BatchNorm2d):
        return layer.running_mean is not None  # without running statistics it averages over the whole map
    return isinstance(layer, (*_POOLS, *_POINTWISE))


def _is_fire(layer: nn.Module) -> bool:
    from torchvision.models.squeezenet import Fire

    return isinstance(layer, Fire)


def _plan_layer(layer: nn.Module, blank: Blank) -> Plan:
    if isinstance(layer, nn.Sequential):
        return _chain(list(layer), blank)
    if isinstance(layer, nn.Conv2d):
        return _plan_conv(layer, blank)
    if isinstance(layer, _POOLS):
        return _plan_pool(layer, blank)
    if _is_fire(layer):
        return _plan_fire(layer, blank)
    return Plan((layer,), Blank(layer(blank.activations), blank.window))


def _chain(layers: list[nn.Module], blank: Blank) -> Plan:
    steps: tuple[Step, ...] = ()
    for layer in layers:
        plan = _plan_layer(layer, blank)
        steps, blank = (*steps, *plan.steps), plan.blank
    return Plan(steps, blank)


def _plan_conv(layer: nn.Conv2d, blank: Blank, window: Window | None = None) -> Plan:
    """Plan a convolution; a `window` wider than the influenced one may be asked for."""
    after = layer(blank.activations)
    axes = _axes(layer)
    window = window or _influenced(axes, blank.window, after)
    pads = [axis.pads(*spans) for axis, spans in zip(axes, zip(blank.window, window, strict=True), strict=True)]
    step = _Conv(
        weight=layer.weight.detach().to(after.dtype, memory_format=torch.channels_last),
        constant=_cut(layer(blank.hollow()), window).contiguous(memory_format=torch.channels_last),
        # torch pads both sides alike: where the far side needs no more than the near one, the surplus is cut off.
        alike=all(0 <= far <= near for near, far in pads),
        pads=pads,
        options={"stride": layer.stride, "dilation": layer.dilation, "groups": layer.groups},
    )
    return Plan((step,), Blank(after, window))


@dataclass(frozen=True)
class _Conv:
    weight: Tensor
    constant: Tensor  # (1, C, rows, columns): the bias and what the halo adds
    alike: bool
    pads: list[tuple[int, int]]
    options: dict[str, Any]

    def __call__(self, window: Tensor) -> Tensor:
        if self.alike:
            near = tuple(near for near, _ in self.pads)
            maps = F.conv2d(window, self.weight, padding=near, **self.options)
            rows, columns = self.constant.shape[-2:]
            maps = maps[..., :rows, :columns]
        else:
            maps = F.conv2d(_pad(window, self.pads), self.weight, **self.options)
        return maps.add_(self.constant)


def _plan_pool(layer: nn.Module, blank: Blank) -> Plan:
    """Plan the layer itself to run on a patch that begins at a multiple of its stride.

    There its outputs lie as on the whole map, and its rules for the map's edges (padding, ceil mode) apply exactly
    where the patch ends at such an edge; what other ends of the patch spoil is cut off.
    """
    after = layer(blank.activations)
    axes = _axes(layer)
    window = _influenced(axes, blank.window, after)
    sizes = blank.activations.shape[-2:]
    spans = [axis.patch(span, size) for axis, span, size in zip(axes, window, sizes, strict=True)]
    patch = (spans[0][0], spans[1][0])
    pads = [(b.start - p.start, p.stop - b.stop) for b, p in zip(blank.window, patch, strict=True)]
    halo = _cut(blank.hollow(), patch).contiguous(memory_format=torch.channels_last)
    kept = [Span(span.start - skip, span.stop - skip) for span, (_, skip) in zip(window, spans, strict=True)]
    return Plan((_Pool(layer, halo, pads, (kept[0], kept[1])),), Blank(after, window))


@dataclass(frozen=True)
class _Pool:
    layer: nn.Module
    halo: Tensor  # (1, C, rows, columns) of the patch, zeros where the window goes
    pads: list[tuple[int, int]]
    kept: Window

    def __call__(self, window: Tensor) -> Tensor:
        if any(any(pad) for pad in self.pads):
            window = _pad(window, self.pads).add_(self.halo)
        return _cut(self.layer(window), self.kept)


def _plan_fire(layer: nn.Module, blank: Blank) -> Plan:
    """Plan SqueezeNet's module: a squeezing convolution, then two side by side, of which the 3x3 reaches further."""
    fire = cast(Any, layer)
    squeeze = _chain([fire.squeeze, fire.squeeze_activation], blank)
    blank = squeeze.blank
    window = _plan_conv(fire.expand3x3, blank).blank.window
    branches = []
    for conv, activation in ((fire.expand1x1, fire.expand1x1_activation), (fire.expand3x3, fire.expand3x3_activation)):
        first = _plan_conv(conv, blank, window)
        then = _plan_layer(activation, first.blank)
        branches.append(Plan((*first.steps, *then.steps), then.blank))
    activations = torch.cat([branch.blank.activations for branch in branches], 1)
    return Plan((*squeeze.steps, _Branches(tuple(branches))), Blank(activations, window))


@dataclass(frozen=True)
class _Branches:
    branches: tuple[Plan, ...]

    def __call__(self, window: Tensor) -> Tensor:
        return torch.cat([branch(window) for branch in self.branches], 1)


@dataclass(frozen=True)
class _Axis:
    """One axis of a layer: its output o sees `reach` inputs from stride * o - padding on."""

    stride: int
    padding: int
    reach: int

    def influenced(self, span: Span, size: int) -> Span:
        """Return the outputs, of `size`, that see something of a span of inputs."""
        first = max(0, -(-(span.start - self.reach + 1 + self.padding) // self.stride))
        last = min(size - 1, (span.stop - 1 + self.padding) // self.stride)
        # A stride longer than the reach can step over a small picture: one output is kept, so that there is a map.
        first = min(first, size - 1)
        return Span(first, max(first, last) + 1)

    def field(self, span: Span) -> Span:
        """Return the inputs that a span of outputs sees."""
        return Span(self.stride * span.start - self.padding, self._last_field(span).stop)

    def _last_field(self, span: Span) -> Span:
        start = self.stride * (span.stop - 1) - self.padding
        return Span(start, start + self.reach)

    def pads(self, before: Span, after: Span) -> tuple[int, int]:
        """Return how much lies around the input span `before` in what the outputs `after` see; negative: cut off."""
        field = self.field(after)
        return before.start - field.start, field.stop - before.stop

    def patch(self, after: Span, size: int) -> tuple[Span, int]:
        """Return inputs, of `size`, on which the layer itself gives the outputs `after`, and how many come before."""
        field = self.field(after)
        skipped = max(0, field.start // self.stride)
        return Span(self.stride * skipped, min(size, field.stop)), skipped


def _axes(layer: nn.Module) -> tuple[_Axis, _Axis]:
    settings = cast(Any, layer)
    kernel, stride = _pair(settings.kernel_size), _pair(settings.stride)
    dilation = _pair(getattr(layer, "dilation", 1))
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    padding = settings.padding
    if isinstance(padding, str):
        padding = [(r - 1) // 2 if padding == "same" else 0 for r in reach]
    padding = _pair(padding)
    return _Axis(stride[0], padding[0], reach[0]), _Axis(stride[1], padding[1], reach[1])


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _influenced(axes: tuple[_Axis, _Axis], before: Window, after: Tensor) -> Window:
    rows, columns = after.shape[-2:]
    return axes[0].influenced(before[0], rows), axes[1].influenced(before[1], columns)


def _cut(activations: Tensor, window: Window) -> Tensor:
    rows, columns = window
    return activations[..., rows.start : rows.stop, columns.start : columns.stop]


def _pad(window: Tensor, pads: list[tuple[int, int]]) -> Tensor:
    return F.pad(window, (*pads[1], *pads[0]))
