"""Choose borderline pictures of a group that differ from one another, so that near duplicates are shown only once."""

import numpy as np
from numpy.typing import NDArray

from selfsort.labelling.core.answers import Group, Shown, shown

_OUTER = 0.2  # share of a group that counts as its border
_LEAST, _MOST = 4, 40  # border pictures to choose from, for each picture shown


def shown_apart(group: Group, points: NDArray[np.float32]) -> Shown:
    """Choose the pictures of a group to show like `shown`, but borderline ones that differ in their `points` (N, d).

    Starting with the farthest from the centre, each next one is the farthest from all chosen so far (Gonzalez 1985).
    """
    seen = shown(group)
    if len(seen.all) == len(group.members) or len(points) == 0:
        return seen
    each = len(seen.borderline)
    rest = group.members[~np.isin(group.members, seen.typical + seen.random)]
    border = rest[-min(_MOST * each, max(_LEAST * each, int(_OUTER * len(rest)))) :]
    return seen._replace(borderline=tuple(border[_apart(points[border], each)].tolist()))


def _apart(points: NDArray[np.float32], count: int) -> list[int]:
    """Return the rows of points (n, d) in the order in which they are chosen, starting with the last row."""
    chosen = [len(points) - 1]
    away = np.linalg.norm(points - points[-1], axis=1)
    while len(chosen) < min(count, len(points)):
        away[chosen] = -1
        chosen.append(int(away.argmax()))
        away = np.minimum(away, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return chosen
