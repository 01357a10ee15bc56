"""ICCE: many heads trained on suitable neighbours of each picture, their consensus, and a classifier trained on it."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfsort.clustering.kmeans import kmeans
from selfsort.clustering.neighbours import nearest_others
from selfsort.heads.learning import Classifiers, LinearHead, NearPairs, points_of, train
from selfsort.heads.temi import TEMPERATURE, fit_heads

_NEIGHBOURS = 50
_STEPS = 300


@dataclass(frozen=True, eq=False)
class IcceHead(LinearHead):
    """Many heads on adaptive neighbours, their consensus, and a classifier trained on it (Baydar and Akbas 2025)."""

    @classmethod
    def fit(cls, features: NDArray[np.float32], n_classes: int, *, random_state: int = 0) -> Self:
        """Find `n_classes` groups in (N, D) features."""
        points, generator = points_of(features, n_classes), torch.Generator().manual_seed(random_state)
        squared, indices = nearest_others(points.values.numpy(), _NEIGHBOURS)
        heads, _ = fit_heads(points, NearPairs(indices, adaptive_counts(squared), generator), n_classes, generator)
        with torch.no_grad():
            votes = (heads(points.values) / TEMPERATURE).softmax(-1)
        labels = torch.from_numpy(consensus(votes.numpy(), n_classes, random_state))
        learner = Classifiers(1, points.values.shape[1], n_classes, generator)

        def loss(batch: Tensor) -> Tensor:
            return torch.nn.functional.cross_entropy(learner(points.values[batch])[:, 0], labels[batch])[None]

        train(learner.parameters, loss, len(labels), generator, steps=_STEPS, learning_rate=2e-3)
        return cls(points.mean, points.axes, *learner.head(0))


def adaptive_counts(squared: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return how many of its nearest neighbours to use for each point, (N,), at least 1, from squared distances (N, K).

    Neighbours count if they are nearer than the mean distance over all points and neighbours: points in a crowd keep
    many, points between groups few.
    """
    distances = np.sqrt(squared)
    counts: NDArray[np.int64] = (distances <= distances.mean()).sum(1)
    return counts.clip(1)


def consensus(votes: NDArray[np.float32], n_classes: int, random_state: int) -> NDArray[np.int64]:
    """Return the (N,) labels on which several heads agree most, from their probabilities (N, n_heads, n_classes).

    This is k-means on the square roots of all heads' probabilities: the scalar product of two points then measures how
    far the heads put both into one class, summed over the heads, whatever numbers these give their classes.
    """
    rows = np.sqrt(votes.reshape(len(votes), -1))
    found = min(n_classes, len(np.unique(rows, axis=0)))
    result: NDArray[np.int64] = kmeans(rows, found, random_state=random_state).labels
    return result
