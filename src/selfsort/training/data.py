"""Training data: pictures (patches are pictures too), stored features, and pairs of neighbours."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfsort.models.base import Batch
from selfsort.models.split_batch import drawn

ViewMaker = Callable[[Tensor], Tensor]
Indices = NDArray[np.int64]
_SHARE_OF_MEMORY = 0.5  # of a GPU's free memory that data may occupy permanently


class TrainingData(Protocol):
    """The interface that the loop uses."""

    device: torch.device

    def __len__(self) -> int:
        """Return the number of pictures."""

    def inputs(self, indices: Indices) -> Tensor:
        """Return the network's input for the unchanged pictures at (B,) positions: (B, ...) on the device."""

    def batch(self, indices: Indices) -> Batch:
        """Return the batch that a method learns from, of the pictures at (B,) positions."""


class _Rows:
    """An array's rows as tensors, resident on the device if they fit there."""

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
    """Pictures (N, H, W, C) of uint8 as float batches (B, C, H, W) in [0, 1], and random views of them.

    Attributes
    ----------
    further : makers of one more view each, after the `n_views` alike; their views may be smaller

    """

    def __init__(
        self, images: NDArray[np.uint8], device: torch.device, make_view: ViewMaker | None = None, n_views: int = 0
    ):
        self.images, self.device = images, device
        self.make_view, self.n_views = make_view, n_views
        self.further: Sequence[ViewMaker] = ()
        self._rows = _Rows(images, device)

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.images)

    def inputs(self, indices: Indices) -> Tensor:
        """Return the (B, C, H, W) float32 pictures in [0, 1] at (B,) positions."""
        pixels = self._rows[indices].permute(0, 3, 1, 2)
        return pixels.to(torch.float32, memory_format=torch.contiguous_format).div_(255)

    def batch(self, indices: Indices) -> Batch:
        """Return pictures, views of them, and (B,) positions."""
        images = self.inputs(indices)
        makers = [] if self.make_view is None else [self.make_view] * self.n_views + [*self.further]
        return Batch(images, tuple(make(images) for make in makers), torch.from_numpy(indices).to(self.device))


class FeatureData:
    """Stored features (N, V, ...) of V views of each picture, the first of the unchanged picture."""

    def __init__(self, features: NDArray[np.floating], device: torch.device):
        self.device = device
        self._rows = _Rows(features, device)

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._rows.rows)

    def inputs(self, indices: Indices) -> Tensor:
        """Return the (B, ...) float32 features of the unchanged pictures at (B,) positions."""
        return self._rows[indices, np.zeros_like(indices)].float()

    def batch(self, indices: Indices) -> Batch:
        """Return features, those of one view of each picture drawn at random, and (B,) positions."""
        number = self._rows.rows.shape[1]
        views = (self._rows[indices, _one_of(number, len(indices))].float(),)
        return Batch(self.inputs(indices), views, torch.from_numpy(indices).to(self.device))


class NeighbourPairs:
    """Any data, where the second view of each picture is one of its neighbours, drawn at random."""

    def __init__(self, data: TrainingData, neighbours: Indices):
        """Pair the N pictures of `data` with their neighbours, (N, K) positions."""
        self.data, self.neighbours, self.device = data, neighbours, data.device

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.data)

    def inputs(self, indices: Indices) -> Tensor:
        """Return the network's input for the pictures at (B,) positions."""
        return self.data.inputs(indices)

    def batch(self, indices: Indices) -> Batch:
        """Return pictures with two views, their own first and a neighbour's first, and (B,) positions."""
        batch = self.data.batch(indices)
        chosen = _one_of(self.neighbours.shape[1], len(indices))
        other = self.data.batch(self.neighbours[indices, chosen])
        return batch._replace(views=(batch.views[0], other.views[0]))


def _one_of(number: int, rows: int) -> Indices:
    """Draw one of a number of places for each row: (rows,)."""
    found: Indices = drawn(lambda all_rows: torch.randint(number, (all_rows,)), rows).numpy()
    return found
