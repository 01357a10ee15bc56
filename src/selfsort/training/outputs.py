"""The outputs of a network for data: one pass per picture."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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
    embedding, logits = _Filled(len(data)), _Filled(len(data))
    with torch.inference_mode():
        for indices in np.array_split(np.arange(len(data)), math.ceil(len(data) / batch_size)):
            found = net(data.inputs(indices))
            embedding.put(indices, found.embedding)
            if found.logits is not None:
                logits.put(indices, found.logits)
    assert embedding.rows is not None
    return embedding.rows, logits.rows


class _Filled:
    """An array of `count` rows that is allocated when the first of them arrive."""

    def __init__(self, count: int):
        self.count = count
        self.rows: NDArray[np.float32] | None = None

    def put(self, indices: Indices, part: Tensor) -> None:
        values = part.float().cpu().numpy()
        if self.rows is None:
            self.rows = np.empty((self.count, *values.shape[1:]), np.float32)
        self.rows[indices] = values
