"""The groups of a fitted model as PyTorch modules, so that they can be part of an exported graph."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from selfsort.clustering.assign import Clustering
from selfsort.errors import UserError
from selfsort.heads.base import Groups
from selfsort.heads.kmeans import KMeansHead
from selfsort.heads.learning import LinearHead


def as_module(groups: Groups) -> nn.Module:
    """Return a module from (N, D) embeddings to the (N, K) float32 memberships that `predict_proba` returns.

    Raises
    ------
    UserError
        For groups of a kind that no module computes.

    """
    if isinstance(groups, KMeansHead):
        return nn.Sequential(_Centred(groups.mean), Votes(groups.clusters))
    if isinstance(groups, LinearHead):
        return nn.Sequential(_Centred(groups.mean), _Linear(groups))
    if isinstance(groups, Clustering):
        return Votes(groups)
    raise UserError(f"Groups of the kind {type(groups).__name__} cannot be exported: only `selfsort predict` has them.")


class Votes(nn.Module):
    """The votes of labelled points on (N, D) others; see `Clustering`."""

    reference: Tensor
    squares: Tensor
    centre: Tensor
    members: Tensor

    def __init__(self, groups: Clustering):
        super().__init__()
        centre = groups.reference.mean(0, dtype=np.float64)
        # In double precision, since distances from an expanded square lose half of their digits.
        reference = torch.from_numpy(groups.reference - centre)
        self.register_buffer("centre", torch.from_numpy(centre))
        self.register_buffer("reference", reference)
        self.register_buffer("squares", reference.square().sum(1))
        self.register_buffer("members", torch.eye(groups.n_clusters)[torch.from_numpy(groups.reference_labels)])
        self.n_neighbors, self.scale = groups.n_neighbors, groups.scale

    def forward(self, embedding: Tensor) -> Tensor:
        """Return the (N, K) shares of votes for an (N, D) embedding."""
        points = embedding.double() - self.centre
        squared = points.square().sum(1, keepdim=True) + self.squares - 2 * points @ self.reference.T  # (N, M)
        nearest, voters = squared.clamp_min(0).topk(self.n_neighbors, 1, largest=False)
        weights = ((nearest[:, :1] - nearest) / self.scale).exp().float()
        votes = (weights[:, :, None] * self.members[voters]).sum(1)
        return votes / votes.sum(1, keepdim=True)


class _Centred(nn.Module):
    """Rows less a mean, of unit length."""

    mean: Tensor

    def __init__(self, mean: NDArray[np.float32]):
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(mean))

    def forward(self, rows: Tensor) -> Tensor:
        centred = rows - self.mean
        return centred / centred.double().square().sum(1, keepdim=True).sqrt().clamp_min(1e-12).float()


class _Linear(nn.Module):
    """The classifier of a head that learnt."""

    weight: Tensor
    bias: Tensor

    def __init__(self, head: LinearHead):
        super().__init__()
        self.register_buffer("weight", torch.from_numpy(head.axes @ head.weight))
        self.register_buffer("bias", torch.from_numpy(head.bias))

    def forward(self, rows: Tensor) -> Tensor:
        return (rows @ self.weight + self.bias).softmax(1)
