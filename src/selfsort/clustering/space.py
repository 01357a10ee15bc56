"""The space in which points are clustered: as they are, or with fewer dimensions."""

import re
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.metadata import version
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from selfsort.clustering import kept
from selfsort.clustering.neighbours import as_points, nearest
from selfsort.errors import UserError

Space = Literal["embedding", "umap", "pca"]
View = Literal["embedding", "centred"]  # an embedding as it is, or as directions from its mean
Progress = Callable[[float], None]  # called with the share done

_PCA_COMPONENTS = 50
_UMAP_COMPONENTS = 5
_UMAP_NEIGHBORS = 15  # UMAP's default; 30 gained 5 points of accuracy on digits' pixels and lost 5 on MNIST's
_PLACING_NEIGHBORS = 10
_COMPARED = 0.4  # share of a layout's work spent on finding neighbours
_REDUCED = 0.6  # share of the work spent on the sample, before the others are placed
_PLACED = 8_192  # points placed at a time
_UMAP_LEAST_POINTS = 50  # a neighbourhood graph of fewer points is not meaningful, and its spectral layout fails


def check_space(space: str) -> None:
    """Raise UserError unless `space` is one of "embedding", "umap" and "pca"."""
    if space not in get_args(Space):
        raise UserError(f"{space!r} is not a cluster space: choose one of {', '.join(get_args(Space))}.")


def reduce(
    points: ArrayLike,
    space: Space,
    *,
    components: int = _UMAP_COMPONENTS,
    neighbors: int = _UMAP_NEIGHBORS,
    random_state: int = 0,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Return points (N, D) in the space where they are to be clustered, (N, d) float32.

    "embedding" returns them as they are, "pca" keeps at most 50 principal components, "umap" (McInnes et al. 2018)
    makes `components` that keep each point's `neighbors` nearest together; for fewer than 50 points "pca" is used
    instead. The same seed gives the same bits on the same machine, and a UMAP is kept for the next time. `progress` is
    called with the share done. Raises UserError for another space or values that are not finite.
    """
    check_space(space)
    array = as_points(points)
    if space == "embedding":
        return array
    if space == "umap" and len(array) >= _UMAP_LEAST_POINTS:
        settings = ("umap", version("umap-learn"), components, neighbors, random_state)
        return kept.layout_of(array, settings, lambda: _umap(array, components, neighbors, random_state, progress))
    return principal_components(array, random_state=random_state).astype(np.float32, copy=False)


def reduce_sampled(
    points: ArrayLike, space: Space, *, most: int = 20_000, random_state: int = 0, progress: Progress | None = None
) -> NDArray[np.float32]:
    """Return points (N, D) in a space like `reduce`, (N, d) float32, in a time that grows little beyond `most`.

    Only a seeded sample of `most` points is reduced. Every other point is placed among its ten nearest neighbours in
    the sample, closer to the nearer ones. `progress` is called with the share done. Raises UserError as `reduce`
    does.
    """
    check_space(space)
    array = as_points(points)
    if space == "embedding" or len(array) <= most:
        return reduce(array, space, random_state=random_state, progress=progress)
    chosen = np.sort(np.random.default_rng(random_state).choice(len(array), most, replace=False))
    sample, tell = array[chosen], progress or (lambda share: None)
    reduced = reduce(sample, space, random_state=random_state, progress=lambda share: tell(_REDUCED * share))
    squared = np.empty((len(array), _PLACING_NEIGHBORS), np.float32)
    indices = np.empty(squared.shape, np.int64)
    for start in range(0, len(array), _PLACED):
        tell(_REDUCED + (1 - _REDUCED) * start / len(array))
        rows = slice(start, start + _PLACED)
        squared[rows], indices[rows] = nearest(array[rows], sample, _PLACING_NEIGHBORS)
    scale = max(float(squared[:, -1].mean(dtype=np.float64)), float(np.finfo(np.float32).tiny))
    weights = np.exp((squared[:, :1].astype(np.float64) - squared) / scale)
    weights /= weights.sum(1, keepdims=True)
    placed: NDArray[np.float32] = np.einsum("nk,nkd->nd", weights, reduced[indices]).astype(np.float32)
    placed[chosen] = reduced
    return placed


def principal_components(points: NDArray[np.floating[Any]], *, random_state: int = 0) -> NDArray[np.floating[Any]]:
    """Project points (N, D) onto their first principal axes, (N, d), at most 50, keeping their type."""
    from sklearn.decomposition import PCA

    with np.errstate(invalid="ignore"):  # the share of explained variance is 0 / 0 when all points are equal
        reduced = PCA(min(_PCA_COMPONENTS, *points.shape), random_state=random_state).fit_transform(points)
    return np.ascontiguousarray(reduced)


def _umap(
    points: NDArray[np.float32], components: int, neighbors: int, random_state: int, progress: Progress | None
) -> NDArray[np.float32]:
    n_neighbors = min(neighbors, len(points) - 1)
    with warnings.catch_warnings(), _same_threads():
        # It warns about a missing TensorFlow, a missing search index, unconnected groups and falling back from a
        # spectral start: none of these matters for a layout that is made once and only clustered.
        warnings.simplefilter("ignore")
        import umap

        layout = umap.UMAP(
            n_neighbors=n_neighbors,
            n_components=components,
            min_dist=0.0,
            random_state=random_state,
            n_jobs=1,
            precomputed_knn=_neighbor_graph(points, n_neighbors),
            force_approximation_algorithm=True,  # otherwise it ignores the given neighbours if there are few points
            tqdm_kwds=None if progress is None else _reporting(progress),
        ).fit_transform(points)
    return np.ascontiguousarray(layout, dtype=np.float32)


def _reporting(progress: Progress) -> dict[str, Any]:
    """Return settings of UMAP's progress bar that make it report to `progress`."""

    class Epochs:
        def write(self, text: str) -> None:
            if (found := re.search(r"(\d+)/(\d+)", text)) is not None:
                done, epochs = map(int, found.groups())
                progress(_COMPARED + (1 - _COMPARED) * done / max(1, epochs))

        def flush(self) -> None:
            pass

    return {"disable": False, "file": Epochs(), "bar_format": "{n_fmt}/{total_fmt}", "mininterval": 0.5}


def _same_threads() -> AbstractContextManager[object]:
    """Keep numba, used by UMAP, from changing the number of threads for the rest of the process."""
    from threadpoolctl import threadpool_info, threadpool_limits

    return cast(
        AbstractContextManager[object],
        threadpool_limits({library["prefix"]: library["num_threads"] for library in threadpool_info()}),
    )


def _neighbor_graph(points: NDArray[np.float32], n_neighbors: int) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Return indices and distances (N, n_neighbors); exact, and faster than UMAP's approximate search."""
    import faiss

    centered = points - points.mean(axis=0)
    squared, indices = faiss.knn(centered, centered, n_neighbors)
    return indices, np.sqrt(np.maximum(squared, 0.0))


def centred(features: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return (N, D) features minus their mean, scaled to unit length, and the (D,) mean.

    All features of a set point in a similar direction; what distinguishes pictures is the difference from the mean.
    """
    mean = features.mean(0, dtype=np.float64).astype(np.float32)
    return unit_rows(features - mean), mean


def viewed(embedding: NDArray[np.float32], view: View) -> NDArray[np.float32]:
    """Return an embedding (N, D) unchanged, or as returned by `centred`."""
    return centred(embedding)[0] if view == "centred" else embedding


def unit_rows(rows: NDArray[Any]) -> NDArray[np.float32]:
    """Return rows scaled to unit length; a row of zeros stays zero."""
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))[:, None]  # norm would copy the rows
    scaled: NDArray[np.float32] = np.divide(rows, np.maximum(lengths, 1e-12), dtype=np.float32, casting="same_kind")
    return scaled
