"""Rival heads that learn the same task side by side: training ends in local optima, and the loss shows the best one."""

import torch
from torch import Tensor, nn

_SMOOTHING = 0.01  # weight of one step in the smoothed losses


class Rivals(nn.Module):
    """Which of several heads has the lowest loss.

    Attributes
    ----------
    recent_losses : (count,) the heads' losses, smoothed over the last steps

    """

    recent_losses: Tensor

    def __init__(self, count: int):
        super().__init__()
        self.register_buffer("recent_losses", torch.zeros(count), persistent=count > 1)

    @property
    def chosen(self) -> int:
        """Return the number of the head with the lowest loss; any head if there are no values (on "meta")."""
        return 0 if self.recent_losses.is_meta else int(self.recent_losses.argmin())

    def take(self, losses: Tensor) -> None:
        """Record the (count,) losses of a step; ignored outside training."""
        if self.training:
            new, old = losses.detach(), self.recent_losses
            old.copy_(torch.where(old == 0, new, old.lerp(new, _SMOOTHING)))


class Settled(nn.Module):
    """The choice between rivals that no longer learn, as a constant."""

    def __init__(self, chosen: int):
        super().__init__()
        self.chosen = chosen


def settled(net: nn.Module) -> nn.Module:
    """Replace the rivals in a network, in place, by their choice, so that it can be part of an exported graph."""
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Rivals):
                setattr(module, name, Settled(child.chosen))
    return net
