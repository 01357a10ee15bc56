"""Lay out an embedding in the plane, for drawing."""

import re
from contextlib import redirect_stdout
from io import StringIO
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from selfsort.clustering.space import Progress, principal_components
from selfsort.memory import drop_pages
from selfsort.threads import one_thread

_ITERATIONS = 750
_CHUNK = 4_096  # rows looked at at a time


def project(
    embedding: NDArray[np.floating[Any]],
    *,
    kind: Literal["tsne", "pca"] = "tsne",
    sample: int = 3000,
    random_state: int = 0,
    progress: Progress | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Lay out an embedding (N, D) in the plane; return the sampled rows, in order, and their points (n, 2).

    At most `sample` rows are drawn at random; rows that are not finite are left out. Fewer than four rows, or an
    embedding whose rows are all alike, are laid out by PCA whatever the kind. `progress` is called with the share of a
    t-SNE that is done; meanwhile, nothing that this process prints is seen.
    """
    finite = rows_drawn(embedding, sample, random_state)
    rows = embedding[finite].astype(np.float64)
    principal = _principal(rows, random_state)
    if kind == "pca" or len(rows) < 4 or np.ptp(principal, axis=0).max() < 1e-9:
        return finite, principal[:, :2]
    return finite, _tsne(principal, random_state, progress)


def rows_drawn(embedding: NDArray[np.floating[Any]], sample: int, random_state: int = 0) -> NDArray[np.int64]:
    """Return the rows of an embedding (N, D) that `project` samples, in order: at most `sample`, all finite."""
    is_finite = np.zeros(len(embedding), np.bool_)
    for start in range(0, len(embedding), _CHUNK):
        is_finite[start : start + _CHUNK] = np.isfinite(embedding[start : start + _CHUNK]).all(axis=1)
        drop_pages(embedding)
    finite = np.flatnonzero(is_finite)
    if len(finite) > sample:
        finite = np.sort(np.random.default_rng(random_state).choice(finite, sample, replace=False))
    return finite


def _principal(rows: NDArray[np.float64], random_state: int) -> NDArray[np.float64]:
    """Project rows (n, D) onto their principal axes, at least two."""
    if not len(rows):
        return np.zeros((0, 2))
    scores = principal_components(rows, random_state=random_state)
    return np.pad(np.asarray(scores, np.float64), ((0, 0), (0, max(0, 2 - scores.shape[1]))))


def _tsne(rows: NDArray[np.float64], random_state: int, progress: Progress | None) -> NDArray[np.float64]:
    from sklearn.manifold import TSNE

    start = rows[:, :2] / rows[:, 0].std() * 1e-4
    perplexity = min(30.0, (len(rows) - 1) / 3)
    settings = {"init": start, "perplexity": perplexity, "random_state": random_state, "max_iter": _ITERATIONS}
    # Its threads wait actively: beside other work, two took 33 s for what one does in 4.
    with one_thread():
        if progress is None:
            return np.asarray(TSNE(**settings).fit_transform(rows), np.float64)
        with redirect_stdout(_Iterations(progress)):
            return np.asarray(TSNE(**settings, verbose=2).fit_transform(rows), np.float64)


class _Iterations(StringIO):
    """What a t-SNE prints, which alone tells how far it is; see `project`."""

    def __init__(self, progress: Progress):
        super().__init__()
        self._progress = progress

    def write(self, text: str) -> int:
        if (found := re.match(r"\[t-SNE\] Iteration (\d+)", text)) is not None:
            self._progress(min(1.0, int(found[1]) / _ITERATIONS))
        return len(text)
