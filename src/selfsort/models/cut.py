"""A network cut in two: the part before the cut does not change, so it is computed only once for each picture."""

import copy
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

_CLOSE = 1e-4  # relative, in float32
_TRIES = 12
# Where vision transformers add the position embeddings of patches, in timm and open_clip: methods, not modules.
_METHODS_BEFORE = ("_pos_embed", "_embeds")


class Cut(NamedTuple):
    """A network in two parts, applied one after the other.

    Attributes
    ----------
    front : computes the activations at the cut, (B, ...), from the network's own (B, C, H, W) inputs
    tail : computes from those the output of the whole network; its weights are the network's own

    """

    front: nn.Module
    tail: nn.Module


def cut(network: nn.Module, image_shape: tuple[int, int, int], share: float) -> Cut | None:
    """Cut a network for (height, width, channels) pictures before its last blocks, a `share` of it or slightly more.

    The activations at the cut must be all that the blocks after it see of the picture. This is tested with a random
    picture: returns None if the two parts do not compute what the network does.
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
            continue  # the parts do not fit: something bypasses the cut
        if difference < _CLOSE:
            return found
    return None


def _order_of_calls(network: nn.Module, inputs: Tensor) -> tuple[list[str], Tensor]:
    """Return the names of all modules in the order in which they are first called, and the network's output."""
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
    """Return possible cuts: the last blocks with a `share` of the parameters in or after them, the last first."""
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
    """Takes the place of modules before the cut."""

    def forward(self, inputs: Tensor, *_others: object, **_options: object) -> Tensor:
        return inputs


class _Reached(Exception):
    """A pass has reached the cut."""


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
    """Return a copy with the same weights in which all modules called before a block pass their input through."""
    shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    tail = copy.deepcopy(network, shared)
    before = order[: order.index(at)]
    for name in before:
        if name and not f"{at}.".startswith(f"{name}.") and not _is_gone(tail, name):
            parent, _, last = name.rpartition(".")
            setattr(tail.get_submodule(parent), last, _Passed())
    for name in _METHODS_BEFORE:
        if hasattr(tail, name):
            setattr(tail, name, lambda patches: patches)
    return tail


def _is_gone(tail: nn.Module, name: str) -> bool:
    """Tell whether a module was inside one that now passes its input through."""
    try:
        tail.get_submodule(name)
    except AttributeError:
        return True
    return False
