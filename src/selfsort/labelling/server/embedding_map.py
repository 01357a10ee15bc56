"""The embedding map of a run: first by principal components, then by t-SNE, which is kept in the run folder."""

import json
import os
import sys
import tempfile
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
from selfsort.labelling.server.helper import Helper, end_with_input
from selfsort.labelling.server.jobs import log_failure

_POINTS = 6000
_QUICK = 2000  # points for which a t-SNE takes seconds, and a process of its own would not pay
_ROWS, _DRAWN = "rows.npy", "points.npy"


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

    `changed` is called whenever there is a better map, or it has come nearer.
    """

    def __init__(self, run: Path, changed: Callable[[], None]):
        self._path, self._changed = runs.RunFolder(run).embedding_map, changed
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._to_draw: _ToDraw | None = None
        self._latest = 0
        self._layout: MapLayout | None = None
        self._share: float | None = None
        self._helper = Helper()

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
    def drawing(self) -> float | None:
        """Return the share of a better map that is done, 0 if unknown, or None if none is being drawn."""
        return self._share

    def layout(self) -> MapLayout:
        """Return the best map so far, waiting for the first one."""
        with self._lock:
            if self._to_draw is not None:
                self._latest += 1
                arguments, self._to_draw = (self._latest, self._to_draw), None
                self._ready.clear()
                self._helper.stop()
                self._helper = Helper()
                threading.Thread(target=self._work, args=arguments, name="map", daemon=True).start()
        self._ready.wait()
        assert self._layout is not None
        return self._layout

    def stop(self) -> None:
        """End the process that draws a better map, if there is one."""
        with self._lock:
            self._helper.stop()

    def _work(self, number: int, drawn: _ToDraw) -> None:
        _give_way()
        kept = self._read(drawn)
        if kept is not None:
            self._show(number, kept)
            return
        _, first = project(drawn.rows, kind="pca", sample=_POINTS, random_state=drawn.random_state)
        self._show(number, _scaled("pca", drawn, first), share=0.0)
        try:
            layout = _scaled("tsne", drawn, self._better(number, drawn))
        except OSError as error:  # the first map stays
            self._tell(number, None)
            if not self._helper.stopped:
                log_failure(error)
            return
        # A map is a convenience: it is shown even if it cannot be stored.
        with suppress(UserError):
            runs.write_kept(self._path, drawn.stamp, pictures=layout.indices, points=layout.points)
        self._show(number, layout)

    def _better(self, number: int, drawn: _ToDraw) -> NDArray[np.float64]:
        """Lay out a map by t-SNE, in a process of its own if that takes long; raise OSError if it fails."""
        if len(drawn.rows) < _QUICK:
            return project(drawn.rows, sample=_POINTS, random_state=drawn.random_state)[1]
        helper = self._helper
        with tempfile.TemporaryDirectory() as folder:
            np.save(f"{folder}/{_ROWS}", drawn.rows)
            words = [sys.executable, "-m", __name__, folder, str(drawn.random_state)]
            helper.run(words, lambda content: self._tell(number, float(content["share"])))
            points: NDArray[np.float64] = np.load(f"{folder}/{_DRAWN}")
        return points

    def _tell(self, number: int, share: float | None) -> None:
        with self._lock:
            if number != self._latest:
                return
            self._share = share
        self._changed()

    def _show(self, number: int, layout: MapLayout, share: float | None = None) -> None:
        with self._lock:
            if number != self._latest:
                return
            self._layout = layout._replace(version=int(time.time() * 1000))
        self._tell(number, share)
        self._ready.set()

    def _read(self, drawn: _ToDraw) -> MapLayout | None:
        found = runs.read_kept(self._path, drawn.stamp, {"pictures": "N", "points": "Nd"})
        if found is None:
            return None
        indices, points = found["pictures"], found["points"]
        whole = np.array_equal(indices, drawn.indices) and points.shape[1] == 2
        return MapLayout("tsne", indices, points.astype(np.float64, copy=False)) if whole else None


def _scaled(kind: Literal["pca", "tsne"], drawn: _ToDraw, points: NDArray[np.float64]) -> MapLayout:
    low, high = points.min(0, initial=np.inf), points.max(0, initial=-np.inf)
    spans = np.where(high > low, high - low, 1.0)
    # The same scale in both directions, so that distances keep their meaning.
    return MapLayout(kind, drawn.indices, (points - (low + high) / 2) / spans.max() + 0.5)


def _give_way() -> None:
    """Lower the priority of this thread, if the system can, as answers come first."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


def main(folder: str, random_state: str) -> None:
    """Lay out the rows in a folder by t-SNE as a helper process that reports its progress."""
    end_with_input()
    out = sys.stdout

    def tell(share: float) -> None:
        print(json.dumps({"share": share}), file=out, flush=True)

    rows = np.load(f"{folder}/{_ROWS}")
    np.save(f"{folder}/{_DRAWN}", project(rows, sample=len(rows), random_state=int(random_state), progress=tell)[1])


if __name__ == "__main__":
    main(*sys.argv[1:])
