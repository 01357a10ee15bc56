"""UMAP (McInnes et al. 2018, arXiv:1802.03426): points in few dimensions that keep their nearest neighbours.

The algorithm of umap-learn, whose compilation takes many times as long as a layout of a few thousand points: here only
the loop of the optimisation is compiled, and that is kept on the disk.
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfsort.clustering.compiled import compiled

_MIN_DIST = 0.0  # points of a cluster may coincide
_NEGATIVES = 5  # points that one is pushed away from, for each that it is drawn to
_FEW, _EPOCHS_OF_FEW, _EPOCHS = 10_000, 500, 200
_SPAN = 10.0  # of the layout at the start, in every direction
_LEAST_SCALE = 1e-3  # of a point's kernel, in mean distances

Floats = NDArray[np.float64]


def umap(
    points: NDArray[np.float32],
    squared: NDArray[np.float32],
    indices: NDArray[np.int64],
    *,
    n_components: int,
    random_state: int,
) -> NDArray[np.float32]:
    """Lay out points (N, D) in `n_components` dimensions, (N, n_components) float32.

    `squared` and `indices` (N, k) are the squared distances and the indices of each point's nearest ones, itself among
    them. The same seed gives the same bits on the same machine.
    """
    heads, tails, weights = _edges(indices, _memberships(np.sqrt(np.maximum(squared, 0), dtype=np.float64), indices))
    n_epochs = _EPOCHS_OF_FEW if len(points) <= _FEW else _EPOCHS
    seen = weights * n_epochs >= weights.max()  # others would not come up in a single epoch
    heads, tails, weights = heads[seen], tails[seen], weights[seen]
    layout = _start(points, heads, tails, weights, n_components, random_state)
    a, b = _curve()
    seed = np.random.default_rng(random_state).integers(1, 2**63, dtype=np.uint64)
    compiled(optimise)(layout, heads, tails, weights.max() / weights, n_epochs, _NEGATIVES, a, b, seed)
    return layout


def _memberships(distances: Floats, indices: NDArray[np.int64]) -> Floats:
    """Return how strongly each point (N,) holds to its k nearest, (N, k) from 0 to 1: section 3.1 and algorithm 3."""
    count, k = distances.shape
    own = indices == np.arange(count)[:, None]
    nearest = np.where(distances > 0, distances, np.inf).min(1)
    nearest[~np.isfinite(nearest)] = 0.0
    excess = np.maximum(distances - nearest[:, None], 0.0)
    excess[own] = np.inf
    low, high, scale = np.zeros(count), np.full(count, np.inf), np.ones(count)
    for _ in range(64):  # bisection for the scale at which a point holds to log2(k) others
        total = np.exp(-excess / scale[:, None]).sum(1)
        above = total > np.log2(k)
        high[above], low[~above] = scale[above], scale[~above]
        scale = np.where(np.isinf(high), 2 * scale, (low + high) / 2)
    means = np.where(nearest > 0, distances.mean(1), distances.mean())
    scale = np.maximum(scale, np.maximum(_LEAST_SCALE * means, np.finfo(np.float64).tiny))
    strengths: Floats = np.exp(-excess / scale[:, None])
    return strengths


def _edges(indices: NDArray[np.int64], strengths: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Return the two ends and the weights (E,) of the symmetric graph: a + b - ab of the two directions' strengths."""
    from scipy.sparse import coo_matrix

    count, k = indices.shape
    rows = np.repeat(np.arange(count), k)
    one_way = coo_matrix((strengths.ravel(), (rows, indices.ravel())), shape=(count, count)).tocsr()
    other_way = one_way.T.tocsr()
    graph = (one_way + other_way - one_way.multiply(other_way)).tocoo()
    graph.eliminate_zeros()
    return graph.row.astype(np.int64), graph.col.astype(np.int64), graph.data


def _start(
    points: NDArray[np.float32],
    heads: NDArray[np.int64],
    tails: NDArray[np.int64],
    weights: Floats,
    n_components: int,
    random_state: int,
) -> NDArray[np.float32]:
    """Return where the points lie before the optimisation, (N, n_components): within a cube.

    Its directions are the first eigenvectors of the graph's Laplacian, or principal components of the points where the
    graph falls into parts, which would all have the same place (Kobak and Linderman 2021 find either as good).
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((weights, (heads, tails)), shape=(len(points), len(points))).tocsr()
    connected = connected_components(graph, directed=False, return_labels=False) == 1
    spread = _spectral(graph, n_components, random_state) if connected else None
    spread = _principal(points, n_components) if spread is None else spread
    spread += np.random.default_rng(random_state).normal(scale=1e-4 * max(np.abs(spread).max(), 1.0), size=spread.shape)
    low, high = spread.min(0), spread.max(0)
    return np.ascontiguousarray(_SPAN * (spread - low) / (high - low), np.float32)


def _spectral(graph: Any, n_components: int, random_state: int) -> Floats | None:
    from scipy.sparse import diags
    from scipy.sparse.linalg import ArpackError, eigsh

    scale = diags(1 / np.sqrt(np.asarray(graph.sum(1)).ravel()))
    count = graph.shape[0]
    first = np.random.default_rng(random_state).normal(size=count)
    # Of the normalised graph they are the largest, without the very first one, which tells nothing.
    try:
        vectors = eigsh(scale @ graph @ scale, n_components + 1, which="LA", v0=first, tol=1e-4, maxiter=5 * count)[1]
    except ArpackError:  # it did not converge
        return None
    return np.ascontiguousarray(vectors[:, -2::-1])


def _principal(points: NDArray[np.float32], n_components: int) -> Floats:
    centred = points - points.mean(0, dtype=np.float64)
    axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1]
    found = np.zeros((len(points), n_components))
    found[:, : axes.shape[1]] = centred @ axes[:, :n_components]
    return found


@cache
def _curve() -> tuple[float, float]:
    """Return a and b of 1 / (1 + a d^2b), which comes nearest to 1 up to the least distance and falls off behind it."""
    from scipy.optimize import curve_fit

    distances = np.linspace(0, 3, 300)
    wanted = np.where(distances < _MIN_DIST, 1.0, np.exp(_MIN_DIST - distances))
    (a, b), _ = curve_fit(lambda d, a, b: 1 / (1 + a * d ** (2 * b)), distances, wanted)
    return float(a), float(b)


def optimise(
    layout: NDArray[np.float32],
    heads: NDArray[np.int64],
    tails: NDArray[np.int64],
    intervals: Floats,
    n_epochs: int,
    n_negatives: int,
    a: float,
    b: float,
    seed: Any,
) -> None:
    """Move the points (N, d) so that those with an edge come near one another and others do not: algorithm 5.

    An edge comes up every so many epochs, its interval (E,), and with it `n_negatives` other points at random.
    """
    count, n_dims = layout.shape
    due, due_negative = intervals.copy(), intervals / n_negatives
    state = np.uint64(seed)
    for epoch in range(n_epochs):
        rate = np.float32(1.0 - epoch / n_epochs)
        for edge in range(len(heads)):
            if due[edge] > epoch:
                continue
            head, tail = heads[edge], tails[edge]
            distance = np.float32(0)
            for i in range(n_dims):
                distance += (layout[head, i] - layout[tail, i]) ** 2
            if distance > 0:
                factor = np.float32(-2 * a * b * distance ** (b - 1) / (a * distance**b + 1))
                for i in range(n_dims):
                    step = min(max(factor * (layout[head, i] - layout[tail, i]), np.float32(-4)), np.float32(4)) * rate
                    layout[head, i] += step
                    layout[tail, i] -= step
            due[edge] += intervals[edge]
            drawn = int((epoch - due_negative[edge]) * n_negatives / intervals[edge])
            for _ in range(drawn):
                state ^= state << np.uint64(13)
                state ^= state >> np.uint64(7)
                state ^= state << np.uint64(17)
                other = np.int64(state % np.uint64(count))
                distance = np.float32(0)
                for i in range(n_dims):
                    distance += (layout[head, i] - layout[other, i]) ** 2
                if distance > 0:
                    factor = np.float32(2 * b / ((0.001 + distance) * (a * distance**b + 1)))
                    for i in range(n_dims):
                        step = min(max(factor * (layout[head, i] - layout[other, i]), np.float32(-4)), np.float32(4))
                        layout[head, i] += step * rate
            due_negative[edge] += drawn * intervals[edge] / n_negatives
