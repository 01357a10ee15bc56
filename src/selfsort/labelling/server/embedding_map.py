"""The embedding map of a run: first by principal components, then by t-SNE, which is kept in the run folder."""

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfsort import runs
from selfsort.clustering.layout import project, rows_drawn
from selfsort.errors import UserError

_POINTS = 6000


class MapLayout(NamedTuple):
    """Where pictures are on the map: their positions (n,) in the run, and their points (n, 2) from 0 to 1."""

    kind: Literal["pca", "tsne"]
    indices: NDArray[np.int64]
    points: NDArray[np.float64]
    version: int = 0  # larger for later maps, even of later servers


class _ToDraw(NamedTuple):
    """The pictures to draw: their positions, their rows (n, D) of the embedding, and the embedding's stamp."""

    stamp: str
    indices: NDArray[np.int64]
    rows: NDArray[np.float32]
    random_state: int


class EmbeddingMap:
    """Draws a map of a run's embedding in the background, as soon as somebody looks at it.

    `changed` is called whenever there is a better map.
    """

    def __init__(self, run: Path, changed: Callable[[], None]):
        self._path, self._changed = runs.RunFolder(run).embedding_map, changed
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._to_draw: _ToDraw | None = None
        self._latest = 0
        self._layout: MapLayout | None = None
        self._drawing = False

    def put(self, embedding: NDArray[np.float32], stamp: str, random_state: int) -> None:
        """Draw the next map from an embedding (N, D) identified by a `stamp`, without keeping the embedding."""
        indices = rows_drawn(embedding, _POINTS, random_state)
        with self._lock:
            self._to_draw = _ToDraw(stamp, indices, embedding[indices], random_state)

    @property
    def version(self) -> int:
        """Return the version of the newest map, 0 before the first."""
        return 0 if self._layout is None else self._layout.version

    @property
    def drawing(self) -> bool:
        """Tell whether a better map is being drawn."""
        return self._drawing

    def layout(self) -> MapLayout:
        """Return the best map so far, waiting for the first one."""
        with self._lock:
            if self._to_draw is not None:
                self._latest += 1
                arguments, self._to_draw = (self._latest, self._to_draw), None
                self._ready.clear()
                threading.Thread(target=self._work, args=arguments, name="map", daemon=True).start()
        self._ready.wait()
        assert self._layout is not None
        return self._layout

    def _work(self, number: int, drawn: _ToDraw) -> None:
        _give_way()
        kept = self._read(drawn)
        if kept is not None:
            self._show(number, kept)
            return
        self._drawing = True
        self._show(number, _layout("pca", drawn))
        layout = _layout("tsne", drawn)
        self._drawing = False
        # A map is a convenience: it is shown even if it cannot be stored.
        with suppress(UserError):
            runs.write_kept(self._path, drawn.stamp, pictures=layout.indices, points=layout.points)
        self._show(number, layout)

    def _show(self, number: int, layout: MapLayout) -> None:
        with self._lock:
            if number != self._latest:
                return
            self._layout = layout._replace(version=int(time.time() * 1000))
        self._ready.set()
        self._changed()

    def _read(self, drawn: _ToDraw) -> MapLayout | None:
        found = runs.read_kept(self._path, drawn.stamp, {"pictures": "N", "points": "Nd"})
        if found is None:
            return None
        indices, points = found["pictures"], found["points"]
        whole = np.array_equal(indices, drawn.indices) and points.shape[1] == 2
        return MapLayout("tsne", indices, points.astype(np.float64, copy=False)) if whole else None


def _layout(kind: Literal["pca", "tsne"], drawn: _ToDraw) -> MapLayout:
    _, points = project(drawn.rows, kind=kind, sample=_POINTS, random_state=drawn.random_state)
    low, high = points.min(0, initial=np.inf), points.max(0, initial=-np.inf)
    spans = np.where(high > low, high - low, 1.0)
    # The same scale in both directions, so that distances keep their meaning.
    return MapLayout(kind, drawn.indices, (points - (low + high) / 2) / spans.max() + 0.5)


def _give_way() -> None:
    """Lower the priority of this thread, if the system can, as answers come first."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
