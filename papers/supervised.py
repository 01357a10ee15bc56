"""Classifiers that learn from labels, as references for the methods, which see none (papers 1 and 2).

They belong to evaluation, like the probes, but are trained by the training loop, which is above it. A label never
enters a batch: it is looked up by the picture's index.
"""

from contextlib import nullcontext
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from selfsort.errors import UserError
from selfsort.models.base import Batch, Net, Output
from selfsort.models.per_image import PerImage


class SupervisedNet(Net):
    """A network and a head on its embedding that learn to predict labels, by cross-entropy.

    Attributes
    ----------
    net : the network whose embedding is classified
    head : maps (B, D) embeddings to (B, K) scores
    frozen : the network is not changed, and only the head learns
    own_weight : weight of the network's own loss, added to the cross-entropy
    known : (N, D) embedding of the pictures by a frozen network, looked up instead of computed at each step

    """

    def __init__(
        self,
        net: Net,
        head: nn.Module,
        labels: ArrayLike,
        *,
        frozen: bool = False,
        own_weight: float = 0.0,
        known: NDArray[np.float32] | None = None,
    ):
        super().__init__()
        numbers = np.asarray(labels, dtype=np.int64)
        if (numbers < 0).any():
            raise UserError("Some pictures have no label: leave them out, since the classifier would learn them.")
        self.net, self.head, self.frozen, self.own_weight = net, head, frozen, own_weight
        self.net.requires_grad_(not frozen)
        self.labels = PerImage(torch.from_numpy(numbers))
        self.known = None if known is None else PerImage(torch.from_numpy(known))

    def loss(self, batch: Batch) -> Tensor:
        """Return the cross-entropy of the views' labels, and the network's own loss if it has a weight."""
        embedding = self._embedding(batch) if self.known is None else self.known[batch.indices]
        loss = F.cross_entropy(self.head(embedding).float(), self.labels[batch.indices])
        return loss + self.own_weight * self.net.loss(batch) if self.own_weight else loss

    def _embedding(self, batch: Batch) -> Tensor:
        with torch.no_grad() if self.frozen else nullcontext():
            return self.net(batch.views[0]).embedding

    def forward(self, inputs: Tensor) -> Output:
        """Return the network's (B, D) embedding and the (B, K) scores of the labels."""
        embedding = self.net(inputs).embedding
        return Output(embedding, cast(Tensor, self.head(embedding)))

    def train(self, mode: bool = True) -> "SupervisedNet":
        """Set the mode; a frozen network stays in evaluation mode, because its running means would change as well."""
        super().train(mode)
        if self.frozen:
            self.net.eval()
        return self
