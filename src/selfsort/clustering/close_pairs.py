"""All pairs of points within a distance: screened in tiles by matrix products, then checked exactly."""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfsort.clustering.compiled import compiled
from selfsort.threads import one_thread

Metric = Literal["euclidean", "cosine"]
Points = NDArray[np.floating[Any]]

_ROWS, _COLUMNS = 256, 4096  # of a tile; 4 MiB of products in float32
_SAMPLED_ROWS, _SAMPLED_COLUMNS = 128, 8192
_BLOCK = 4096
# The screen may accept pairs farther apart by this share of the threshold; if it would accept more, it uses float64.
_LARGEST_MARGIN = 0.1


class Pairs(NamedTuple):
    """E pairs of points, first < second, in the order of (first, second), and their distances, all (E,)."""

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    distances: NDArray[np.float64]


class TooManyPairs(Exception):
    """There are more close pairs than allowed."""


class CloseFinder:
    """Finds the pairs of points (N, D), float32 or float64, at a distance of at most `threshold`.

    Distances are those of SciPy's `pdist` in float64. No array larger than a tile of all pairs is ever allocated.
    """

    def __init__(self, points: Points, threshold: float, metric: Metric) -> None:
        self._points, self._threshold, self._metric = points, threshold, metric
        self._norms = _norms(points)
        centre = points.mean(axis=0, dtype=np.float64) if metric == "euclidean" else np.zeros(points.shape[1])
        self._screen = self._make_screen(centre, np.dtype(np.float32))
        if self._margin > _LARGEST_MARGIN * self._closeness(threshold):
            self._screen = self._make_screen(centre, np.dtype(np.float64))

    def pairs(self, most: int, n_first: int | None = None) -> Pairs:
        """Return all close pairs, or those with a point among the first `n_first`.

        Raises `TooManyPairs` as soon as more than `most` are found.
        """
        from joblib import cpu_count

        found: list[Pairs] = []
        starts = range(0, len(self._points) if n_first is None else n_first, _ROWS)
        # One thread per matrix product in each of ours, because the rest of a tile's work takes as long as its product.
        with one_thread(), ThreadPoolExecutor(cpu_count()) as pool:
            try:
                for block in pool.map(self._close_to, starts):
                    found.append(block)
                    most -= len(block.first)
                    if most < 0:
                        raise TooManyPairs
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
        pairs = Pairs(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
        if n_first is None:
            return pairs
        wanted = pairs.first < n_first  # the last block may reach beyond
        return Pairs(pairs.first[wanted], pairs.second[wanted], pairs.distances[wanted])

    def sampled_distances(self, random_state: int = 0) -> NDArray[np.float32]:
        """Return the distances, up to rounding, of pairs drawn at random, in ascending order."""
        rng, n = np.random.default_rng(random_state), len(self._points)
        rows = rng.choice(n, min(n, _SAMPLED_ROWS), replace=False)
        columns = rng.choice(n, min(n, _SAMPLED_COLUMNS), replace=False)
        values = (self._left(rows) @ self._screen[columns].T).astype(np.float32, copy=False)
        values *= -1 if self._metric == "cosine" else -2
        values += self._squares[rows, None].astype(np.float32)
        np.maximum(values, 0, out=values)
        if self._metric == "euclidean":
            np.sqrt(values, out=values)
        values[rows[:, None] == columns] = np.inf  # pairs of a point with itself
        values.shape = (-1,)
        values.sort()
        return values

    def memory(self) -> int:
        """Return roughly the bytes that the search takes besides the pairs."""
        from joblib import cpu_count

        tile = _ROWS * min(_COLUMNS, len(self._points)) * (self._screen.itemsize + 1)
        return self._points.nbytes + self._screen.nbytes + 2 * tile * int(cpu_count())

    def _closeness(self, distance: float) -> float:
        """Return by how much a distance lowers the product used by the screen."""
        return distance if self._metric == "cosine" else distance * distance / 2

    def _make_screen(self, centre: NDArray[np.float64], dtype: np.dtype[Any]) -> Points:
        """Return an array whose products identify close pairs, and store the possible error of those products.

        Cosine: unit points, x.y >= 1 - t. Euclidean: the centred points with a column -|y|^2 / 2, so that
        [x, 1].[y, -|y|^2 / 2] >= (|x|^2 - t^2) / 2 says |x - y| <= t.
        """
        n, width = self._points.shape
        screen = np.empty((n, width + (self._metric == "euclidean")), dtype)
        for start in range(0, n, _BLOCK):
            block = self._points[start : start + _BLOCK] - centre
            if self._metric == "cosine":
                block /= self._norms[start : start + _BLOCK, None]
            screen[start : start + _BLOCK, :width] = block
            if self._metric == "euclidean":
                screen[start : start + _BLOCK, width] = -np.einsum("nd,nd->n", block, block) / 2
        self._squares = -2.0 * screen[:, -1].astype(np.float64) if self._metric == "euclidean" else np.ones(n)
        # The usual bound for the rounding of a sum of products (Higham, 2002, section 3.1), plus a reserve.
        self._margin = (width + 8) * float(np.finfo(dtype).eps) * float(self._squares.max(initial=0.0))
        return screen

    def _left(self, rows: NDArray[np.intp] | slice) -> Points:
        left = self._screen[rows].copy()
        if self._metric == "euclidean":
            left[:, -1] = 1
        return left

    def _close_to(self, start: int) -> Pairs:
        """Return the close pairs whose first point is in a block."""
        rows = slice(start, start + _ROWS)
        parts = [self._check_exactly(first, second) for first, second in self._candidates(rows)]
        first, second, distances = (np.concatenate(part) for part in zip(*parts, strict=True))
        order = np.argsort(first, kind="stable")  # they came tile by tile, each in order
        return Pairs(first[order], second[order], distances[order])

    def _candidates(self, rows: slice) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32]]]:
        # The smallest product of `left` with `screen` that still counts as close.
        least = self._squares[rows] / 2 if self._metric == "euclidean" else self._squares[rows]
        least = (least - self._closeness(self._threshold) - self._margin).astype(self._screen.dtype)
        left = self._left(rows)
        for start in range(rows.start, len(self._points), _COLUMNS):
            close = left @ self._screen[start : start + _COLUMNS].T >= least[:, None]
            first, second = np.divmod(np.flatnonzero(close), close.shape[1])
            first, second = first + rows.start, second + start
            ahead = first < second
            yield first[ahead].astype(np.int32), second[ahead].astype(np.int32)

    def _check_exactly(self, first: NDArray[np.int32], second: NDArray[np.int32]) -> Pairs:
        distances = np.empty(len(first))
        kernel = compiled(cosine_distances if self._metric == "cosine" else euclidean_distances)
        kernel(self._points, self._norms, first, second, distances)
        close = distances <= self._threshold
        return Pairs(first[close], second[close], distances[close])


def euclidean_distances(
    points: Points,
    norms: NDArray[np.float64],
    first: NDArray[np.int32],
    second: NDArray[np.int32],
    out: NDArray[np.float64],
) -> None:
    """Write the Euclidean distance of each pair, summed in the order of the features, as SciPy does."""
    for pair in range(len(first)):
        total = 0.0
        for d in range(points.shape[1]):
            difference = np.float64(points[first[pair], d]) - np.float64(points[second[pair], d])
            total += difference * difference
        out[pair] = math.sqrt(total)


def cosine_distances(
    points: Points,
    norms: NDArray[np.float64],
    first: NDArray[np.int32],
    second: NDArray[np.int32],
    out: NDArray[np.float64],
) -> None:
    """Write 1 - cosine for each pair, from 0 to 2."""
    for pair in range(len(first)):
        total = 0.0
        for d in range(points.shape[1]):
            total += np.float64(points[first[pair], d]) * np.float64(points[second[pair], d])
        cosine = total / (norms[first[pair]] * norms[second[pair]])
        out[pair] = 1.0 - min(1.0, max(-1.0, cosine))


def _norms(points: Points) -> NDArray[np.float64]:
    blocks = (points[start : start + _BLOCK].astype(np.float64) for start in range(0, len(points), _BLOCK))
    return np.concatenate([np.sqrt(np.einsum("nd,nd->n", block, block)) for block in blocks])
