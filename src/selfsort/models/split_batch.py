"""A batch that is split among processes, such that they compute what one process would.

Each process has an equal share of the batch's rows, in the order of the processes. Within `splitting`, every process
draws the random numbers for the whole batch and keeps its own; losses that look at the whole batch gather it; batch
norm uses the statistics of the whole batch. The mean of the processes' gradients is then the gradient of one process.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from selfsort import ranks

Rows = TypeVar("Rows", Tensor, NDArray[np.int64])

_splitting = False  # whether the code that runs has a share of a batch
_chosen: tuple[int, Tensor] | None = None  # the number of rows in a part of the batch, and this process's places in it


@contextmanager
def splitting() -> Iterator[None]:
    """Treat all rows in the block as this process's share of a batch."""
    global _splitting
    before, _splitting = _splitting, ranks.size() > 1
    try:
        yield
    finally:
        _splitting = before


@contextmanager
def _choosing(count: int, places: Tensor) -> Iterator[None]:
    global _chosen
    _chosen = count, places
    try:
        yield
    finally:
        _chosen = None


def share(rows: Rows, views: int = 1) -> Rows:
    """Return this process's share of the rows of a whole batch, or of several views of it, one below the other."""
    if not _splitting:
        return rows
    each = len(rows) // (views * ranks.size())
    start = ranks.rank() * each
    if views == 1:
        return rows[start : start + each]
    parts = rows.reshape(views, -1, *rows.shape[1:])[:, start : start + each]
    return parts.reshape(-1, *rows.shape[1:])


def drawn(draw: Callable[[int], Tensor], rows: int) -> Tensor:
    """Return this process's `rows` of the random rows that `draw` makes for the whole batch, given their number."""
    if not _splitting:
        return draw(rows)
    if _chosen is not None:
        count, places = _chosen
        return draw(count)[places]
    return share(draw(rows * ranks.size()))


def each_kind(kinds: Tensor, number: int) -> Iterator[tuple[int, Tensor]]:
    """Yield each of `number` kinds and the places of its rows, whose random numbers may then be drawn.

    `kinds` (B,) are the kinds of this process's rows. A kind that only other processes have is yielded, too, without
    places: the numbers drawn for it have to be drawn by all.
    """
    everyone = gathered(kinds)
    for kind in range(number):
        places = (kinds == kind).nonzero().squeeze(1)
        if not _splitting:
            if len(places):
                yield kind, places
            continue
        of_all = (everyone == kind).nonzero().squeeze(1)
        if len(of_all):
            start = ranks.rank() * len(kinds)
            own = ((of_all >= start) & (of_all < start + len(kinds))).nonzero().squeeze(1)
            with _choosing(len(of_all), own):
                yield kind, places


def gathered(rows: Tensor, views: int = 1) -> Tensor:
    """Return the rows of all processes, in the order in which one process would have them, with their gradients.

    `rows` (V * B, ...) may be those of several views, one below the other; so are the rows returned.
    """
    if not _splitting:
        return rows
    found = cast(Tensor, _Gathered.apply(rows))
    if views == 1:
        return found
    by_process = found.view(ranks.size(), views, -1, *found.shape[1:])
    return by_process.transpose(0, 1).reshape(found.shape)


def mean_of_all(value: Tensor) -> Tensor:
    """Return the mean of a tensor over all processes, with its gradient."""
    if not _splitting:
        return value
    return cast(Tensor, _MeanOfAll.apply(value))


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        rows = rows.contiguous()
        parts = [torch.empty_like(rows) for _ in range(ranks.size())]
        torch.distributed.all_gather(parts, rows)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (gradient,) = gradients
        each = len(gradient) // ranks.size()
        return _sum_of_all(gradient)[ranks.rank() * each : (ranks.rank() + 1) * each]


class _MeanOfAll(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return _sum_of_all(value) / ranks.size()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _sum_of_all(gradients[0]) / ranks.size()


def _sum_of_all(value: Tensor) -> Tensor:
    value = value.clone(memory_format=torch.contiguous_format)
    torch.distributed.all_reduce(value)
    return value


@torch.no_grad()
def average_gradients(net: nn.Module) -> None:
    """Replace the gradients of a network's parameters by their mean over all processes."""
    if ranks.size() == 1:
        return
    # What a stage does not use has no gradient in any of the processes.
    gradients = [each.grad for each in net.parameters() if each.grad is not None]
    mean = _sum_of_all(torch.cat([each.flatten() for each in gradients])) / ranks.size()
    for gradient, part in zip(gradients, torch.split(mean, [each.numel() for each in gradients]), strict=True):
        gradient.copy_(part.view(gradient.shape))


@torch.no_grad()
def same_as_first(net: nn.Module) -> None:
    """Give a network the parameters and buffers that it has in the first process."""
    if ranks.size() > 1:
        for tensor in (*net.parameters(), *net.buffers()):
            known = tensor.contiguous()
            torch.distributed.broadcast(known, src=0)
            tensor.copy_(known)


def dropout(rows: Tensor, probability: float, training: bool) -> Tensor:
    """Return rows with numbers dropped, as `torch.nn.functional.dropout` does for the whole batch."""
    if not (_splitting and training):
        return F.dropout(rows, probability, training)

    def kept(count: int) -> Tensor:
        ones = rows.new_ones(()).expand(count, *rows.shape[1:])
        return F.dropout(torch.empty_like(ones, memory_format=_format_of(rows)).fill_(1), probability)

    return rows * drawn(kept, len(rows))


def _format_of(rows: Tensor) -> torch.memory_format:
    last = rows.ndim == 4 and not rows.is_contiguous() and rows.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


@contextmanager
def batch_norm_of_all(net: nn.Module) -> Iterator[None]:
    """Let a network's batch norms use the statistics of the whole batch within `splitting`.

    PyTorch's `SyncBatchNorm` does so only on a GPU.
    """
    layers = [layer for layer in net.modules() if isinstance(layer, _BatchNorm)] if ranks.size() > 1 else []
    for layer in layers:
        layer.forward = partial(_normalised, layer)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _normalised(layer: _BatchNorm, inputs: Tensor) -> Tensor:
    if not (_splitting and layer.training):
        return type(layer).forward(layer, inputs)
    values = inputs.float()
    axes, shape = (0, *range(2, values.ndim)), (1, -1, *[1] * (values.ndim - 2))
    mean = mean_of_all(values.mean(axes))
    values = values - mean.view(shape)
    variance = mean_of_all(values.square().mean(axes))
    _keep(layer, mean.detach(), variance.detach(), ranks.size() * values.numel() // len(mean))
    values = values * (variance + layer.eps).rsqrt().view(shape)
    if layer.weight is not None:
        values = values * layer.weight.view(shape) + layer.bias.view(shape)
    found = values.to(inputs.dtype)
    for name in ("drop", "act"):  # timm's batch norms end in them
        found = getattr(layer, name)(found) if hasattr(layer, name) else found
    return found


@torch.no_grad()
def _keep(layer: _BatchNorm, mean: Tensor, variance: Tensor, count: int) -> None:
    """Update the running statistics with those of a batch of `count` values per channel."""
    if layer.running_mean is None or layer.running_var is None or layer.num_batches_tracked is None:
        return
    layer.num_batches_tracked += 1
    momentum = 1 / float(layer.num_batches_tracked) if layer.momentum is None else layer.momentum
    layer.running_mean.lerp_(mean, momentum)
    layer.running_var.lerp_(variance * (count / max(1, count - 1)), momentum)
