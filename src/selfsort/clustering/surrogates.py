"""Surrogate classes of several pictures each, by complete linkage (paper 3, section 3.3)."""

import logging
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from selfsort.clustering.complete_linkage import CompleteLinkage, ThresholdTooLarge
from selfsort.clustering.neighbours import as_points
from selfsort.errors import UserError

Rows = NDArray[np.int64]
_PAIRS_GIB = 4.0

_log = logging.getLogger(__name__)
_Warn = Callable[[str], object]


def surrogate_classes(
    features: ArrayLike,
    n_classes: int,
    *,
    distance_threshold: float = 1.25,
    largest: int = 7,
    neighbours: int = 3,
    random_state: int = 0,
    warn: _Warn = _log.warning,
    ids: Sequence[str] = (),
) -> list[Rows]:
    """Return `n_classes` groups of rows of (N, D) features: clusters, then single rows with neighbours.

    A random half of the rows, scaled to unit length, is clustered by complete linkage, cut at a Euclidean distance and
    at `largest` rows per cluster; the largest clusters come first. Merging, closest pairs first, also stops where fewer
    than `n_classes` groups would be left. The remaining classes are single rows drawn from the same half, each with its
    `neighbours` nearest rows of the other half by cosine, which several classes may share. A threshold below which
    there are more pairs than fit into 4 GiB is lowered, and `warn` is called with a sentence about it. Errors identify
    a row by its number, or by its entry in `ids` (N,).

    Raises
    ------
    UserError
        If there are fewer than 2 * n_classes rows, features are not finite or all 0 in a row, or the threshold is
        outside (0, 2].

    """
    import faiss

    check_cluster_distance(distance_threshold)
    points = as_points(features)
    half = _half(len(points), n_classes)
    norms = _norms(points, ids)
    rng = np.random.default_rng((random_state, 7))
    order = rng.permutation(len(points))
    mine, held_out = order[:half], order[half:]
    unit = points[mine] / norms[mine]
    clusters = _clusters(unit, distance_threshold, largest, most_merges=half - n_classes, warn=warn)
    several = [rows for rows in clusters if len(rows) > 1]
    single = np.concatenate([rows for rows in clusters if len(rows) == 1] or [np.empty(0, np.int64)])
    groups = [mine[rows] for rows in several[:n_classes]]
    if len(groups) == n_classes:
        return groups
    chosen = rng.permutation(single)[: n_classes - len(groups)]
    neighbours = min(neighbours, len(held_out))
    near = faiss.knn(unit[chosen], points[held_out] / norms[held_out], neighbours, metric=faiss.METRIC_INNER_PRODUCT)[1]
    return groups + [np.append(mine[row], held_out[found]) for row, found in zip(chosen, near, strict=True)]


def check_cluster_distance(threshold: float) -> None:
    """Raise UserError unless a distance is possible between different unit vectors: above 0 and at most 2."""
    if not 0 < threshold <= 2:
        raise UserError(
            f"cluster_distance={threshold} must be above 0 and at most 2, the largest between unit vectors."
        )


def _half(count: int, n_classes: int) -> int:
    """Return the number of rows to cluster, or raise `UserError` if they are fewer than the classes."""
    half = count // 2
    if n_classes > half:
        raise UserError(
            f"{n_classes} clustered classes need at least {2 * n_classes} pictures, half of which are held out, but "
            f"there are {count}: lower surrogate_classes to {half} or fewer."
        )
    return half


def _norms(points: NDArray[np.float32], ids: Sequence[str]) -> NDArray[np.float32]:
    norms: NDArray[np.float32] = np.linalg.norm(points, axis=1, keepdims=True)
    if not norms.all():
        row = int(np.argmin(norms))
        picture = repr(ids[row]) if ids else row
        raise UserError(
            f"The features of picture {picture} are all 0, so they have no direction: train for longer or with a lower "
            "learning rate, or leave it out."
        )
    return norms


def _clusters(unit: NDArray[np.float32], threshold: float, largest: int, most_merges: int, warn: _Warn) -> list[Rows]:
    """Return the rows of each cluster, the largest clusters first."""
    dendrogram = _dendrogram(unit, threshold, warn)
    members = [[row] for row in range(len(unit))]
    parts: list[list[int] | None] = list(members)
    merges = 0
    for first, second, _, size in dendrogram:
        one, other = parts[int(first)], parts[int(second)]
        if one is None or other is None or size > largest or merges == most_merges:
            parts.append(None)  # nothing that contains it can be a cluster
            continue
        parts[int(first)] = parts[int(second)] = None
        parts.append(one + other)
        merges += 1
    found = [np.array(rows, np.int64) for rows in parts if rows is not None]
    return sorted(found, key=len, reverse=True)


def _dendrogram(unit: NDArray[np.float32], threshold: float, warn: _Warn) -> NDArray[np.float64]:
    # The linkage counts the points and its copy of them, which may take more memory than the pairs.
    memory = _PAIRS_GIB + 2.5 * unit.nbytes / 2**30
    try:
        linkage = CompleteLinkage(distance_threshold=threshold, memory_gib=memory).fit(unit)
    except ThresholdTooLarge as error:
        if not error.fitting:
            raise
        warn(
            f"Too many pictures lie within cluster_distance={threshold:g} of each other for the memory: it is lowered "
            f"to {error.fitting:g}."
        )
        return _dendrogram(unit, error.fitting, warn)
    return linkage.dendrogram_
