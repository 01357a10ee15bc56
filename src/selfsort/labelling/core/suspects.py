"""Suspects: pictures whose own name (imported or given individually) the other pictures contradict."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfsort.labelling.core.error_probability import judging_folds
from selfsort.labelling.core.head import HeadSpace
from selfsort.labelling.core.session import Session, Targets


class Suspect(NamedTuple):
    """A picture whose name is probably wrong.

    Attributes
    ----------
    picture : position of the picture
    name : its own name
    other : the name that the other pictures suggest
    chance : chance of the other name, from 0 to 1, by heads that did not see this picture's name
    own_chance : chance of its own name

    """

    picture: int
    name: str
    other: str
    chance: float
    own_chance: float


class OwnNames(NamedTuple):
    """The current state of a session's pictures that were named one by one.

    Attributes
    ----------
    targets : targets from all answers
    own : (N,) position of each picture's own name in the targets' names, -1 without one
    asked : (N,) whether it has one that nobody has reviewed
    folds : (N,) fold in which each is judged by heads fitted to the others

    """

    targets: Targets
    own: NDArray[np.int64]
    asked: NDArray[np.bool_]
    folds: NDArray[np.int64]

    @classmethod
    def of(cls, session: Session, seed: int = 0, bursts: NDArray[np.int64] | None = None) -> "OwnNames":
        """Return a session's state; no picture is judged by others of its burst (N,), which are nearly the same."""
        own = session.by_hand().copy()
        asked = (own >= 0) & ~session.looked_at_again()
        return cls(session.targets(), own, asked, judging_folds(session, seed, bursts))


def suspects(named: OwnNames, space: HeadSpace, seed: int = 0) -> list[Suspect]:
    """Return the pictures with names of their own for which heads in a `space`, fitted to others, predict another.

    This is confident learning with out-of-sample chances (Northcutt et al. 2021), ranked by the difference between the
    two chances, largest first. Pictures that somebody has reviewed are left out.
    """
    names, asked = named.targets.names, np.flatnonzero(named.asked)
    if len(names) < 2 or not len(asked):
        return []
    rows, own = np.arange(len(asked)), named.own[asked]
    chances = chances_by_others(named, space, seed)[asked]
    own_chance = chances[rows, own]
    chances[rows, own] = -1
    other = chances.argmax(1)
    chance = chances[rows, other]
    order = np.argsort(own_chance - chance, kind="stable")
    return [
        Suspect(int(asked[row]), names[own[row]], names[other[row]], float(chance[row]), float(own_chance[row]))
        for row in order[chance[order] > own_chance[order]].tolist()
    ]


def chances_by_others(named: OwnNames, space: HeadSpace, seed: int = 0) -> NDArray[np.float32]:
    """Return the chances (N, K) of all names by heads that did not learn from the answers about the picture itself."""
    targets = named.targets
    chances = np.zeros((len(named.own), len(targets.names)), np.float32)
    for fold in np.unique(named.folds[named.folds >= 0]):
        judged = named.folds == fold
        head = space.fit(targets._replace(weights=np.where(judged, 0, targets.weights)), seed)
        chances[judged] = space.probabilities(head)[judged]
    return chances
