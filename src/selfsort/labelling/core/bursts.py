"""Frames of a burst belong together: they are grouped and named together, and are never on both sides of a split."""

import numpy as np
from numpy.typing import NDArray


def drawn_together(points: NDArray[np.float32], bursts: NDArray[np.int64] | None) -> NDArray[np.float32]:
    """Return points (N, d) with all pictures of a burst (N,) at the burst's mean; unchanged if there are no bursts.

    No clustering separates points in the same place.
    """
    if bursts is None or len(np.unique(bursts)) == len(bursts):
        return points
    numbers, counts = np.unique(bursts, return_inverse=True, return_counts=True)[1:]
    sums = np.zeros((len(counts), points.shape[1]))
    np.add.at(sums, numbers, points)
    means: NDArray[np.float32] = (sums / counts[:, None]).astype(np.float32)[numbers]
    return means


def inseparable(owners: NDArray[np.int64], bursts: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Return the part (N,) of each picture, of which no split may separate two.

    `owners` (N,) are the groups that pictures were named with, -1 for one named individually. A group is one part with
    all groups and pictures that have frames of its `bursts` (N,); parts are numbered from 0.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    alone = -1 - np.arange(len(owners))
    units = np.unique(np.where(owners < 0, alone, owners), return_inverse=True)[1]
    if bursts is None:
        return units.astype(np.int64)
    films = np.unique(bursts, return_inverse=True)[1] + len(owners)  # numbered behind all units
    size = 2 * len(owners)
    parts = connected_components(coo_matrix((np.ones(len(owners)), (units, films)), (size, size)), directed=False)[1]
    return np.unique(parts[units], return_inverse=True)[1].astype(np.int64)
