"""Ignore plain corners that two pictures share, such as the black around a round field of view, in comparisons."""

import numpy as np
from numpy.typing import NDArray

_PLAIN = 6  # levels by which a plain pixel may differ from its corner
_LEAST_SHARE = 0.02  # of a thumbnail that corners cover; less does not make pictures alike
_LEAST_CONTRAST = 2.5  # of the middle; with less, there is nothing else to compare
_DEEPEST = 10  # most pixels to cut off: a smaller middle shows too little to compare

Thumbnails = NDArray[np.uint8]


def without_corners(first: Thumbnails, second: Thumbnails) -> tuple[Thumbnails, Thumbnails]:
    """Return pairs of thumbnails (P, 32, 32); where both have the same plain corners, only their middles, enlarged.

    Otherwise the strong edge of the black would make every round cell, lens or dish on black resemble every other.
    """
    shared = _corners(first) & _corners(second)
    depths = np.where(shared.mean((1, 2)) >= _LEAST_SHARE, _depths(shared), 0)
    one, other = _middles(first, depths), _middles(second, depths)
    telling = (one.std((1, 2)) >= _LEAST_CONTRAST) & (other.std((1, 2)) >= _LEAST_CONTRAST)
    return np.where(telling[:, None, None], one, first), np.where(telling[:, None, None], other, second)


def _corners(thumbnails: Thumbnails) -> NDArray[np.bool_]:
    """Tell (P, 32, 32) which pixels are plain like a corner and connected with it by straight lines."""
    found = np.zeros(thumbnails.shape, bool)
    for down in (1, -1):
        for right in (1, -1):
            turned = thumbnails[:, ::down, ::right].astype(np.int16)
            plain = np.abs(turned - turned[:, :1, :1]) <= _PLAIN
            # From a corner along its side, and from there inwards.
            across = np.logical_and.accumulate(plain[:, :1], 2) & np.logical_and.accumulate(plain, 1)
            along = np.logical_and.accumulate(plain[:, :, :1], 1) & np.logical_and.accumulate(plain, 2)
            found |= (across | along)[:, ::down, ::right]
    return found


def _depths(shared: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return how many pixels (P,) to cut off on all sides to remove the corners and the pixels blended with them."""
    side = shared.shape[1]
    reaches = np.array([shared[:, depth : side - depth, depth : side - depth].any((1, 2)) for depth in range(_DEEPEST)])
    depths: NDArray[np.int64] = np.minimum(reaches.sum(0) + 1, _DEEPEST)
    return depths


def _middles(thumbnails: Thumbnails, depths: NDArray[np.int64]) -> Thumbnails:
    """Cut `depths` (P,) pixels off thumbnails on all sides and enlarge the rest by linear interpolation."""
    found = thumbnails.copy()
    side = thumbnails.shape[1]
    for depth in np.unique(depths[depths > 0]).tolist():
        rows = np.flatnonzero(depths == depth)
        places = np.linspace(depth, side - 1 - depth, side)
        before = np.minimum(places.astype(int), side - 2)
        share = places - before
        weights = np.zeros((side, side), np.float32)
        weights[np.arange(side), before] = 1 - share
        weights[np.arange(side), before + 1] = share
        found[rows] = np.rint(weights @ thumbnails[rows].astype(np.float32) @ weights.T)
    return found
