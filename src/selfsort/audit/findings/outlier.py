"""Pictures unlike the others, by a network's features or else by colours, layout and texture."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from selfsort.audit.finding import Finding, Found
from selfsort.audit.look import SIDE, Looks
from selfsort.clustering.neighbours import nearest

LEAST_SCORE = 3.5
# By features, the 20th neighbour says more than the 5th, as a few pictures of a foreign kind are near one another. At
# most 1 % of the pictures of six clean sets had a higher score, but 1 to 11 of 16 planted ones.
LEAST_SCORE_BY_FEATURES = 2.5
_NEIGHBOUR, _FEATURE_NEIGHBOUR = 5, 20
_LEAST_COSINE = 0.02
_REFERENCES = 6000  # randomly drawn pictures with which the others are compared
_FEWEST = 30  # among fewer pictures, each may be of its own kind
_BANDS = 6
_BLOCK = 4096
_TEXTURE = 0.7  # weight relative to the colours


class Outlier(Finding):
    """Pictures unlike the others; every row of `pictures.csv` has an outlier score."""

    order = 30
    name, words, title = "outlier", "unlike the others", "Unlike the others"
    text = "The most unusual first: perhaps something else, perhaps just rare."
    details = ("outlier_score",)

    def find(self, looks: Looks, random_state: int) -> Found:
        """Find the pictures far from their nearest neighbours."""
        score = outlier_scores(looks, ~looks.blank, random_state)
        least = LEAST_SCORE if looks.features is None else LEAST_SCORE_BY_FEATURES
        return Found(np.asarray(score >= least, bool), score)

    def note(self, looks: Looks, found: Found, picture: int) -> str:
        """Write the score."""
        return f"{found.score[picture]:.1f}"

    def detail(self, looks: Looks, found: Found, picture: int) -> Mapping[str, object]:
        """Return the score."""
        return {"outlier_score": f"{found.score[picture]:.2f}"}


def outlier_scores(looks: Looks, chosen: NDArray[np.bool_], random_state: int = 0) -> NDArray[np.float32]:
    """Return how far (N,) each of the `chosen` pictures is from its neighbours, in deviations from the median.

    The others get 0. The logarithm of the distance is roughly normal; the deviation is the median absolute deviation
    times 1.48.
    """
    found = np.zeros(len(looks), np.float32)
    rows = np.flatnonzero(chosen if looks.features is None else chosen & looks.features.any(1))
    if len(rows) < _FEWEST:
        return found
    references = np.random.default_rng(random_state).choice(len(rows), min(len(rows), _REFERENCES), replace=False)
    strange = (_by_looks if looks.features is None else _by_features)(looks, rows, references)
    deviation = np.abs(strange - np.median(strange))
    found[rows] = (strange - np.median(strange)) / max(1.4826 * float(np.median(deviation)), 1e-3)
    return found


def _by_features(looks: Looks, rows: NDArray[np.intp], references: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return how much (n,) pictures differ from their nearest neighbours, by their features."""
    assert looks.features is not None
    features = looks.features[rows]
    neighbour = min(_FEATURE_NEIGHBOUR, len(references) // 4)
    squared, _ = nearest(features, features[references], neighbour + 1)
    return np.asarray(-np.log(np.maximum(1 - squared[:, neighbour] / 2, _LEAST_COSINE)), np.float32)


def _by_looks(looks: Looks, rows: NDArray[np.intp], references: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return (n,) the logarithm of the distance of pictures from their nearest neighbours, by their looks."""
    features = _looks_of(looks, rows)
    squared, _ = nearest(features, features[references], _NEIGHBOUR + 1)  # the picture itself may be among them
    return np.asarray(0.5 * np.log(squared[:, _NEIGHBOUR] + 1e-6), np.float32)


def _looks_of(looks: Looks, rows: NDArray[np.intp]) -> NDArray[np.float32]:
    """Return (n, 54): the layout of colours, and the strength of textures of each coarseness."""
    layouts = looks.layouts[rows].reshape(len(rows), -1).astype(np.float32)
    layouts /= max(float(layouts.std()), 1.0)
    texture = _textures(looks.thumbnails[rows])
    texture = (texture - texture.mean(0)) / np.maximum(texture.std(0), 1e-3)
    weight = np.float32(_TEXTURE * np.sqrt(layouts.shape[1] / _BANDS))
    return np.concatenate([layouts, weight * texture], 1)


def _textures(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the logarithm (N, 6) of the mean power of thumbnails in frequency bands of at most an octave."""
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)) * 2 * SIDE
    edges = np.geomspace(2, SIDE, _BANDS + 1)
    bands = [(frequency >= low) & (frequency < high) for low, high in zip(edges, edges[1:], strict=False)]
    found = np.empty((len(thumbnails), _BANDS), np.float32)
    for start in range(0, len(thumbnails), _BLOCK):
        spectrum = np.abs(np.fft.rfft2(thumbnails[start : start + _BLOCK].astype(np.float32))) ** 2
        found[start : start + _BLOCK] = np.log(np.stack([spectrum[:, band].mean(1) for band in bands], 1) + 1)
    return found
