"""Groups of pictures that a person is asked about, and the possible answers."""

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfsort.errors import UserError
from selfsort.spelling import JUNK, is_junk, visible

EventKind = Literal["name", "mixed", "junk", "skip", "merge", "pull", "drop", "assign"]
GroupKind = Literal["rough", "cluster", "split", "lasso", "query"]

LONGEST_NAME = 100


class Taken(UserError):
    """The group was answered meanwhile, or no longer exists."""


class SimilarName(UserError):
    """A name differs from an `existing` one only in case or spaces."""

    def __init__(self, name: str, existing: str):
        super().__init__(
            f"{name!r} differs from the name {existing!r} only in case or spaces: use that one, or insist.",
            code="similar",
            name=name,
            existing=existing,
        )
        self.existing = existing


@dataclass(frozen=True, eq=False)
class Group:
    """Pictures that are asked about together.

    Attributes
    ----------
    id : number, never used twice in a session
    members : (M,) positions of the pictures, most typical first
    distances : (M,) distance of each to the centre, in units of the root mean square over all groups made with it
    centre : (D,) in the embedding; None if there is none
    kind : a "cluster", or a "rough" one, used until there are better ones; a part of a "split" group; a "lasso" drawn
        by hand; or a "query", chosen after the clusters are answered
    round : number of refinements before it
    parent : the group that was split, if any

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
    """One answer; a name that is a word for junk makes it "junk".

    Attributes
    ----------
    kind : "name", "mixed" (to be split), "junk" or "skip" a group; "merge" names; "pull" pictures out of a name;
        "drop" names, as if they had never been given; "assign" names to single pictures, many at once
    group : the group that is named, mixed, junk or skipped
    name : the name given; the name that stays (merge); the right name, or None (pull)
    confidence : 1 to 5; the paper's p_c is a fifth of it
    pictures : those thrown out of the group (name, junk), pulled out of a name (pull), or named (assign)
    names : those merged into `name` (merge), the one that pictures are pulled out of (pull), or those assigned (assign)
    distinct : whether the name is meant to differ from a similar one
    chosen : for each of the `pictures`, the position in `names` of the name that it gets (assign)

    """

    kind: EventKind
    group: int | None = None
    name: str | None = None
    confidence: int = 5
    pictures: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    distinct: bool = False
    chosen: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.kind == "name" and is_junk(self.name or ""):
            object.__setattr__(self, "kind", "junk")
            object.__setattr__(self, "name", None)

    @property
    def names_pictures(self) -> bool:
        """Tell whether the answer gives a group a name; "junk" counts as one."""
        return self.kind in ("name", "junk")

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


class Shown(NamedTuple):
    """Positions of the pictures of a group that are shown; no picture is in more than one of the rows."""

    typical: tuple[int, ...]
    random: tuple[int, ...]
    borderline: tuple[int, ...]

    @property
    def all(self) -> tuple[int, ...]:
        """Return all of them."""
        return self.typical + self.random + self.borderline


@lru_cache(maxsize=4096)
def shown(group: Group, random_state: int = 0, each: int = 9) -> Shown:
    """Choose the pictures of a group to show, the same every time: `each` typical, random and borderline ones.

    The random ones are drawn from all members before the others are chosen, so they are a random sample of the group.
    A group of at most three times `each` pictures is shown completely.
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
    """Return those of the shown pictures that are a random sample of the group."""
    seen = shown(group)
    return seen.all if len(seen.all) == len(group.members) else seen.random


def cleaned(name: str | None) -> str:
    """Return the stored form of a name that is given.

    Raises
    ------
    UserError
        If nothing is left, or it is too long.

    """
    text = spelt(name)
    if not visible(text.replace("/", "")):
        raise UserError("The name is empty: type one, or skip the group.", code="empty-name")
    if len(text) > LONGEST_NAME:
        sentence = f"The name has {len(text)} characters: use at most {LONGEST_NAME}."
        raise UserError(sentence, code="long-name", n=len(text), most=LONGEST_NAME)
    return text


def spelt(name: str | None) -> str:
    """Return the stored form of a name: with single spaces, without invisible characters, `JUNK` for any word for it.

    An invisible name, which earlier versions accepted, stays as it is.

    >>> spelt(" Bird / Robin/"), spelt("red  rose"), spelt("Ausschuss")
    ('Bird/Robin', 'red rose', 'junk')
    """
    typed = "".join(letter for letter in name or "" if not "\ud800" <= letter <= "\udfff")
    parts = [part for part in (visible(part) for part in typed.split("/")) if part]
    name = "/".join(parts) or typed
    return JUNK if is_junk(name) else name
