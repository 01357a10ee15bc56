"""A network cut in two: what comes before the cut stays as it is, so that it is computed once for each picture."""

import copy
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

_CLOSE = 1e-4  # relative, in float32
_TRIES = 12
# Where vision transformers add the places of the patches: timm's and open_clip's, which are no modules.
_METHODS_BEFORE = ("_pos_embed", "_embeds")


class Cut(NamedTuple):
    """A network in two parts, one behind the other.

    Attributes
    ----------
    front : gives what comes to the cut, (B, ...), of the network's own (B, C, H, W) inputs
    tail : gives, of that, what the whole network gives; its weights are the network's own

    """

    front: nn.Module
    tail: nn.Module


def cut(network: nn.Module, image_shape: tuple[int, int, int], share: float) -> Cut | None:
    """Cut a network for (height, width, channels) pictures before the last blocks, a `share` of it or a little more.

    What comes to the cut must be all that the blocks behind it see of the picture. This is tried with a random picture:
    None where the two parts do not give what the network gives.
    """
    height, width, channels = image_shape
    inputs = torch.randn(1, channels, height, width, generator=torch.Generator().manual_seed(0))
    device = next(network.parameters()).device
    inputs = inputs.to(device)
    training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            return _cut(network, inputs, share)
    finally:
        network.train(training)


def _cut(network: nn.Module, inputs: Tensor, share: float) -> Cut | None:
    order, wanted = _order_of_calls(network, inputs)
    for at in _places(network, order, share):
        found = Cut(_Front(network, at), _tail(network, order, at))
        try:
            difference = (found.tail(found.front(inputs)) - wanted).norm() / wanted.norm()
        except (RuntimeError, TypeError, ValueError, AttributeError):
            continue  # the parts do not fit: something leads past the cut
        if difference < _CLOSE:
            return found
    return None


def _order_of_calls(network: nn.Module, inputs: Tensor) -> tuple[list[str], Tensor]:
    """Return the names of all modules in the order in which they are first called, and what the network gives."""
    order: dict[str, None] = {}
    hooks = [
        module.register_forward_pre_hook(lambda _module, _inputs, name=name: order.setdefault(name))
        for name, module in network.named_modules()
    ]
    try:
        given = network(inputs)
        return [*order], given
    finally:
        for hook in hooks:
            hook.remove()


def _places(network: nn.Module, order: list[str], share: float) -> list[str]:
    """Return where a cut may be: the last blocks with a `share` of the parameters in or behind them, the last first."""
    sizes = [len(list(network.get_submodule(name).parameters(recurse=False))) for name in order]
    behind = sum(sizes) - np.cumsum([0, *sizes[:-1]])
    blocks = [any(network.get_submodule(name).children()) for name in order]
    found = [
        name
        for name, is_block, rest in zip(order, blocks, behind, strict=True)
        if is_block and share * behind[0] <= rest < behind[0]
    ]
    return found[: -_TRIES - 1 : -1]


class _Passed(nn.Module):
    """Stands in for what lies before the cut."""

    def forward(self, inputs: Tensor, *_others: object, **_options: object) -> Tensor:
        return inputs


class _Reached(Exception):
    """A pass has come to the cut."""


class _Front(nn.Module):
    """A network up to a block."""

    def __init__(self, network: nn.Module, at: str):
        super().__init__()
        self.network, self.at = network, at

    def forward(self, inputs: Tensor) -> Tensor:
        found: list[Tensor] = []

        def stop(_module: nn.Module, given: tuple[Tensor, ...]) -> None:
            found.append(given[0])
            raise _Reached

        hook = self.network.get_submodule(self.at).register_forward_pre_hook(stop)
        try:
            self.network(inputs)
        except _Reached:
            pass
        finally:
            hook.remove()
        return found[0]


def _tail(network: nn.Module, order: list[str], at: str) -> nn.Module:
    """Return a copy with the same weights in which all that is called before a block lets its input through."""
    shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    tail = copy.deepcopy(network, shared)
    before = order[: order.index(at)]
    for name in before:
        if name and not f"{at}.".startswith(f"{name}.") and not _has_gone(tail, name):
            parent, _, last = name.rpartition(".")
            setattr(tail.get_submodule(parent), last, _Passed())
    for name in _METHODS_BEFORE:
        if hasattr(tail, name):
            setattr(tail, name, lambda patches: patches)
    return tail


def _has_gone(tail: nn.Module, name: str) -> bool:
    """Tell whether a module was within one that lets its input through now."""
    try:
        tail.get_submodule(name)
    except AttributeError:
        return True
    return False
