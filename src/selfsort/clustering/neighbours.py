"""Exact nearest neighbours whose distances do not depend on the batch."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from selfsort.errors import UserError

_LARGEST = 1e15  # the squares of larger values approach the limit of float32
_CHUNK_VALUES = 2**24  # distances or coordinates held at a time; 64 MiB


def as_points(points: ArrayLike) -> NDArray[np.float32]:
    """Return `points` as a contiguous float32 array (N, D).

    Raises UserError when the array has another number of dimensions, no column, or a value that is not finite.
    """
    return check_points(np.asarray(points, dtype=np.float32)).astype(np.float32, copy=False)


def check_points(points: ArrayLike) -> NDArray[np.floating[Any]]:
    """Return `points` as a contiguous array (N, D) of float32 or, for any other type, float64.

    Raises UserError when the array has another number of dimensions, no column, or a value that is not finite.
    """
    array = np.asarray(points)
    array = np.ascontiguousarray(array, dtype=np.float32 if array.dtype == np.float32 else np.float64)
    if array.ndim != 2 or array.shape[1] == 0:
        raise UserError(f"Points to cluster must form an array (points, features), not one of shape {array.shape}.")
    # The extremes propagate NaN and, unlike np.isfinite, need no array of the points' size.
    if array.size and not (array.min() > -_LARGEST and array.max() < _LARGEST):
        raise UserError(
            f"The points hold NaN, infinity or values beyond {_LARGEST:g}: "
            "check the pictures, or train again with a lower learning rate."
        )
    return array


def nearest(
    points: NDArray[np.float32], references: NDArray[np.float32], n_neighbors: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the squared distances and indices, both (N, n_neighbors), of the references nearest to each point.

    The nearest comes first; ties go to the lower index. A row depends only on its own point, bit for bit, whatever
    other points are passed with it.
    """
    n_candidates = min(len(references), 2 * n_neighbors + 8)
    squared = np.empty((len(points), n_neighbors), dtype=np.float32)
    indices = np.empty((len(points), n_neighbors), dtype=np.int64)
    step = max(1, _CHUNK_VALUES // max(n_candidates, points.shape[1]))
    for start in range(0, len(points), step):
        rows = slice(start, start + step)
        candidates = _candidates(points[rows], references, n_candidates)
        distances = _squared_distances(points[rows], references, candidates)
        order = np.argsort(distances, axis=1, kind="stable")[:, :n_neighbors]
        squared[rows] = np.take_along_axis(distances, order, axis=1)
        indices[rows] = np.take_along_axis(candidates, order, axis=1)
    return squared, indices


def nearest_others(points: NDArray[np.float32], count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return squared distances and indices of the `count` nearest others of each of N points, (N, count) at most.

    A point that has no other is its own neighbour.
    """
    squared, indices = nearest(points, points, min(count + 1, len(points)))
    first = 1 if len(points) > 1 else 0  # the first is the point itself, or one that equals it
    return squared[:, first:], indices[:, first:]


def _candidates(points: NDArray[np.float32], references: NDArray[np.float32], n_candidates: int) -> NDArray[np.int64]:
    """Return the indices (N, n_candidates) of approximately nearest references, in ascending order."""
    if n_candidates == len(references):
        return np.tile(np.arange(n_candidates, dtype=np.int64), (len(points), 1))
    import faiss

    # faiss expands (x - y)^2, which loses digits far from the origin and rounds differently from batch to batch:
    # hence the offset, and candidates rather than neighbours.
    offset = references.mean(axis=0)
    _, indices = faiss.knn(points - offset, references - offset, n_candidates)
    return np.sort(indices.astype(np.int64), axis=1)


def _squared_distances(
    points: NDArray[np.float32], references: NDArray[np.float32], indices: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the squared distances (N, k) between each point and the references in its row of `indices`."""
    import faiss

    squared = np.empty(indices.shape, dtype=np.float32)
    # It computes pair by pair, so the rounding is the same in every batch; missing from faiss's stubs.
    faiss.fvec_L2sqr_by_idx(  # type: ignore[attr-defined, unused-ignore]
        *(faiss.swig_ptr(array) for array in (squared, points, references, indices)), points.shape[1], *indices.shape
    )
    return squared
