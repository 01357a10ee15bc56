"""Where a run's pictures lie in the space in which groups are looked for; kept in the run folder, for it takes long."""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfsort import runs
from selfsort.clustering.space import Progress, Space, View, reduce_sampled, unit_rows, viewed
from selfsort.files import atomic_path
from selfsort.labelling.core.head import HeadSpace

_ROUGH_AXES = 50


def compute(folder: Path, *, random_state: int = 0, progress: Progress | None = None) -> None:
    """Compute and keep the points (N, d) of the model in a folder, in the `label_space` of its method.

    `progress` is told the share that is done. Raises `UserError` when they cannot be kept.
    """
    space, view = _space_and_view(folder)
    embedding = np.load(runs.RunFolder(folder).embedding, mmap_mode="r", allow_pickle=False)
    stamp = stamp_of(embedding)
    points = viewed(embedding, view)
    del embedding  # a view may be a copy, and there is memory for one of both
    keep(folder, stamp, reduce_sampled(points, space, random_state=random_state, progress=progress))


def _space_and_view(folder: Path) -> tuple[Space, View]:
    run = runs.read_run(folder)
    if "labelling" in run:
        return run["labelling"]["space"], run["labelling"]["view"]
    from selfsort import methods  # torch: seconds, and half a gigabyte, which only runs of earlier versions take

    method = methods.find(run["method"])
    return method.label_space, method.label_view


def rough_points(space: HeadSpace) -> NDArray[np.float32]:
    """Return points (N, d) at once that are nearly as good: directions along the first axes of the embedding."""
    return unit_rows(np.ascontiguousarray(space.points[:, :_ROUGH_AXES]))


def keep(folder: Path, stamp: str, points: NDArray[np.float32]) -> None:
    """Keep the points (N, d) of an embedding with a `stamp`."""
    with atomic_path(runs.RunFolder(folder).points) as partial, open(partial, "wb") as file:
        np.savez(file, stamp=stamp, points=points)


def stamp_of(embedding: NDArray[np.float32]) -> str:
    """Return what tells an embedding from others."""
    digest = hashlib.blake2b(repr(embedding.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(embedding).data)
    return digest.hexdigest()


def kept_points(folder: Path, stamp: str) -> NDArray[np.float32] | None:
    """Return the points (N, d) that were kept for an embedding with a `stamp`, None where there are none."""
    try:
        with np.load(runs.RunFolder(folder).points, allow_pickle=False) as kept:
            return np.asarray(kept["points"], np.float32) if str(kept["stamp"]) == stamp else None
    except Exception:  # not there, or damaged
        return None


def is_embedding(folder: Path, points: NDArray[np.float32]) -> bool:
    """Tell whether points (N, d) are the embedding of the model in a folder itself."""
    embedding = np.load(runs.RunFolder(folder).embedding, mmap_mode="r", allow_pickle=False)
    return embedding.shape == points.shape and np.array_equal(embedding, points)
