"""k-means on faiss: seeded, with restarts, and without empty clusters."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from selfsort.clustering.neighbours import as_points, nearest
from selfsort.errors import UserError
from selfsort.threads import one_thread

_MOST_FITTED = 100_000  # with more points, the centers are found in a sample
_FITTED_PER_CLUSTER = 50  # at least, in a sample
_INIT_SAMPLE = 20_000  # points that k-means++ draws from; its cost grows with points times clusters
_SMALL_WORK = 1_000_000_000  # multiplications per step, which take one core about 30 ms


@dataclass(frozen=True, eq=False)
class KMeansResult:
    """The result of `kmeans`: centers (K, D), labels (N,), and the sum of squared distances to the own center."""

    centers: NDArray[np.float32]
    labels: NDArray[np.int64]
    inertia: float


def kmeans(
    points: ArrayLike, n_clusters: int, *, restarts: int = 10, iterations: int = 100, random_state: int = 0
) -> KMeansResult:
    """Split points (N, D) into `n_clusters` groups that minimise the squared distances to their means.

    Keeps the best of `restarts` runs of at most `iterations` steps, all started by k-means++ (Arthur and Vassilvitskii,
    2007). The same seed gives the same bits on the same machine. No cluster is empty.

    Of more than 100,000 points (or 50 for each cluster, if that is more), the centers are found in a sample of so many.
    The others are only read, a block at a time: `points` may be a float32 memory map of a file larger than memory.

    Raises UserError for less than one cluster, more clusters than different points, or values that are not finite.

    >>> round(kmeans([[0.0], [0.2], [5.0], [5.2]], 2).inertia, 3)
    0.04
    """
    points = as_points(points)
    check_n_clusters(n_clusters, len(points))
    sample = sample_of(points, n_clusters, random_state)
    found = _fit(sample, n_clusters, restarts, iterations, random_state)
    if len(sample) == len(points):
        return found
    return without_empty_clusters(points, found.centers)


def sample_size(n_points: int, n_clusters: int) -> int:
    """Return in how many of the points clusters are found."""
    return min(n_points, max(_MOST_FITTED, _FITTED_PER_CLUSTER * n_clusters))


def sample_of(points: NDArray[np.float32], n_clusters: int, random_state: int = 0) -> NDArray[np.float32]:
    """Return a copy of those points, in order, that clusters are found in; the points themselves if they are few."""
    size = sample_size(len(points), n_clusters)
    if size == len(points):
        return points
    return points[np.sort(np.random.default_rng(random_state).choice(len(points), size, replace=False))]


def _fit(
    points: NDArray[np.float32], n_clusters: int, restarts: int, iterations: int, random_state: int
) -> KMeansResult:
    offset = points.mean(axis=0, dtype=np.float64).astype(np.float32)
    centered = points - offset  # faiss expands (x - y)^2, which loses digits far from the origin
    seeds = np.random.default_rng(random_state).integers(2**31, size=max(1, restarts))
    with _few_threads(centered.size * n_clusters):
        runs = [_run(centered, n_clusters, iterations, int(seed)) for seed in seeds]
    _, centers = min(runs, key=lambda run: run[0])
    return without_empty_clusters(points, centers + offset)


def check_n_clusters(n_clusters: int, n_points: int) -> None:
    """Raise UserError unless 1 <= n_clusters <= n_points."""
    if n_clusters < 1:
        raise UserError(f"{n_clusters} is too few clusters: ask for at least 1.")
    if n_clusters > n_points:
        raise UserError(f"{n_clusters} clusters cannot be made from {n_points} points: ask for at most {n_points}.")


def count_different(points: NDArray[np.float32], most: int) -> int:
    """Count different points, at most `most`."""
    seen: set[bytes] = set()
    for point in points:
        if len(seen) >= most:
            break
        seen.add((point + np.float32(0)).tobytes())  # -0 equals 0
    return len(seen)


def _few_threads(work: int) -> AbstractContextManager[object]:
    # Threads that wait for each other at every short step gain little, and take up to a hundred times as long as a
    # single one when other processes want the same cores.
    import faiss  # noqa: F401 (only loaded libraries can be limited)
    import sklearn.cluster  # noqa: F401

    return one_thread() if work < _SMALL_WORK else nullcontext()


def _run(points: NDArray[np.float32], n_clusters: int, iterations: int, seed: int) -> tuple[float, NDArray[np.float32]]:
    import faiss

    algorithm = faiss.Kmeans(
        points.shape[1],
        n_clusters,
        niter=iterations,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=len(points),
    )
    inertia = algorithm.train(points, init_centroids=_initial_centers(points, n_clusters, seed))
    return float(inertia), np.asarray(algorithm.centroids, dtype=np.float32)


def _initial_centers(points: NDArray[np.float32], n_clusters: int, seed: int) -> NDArray[np.float32]:
    # scikit-learn's k-means++ tries several points per step; faiss's tries one, with results up to 1 % worse on digits.
    from sklearn.cluster import kmeans_plusplus

    size = max(_INIT_SAMPLE, 20 * n_clusters)
    if len(points) > size:
        points = points[np.sort(np.random.default_rng(seed).choice(len(points), size, replace=False))]
    return np.ascontiguousarray(kmeans_plusplus(points, n_clusters, random_state=seed)[0])


def without_empty_clusters(points: NDArray[np.float32], centers: NDArray[np.float32]) -> KMeansResult:
    """Assign the points, moving the center of an empty cluster to the point farthest from its own center."""
    n_clusters = len(centers)
    for _ in range(2 * n_clusters):
        with _few_threads(points.size * n_clusters):
            squared, indices = nearest(points, centers, 1)
        labels = indices[:, 0]
        empty = np.flatnonzero(np.bincount(labels, minlength=n_clusters) == 0)
        if not empty.size:
            return KMeansResult(centers, labels, float(squared.sum(dtype=np.float64)))
        centers[empty[0]] = points[squared.argmax()]
    raise UserError(
        f"There are fewer than {n_clusters} different points: ask for fewer clusters, "
        "or train again if the embedding has collapsed."
    )
