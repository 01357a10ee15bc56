"""Where a run's pictures lie in the space in which groups are looked for; kept in the run folder, for it takes long."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfsort import runs
from selfsort.clustering.space import Progress, Space, View, reduce_sampled, unit_rows, viewed
from selfsort.labelling.core.head import HeadSpace
from selfsort.schema import checked

_ROUGH_AXES = 50


def compute(folder: Path, *, random_state: int = 0, progress: Progress | None = None) -> None:
    """Compute and keep the points (N, d) of the model in a folder, in the `label_space` of its method.

    `progress` is told the share that is done. Raises `UserError` when they cannot be kept.
    """
    space, view = _space_and_view(folder)
    embedding = runs.map_array(runs.RunFolder(folder).embedding)
    stamp = stamp_of(embedding)
    points = viewed(embedding, view)
    del embedding  # a view may be a copy, and there is memory for one of both
    keep(folder, stamp, reduce_sampled(points, space, random_state=random_state, progress=progress))


def _space_and_view(folder: Path) -> tuple[Space, View]:
    run = runs.read_run(folder)
    if "labelling" in run:
        files = runs.RunFolder(folder)
        with files.reading(files.manifest):
            found = checked(_Labelling, run["labelling"])
        return found.space, found.view
    from selfsort import methods  # torch: seconds, and half a gigabyte, which only runs of earlier versions take

    method = methods.find(run["method"])
    return method.label_space, method.label_view


@dataclass(frozen=True)
class _Labelling:
    """Where a method looks for groups, as a run keeps it."""

    space: Space
    view: View


def rough_points(space: HeadSpace) -> NDArray[np.float32]:
    """Return points (N, d) at once that are nearly as good: directions along the first axes of the embedding."""
    return unit_rows(np.ascontiguousarray(space.points[:, :_ROUGH_AXES]))


def keep(folder: Path, stamp: str, points: NDArray[np.float32]) -> None:
    """Keep the points (N, d) of an embedding with a `stamp`."""
    runs.write_kept(runs.RunFolder(folder).points, stamp, points=points)


def stamp_of(embedding: NDArray[np.float32]) -> str:
    """Return what tells an embedding from others."""
    digest = hashlib.blake2b(repr(embedding.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(embedding).data)
    return digest.hexdigest()


def kept_points(folder: Path, stamp: str) -> NDArray[np.float32] | None:
    """Return the points (N, d) that were kept for an embedding with a `stamp`, None where there are none."""
    found = runs.read_kept(runs.RunFolder(folder).points, stamp, {"points": "Nd"})
    return None if found is None else found["points"].astype(np.float32, copy=False)


def is_embedding(folder: Path, points: NDArray[np.float32]) -> bool:
    """Tell whether points (N, d) are the embedding of the model in a folder itself."""
    embedding = runs.map_array(runs.RunFolder(folder).embedding)
    return embedding.shape == points.shape and np.array_equal(embedding, points)
