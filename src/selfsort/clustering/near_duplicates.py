"""Near duplicates in an embedding: pairs of nearly equal directions, found within clusters if there are many points."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from selfsort.clustering.close_pairs import CloseFinder, Pairs, TooManyPairs
from selfsort.clustering.kmeans import count_different, kmeans
from selfsort.clustering.neighbours import as_points, nearest
from selfsort.clustering.space import unit_rows
from selfsort.errors import UserError

_ALL_COMPARED = 20_000  # points; of more, only those of the same and of neighbouring clusters are compared
_POINTS_PER_CLUSTER, _MOST_CLUSTERS = 1_000, 4_000
_FITTED_PER_CLUSTER, _ITERATIONS = 50, 10  # rough clusters do: no pair is missed, whatever they are
_PROBED = 8  # clusters in which near neighbours are looked for
_BLOCK = 4096
_ROUNDING = 1e-4  # of distances between unit vectors in float32


def near_duplicates(
    embedding: ArrayLike, distance: float = 0.05, *, most: int = 10_000_000, random_state: int = 0
) -> Pairs:
    """Return the pairs of points (N, D) whose cosine is at least 1 - `distance`, in the order of (first, second).

    Of more than 20,000 points, only those in one k-means cluster are compared, as in SemDeDup (Abbas et al. 2023,
    arXiv 2303.09540), together with those near its border, so that no pair is missed: see `cells_of`. The embedding is
    read a block or a cluster at a time, so it may be a float32 memory map of a file larger than memory. A point without
    direction, all zeros, has no duplicates.

    Raises UserError for a distance that is not above 0 and at most 1, for more than `most` pairs, or for points that
    are not finite.

    >>> near_duplicates([[1.0, 0.0], [0.0, 1.0], [2.0, 0.1]]).second.tolist()
    [2]
    """
    if not 0 < distance <= 1:
        raise UserError(f"distance={distance} must be above 0, for equal directions, and at most 1.")
    points = as_points(embedding)
    found = [Pairs(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0))]
    try:
        for rows, n_home in _compared(points, distance, random_state):
            pairs = CloseFinder(points[rows], distance, "cosine").pairs(most, n_home)
            first, second = rows[pairs.first], rows[pairs.second]
            found.append(Pairs(np.minimum(first, second), np.maximum(first, second), pairs.distances))
            most -= int((pairs.second < n_home).sum())  # others may be found twice
    except TooManyPairs:
        raise UserError(f"There are too many pairs within distance={distance}: choose a smaller one.") from None
    first, second, distances = map(np.concatenate, zip(*found, strict=True))
    _, kept = np.unique(first.astype(np.int64) * len(points) + second, return_index=True)
    return Pairs(first[kept].astype(np.int32), second[kept].astype(np.int32), distances[kept])


class Cells(NamedTuple):
    """The cluster of each of N points, (N,), and V visits: a point (V,) and a cluster (V,) that it is close to."""

    home: NDArray[np.int64]
    visitors: NDArray[np.int64]
    visited: NDArray[np.int64]


def cells_of(points: NDArray[np.float32], centers: NDArray[np.float32], distance: float) -> Cells:
    """Return the cells of the directions of points (N, D), such that no pair within a cosine `distance` is separated.

    A point's home is the nearest center, (K, D). It also visits each center to whose half of the space it is at most
    half as far as two such points can be from each other. If their homes differ, the border between both homes lies
    between them, so it is that close to at least one, which visits the other's home.
    """
    reach = np.sqrt(2 * distance) / 2 + _ROUNDING
    wide = centers.astype(np.float64)
    lengths = np.einsum("kd,kd->k", wide, wide)
    between = np.sqrt(np.maximum(lengths[:, None] + lengths - 2 * wide @ wide.T, 0)).astype(np.float32)  # (K, K)
    lengths = lengths.astype(np.float32)
    home, visitors, visited = np.empty(len(points), np.int64), [], []
    for start in range(0, len(points), _BLOCK):
        squared = lengths - 2 * unit_rows(points[start : start + _BLOCK]) @ centers.T  # less 1, the point's length
        own = squared.argmin(1)
        home[start : start + _BLOCK] = own
        beyond = squared - squared.min(1, keepdims=True) <= 2 * reach * between[own]
        beyond[np.arange(len(own)), own] = False
        rows, cells = np.nonzero(beyond)
        visitors.append(rows + start)
        visited.append(cells)
    return Cells(home, np.concatenate(visitors), np.concatenate(visited))


def nearest_in_clusters(
    points: NDArray[np.float32], count: int, *, random_state: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return squared distances and indices, both (N, count), of others near to each of N unit-length points (N, D).

    They are the nearest of those in the eight clusters with the nearest centers, nearest first. A point that has fewer
    others there is its own neighbour at an infinite distance.
    """
    centers = rough_centers(points, random_state)
    home, probed = _probed(points, centers)
    squared = np.full((len(points), count), np.inf, np.float32)
    indices = np.repeat(np.arange(len(points))[:, None], count, axis=1)
    members, askers = np.argsort(home, kind="stable"), np.argsort(probed.ravel(), kind="stable")
    ends = np.searchsorted(home[members], np.arange(len(centers) + 1))
    asked = np.searchsorted(probed.ravel()[askers], np.arange(len(centers) + 1))
    for cell in range(len(centers)):
        own = members[ends[cell] : ends[cell + 1]]
        rows = askers[asked[cell] : asked[cell + 1]] // probed.shape[1]
        if not len(own) or not len(rows):
            continue
        away, near = nearest(points[rows], points[own], min(count + 1, len(own)))
        away[own[near] == rows[:, None]] = np.inf
        away, near = np.concatenate([squared[rows], away], 1), np.concatenate([indices[rows], own[near]], 1)
        order = np.argsort(away, axis=1, kind="stable")[:, :count]
        squared[rows], indices[rows] = np.take_along_axis(away, order, 1), np.take_along_axis(near, order, 1)
    return squared, indices


def _probed(points: NDArray[np.float32], centers: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the nearest center (N,) of each point, and the nearest eight (N, 8), or all, in any order."""
    lengths = np.einsum("kd,kd->k", centers, centers)
    home, probed = np.empty(len(points), np.int64), np.empty((len(points), min(_PROBED, len(centers))), np.int64)
    for start in range(0, len(points), _BLOCK):
        squared = lengths - 2 * points[start : start + _BLOCK] @ centers.T
        home[start : start + _BLOCK] = squared.argmin(1)
        probed[start : start + _BLOCK] = np.argpartition(squared, probed.shape[1] - 1, axis=1)[:, : probed.shape[1]]
    return home, probed


def rough_centers(points: NDArray[np.float32], random_state: int) -> NDArray[np.float32]:
    """Return centers (K, D) of the directions of points (N, D), found in a small sample."""
    n_clusters = min(len(points) // _POINTS_PER_CLUSTER, _MOST_CLUSTERS)
    sample = np.random.default_rng(random_state).choice(len(points), _FITTED_PER_CLUSTER * n_clusters, replace=False)
    directions = unit_rows(points[np.sort(sample)])
    n_clusters = count_different(directions, n_clusters)
    return kmeans(directions, n_clusters, restarts=1, iterations=_ITERATIONS, random_state=random_state).centers


def _compared(
    points: NDArray[np.float32], distance: float, random_state: int
) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Yield rows (M,), the first few of which are to be compared with one another and with the others; and how many."""
    has_direction = _has_direction(points)
    if len(points) <= _ALL_COMPARED:
        if has_direction.any():
            yield np.flatnonzero(has_direction), len(points)
        return
    centers = rough_centers(points, random_state)
    cells = cells_of(points, centers, distance)
    homes, visits = (np.argsort(each, kind="stable") for each in (cells.home, cells.visited))
    for cell in range(len(centers)):
        own, others = (
            order[slice(*np.searchsorted(of, [cell, cell + 1], sorter=order))]
            for of, order in ((cells.home, homes), (cells.visited, visits))
        )
        own, others = own[has_direction[own]], cells.visitors[others]
        if len(own):
            yield np.concatenate([own, others[has_direction[others]]]), len(own)


def _has_direction(points: NDArray[np.float32]) -> NDArray[np.bool_]:
    blocks = [points[start : start + _BLOCK].any(1) for start in range(0, max(len(points), 1), _BLOCK)]
    return np.concatenate(blocks)
