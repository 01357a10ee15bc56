"""Let names spread after every answer by refitting a head on the stored embedding in the background.

Afterwards, each answer is judged by the others, which takes longer, but nothing waits for it.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfsort.labelling.core.head import HeadSpace, spread
from selfsort.labelling.core.judgement import case_of, judge
from selfsort.labelling.core.session import Judgement, Session
from selfsort.labelling.server.jobs import LatestOnly
from selfsort.threads import one_thread


class LiveNames(NamedTuple):
    """Predictions of a head fitted to the first `answers` of a session: its names and the chances (N, K) of each."""

    names: tuple[str, ...]
    probabilities: NDArray[np.float32]
    answers: int


class _Asked(NamedTuple):
    state: int
    session: Session


class LiveLearner:
    """Fits a head in a space to the newest answers in a separate thread, then judges the answers in another one.

    `publish` and `judged` are called in those threads with the `state` given when the answers were submitted, and the
    result.
    """

    def __init__(
        self,
        space: HeadSpace,
        publish: Callable[[int, LiveNames], None],
        judged: Callable[[int, Judgement], None],
        random_state: int,
    ):
        self._space, self._random_state, self._publish = space, random_state, publish
        self._latest = LatestOnly(self._learn, lambda _, found: self._learnt(*found))
        self._judging = LatestOnly(self._judge, lambda _, found: judged(*found))

    def submit(self, session: Session, state: int) -> None:
        """Learn from a session's current answers, replacing a waiting submission."""
        self._latest.submit(_Asked(state, session.as_now()))

    def judge(self, session: Session, state: int) -> None:
        """Judge a session's current answers, if a model has already learnt from them."""
        self._judging.submit(_Asked(state, session.as_now()))

    def wait(self) -> None:
        """Wait until everything submitted so far is published."""
        self._latest.wait()
        self._judging.wait()

    def close(self) -> None:
        """Finish the current fit, and drop a waiting submission."""
        self._latest.close()
        self._judging.close()

    def _learn(self, asked: _Asked) -> tuple[_Asked, LiveNames]:
        session = asked.session
        with one_thread():
            found = spread(self._space, session.targets(), session.denied(), self._random_state)
        return asked, LiveNames(*found, len(session.events))

    def _learnt(self, asked: _Asked, found: LiveNames) -> None:
        self._publish(asked.state, found)
        self._judging.submit(asked)

    def _judge(self, asked: _Asked) -> tuple[int, Judgement]:
        with one_thread():
            return asked.state, judge(self._space, case_of(asked.session, self._random_state), self._random_state)
