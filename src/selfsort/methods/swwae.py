"""Stacked what-where auto-encoder: the pooled values are the code, their places bypass it to the decoder.

Zhao, Mathieu, Goroshin and LeCun, "Stacked what-where auto-encoders", 2016.
"""

import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from selfsort.errors import UserError
from selfsort.methods.halving import Halving
from selfsort.models.base import Batch, Net, Output


class SWWAENet(Net):
    """Convolutions, each followed by pooling; the places of the largest values undo it in the decoder."""

    def __init__(self, channels: int, widths: tuple[int, ...], between: float):
        super().__init__()
        self.between = between
        pairs = list(zip((channels, *widths), widths, strict=False))
        self.down = nn.ModuleList(nn.Conv2d(before, after, 3, padding=1) for before, after in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose2d(after, before, 3, padding=1) for before, after in pairs)

    def loss(self, batch: Batch) -> Tensor:
        """Return the squared differences between the input of each layer and its reconstruction (equation 1)."""
        given, places, sizes = [batch.views[0]], [], []
        for layer in self.down:
            seen = layer(given[-1]).relu().float()
            what, where = F.max_pool2d(seen, 2, return_indices=True)
            given.append(what)
            places.append(where)
            sizes.append(seen.shape[-2:])
        drawn, losses = given[-1], []
        for number in reversed(range(len(self.up))):
            drawn = self.up[number](F.max_unpool2d(drawn, places[number], (2, 2), output_size=sizes[number])).float()
            drawn = drawn.relu() if number else drawn
            losses.append(F.mse_loss(drawn, given[number]))
        *middle, pixels = losses
        return pixels + self.between * sum(middle, pixels.new_zeros(()))

    def forward(self, inputs: Tensor) -> Output:
        """Return the (B, D) largest values of the last layer, without their places."""
        for layer in self.down:
            inputs = F.max_pool2d(layer(inputs).relu(), 2)
        return Output(inputs.flatten(1))


@dataclass(kw_only=True, eq=False, repr=False)
class SWWAE(Halving):
    """Stacked what-where auto-encoder (Zhao et al. 2016): reconstructs from values and their places; then clusters.

    Parameters
    ----------
    between : weight of reconstructing the inputs of the inner layers, in addition to the pixels

    """

    between: float = 0.2

    rounds_down = True

    def check_params(self) -> None:
        """Check the hyper-parameters."""
        super().check_params()
        if not 0 <= self.between < math.inf:
            raise UserError(f"between={self.between} must be 0 or a positive number.")

    def build(self, image_shape: tuple[int, int, int], n_images: int) -> SWWAENet:
        """Return the untrained network."""
        return SWWAENet(image_shape[2], self.widths, self.between)
