"""Spherical k-means, on the features or on a UMAP of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from selfsort.clustering.assign import Clustering, fit_clustering
from selfsort.clustering.kmeans import sample_of
from selfsort.clustering.space import centred, unit_rows
from selfsort.schema import check_arrays

_BLOCK = 8192


@dataclass(frozen=True, eq=False)
class KMeansHead:
    """k-means on a UMAP of the features, less their mean and of unit length; of very many, on a sample.

    Attributes
    ----------
    mean : (D,) mean of the features
    clusters : the clusters; a new picture gets the votes of its nearest points

    """

    mean: NDArray[np.float32]
    clusters: Clustering

    @classmethod
    def fit(cls, features: NDArray[np.float32], n_classes: int, *, random_state: int = 0) -> Self:
        """Find `n_classes` groups in (N, D) features."""
        points, mean = centred(sample_of(features, n_classes, random_state))
        return cls(mean, fit_clustering(points, n_classes, space="umap", random_state=random_state))

    def predict_proba(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the (M, n_classes) shares of votes for (M, D) features."""
        found = np.empty((len(features), self.clusters.n_clusters), np.float32)
        for start in range(0, len(features), _BLOCK):
            rows = slice(start, start + _BLOCK)
            found[rows] = self.clusters.predict_proba(unit_rows(features[rows] - self.mean))
        return found

    def state(self) -> Mapping[str, NDArray[np.generic]]:
        """Return everything that `from_state` needs, as plain arrays."""
        return {"mean": self.mean, **self.clusters.state()}

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[np.generic]]) -> Self:
        """Restore what `state` returned; raise `Invalid` if it cannot have returned these arrays."""
        clusters = Clustering.from_state({name: array for name, array in state.items() if name != "mean"})
        found = {name: array for name, array in state.items() if name == "mean"} | {"points": clusters.reference}
        check_arrays(found, {"mean": "D", "points": "ND"})
        return cls(state["mean"].astype(np.float32), clusters)
