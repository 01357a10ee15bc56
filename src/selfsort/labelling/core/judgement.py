"""Judge each answer by the other answers, to estimate how many names are right.

A head that has learnt an answer does not doubt it: if a mixed group was named by its majority, it gives that name to
the other pictures of the group, too. So each answer is judged by heads that have learnt only from other groups.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfsort.labelling.core.answers import fair_sample
from selfsort.labelling.core.error_probability import judging_folds
from selfsort.labelling.core.head import HeadSpace
from selfsort.labelling.core.session import Judgement, Session, Targets

_FOLDS = 4
_MOST_ROWS = 2_000  # pictures that a head is fitted to, at most: after every answer, there is one head for each fold


class Case(NamedTuple):
    """What is judged: all answers, and for each named group its fold, its name and the fair sample of its pictures.

    Attributes
    ----------
    targets : the targets from all answers
    folds : (N,) fold of each picture, -1 without an answer
    groups : by number: fold, position of the name in `targets.names`, and positions (n,) of the sample

    """

    targets: Targets
    folds: NDArray[np.int64]
    groups: dict[int, tuple[int, int, NDArray[np.int64]]]


def case_of(session: Session, seed: int = 0) -> Case:
    """Return what there is to judge in the current state of a session."""
    targets, owners = session.targets(), session.owners()
    folds = judging_folds(session, seed, n_folds=_FOLDS)
    groups = {}
    for number, name in session.named_groups().items():
        members = session.groups[number].members
        own = members[owners[members] == number]
        if len(own):
            groups[number] = int(folds[own[0]]), name, np.array(fair_sample(session.groups[number]), dtype=np.int64)
    return Case(targets, folds, groups)


def judge(space: HeadSpace, case: Case, seed: int = 0) -> Judgement:
    """Return what heads in a space that have not learnt from a group choose for its sample, for each group.

    A group cannot be judged, and is left out, if no other group has its name.
    """
    targets = case.targets
    chosen: dict[int, NDArray[np.int64]] = {}
    for fold in sorted({fold for fold, *_ in case.groups.values()}):
        rest = _without(targets, case.folds == fold, seed)
        known: NDArray[np.bool_] = np.any(rest.soft[rest.weights > 0], axis=0)
        asked = {number: sample for number, (own, name, sample) in case.groups.items() if own == fold and known[name]}
        if asked and known.sum() > 1:
            head = space.fit(rest, seed)
            chosen |= {number: space.choices(head, sample) for number, sample in asked.items()}
    return Judgement(targets.names, chosen)


def _without(targets: Targets, left_out: NDArray[np.bool_], seed: int) -> Targets:
    """Return the targets without the pictures `left_out` (N,), for a random part of the others if there are many."""
    weights = np.where(left_out, 0, targets.weights).astype(np.float32)
    named = np.flatnonzero(weights)
    if len(named) > _MOST_ROWS:
        kept = np.random.default_rng((seed, 10)).choice(named, _MOST_ROWS, replace=False)
        fewer = np.zeros_like(weights)
        fewer[kept] = weights[kept]
        weights = fewer
    return targets._replace(weights=weights)
