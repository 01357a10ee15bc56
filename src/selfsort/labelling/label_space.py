"""Where a run's pictures lie in the space in which groups are looked for; kept in the run folder, for it takes long."""

import hashlib
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfsort import runs
from selfsort.errors import UserError
from selfsort.files import atomic_path


class Points:
    """The points of a run, computed when they are first asked for, by any thread; see `points_of`."""

    def __init__(self, folder: Path, embedding: NDArray[np.float32], *, random_state: int = 0):
        self._folder, self._embedding, self._random_state = folder, embedding, random_state
        self._lock = threading.Lock()
        self._points: NDArray[np.float32] | None = None

    def __call__(self) -> NDArray[np.float32]:
        """Return the points (N, d)."""
        with self._lock:
            if self._points is None:
                self._points = points_of(self._folder, self._embedding, random_state=self._random_state)
            return self._points


def points_of(folder: Path, embedding: NDArray[np.float32], *, random_state: int = 0) -> NDArray[np.float32]:
    """Return the points (N, d) of a run's `embedding` (N, D) in the `label_space` of its method."""
    path, stamp = runs.RunFolder(folder).points, stamp_of(embedding)
    kept = _read(path, stamp)
    if kept is not None:
        return kept
    # Imported only here: torch takes seconds.
    from selfsort import methods
    from selfsort.clustering import reduce_sampled

    method = methods.find(runs.read_run(folder)["method"])
    if method.label_space == "embedding":
        return embedding
    points = reduce_sampled(method.label_view(embedding), method.label_space, random_state=random_state)
    with suppress(UserError):  # where it cannot be kept it is computed again
        keep(folder, embedding, points)
    return points


def keep(folder: Path, embedding: NDArray[np.float32], points: NDArray[np.float32]) -> None:
    """Keep what `points_of` shall return."""
    with atomic_path(runs.RunFolder(folder).points) as partial, open(partial, "wb") as file:
        np.savez(file, stamp=stamp_of(embedding), points=points)


def stamp_of(embedding: NDArray[np.float32]) -> str:
    """Return what tells an embedding from others."""
    digest = hashlib.blake2b(repr(embedding.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(embedding).data)
    return digest.hexdigest()


def _read(path: Path, stamp: str) -> NDArray[np.float32] | None:
    try:
        with np.load(path, allow_pickle=False) as kept:
            return np.asarray(kept["points"], np.float32) if str(kept["stamp"]) == stamp else None
    except Exception:  # not there, or damaged
        return None
