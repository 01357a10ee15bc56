"""Pictures unlike the others in colours, layout and texture."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from selfsort.audit.finding import Finding, Found
from selfsort.audit.look import SIDE, Looks
from selfsort.clustering.neighbours import nearest

LEAST_SCORE = 3.5
_NEIGHBOUR = 5
_REFERENCES = 6000  # pictures, drawn at random, that the others are compared with
_FEWEST = 30  # among fewer, every picture is its own kind
_BANDS = 6
_BLOCK = 4096
_TEXTURE = 0.7  # weight beside the colours


class Outlier(Finding):
    """Pictures unlike the others; their outlier score is in every row of `pictures.csv`."""

    order = 30
    name, words, title = "outlier", "unlike the others", "Unlike the others"
    text = "In colours, layout and texture, the most unlike ones first: perhaps something else, perhaps just rare."
    details = ("outlier_score",)

    def find(self, looks: Looks, random_state: int) -> Found:
        """Find the pictures far from their nearest ones."""
        score = outlier_scores(looks, ~looks.blank, random_state)
        return Found(np.asarray(score >= LEAST_SCORE, bool), score)

    def note(self, looks: Looks, found: Found, picture: int) -> str:
        """Write the score."""
        return f"{found.score[picture]:.1f}"

    def detail(self, looks: Looks, found: Found, picture: int) -> Mapping[str, object]:
        """Return the score."""
        return {"outlier_score": f"{found.score[picture]:.2f}"}


def outlier_scores(looks: Looks, chosen: NDArray[np.bool_], random_state: int = 0) -> NDArray[np.float32]:
    """Return how far (N,) each of the `chosen` pictures lies from its nearest few, in deviations from the median.

    The others get 0. The distribution's logarithm is about normal; the deviation is the median one times 1.48.
    """
    found = np.zeros(len(looks), np.float32)
    rows = np.flatnonzero(chosen)
    if len(rows) < _FEWEST:
        return found
    features = _features(looks, rows)
    references = np.random.default_rng(random_state).choice(len(rows), min(len(rows), _REFERENCES), replace=False)
    squared, _ = nearest(features, features[references], _NEIGHBOUR + 1)  # the picture itself may be among them
    distance = 0.5 * np.log(squared[:, _NEIGHBOUR] + 1e-6)
    deviation = np.abs(distance - np.median(distance))
    found[rows] = (distance - np.median(distance)) / max(1.4826 * float(np.median(deviation)), 1e-3)
    return found


def _features(looks: Looks, rows: NDArray[np.intp]) -> NDArray[np.float32]:
    """Return (n, 54): the layout of colours, and how much of each coarseness there is."""
    layouts = looks.layouts[rows].reshape(len(rows), -1).astype(np.float32)
    layouts /= max(float(layouts.std()), 1.0)
    texture = _textures(looks.thumbnails[rows])
    texture = (texture - texture.mean(0)) / np.maximum(texture.std(0), 1e-3)
    weight = np.float32(_TEXTURE * np.sqrt(layouts.shape[1] / _BANDS))
    return np.concatenate([layouts, weight * texture], 1)


def _textures(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the logarithm (N, 6) of the mean power of thumbnails in bands of frequency, an octave or less each."""
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)) * 2 * SIDE
    edges = np.geomspace(2, SIDE, _BANDS + 1)
    bands = [(frequency >= low) & (frequency < high) for low, high in zip(edges, edges[1:], strict=False)]
    found = np.empty((len(thumbnails), _BANDS), np.float32)
    for start in range(0, len(thumbnails), _BLOCK):
        spectrum = np.abs(np.fft.rfft2(thumbnails[start : start + _BLOCK].astype(np.float32))) ** 2
        found[start : start + _BLOCK] = np.log(np.stack([spectrum[:, band].mean(1) for band in bands], 1) + 1)
    return found
