"""The points of a run's pictures in the label space; they are kept in the run folder, as computing them takes long."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfsort import runs
from selfsort.clustering.space import Progress, Space, View, reduce_sampled, unit_rows, viewed
from selfsort.labelling.core.bursts import drawn_together
from selfsort.labelling.core.head import HeadSpace
from selfsort.schema import checked

_ROUGH_AXES = 50


def compute(folder: Path, *, random_state: int = 0, progress: Progress | None = None) -> None:
    """Compute and keep the points (N, d) for the model in a folder, in the `label_space` of its method.

    `progress` is called with the share done so far. Raises `UserError` if they cannot be written.
    """
    space, view = _space_and_view(folder)
    stamp = stamp_of_run(folder)
    embedding = runs.map_array(runs.RunFolder(folder).embedding)
    points = viewed(embedding, view)
    del embedding  # a view may be a copy, and there may not be memory for both
    keep(folder, stamp, reduce_sampled(points, space, random_state=random_state, progress=progress))


def _space_and_view(folder: Path) -> tuple[Space, View]:
    run = runs.read_run(folder)
    if "labelling" in run:
        files = runs.RunFolder(folder)
        with files.reading(files.manifest):
            found = checked(_Labelling, run["labelling"])
        return found.space, found.view
    from selfsort import methods  # torch: takes seconds and half a gigabyte, but only for runs of earlier versions

    method = methods.find(run["method"])
    return method.label_space, method.label_view


@dataclass(frozen=True)
class _Labelling:
    """A method's label space, as stored in a run."""

    space: Space
    view: View


def rough_points(space: HeadSpace) -> NDArray[np.float32]:
    """Return points (N, d) that are available at once and nearly as good: directions along the first axes."""
    return unit_rows(np.ascontiguousarray(space.points[:, :_ROUGH_AXES]))


def keep(folder: Path, stamp: str, points: NDArray[np.float32]) -> None:
    """Store the points (N, d) of an embedding with a `stamp`."""
    runs.write_kept(runs.RunFolder(folder).points, stamp, points=points)


def stamp_of(embedding: NDArray[np.float32]) -> str:
    """Return a hash that identifies an embedding: that of the file in which a run keeps it."""
    array, header = np.ascontiguousarray(embedding), io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    digest = hashlib.sha256(header.getvalue())
    digest.update(array.data)
    return digest.hexdigest()


def stamp_of_run(folder: Path) -> str:
    """Return the stamp of the embedding of the model in a folder, without reading it if the run tells its hash."""
    file = runs.RunFolder(folder).embedding
    known: str | None = runs.read_run(folder).get("files", {}).get(file.name)
    return known or stamp_of(runs.map_array(file))


def kept_points(folder: Path, stamp: str) -> NDArray[np.float32] | None:
    """Return the points (N, d) stored for an embedding with a `stamp`, None if there are none."""
    found = runs.read_kept(runs.RunFolder(folder).points, stamp, {"points": "Nd"})
    return None if found is None else found["points"].astype(np.float32, copy=False)


def is_embedding(folder: Path, points: NDArray[np.float32], bursts: NDArray[np.int64] | None = None) -> bool:
    """Tell whether points (N, d) are the embedding of the model in a folder, with `bursts` (N,) drawn together."""
    embedding = runs.map_array(runs.RunFolder(folder).embedding)
    return embedding.shape == points.shape and np.array_equal(drawn_together(embedding, bursts), points)
