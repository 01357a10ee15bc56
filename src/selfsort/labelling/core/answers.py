"""What a person is asked, a group of pictures, and what can be said about it."""

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfsort.errors import UserError
from selfsort.spelling import visible

EventKind = Literal["name", "mixed", "junk", "skip", "merge", "pull"]
GroupKind = Literal["rough", "cluster", "split", "lasso", "query"]

JUNK = "junk"
LONGEST_NAME = 100


class Taken(UserError):
    """The group was answered meanwhile, or is not there."""


class SimilarName(UserError):
    """A name differs from an `existing` one in case or spaces only."""

    def __init__(self, name: str, existing: str):
        super().__init__(
            f"{name!r} differs from the name {existing!r} in case or spaces only: use that one, or insist."
        )
        self.existing = existing


@dataclass(frozen=True, eq=False)
class Group:
    """Pictures that are asked about together.

    Attributes
    ----------
    id : number, never used twice in a session
    members : (M,) positions of the pictures, the most typical first
    distances : (M,) of each to the centre, in units of the root mean square over all groups proposed with it
    centre : (D,) in the embedding; None where there is none
    kind : a "cluster", or a "rough" one, asked about until there are better ones; a part of a "split" group, a "lasso"
        drawn by hand, or a "query", asked about after those
    round : number of refinements before it
    parent : the group that was split

    """

    id: int
    members: NDArray[np.int64]
    distances: NDArray[np.float32]
    centre: NDArray[np.float32] | None
    kind: GroupKind
    round: int
    parent: int | None = None


@dataclass(frozen=True)
class Event:
    """One answer.

    Attributes
    ----------
    kind : "name", "mixed" (to be split), "junk" or "skip" a group; "merge" names; "pull" pictures out of a name
    group : the group that is named, mixed, junk or skipped
    name : the name given; the name that stays (merge); the right name, or None (pull)
    confidence : 1 to 5; the paper's p_c is a fifth of it
    pictures : thrown out of the group (name, junk); pulled out of a name (pull)
    names : that are merged into `name`; the one that pictures are pulled out of
    distinct : the name is meant to differ from a similar one

    """

    kind: EventKind
    group: int | None = None
    name: str | None = None
    confidence: int = 5
    pictures: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    distinct: bool = False

    @property
    def names_pictures(self) -> bool:
        """Tell whether it gives a group a name; "junk" is one."""
        return self.kind in ("name", "junk")

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Event":
        """Undo `to_json`."""
        return cls(**content | {"pictures": tuple(content["pictures"]), "names": tuple(content["names"])})


class Shown(NamedTuple):
    """Positions of the pictures of a group that are shown; no picture is in two of the rows."""

    typical: tuple[int, ...]
    random: tuple[int, ...]
    borderline: tuple[int, ...]

    @property
    def all(self) -> tuple[int, ...]:
        """Return all of them."""
        return self.typical + self.random + self.borderline


@lru_cache(maxsize=4096)
def shown(group: Group, random_state: int = 0, each: int = 9) -> Shown:
    """Choose the pictures of a group to show: `each` typical, random and borderline ones; the same every time.

    The random ones are drawn from all members before the others are chosen, so they are a fair sample of the group.
    A group of at most three times `each` is shown whole.
    """
    members = group.members
    if len(members) <= 3 * each:
        parts = np.array_split(members, 3)
        typical, middle, borderline = (tuple(part.tolist()) for part in parts)
        return Shown(typical, middle, borderline)
    drawn = np.random.default_rng((random_state, group.id)).choice(len(members), each, replace=False)
    rest = np.delete(members, drawn)
    return Shown(tuple(rest[:each].tolist()), tuple(members[drawn].tolist()), tuple(rest[-each:].tolist()))


def fair_sample(group: Group) -> tuple[int, ...]:
    """Return those of the pictures shown that are a fair sample of the group."""
    seen = shown(group)
    return seen.all if len(seen.all) == len(group.members) else seen.random


def cleaned(name: str | None) -> str:
    """Return a name with single spaces, without what cannot be seen.

    Raises
    ------
    UserError
        When nothing is left, or it is too long.

    """
    text = spelt(name)
    if not visible(text):
        raise UserError("The name is empty: type one, or skip the group.")
    if len(text) > LONGEST_NAME:
        raise UserError(f"The name has {len(text)} characters: use at most {LONGEST_NAME}.")
    return text


def spelt(name: str | None) -> str:
    """Return how a name is kept; one that nobody can see, which earlier versions took, as it is."""
    typed = "".join(letter for letter in name or "" if not "\ud800" <= letter <= "\udfff")
    return visible(typed) or typed
