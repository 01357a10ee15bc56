"""Layer-wise auto-encoder: each layer first learns on its own to reconstruct the output of the one before.

Bengio, Lamblin, Popovici and Larochelle, "Greedy layer-wise training of deep networks", 2007.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsort.data.image_set import ImageSet
from selfsort.methods.halving import Halving
from selfsort.methods.stage import Context, Stage
from selfsort.models.base import Batch, Net, Output


class LayerwiseNet(Net):
    """Convolutions that halve the size, each paired with one that undoes it.

    Attributes
    ----------
    learning : number of the layer that learns while the others are fixed; if it equals their count, all learn

    """

    def __init__(self, channels: int, widths: tuple[int, ...]):
        super().__init__()
        pairs = list(zip((channels, *widths), widths, strict=False))
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, after, 4, stride=2, padding=1), nn.ReLU()) for before, after in pairs
        )
        self.up = nn.ModuleList(nn.ConvTranspose2d(after, before, 4, stride=2, padding=1) for before, after in pairs)
        self.learning = len(widths)

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean squared difference between the learning layer's input and its reconstruction."""
        images = batch.views[0]
        if self.learning == len(self.down):
            drawn = self._encoded(images, len(self.down))
            for number in reversed(range(len(self.up))):
                drawn = self.up[number](drawn)
                drawn = drawn.relu() if number else drawn  # the inputs of the layers above the first are not negative
            return F.mse_loss(drawn.float(), images)
        with torch.no_grad():
            given = self._encoded(images, self.learning)
        return F.mse_loss(self.up[self.learning](self.down[self.learning](given)).float(), given.float())

    def _encoded(self, images: Tensor, count: int) -> Tensor:
        for layer in self.down[:count]:
            images = layer(images)
        return images

    def forward(self, inputs: Tensor) -> Output:
        """Return the (B, D) code of the last layer."""
        return Output(self._encoded(inputs, len(self.down)).flatten(1))


@dataclass(kw_only=True, eq=False, repr=False)
class LayerwiseAE(Halving):
    """Layer-wise auto-encoder (Bengio et al. 2007): layers learn to reconstruct, one after another; then clusters.

    Parameters
    ----------
    stacked : train all layers together in the end
    epochs : passes per layer

    """

    stacked: bool = True
    epochs: int = 30

    def build(self, image_shape: tuple[int, int, int], n_images: int) -> LayerwiseNet:
        """Return the untrained network."""
        return LayerwiseNet(image_shape[2], self.widths)

    def stages(self, images: ImageSet, context: Context) -> Iterator[Stage]:
        """Train one layer after the other, then all."""
        net, count = cast(LayerwiseNet, self.net_), len(self.widths)
        stage = Stage(net, self.image_data(images), self.recipe())
        for net.learning in range(count + self.stacked):
            whole = net.learning == count
            last = net.learning == count + self.stacked - 1
            name = "" if last else f"layer-{net.learning + 1}"
            yield replace(stage, name=name, title="all layers" if whole else f"layer {net.learning + 1} of {count}")
