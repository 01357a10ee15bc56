"""Convolutional k-means: filters are the centres of clusters of patches, without gradients.

Dundar, Jin and Culurciello, "Convolutional clustering for unsupervised learning", 2016; the activation is that of
Coates, Ng and Lee, "An analysis of single-layer networks in unsupervised feature learning", 2011.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from selfsort.data.image_set import ImageSet
from selfsort.errors import UserError
from selfsort.methods.base import Estimator
from selfsort.methods.stage import Context, Stage
from selfsort.models.base import Net, Output
from selfsort.training.data import ImageData
from selfsort.training.recipe import pick_device

_SOFT = 0.1  # added to a patch's contrast, so that a plain one is not amplified to noise
_GRID = 2  # rows and columns over which responses are summed
_STEPS = 10
_BATCH = 500


def responses(images: Tensor, filters: Tensor) -> Tensor:
    """Return (B, K, H', W') correlations of every patch of (B, C, H, W) images with (K, C, p, p) unit filters.

    Filters have a mean of 0, so that brightness has no influence; contrast is divided out.
    """
    count, side = filters[0].numel(), filters.shape[-1]
    ones = filters.new_ones(1, filters.shape[1], side, side)
    mean = F.conv2d(images, ones) / count
    spread = (F.conv2d(images.square(), ones) / count - mean.square()).clamp_min(0).sqrt()
    return F.conv2d(images, filters) / (math.sqrt(count) * (spread + _SOFT))


def convolutional_kmeans(windows: Tensor, count: int, side: int, generator: torch.Generator) -> Tensor:
    """Return (count, C, side, side) filters for (N, C, w, w) windows (section 3.1).

    Each window contributes the one patch that fits best, to the filter that it fits. With patches drawn anywhere, many
    filters would be copies of each other, shifted by a pixel.
    """
    chosen = torch.randperm(len(windows), generator=generator)[torch.arange(count) % len(windows)]
    filters = _directions(windows[chosen, :, :side, :side] + 1e-3 * _noise(windows, count, side, generator))
    for _ in range(_STEPS):
        sums, used = torch.zeros_like(filters), torch.zeros(count)
        for part in torch.chunk(windows, -(-len(windows) // _BATCH)):
            found = responses(part, filters).flatten(2)
            numbers, places = (each.squeeze(1) for each in _best(found))
            patches = F.unfold(part, side).gather(2, places.view(-1, 1, 1).expand(-1, filters[0].numel(), 1))
            sums.index_add_(0, numbers, _directions(patches.view(-1, *filters.shape[1:])))
            used.index_add_(0, numbers, torch.ones(len(numbers)))
        # A filter that no window chose restarts near one that many did.
        restarted = (
            sums[used.argmax()] / used.max() + _noise(windows, count, side, generator) / filters[0].numel() ** 0.5
        )
        filters = _directions(torch.where(used.view(-1, 1, 1, 1) > 0, sums, restarted))
    return filters


def _best(found: Tensor) -> tuple[Tensor, Tensor]:
    """Return the (N, 1) filters and places of the largest of (N, K, P) responses."""
    flat = found.flatten(1).argmax(1, keepdim=True)
    return flat // found.shape[2], flat % found.shape[2]


def _directions(patches: Tensor) -> Tensor:
    """Return (N, C, p, p) patches minus their mean, scaled to unit length."""
    flat = patches.flatten(1)
    return F.normalize(flat - flat.mean(1, keepdim=True)).view_as(patches)


def _noise(windows: Tensor, count: int, side: int, generator: torch.Generator) -> Tensor:
    return torch.randn(count, windows.shape[1], side, side, generator=generator)


class ConvKMeansNet(Net):
    """Layers of filters, each followed by pooling; they are buffers, since no gradient changes them."""

    def __init__(self, channels: int, filters: tuple[int, ...], sides: tuple[int, ...]):
        super().__init__()
        self.count = len(filters)
        for number, (before, after, side) in enumerate(zip((channels, *filters), filters, sides, strict=False)):
            self.register_buffer(f"filters{number}", torch.zeros(after, before, side, side))

    def filters(self, number: int) -> Tensor:
        """Return a layer's (K, C, p, p) filters."""
        return self.get_buffer(f"filters{number}")

    def seen(self, images: Tensor, layers: int) -> Tensor:
        """Return the output of the first layers for (B, C, H, W) images: responses above the average."""
        for number in range(layers):
            found = responses(images, self.filters(number))
            images = F.max_pool2d((found - found.mean(1, keepdim=True)).relu(), 2)
        return images

    def forward(self, inputs: Tensor) -> Output:
        """Return (B, 4 K) sums of the last layer over quarters of the picture, of unit length."""
        return Output(F.normalize(F.adaptive_avg_pool2d(self.seen(inputs, self.count), _GRID).flatten(1)))


@dataclass(kw_only=True, eq=False, repr=False)
class ConvKMeans(Estimator):
    """Convolutional k-means (Dundar et al. 2016): filters by k-means on patches, layer by layer; then clusters.

    Parameters
    ----------
    filters : number of filters in each layer
    sides : side of the filters in each layer, in pixels
    n_windows : windows, twice as wide as a filter, from each of which a layer learns one patch

    """

    filters: tuple[int, ...] = (64, 128)
    sides: tuple[int, ...] = (5, 3)
    n_windows: int = 5000

    def check_params(self) -> None:
        """Check the hyper-parameters."""
        super().check_params()
        if len(self.filters) != len(self.sides) or not self.filters or min(*self.filters, *self.sides) < 1:
            raise UserError(f"filters={self.filters}, sides={self.sides}: both need one positive number per layer.")
        if self.n_windows < 1:
            raise UserError(f"n_windows={self.n_windows} must be at least 1.")

    def check(self, images: ImageSet) -> None:
        """Check the hyper-parameters and that the layers fit the pictures."""
        super().check(images)
        height, width, _ = images.image_shape
        least = _GRID
        for side in reversed(self.sides):
            least = 2 * least + side - 1
        if min(height, width) < least:
            raise UserError(f"conv-kmeans cannot take {height}x{width}: use a size of at least {least}.")

    def build(self, image_shape: tuple[int, int, int], n_images: int) -> ConvKMeansNet:
        """Return the network without filters."""
        return ConvKMeansNet(image_shape[2], self.filters, self.sides)

    def stages(self, images: ImageSet, context: Context) -> Iterator[Stage]:
        """Find the filters layer by layer; nothing is trained by gradients."""
        net, generator = cast(ConvKMeansNet, self.net_), np.random.default_rng(self.random_state)
        spec = self.input_of(images) or images.input_spec
        data = ImageData(images.pixels(spec), pick_device("cpu"))
        seeded = torch.Generator().manual_seed(self.random_state)
        for number, (count, side) in enumerate(zip(self.filters, self.sides, strict=True)):
            drawn = np.sort(generator.integers(len(data), size=self.n_windows))
            with torch.inference_mode():
                parts = [
                    _cut(net.seen(data.inputs(rows), number), 2 * side - 1, generator)
                    for rows in np.array_split(drawn, -(-len(drawn) // _BATCH))
                ]
                net.filters(number).copy_(convolutional_kmeans(torch.cat(parts), count, side, seeded))
        yield from ()


def _cut(maps: Tensor, side: int, generator: np.random.Generator) -> Tensor:
    """Return a window of (B, C, H, W) maps each, at random places: (B, C, side, side), or the whole if smaller."""
    side = min(side, *maps.shape[2:])
    rows, columns = (generator.integers(length - side + 1, size=len(maps)) for length in maps.shape[2:])
    return torch.stack([each[:, y : y + side, x : x + side] for each, y, x in zip(maps, rows, columns, strict=True)])
