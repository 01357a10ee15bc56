"""Clusters that new points can join without fitting again."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from selfsort.clustering.kmeans import KMeansResult, check_n_clusters, kmeans, sample_of
from selfsort.clustering.neighbours import as_points, nearest
from selfsort.clustering.space import Space, check_space, reduce
from selfsort.errors import UserError
from selfsort.schema import Invalid, check_arrays

_MOST_REFERENCES = 20_000
_NEIGHBORS = 15
_SHAPES = {"reference": "ND", "reference_labels": "N", "n_clusters": "", "n_neighbors": "", "scale": ""}
_CHUNK_VOTES = 2**22  # probabilities computed at a time; 32 MiB in float64


@dataclass(frozen=True, eq=False)
class Clustering:
    """Labelled points of the embedding, the nearest of which vote on the cluster of any other point.

    reference (M, D) float32 and reference_labels (M,) int64 are the voters; the `n_neighbors` nearest vote, each with
    the weight exp(-d^2 / scale), where d is the Euclidean distance.
    """

    reference: NDArray[np.float32]
    reference_labels: NDArray[np.int64]
    n_clusters: int
    n_neighbors: int
    scale: float

    def predict_proba(self, points: ArrayLike) -> NDArray[np.float32]:
        """Return each point's share of votes per cluster, (N, n_clusters) float32, rows summing to 1.

        A row depends only on its own point, bit for bit. Raises UserError for points of another width or not finite.
        """
        array = self._checked(points)
        shares = np.empty((len(array), self.n_clusters), dtype=np.float32)
        for rows in self._chunks(len(array)):
            shares[rows] = self._votes(array[rows])
        return shares

    def predict(self, points: ArrayLike) -> NDArray[np.int64]:
        """Return the cluster with the most votes for each point, (N,) int64; in a tie the lower number."""
        array = self._checked(points)
        labels = np.empty(len(array), dtype=np.int64)
        for rows in self._chunks(len(array)):
            labels[rows] = self._votes(array[rows]).astype(np.float32).argmax(axis=1)
        return labels

    def _checked(self, points: ArrayLike) -> NDArray[np.float32]:
        array = as_points(points)
        if array.shape[1] != self.reference.shape[1]:
            raise UserError(
                f"The points have {array.shape[1]} features, but the clusters were made "
                f"with {self.reference.shape[1]}: embed them with the same model."
            )
        return array

    def _chunks(self, n_points: int) -> Iterator[slice]:
        step = max(1, _CHUNK_VOTES // (self.n_clusters + self.n_neighbors))
        return (slice(start, start + step) for start in range(0, n_points, step))

    def _votes(self, points: NDArray[np.float32]) -> NDArray[np.float64]:
        squared, indices = nearest(points, self.reference, self.n_neighbors)
        # Relative to the nearest voter, so that at least one weight is 1 however far away the point is.
        weights = np.exp((squared[:, :1].astype(np.float64) - squared) / self.scale)
        cells = np.arange(len(points))[:, None] * self.n_clusters + self.reference_labels[indices]
        votes = np.bincount(cells.ravel(), weights.ravel(), minlength=len(points) * self.n_clusters)
        votes = votes.reshape(len(points), self.n_clusters)
        shares: NDArray[np.float64] = votes / votes.sum(axis=1, keepdims=True)
        return shares

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Return everything that `from_state` needs, as plain arrays."""
        return {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[np.generic]]) -> "Clustering":
        """Restore what `state` returned; raise `Invalid` if it cannot have returned these arrays."""
        check_arrays(state, _SHAPES)
        reference = np.ascontiguousarray(state["reference"], dtype=np.float32)
        labels = state["reference_labels"].astype(np.int64)
        n_clusters, n_neighbors, scale = int(state["n_clusters"]), int(state["n_neighbors"]), float(state["scale"])
        for name, number in (("n_clusters", n_clusters), ("n_neighbors", n_neighbors)):
            if not 1 <= number <= len(reference):
                raise Invalid(f"its {name} is {number}, of {len(reference)} points")
        if labels.min() < 0 or labels.max() >= n_clusters:
            raise Invalid(f"its reference_labels are not all from 0 to {n_clusters - 1}")
        if not scale > 0:
            raise Invalid(f"its scale is {scale}")
        return cls(reference, labels, n_clusters, n_neighbors, scale)


def fit_clustering(
    points: ArrayLike, n_clusters: int, *, space: Space = "embedding", restarts: int = 10, random_state: int = 0
) -> Clustering:
    """Cluster points (N, D) with k-means in a space; see `cluster_in_space`.

    >>> clusters = fit_clustering([[0.0], [0.2], [5.0], [5.2]], 2)
    >>> labels = clusters.predict([[0.1], [0.3], [4.0]])
    >>> bool(labels[0] == labels[1] != labels[2])
    True
    """
    return cluster_in_space(points, n_clusters, space=space, restarts=restarts, random_state=random_state)[1]


def cluster_in_space(
    points: ArrayLike,
    n_clusters: int,
    *,
    space: Space = "embedding",
    restarts: int = 10,
    iterations: int = 100,
    random_state: int = 0,
) -> tuple[KMeansResult, Clustering]:
    """Return the result of k-means in the given space, and the clusters that other points can join.

    In the embedding itself the K centers vote. In a reduced space the points themselves do (a seeded sample of 20,000
    if there are more): their neighbourhoods in the embedding replace the map into that space, which is discarded.
    Only those points are reduced that clusters are found in; the result is then about them. See `kmeans`.

    Raises UserError if there is no cluster, more clusters than different points, an unknown space, or values that are
    not finite. See `reduce`.
    """
    check_space(space)
    array = as_points(points)
    check_n_clusters(n_clusters, len(array))
    if space != "embedding":
        array = sample_of(array, n_clusters, random_state)
    reduced = reduce(array, space, random_state=random_state)
    result = kmeans(reduced, n_clusters, restarts=restarts, iterations=iterations, random_state=random_state)
    if space != "embedding":
        return result, clustering_of(array, result.labels, n_clusters, random_state)
    voters = np.arange(n_clusters, dtype=np.int64)
    return result, Clustering(result.centers, voters, n_clusters, n_clusters, _scale(result.inertia / len(array)))


def clustering_of(
    points: NDArray[np.float32], labels: NDArray[np.int64], n_clusters: int, random_state: int = 0
) -> Clustering:
    """Return clusters that are known of points (N, D), by their labels (N,), so that other points can join them."""
    chosen = _sample(labels, random_state)
    reference = points[chosen]
    # More voters than half a cluster would outvote smaller clusters even in their own region.
    n_neighbors = min(_NEIGHBORS, max(1, len(reference) // (2 * n_clusters)))
    squared, _ = nearest(reference, reference, n_neighbors + 1)  # the first is the point itself
    scale = _scale(float(squared[:, -1].mean(dtype=np.float64)))
    return Clustering(reference, labels[chosen], n_clusters, n_neighbors, scale)


def _sample(labels: NDArray[np.int64], random_state: int) -> NDArray[np.int64]:
    """Return the ascending indices of at most about 20,000 points from all clusters."""
    order = np.random.default_rng(random_state).permutation(len(labels))
    _, first = np.unique(labels[order], return_index=True)
    return np.union1d(order[:_MOST_REFERENCES], order[first]).astype(np.int64)


def _scale(mean_squared_distance: float) -> float:
    # If all distances are 0, the smallest scale lets the nearest voter decide alone.
    return max(mean_squared_distance, float(np.finfo(np.float32).tiny))
