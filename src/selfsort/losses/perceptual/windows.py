"""Run local layers on the part of a canvas that a picture can influence.

Outside that window every activation equals that of the blank canvas, so a layer needs its own window and, around it, a
halo of blank activations. A convolution is linear: it runs on the window alone, surrounded by zeros, and the halo's
contribution to its result is a constant map. A pooling gets the halo pasted around the window.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsort.losses.perceptual.spans import Pads, Span, Window, around, axes_of, cut, pad

_POOLS = (nn.MaxPool2d, nn.AvgPool2d)
_POINTWISE = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus),
    *(nn.Sigmoid, nn.Tanh, nn.Hardsigmoid, nn.Hardswish, nn.Identity, nn.Dropout, nn.Dropout2d, nn.BatchNorm2d),
)

Step = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class BlankCanvas:
    """A layer's output for the blank canvas, (1, C, H, W), and the window of it that a picture can influence."""

    maps: Tensor
    window: Window

    def hollow(self) -> Tensor:
        """Return the maps with zeros in the window."""
        maps = self.maps.clone(memory_format=torch.channels_last)
        cut(maps, self.window).zero_()
        return maps


@dataclass(frozen=True)
class Plan:
    """Steps from a picture, (B, C, h, w), to the window of the last layer's output."""

    steps: tuple[Step, ...]
    blank: BlankCanvas

    def __call__(self, window: Tensor) -> Tensor:
        """Return the window of the output, (B, C, rows, columns)."""
        for step in self.steps:
            window = step(window)
        return window


def find_not_local(layers: nn.Module, path: str = "") -> tuple[str, nn.Module] | None:
    """Return the path and the module of the first layer that cannot run on a window, if there is one."""
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


def make_plan(layer: nn.Module, blank: BlankCanvas) -> Plan:
    """Plan how local layers, in eval mode, run on a picture at a window of the blank canvas."""
    if isinstance(layer, nn.Sequential):
        return _plan_row(layer, blank)
    if isinstance(layer, nn.Conv2d):
        return _plan_conv(layer, blank)
    if isinstance(layer, _POOLS):
        return _plan_pool(layer, blank)
    if _is_fire(layer):
        return _plan_fire(layer, blank)
    return Plan((layer,), BlankCanvas(layer(blank.maps), blank.window))


def _plan_row(layers: Iterable[nn.Module], blank: BlankCanvas) -> Plan:
    steps: tuple[Step, ...] = ()
    for layer in layers:
        plan = make_plan(layer, blank)
        steps, blank = (*steps, *plan.steps), plan.blank
    return Plan(steps, blank)


def _influenced(layer: nn.Module, before: Window, maps: Tensor) -> Window:
    sizes = maps.shape[-2:]
    rows, columns = (a.influenced(span, size) for a, span, size in zip(axes_of(layer), before, sizes, strict=True))
    return rows, columns


def _plan_conv(layer: nn.Conv2d, blank: BlankCanvas, window: Window | None = None) -> Plan:
    """Plan a convolution; `window` may extend beyond the influenced part of its output."""
    maps = layer(blank.maps)
    window = window or _influenced(layer, blank.window, maps)
    rows, columns = (axis.seen(span) for axis, span in zip(axes_of(layer), window, strict=True))
    step = _Conv(
        weight=layer.weight.detach().to(maps.dtype, memory_format=torch.channels_last),
        constant=cut(layer(blank.hollow()), window).contiguous(memory_format=torch.channels_last),
        pads=around(blank.window, (rows, columns)),
        stride=(layer.stride[0], layer.stride[1]),
        dilation=(layer.dilation[0], layer.dilation[1]),
        groups=layer.groups,
    )
    return Plan((step,), BlankCanvas(maps, window))


@dataclass(frozen=True)
class _Conv:
    weight: Tensor
    constant: Tensor  # (1, C, rows, columns): the bias and the halo's contribution
    pads: Pads  # zeros around the window
    stride: tuple[int, int]
    dilation: tuple[int, int]
    groups: int

    def __call__(self, window: Tensor) -> Tensor:
        by_blocks = self.stride[0] == self.stride[1] > 2 and self.dilation == (1, 1) and self.groups == 1
        return cast(Tensor, _BlockwiseBack.apply(window, self)) if by_blocks else self.convolve(window)

    def convolve(self, window: Tensor) -> Tensor:
        """Convolve the window with zeros around it, and add the constant map."""
        rows, columns = self.pads
        # torch pads both sides equally: if the far side needs no more than the near one, the surplus is cut off.
        alike = 0 <= rows[1] <= rows[0] and 0 <= columns[1] <= columns[0]
        padding = (rows[0], columns[0]) if alike else (0, 0)
        window = window if alike else pad(window, self.pads)
        maps = F.conv2d(window, self.weight, None, self.stride, padding, self.dilation, self.groups)
        height, width = self.constant.shape[-2:]
        if maps.shape[-2:] != (height, width):  # writing into a slice costs autograd a copy, even of the whole
            maps = maps[..., :height, :width]
        return maps.add_(self.constant)


class _BlockwiseBack(torch.autograd.Function):
    """A convolution with a long stride s, whose gradient is computed on blocks of s x s pixels treated as channels.

    On such blocks the stride is 1, which libraries compute three times as fast as AlexNet's stride of 4 on 3 channels.
    """

    @staticmethod
    def forward(ctx: Any, window: Tensor, conv: _Conv) -> Tensor:
        ctx.conv, ctx.size = conv, window.shape[-2:]
        return conv.convolve(window)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        conv, (height, width) = cast(_Conv, ctx.conv), ctx.size
        stride = conv.stride[0]
        kernel_rows, kernel_columns = conv.weight.shape[-2:]
        weight = F.pad(conv.weight, (0, -kernel_columns % stride, 0, -kernel_rows % stride))
        blocks = F.pixel_unshuffle(weight, stride).contiguous(memory_format=torch.channels_last)
        pixels = F.pixel_shuffle(F.conv_transpose2d(gradient, blocks), stride)  # the window with its padding
        top, left = -conv.pads[0][0], -conv.pads[1][0]
        return pad(pixels, ((top, height - pixels.shape[-2] - top), (left, width - pixels.shape[-1] - left))), None


def _plan_pool(layer: nn.Module, blank: BlankCanvas) -> Plan:
    """Plan a pooling that runs unchanged on a patch of the map.

    Its rules for the map's edges (padding, ceil mode) apply only where the patch ends at such an edge; outputs spoilt
    at other ends of the patch are cut off.
    """
    maps = layer(blank.maps)
    window = _influenced(layer, blank.window, maps)
    sizes = blank.maps.shape[-2:]
    spans = [axis.patch(span, size) for axis, span, size in zip(axes_of(layer), window, sizes, strict=True)]
    patch = (spans[0][0], spans[1][0])
    rows, columns = (Span(skip, skip + s.stop - s.start) for s, (_, skip) in zip(window, spans, strict=True))
    halo = cut(blank.hollow(), patch).contiguous(memory_format=torch.channels_last)
    return Plan((_Pool(layer, halo, around(blank.window, patch), (rows, columns)),), BlankCanvas(maps, window))


@dataclass(frozen=True)
class _Pool:
    layer: nn.Module
    halo: Tensor  # (1, C, rows, columns) the patch, with zeros in place of the window
    pads: Pads
    kept: Window

    def __call__(self, window: Tensor) -> Tensor:
        if self.pads != ((0, 0), (0, 0)):
            window = pad(window, self.pads).add_(self.halo)
        return cut(self.layer(window), self.kept)


def _plan_fire(layer: nn.Module, blank: BlankCanvas) -> Plan:
    """Plan SqueezeNet's module: a squeezing convolution, then two side by side, the 3x3 one reaching further."""
    fire = cast(Any, layer)
    squeeze = _plan_row((fire.squeeze, fire.squeeze_activation), blank)
    window = _plan_conv(fire.expand3x3, squeeze.blank).blank.window
    branches = []
    for conv, activation in ((fire.expand1x1, fire.expand1x1_activation), (fire.expand3x3, fire.expand3x3_activation)):
        convolved = _plan_conv(conv, squeeze.blank, window)
        activated = make_plan(activation, convolved.blank)
        branches.append(Plan((*convolved.steps, *activated.steps), activated.blank))
    maps = torch.cat([branch.blank.maps for branch in branches], 1)
    return Plan((*squeeze.steps, _Branches(tuple(branches))), BlankCanvas(maps, window))


@dataclass(frozen=True)
class _Branches:
    branches: tuple[Plan, ...]

    def __call__(self, window: Tensor) -> Tensor:
        return torch.cat([branch(window) for branch in self.branches], 1)
