"""Hierarchical k-means on the features, so that rare kinds of pictures keep groups of their own."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from selfsort.clustering.hierarchical_kmeans import clustering_of_levels, hierarchical_kmeans
from selfsort.clustering.kmeans import sample_of
from selfsort.clustering.space import centred
from selfsort.heads.kmeans import KMeansHead


@dataclass(frozen=True, eq=False)
class HierarchicalHead(KMeansHead):
    """Hierarchical k-means with resampling (Vo et al. 2024): rare kinds keep groups beside frequent ones."""

    @classmethod
    def fit(cls, features: NDArray[np.float32], n_classes: int, *, random_state: int = 0) -> Self:
        """Find `n_classes` groups in (N, D) features."""
        points, mean = centred(sample_of(features, n_classes, random_state))
        levels = hierarchical_kmeans(points, n_classes, random_state=random_state)
        return cls(mean, clustering_of_levels(levels, random_state))
