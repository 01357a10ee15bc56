"""SCP: one small head trained to agree on neighbours, to be confident, and to use all classes."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfsort.heads.learning import LinearHead, agreeing, entropy, pair_consistency, points_of

CONFIDENCE = 1.0
ENTROPY = 5.0


@dataclass(frozen=True, eq=False)
class ScpHead(LinearHead):
    """One small head on pairs of neighbours, the simplest head that learns (after Li et al. 2025, arXiv 2502.04226)."""

    @classmethod
    def fit(cls, features: NDArray[np.float32], n_classes: int, *, random_state: int = 0) -> Self:
        """Find `n_classes` groups in (N, D) features."""
        points, generator = points_of(features, n_classes), torch.Generator().manual_seed(random_state)
        return cls(points.mean, points.axes, *agreeing(points, n_classes, 1, scp_loss, generator).head(0))


def scp_loss(one: Tensor, other: Tensor) -> Tensor:
    """Return the (n_heads,) loss of log probabilities (B, n_heads, n_classes): of pictures, and of a neighbour of each.

    Neighbours should agree, each be confident of its class, and all classes be used equally: the paper's three terms,
    with our weights.
    """
    agree = pair_consistency(one, other).mean(0)
    unsure = (entropy(one.exp()) + entropy(other.exp())).mean(0) / 2
    used = (entropy(one.exp().mean(0)) + entropy(other.exp().mean(0))) / 2
    return agree + CONFIDENCE * unsure - ENTROPY * used
