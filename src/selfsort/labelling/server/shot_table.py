"""When, where and with which camera a run's pictures were taken: read in the background, and kept in its folder."""

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from selfsort.data.image_set import ImageSet
from selfsort.data.shots import Shots
from selfsort.labelling.kept_shots import shots_of

Fact = Literal["day", "place", "camera"]


class ShotFact(NamedTuple):
    """A day, place or camera."""

    fact: Fact
    value: str


_PATIENCE = 1.0  # seconds to wait by default
_FEW = 20_000  # pictures that are read within about that time


class ShotTable:
    """The shots of a run's pictures, read by a thread: at once if there are few, otherwise from `start`.

    Parameters
    ----------
    run : run folder
    images : its pictures
    changed : called once the shots are known

    """

    def __init__(self, run: Path, images: ImageSet, changed: Callable[[], None]):
        self._run, self._images, self._changed = run, images, changed
        self._known = threading.Event()
        self._shots: Shots | None = None
        self._bursts: NDArray[np.int64] | None = None
        self._thread = threading.Thread(target=self._read, name="shots", daemon=True)
        if len(images) <= _FEW:
            self.start()

    def start(self) -> None:
        """Begin to read, unless that has begun already."""
        if self._thread.ident is None:
            self._thread.start()

    def bursts(self, patience: float | None = _PATIENCE) -> NDArray[np.int64] | None:
        """Return the burst (N,) of each picture; None if it is not known after `patience` seconds, or not read yet."""
        if patience is None:
            self.start()
        if self._thread.ident is not None:
            self._known.wait(patience)
        return self._bursts

    def counts(self) -> dict[Fact, dict[str, int]]:
        """Return how many pictures there are of each day, place and camera, as far as known."""
        found: dict[Fact, dict[str, int]] = {}
        for fact in get_args(Fact):
            counts = Counter(value for value in self._values(fact) if value)
            found[fact] = dict(sorted(counts.items()))
        return found

    def of(self, fact: Fact, value: str) -> NDArray[np.bool_]:
        """Tell which pictures (N,) were taken on a day, at a place or with a camera."""
        values = self._values(fact)
        return np.array([each == value for each in values], bool) if values else np.zeros(len(self._images), bool)

    def about(self, index: int) -> dict[Fact, str]:
        """Return the day, place and camera of a picture, as far as known."""
        return {fact: value for fact in get_args(Fact) if (values := self._values(fact)) and (value := values[index])}

    def _values(self, fact: Fact) -> list[str]:
        shots = self._shots
        if shots is None:
            return []
        return {"day": shots.days, "place": shots.places, "camera": shots.cameras}[fact]()

    def _read(self) -> None:
        shots = shots_of(self._run, self._images)
        self._shots, self._bursts = shots, shots.bursts()
        self._changed()
        self._known.set()
