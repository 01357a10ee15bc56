"""Complete linkage below a distance, exact, with memory for the close pairs instead of all pairs."""

import math
from typing import Any, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClusterMixin

from selfsort.clustering.agglomerate import BYTES_PER_PAIR, Merges, complete_linkage, dendrogram
from selfsort.clustering.close_pairs import CloseFinder, Metric, Pairs, Points, TooManyPairs
from selfsort.clustering.compiled import compiled
from selfsort.clustering.estimators import validated
from selfsort.errors import UserError

_GIB = 1 << 30
_LARGEST_COSINE = 2.0
_MOST_PAIRS = 2**31 - 2  # as many as a 32-bit rank can distinguish


class ThresholdTooLarge(UserError):
    """More pairs of points are closer than the threshold than fit into memory.

    Attributes
    ----------
    fitting : a threshold, estimated from a sample, below which they are few enough; 0 if there is none

    """

    fitting = 0.0


class CompleteLinkage(ClusterMixin, BaseEstimator):  # type: ignore[misc]
    """Clusters in which no two points lie farther apart than a threshold, by complete linkage.

    The partition is that of SciPy's `linkage(points, "complete", metric)` cut at `distance_threshold`, including merges
    exactly at the threshold. Merging below it needs only the pairs of points that are closer: these are found in tiles,
    and the merges are computed on the sparse graph that they form. The memory is that of the close pairs (about 48
    bytes each), not that of all N (N - 1) / 2.

    Ties: equal rows are merged first, and count as one point in the place of the first of them. Other pairs of points
    at equal distance are taken in the order of their rows, (0, 1), (0, 2), …, (1, 2), …, as if each were
    infinitesimally farther apart than the one before. SciPy orders ties differently, so its partition may differ there.

    Parameters
    ----------
    distance_threshold : the largest distance within a cluster; above 0, for "cosine" at most 2
    metric : "euclidean", or "cosine" (1 minus the cosine of the angle)
    memory_gib : memory that `fit` may take besides the points

    Attributes
    ----------
    labels_ : (N,) int64 cluster of each point; clusters are numbered in the order of their first points
    n_clusters_ : number of clusters
    dendrogram_ : (N - n_clusters_, 4) float64 merges in the order of their heights, as in the first rows of SciPy's
        linkage: the two clusters (below N a point, N + i the result of row i), the distance, and the number of points
        in the new cluster. Nothing is known above the threshold: it is a forest of n_clusters_ trees, including single
        points

    Examples
    --------
    >>> linkage = CompleteLinkage(distance_threshold=1.5).fit([[0.0], [1.0], [2.0], [9.0]])
    >>> linkage.labels_.tolist(), linkage.dendrogram_.tolist()
    ([0, 0, 1, 2], [[0.0, 1.0, 1.0, 2.0]])

    """

    def __init__(
        self, *, distance_threshold: float = 1.0, metric: Metric = "euclidean", memory_gib: float = 4.0
    ) -> None:
        self.distance_threshold, self.metric, self.memory_gib = distance_threshold, metric, memory_gib

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Cluster points (N, D).

        Raises UserError for a threshold outside the metric's range, points that are not finite or have no direction,
        and, before any work, if the close pairs would not fit into `memory_gib`; it suggests a threshold that would.
        """
        threshold = self._checked_threshold()
        points = validated(self, X)
        if self.metric == "cosine" and not (has_direction := np.abs(points).max(axis=1) > 0).all():
            place = int(np.argmin(has_direction))
            raise UserError(f"Row {place} is all zeros and has no direction: leave it out or use metric='euclidean'.")
        first, inverse = _distinct(points)
        distinct = points if len(first) == len(points) else points[first]
        merges = complete_linkage(self._close_pairs(distinct, threshold), len(distinct))
        self._keep(_merges_of_equals(first, inverse), merges, first, len(points))
        return self

    def _checked_threshold(self) -> float:
        if self.metric not in get_args(Metric):
            raise UserError(f"metric={self.metric!r} must be one of {', '.join(get_args(Metric))}.")
        threshold, largest = self.distance_threshold, _LARGEST_COSINE if self.metric == "cosine" else math.inf
        if not _is_number(threshold) or not 0 < threshold <= largest or math.isinf(threshold):
            upper = f" and at most {largest:g}, the largest cosine distance" if self.metric == "cosine" else ""
            raise UserError(f"distance_threshold={threshold!r} must be a finite number above 0{upper}.")
        if not _is_number(self.memory_gib) or not self.memory_gib > 0:
            raise UserError(f"memory_gib={self.memory_gib!r} must be a number above 0.")
        return float(threshold)

    def _close_pairs(self, points: Points, threshold: float) -> Pairs:
        finder = CloseFinder(points, threshold, self.metric)
        all_pairs = len(points) * (len(points) - 1) // 2
        most = max(0, int(min((self.memory_gib * _GIB - finder.memory()) // BYTES_PER_PAIR, _MOST_PAIRS)))
        if all_pairs > most:
            distances = finder.sampled_distances()
            expected = all_pairs * float(np.mean(distances <= threshold))
            if expected > most:
                raise self._too_many(expected, most, all_pairs, distances)
        try:
            return finder.pairs(most)
        except TooManyPairs:
            raise self._too_many(1.05 * most, most, all_pairs, distances) from None

    def _too_many(
        self, expected: float, most: int, all_pairs: int, distances: NDArray[np.float32]
    ) -> ThresholdTooLarge:
        """Suggest a threshold that leaves a tenth of the memory free, from a sample of the distances."""
        place = int(0.9 * max(most, 0) / all_pairs * len(distances))
        fitting = _rounded_down(float(distances[place])) if place else 0.0
        way = f"use distance_threshold={fitting:g} or a smaller one, or" if fitting else "use fewer points, or"
        count, gib = float(f"{expected:.2g}"), max(expected, 1) * BYTES_PER_PAIR / _GIB
        error = ThresholdTooLarge(
            f"About {count:,.0f} pairs of points lie within {self.distance_threshold:g} of each other, which takes "
            f"about {gib:.2g} GiB, more than memory_gib={self.memory_gib:g} allows: {way} raise memory_gib."
        )
        error.fitting = fitting
        return error

    def _keep(self, equals: Merges, merges: Merges, first: NDArray[np.intp], n_points: int) -> None:
        heights = np.concatenate([equals.heights, merges.heights])
        self.dendrogram_, clusters = np.empty((len(heights), 4)), np.empty(n_points, np.int64)
        compiled(dendrogram)(
            np.concatenate([equals.first, first[merges.first]]),
            np.concatenate([equals.second, first[merges.second]]),
            heights,
            self.dendrogram_,
            clusters,
        )
        self.labels_ = _numbered(clusters)[1]
        self.n_clusters_ = n_points - len(heights)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _rounded_down(value: float) -> float:
    """Keep three digits.

    >>> _rounded_down(0.098765)
    0.0987
    """
    if value <= 0:
        return 0.0
    step = 10.0 ** (math.floor(math.log10(value)) - 2)
    return float(f"{math.floor(value / step) * step:.3g}")


def _distinct(points: Points) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the first row of each different point, in order, and each row's (N,) position among these points."""
    firsts: dict[bytes, int] = {}
    # Adding 0 turns -0 into 0, so that equal rows have equal bytes.
    own = np.array([firsts.setdefault((row + 0).tobytes(), place) for place, row in enumerate(points)], np.intp)
    return _numbered(own)


def _numbered(values: NDArray[np.integer[Any]]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the first position of each different value, in order, and the number (N,) of each value in that order."""
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return first[order], np.argsort(order)[inverse]


def _merges_of_equals(first: NDArray[np.intp], inverse: NDArray[np.intp]) -> Merges:
    """Return the merges, at height 0, of every repeated row with its first occurrence."""
    repeated = np.setdiff1d(np.arange(len(inverse)), first, assume_unique=True)
    repeated = repeated[np.argsort(inverse[repeated], kind="stable")]
    return Merges(first[inverse[repeated]], repeated, np.zeros(len(repeated)))
