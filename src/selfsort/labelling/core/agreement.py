"""How far two people who answered about the same groups agree, and how fast each of them answers."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from selfsort.spelling import folded

_BREAK = 180.0  # a longer gap between two answers, in seconds, counts as a break
_LATELY = 30  # number of recent answers whose pace counts


class Agreement(NamedTuple):
    """Two people, the number of groups that both answered, and in how many of them they said the same.

    `kappa` is Cohen's (1960, equation 1): 1 if they always agree, 0 if no more often than by chance; None if chance
    alone makes them always agree.
    """

    one: int
    other: int
    groups: int
    same: int
    kappa: float | None


def agreements(answers: Iterable[tuple[int, str, int, str]]) -> list[Agreement]:
    """Return how far pairs of people agree, given rows of a person's number and answer, then another's.

    Names that differ only in case and spaces count as the same.
    """
    pairs: dict[tuple[int, int], list[tuple[str, str]]] = {}
    for one, said, other, also in answers:
        first, second = sorted([(one, folded(said)), (other, folded(also))])
        pairs.setdefault((first[0], second[0]), []).append((first[1], second[1]))
    return [
        Agreement(one, other, len(said), sum(a == b for a, b in said), _kappa(said))
        for (one, other), said in sorted(pairs.items())
    ]


def _kappa(said: Sequence[tuple[str, str]]) -> float | None:
    kinds, numbers = np.unique(np.array(said), return_inverse=True)
    one, other = numbers.reshape(-1, 2).T
    shares = [np.bincount(each, minlength=len(kinds)) / len(said) for each in (one, other)]
    chance = float(shares[0] @ shares[1])
    return None if chance == 1 else (float((one == other).mean()) - chance) / (1 - chance)


def pace(times: Sequence[float]) -> float | None:
    """Return the median seconds per recent answer, without breaks, given the times of all answers in order."""
    gaps = np.diff(np.asarray(times[-_LATELY:], np.float64))
    gaps = gaps[gaps <= _BREAK]
    return float(np.median(gaps)) if len(gaps) else None
