"""Names that spread after every answer: a head is fitted to the stored embedding again, in the background."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfsort.labelling.core.head import HeadSpace
from selfsort.labelling.core.session import Session, Targets
from selfsort.labelling.server.jobs import LatestOnly


class LiveNames(NamedTuple):
    """What a head makes of the first `answers` of a session: its names and the chances (N, K) of each."""

    names: tuple[str, ...]
    probabilities: NDArray[np.float32]
    answers: int


class _Asked(NamedTuple):
    state: int
    targets: Targets
    denied: NDArray[np.bool_]
    answers: int


class LiveLearner:
    """Fits a head in a space to the newest answers, in a thread of its own.

    `publish` is called there with the `state` that the answers were submitted with, and what they led to.
    """

    def __init__(self, space: HeadSpace, publish: Callable[[int, LiveNames], None], random_state: int):
        self._space, self._random_state = space, random_state
        self._latest = LatestOnly(self._learn, lambda _, found: publish(*found))

    def submit(self, session: Session, state: int) -> None:
        """Learn from a session's answers as they are now; older ones that wait are passed over."""
        self._latest.submit(_Asked(state, session.targets(), session.denied(), len(session.events)))

    def wait(self) -> None:
        """Wait until all that was submitted so far is published."""
        self._latest.wait()

    def close(self) -> None:
        """Finish what is being learnt, and drop what waits."""
        self._latest.close()

    def _learn(self, asked: _Asked) -> tuple[int, LiveNames]:
        targets = asked.targets
        # A name that came from an answer taken back since is in no evidence.
        present = np.flatnonzero((targets.soft * targets.weights[:, None]).any(0))
        names, soft = tuple(targets.names[k] for k in present), targets.soft[:, present]
        given = self._space.with_denied(targets._replace(names=names, soft=soft), asked.denied[:, present])
        head = self._space.fit(given, self._random_state)
        return asked.state, LiveNames(names, self._space.probabilities(head), asked.answers)
