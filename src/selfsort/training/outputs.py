"""The outputs of a network for data: one pass per picture."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfsort import ranks
from selfsort.memory import keep_freed_memory
from selfsort.models.base import Net
from selfsort.training.data import Indices, TrainingData


def outputs(
    net: Net, data: TrainingData, batch_size: int | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Return the (N, D) embedding and, if the network has classes of its own, the (N, K) logits of N pictures.

    Leaves the network in evaluation mode, on the data's device.
    """
    # In float32 whatever the training's precision: the same picture gets the same cluster on every machine.
    keep_freed_memory()
    # The maps of more pictures at once do not fit the CPU cache: small networks are a third slower with 256.
    batch_size = batch_size or (128 if data.device.type == "cpu" else 256)
    net = net.to(data.device).to(memory_format=torch.channels_last).eval()
    with torch.inference_mode():
        return one_pass(net, data, np.array_split(np.arange(len(data)), math.ceil(len(data) / batch_size)))


def one_pass(
    net: Net, data: TrainingData, batches: Sequence[Indices]
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Return embedding and logits of the pictures at positions in batches; each process passes a part of the batches.

    The network is used as it is, whatever its mode.
    """
    ends = np.cumsum([0, *map(len, batches)])
    first, last = (len(batches) * number // ranks.size() for number in (ranks.rank(), ranks.rank() + 1))
    embedding, logits = _Filled(int(ends[-1])), _Filled(int(ends[-1]))
    for number in range(first, last):
        found = net(data.inputs(batches[number]))
        embedding.put(int(ends[number]), found.embedding)
        if found.logits is not None:
            logits.put(int(ends[number]), found.logits)
    own = int(ends[first]), int(ends[last])
    rows = embedding.of_all(own)
    assert rows is not None
    return rows, logits.of_all(own)


class _Filled:
    """An array of `count` rows that is allocated when the first of them arrive."""

    def __init__(self, count: int):
        self.count = count
        self.rows: NDArray[np.float32] | None = None

    def put(self, start: int, part: Tensor) -> None:
        values = part.float().cpu().numpy()
        if self.rows is None:
            self.rows = np.empty((self.count, *values.shape[1:]), np.float32)
        self.rows[start : start + len(values)] = values

    def of_all(self, own: tuple[int, int]) -> NDArray[np.float32] | None:
        """Return the rows of all processes, of which this one has filled those from `own[0]` to `own[1]`."""
        if ranks.size() == 1:
            return self.rows
        parts = ranks.all_values((own, None if self.rows is None else self.rows.shape))
        shape = next((shape for _, shape in parts if shape is not None), None)
        if shape is None:
            return None
        rows = np.empty(shape, np.float32) if self.rows is None else self.rows
        for number, ((start, end), _) in enumerate(parts):
            if end > start:
                torch.distributed.broadcast(torch.from_numpy(rows[start:end]), src=number)
        return rows
