"""Hierarchical k-means with resampling: clusters spread over the kinds of points rather than over their number."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from selfsort.clustering.assign import Clustering, clustering_of
from selfsort.clustering.estimators import VotingClusters, check_positive_integers, validated
from selfsort.clustering.kmeans import (
    KMeansResult,
    check_n_clusters,
    count_different,
    kmeans,
    sample_of,
    sample_size,
    without_empty_clusters,
)
from selfsort.clustering.neighbours import as_points
from selfsort.errors import UserError

_RESAMPLINGS = 3
_ITERATIONS = 20
_RESTARTS, _SMALL_WORK = 10, 100_000  # on levels of fewer points times clusters; others have one run
_POINTS_PER_CLUSTER = 20  # of the finest level, on average
_MOST_CLUSTERS = 1_000
_MOST_KINDS = 100  # of an even sample
_CLUSTERS_PER_CLUSTER = 10  # of the level above


def hierarchical_kmeans(
    points: ArrayLike,
    n_clusters: int,
    *,
    level_sizes: Sequence[int] | None = None,
    resamplings: int = _RESAMPLINGS,
    random_state: int = 0,
) -> tuple[KMeansResult, ...]:
    """Split points (N, D) into clusters, their centers into fewer clusters, and so on; return the levels, finest first.

    The labels of the first level are those of the points, (N,), and the labels of each other level those of the centers
    below. The last level has `n_clusters`; `level_sizes` gives the numbers of the levels before it. By default the
    finest has one for every 20 points, at most 1,000, and each level has about a tenth of the clusters below. On each
    level, k-means is repeated `resamplings` times on only those points that are nearest to their centers, equally many
    of each cluster: the centers move from where points are dense to where points are at all, so that few points of
    their own kind keep clusters, however many there are of other kinds (Vo et al. 2024, arXiv 2405.15613).

    Points that k-means would sample are sampled here, too. Raises UserError in the same cases as `kmeans`, and for
    sizes that do not decrease to `n_clusters`.

    >>> [len(level.centers) for level in hierarchical_kmeans(np.arange(400)[:, None], 2)]
    [20, 2]
    """
    below = as_points(points)
    check_n_clusters(n_clusters, len(below))
    sizes = _default_sizes(below, n_clusters, random_state) if level_sizes is None else (*level_sizes, n_clusters)
    if any(fewer >= more for more, fewer in zip(sizes, sizes[1:], strict=False)):
        raise UserError(f"level_sizes={tuple(sizes[:-1])} must decrease, and end above the {n_clusters} clusters.")
    levels: list[KMeansResult] = []
    for size in sizes:
        levels.append(resampled_kmeans(below, size, resamplings=resamplings, random_state=random_state))
        below = levels[-1].centers
    return tuple(levels)


def resampled_kmeans(
    points: NDArray[np.float32], n_clusters: int, *, resamplings: int = _RESAMPLINGS, random_state: int = 0
) -> KMeansResult:
    """Return one level of `hierarchical_kmeans`, of points (N, D)."""
    restarts = _RESTARTS if len(points) * n_clusters <= _SMALL_WORK else 1
    seeds = np.random.default_rng(random_state).integers(2**31, size=resamplings).tolist()
    count = max(1, sample_size(len(points), n_clusters) // (2 * n_clusters))
    result = kmeans(points, n_clusters, restarts=restarts, iterations=_ITERATIONS, random_state=random_state)
    for seed in seeds:
        rows = central_points(points, result, count)  # of every cluster, so that enough of them are different
        # Started anew each time: centers that are only moved on stay where the points are dense.
        found = kmeans(points[rows], n_clusters, restarts=restarts, iterations=_ITERATIONS, random_state=seed)
        result = without_empty_clusters(points, found.centers)
    return result


def central_points(points: NDArray[np.float32], result: KMeansResult, count: int) -> NDArray[np.int64]:
    """Return the rows of those `count` points of each cluster, or fewer, that are nearest to its center, ascending."""
    squared = np.empty(len(points), np.float32)
    for start in range(0, len(points), step := max(1, 2**22 // points.shape[1])):
        rows = slice(start, start + step)
        away = points[rows] - result.centers[result.labels[rows]]
        squared[rows] = np.einsum("nd,nd->n", away, away)
    order = np.lexsort((squared, result.labels))
    sizes = np.bincount(result.labels)
    rank = np.arange(len(points)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.sort(order[rank < count]).astype(np.int64)


def top_labels(levels: Sequence[KMeansResult]) -> NDArray[np.int64]:
    """Return the cluster on the last level of each center of the first, (K,)."""
    labels = np.arange(len(levels[0].centers), dtype=np.int64)
    for level in levels[1:]:
        labels = level.labels[labels]
    return labels


def clustering_of_levels(levels: Sequence[KMeansResult], random_state: int = 0) -> Clustering:
    """Return clusters that other points can join: the finest centers vote for their clusters on the last level."""
    return clustering_of(levels[0].centers, top_labels(levels), len(levels[-1].centers), random_state)


def balanced_sample(levels: Sequence[KMeansResult], size: int, *, random_state: int = 0) -> NDArray[np.int64]:
    """Draw `size` of the N points that were clustered, and return their rows, ascending; all if they are fewer.

    Each cluster of the last level gives equally many, or all of its points if it has fewer; of these, the clusters of
    the level below again give equally many, and so on (Vo et al. 2024).
    """
    finest = levels[0]
    order = np.random.default_rng(random_state).permutation(len(finest.labels))
    order = order[np.argsort(finest.labels[order], kind="stable")]
    counts = [np.bincount(finest.labels, minlength=len(finest.centers))]
    for level in levels[1:]:
        counts.append(np.bincount(level.labels, counts[-1], len(level.centers)).astype(np.int64))
    shares = equal_shares(counts[-1], size)
    for below, level in zip(reversed(counts[:-1]), reversed(levels[1:]), strict=True):
        parts, given = np.zeros(len(below), np.int64), shares
        for cluster, share in enumerate(given):
            children = np.flatnonzero(level.labels == cluster)
            parts[children] = equal_shares(below[children], int(share))
        shares = parts
    firsts = np.cumsum(counts[0]) - counts[0]
    chosen = [order[first : first + share] for first, share in zip(firsts, shares, strict=True)]
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def even_sample(points: ArrayLike, size: int, *, random_state: int = 0) -> NDArray[np.int64]:
    """Draw `size` of N points (N, D), rare kinds as often as frequent ones, and return their rows, ascending.

    The sample is balanced over at most 100 clusters; see `balanced_sample`. Raises UserError for a size below 1 or
    points that are not finite.
    """
    if size < 1:
        raise UserError(f"A sample of {size} is too small: ask for at least 1.")
    points = as_points(points)
    n_clusters = count_different(points, min(_MOST_KINDS, max(1, len(points) // _POINTS_PER_CLUSTER)))
    levels = hierarchical_kmeans(points, n_clusters, random_state=random_state)
    return balanced_sample(levels, size, random_state=random_state)


def equal_shares(counts: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Return how many to take of each of several piles so that they differ as little as possible and sum to `total`.

    No pile gives more than it has, `counts` (K,); earlier ones give one more if the total cannot be divided.
    """
    shares, left = np.zeros(len(counts), np.int64), min(total, int(counts.sum()))
    while left:
        open_ = np.flatnonzero(shares < counts)
        if left < len(open_):
            shares[open_[:left]] += 1
            break
        more = np.minimum(counts[open_] - shares[open_], left // len(open_))
        shares[open_] += more
        left -= int(more.sum())
    return shares


def _default_sizes(points: NDArray[np.float32], n_clusters: int, random_state: int) -> tuple[int, ...]:
    finest = min(len(points) // _POINTS_PER_CLUSTER, _MOST_CLUSTERS)
    finest = count_different(sample_of(points, finest, random_state), finest)
    if finest <= n_clusters:
        return (n_clusters,)
    steps = max(1, round(np.log(finest / n_clusters) / np.log(_CLUSTERS_PER_CLUSTER)))
    return (*dict.fromkeys(np.geomspace(finest, n_clusters, steps + 1).round().astype(int).tolist()),)


class HierarchicalKMeans(VotingClusters):
    """Hierarchical k-means with resampling, in which rare kinds of points keep clusters; see `hierarchical_kmeans`.

    Parameters
    ----------
    n_clusters : how many clusters to find
    level_sizes : decreasing numbers of clusters of the levels below; None chooses
    resamplings : how often k-means is repeated on each level, with equally many points of each cluster
    random_state : seed; the same seed gives the same bits on the same machine

    Attributes
    ----------
    labels_ : (N,) int64 cluster of each point
    cluster_centers_ : (n_clusters, D) float32 centers of the last level
    levels_ : the levels, finest first; `balanced_sample` draws from them
    clustering_ : the `Clustering` used by `predict`, for which the finest centers vote

    Examples
    --------
    >>> labels = HierarchicalKMeans(n_clusters=2).fit_predict([[0.0], [0.2], [5.0], [5.2]])
    >>> bool(labels[0] == labels[1] != labels[2])
    True

    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        level_sizes: Sequence[int] | None = None,
        resamplings: int = _RESAMPLINGS,
        random_state: int = 0,
    ) -> None:
        self.n_clusters, self.level_sizes = n_clusters, level_sizes
        self.resamplings, self.random_state = resamplings, random_state

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Cluster points (N, D); `y` is ignored.

        Raises UserError for parameters that are not positive integers, sizes that do not decrease, fewer different
        points than clusters, or points that are not finite.
        """
        check_positive_integers(self, "n_clusters", "resamplings")
        points = validated(self, X, ensure_min_samples=2)
        how: dict[str, Any] = {
            "level_sizes": self.level_sizes,
            "resamplings": self.resamplings,
            "random_state": self.random_state,
        }
        self.levels_ = hierarchical_kmeans(points, self.n_clusters, **how)
        self.clustering_ = clustering_of_levels(self.levels_, self.random_state)
        self.cluster_centers_ = self.levels_[-1].centers
        self.labels_ = self.clustering_.predict(points)
        return self
