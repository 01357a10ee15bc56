"""What is trained on: pictures, stored features, pairs of neighbours; patches are pictures that were cut out."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfsort.models.base import Batch

ViewMaker = Callable[[Tensor], Tensor]
Indices = NDArray[np.int64]
_SHARE_OF_MEMORY = 0.5  # of a GPU's free memory that data may take for good


class TrainingData(Protocol):
    """What the loop asks for."""

    device: torch.device

    def __len__(self) -> int:
        """Return how many pictures there are."""

    def inputs(self, indices: Indices) -> Tensor:
        """Return what a network takes of the pictures at (B,) positions, as they are: (B, ...) on the device."""

    def batch(self, indices: Indices) -> Batch:
        """Return what a method learns from of the pictures at (B,) positions."""


class _Rows:
    """An array's rows as tensors, resident on the device when they fit there."""

    def __init__(self, rows: NDArray[np.generic], device: torch.device):
        self.rows, self.device = rows, device
        self.resident: Tensor | None = None
        if device.type == "cuda" and rows.nbytes < _SHARE_OF_MEMORY * torch.cuda.mem_get_info(device)[0]:
            self.resident = torch.from_numpy(np.ascontiguousarray(rows)).to(device)

    def __getitem__(self, indices: Indices | tuple[Indices, ...]) -> Tensor:
        if self.resident is not None:
            places = indices if isinstance(indices, tuple) else (indices,)
            return self.resident[tuple(torch.from_numpy(each).to(self.device) for each in places)]
        return torch.from_numpy(self.rows[indices]).to(self.device)


class ImageData:
    """Pictures (N, H, W, C) of uint8 as float batches (B, C, H, W) in [0, 1], and random views of them."""

    def __init__(
        self, images: NDArray[np.uint8], device: torch.device, make_view: ViewMaker | None = None, n_views: int = 0
    ):
        self.images, self.device = images, device
        self.make_view, self.n_views = make_view, n_views
        self._rows = _Rows(images, device)

    def __len__(self) -> int:
        """Return how many pictures there are."""
        return len(self.images)

    def inputs(self, indices: Indices) -> Tensor:
        """Return the (B, C, H, W) float32 pictures in [0, 1] at (B,) positions."""
        pixels = self._rows[indices].permute(0, 3, 1, 2)
        return pixels.to(torch.float32, memory_format=torch.contiguous_format).div_(255)

    def batch(self, indices: Indices) -> Batch:
        """Return pictures, views of them, and (B,) positions."""
        images = self.inputs(indices)
        views = () if self.make_view is None else tuple(self.make_view(images) for _ in range(self.n_views))
        return Batch(images, views, torch.from_numpy(indices).to(self.device))


class FeatureData:
    """Stored features (N, V, ...) of V views of each picture, the first of the picture as it is."""

    def __init__(self, features: NDArray[np.floating], device: torch.device):
        self.device = device
        self._rows = _Rows(features, device)

    def __len__(self) -> int:
        """Return how many pictures there are."""
        return len(self._rows.rows)

    def inputs(self, indices: Indices) -> Tensor:
        """Return the (B, ...) float32 features of the pictures at (B,) positions as they are."""
        return self._rows[indices, np.zeros_like(indices)].float()

    def batch(self, indices: Indices) -> Batch:
        """Return features, those of one view of each picture drawn at random, and (B,) positions."""
        drawn = torch.randint(self._rows.rows.shape[1], (len(indices),)).numpy()
        views = (self._rows[indices, drawn].float(),)
        return Batch(self.inputs(indices), views, torch.from_numpy(indices).to(self.device))


class NeighbourPairs:
    """Any data, each batch with one of each picture's neighbours drawn at random as the second view."""

    def __init__(self, data: TrainingData, neighbours: Indices):
        """Pair the N pictures of `data` with their neighbours, (N, K) positions."""
        self.data, self.neighbours, self.device = data, neighbours, data.device

    def __len__(self) -> int:
        """Return how many pictures there are."""
        return len(self.data)

    def inputs(self, indices: Indices) -> Tensor:
        """Return what a network takes of the pictures at (B,) positions."""
        return self.data.inputs(indices)

    def batch(self, indices: Indices) -> Batch:
        """Return pictures with two views, their first and a neighbour's first, and (B,) positions."""
        batch = self.data.batch(indices)
        drawn = torch.randint(self.neighbours.shape[1], (len(indices),)).numpy()
        other = self.data.batch(self.neighbours[indices, drawn])
        return batch._replace(views=(batch.views[0], other.views[0]))
