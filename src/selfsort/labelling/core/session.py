"""What a person has said about groups of pictures, and what follows from it; no input or output happens here.

The state is a function of the groups proposed and the answers in force, replayed in order: taking one back is
leaving it out. Names spread from a group to its pictures as in paper 4, section 3.3.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfsort.errors import UserError
from selfsort.evaluation.certificate import stratified_interval
from selfsort.spelling import folded, visible

EventKind = Literal["name", "mixed", "junk", "skip", "merge", "pull"]
GroupKind = Literal["cluster", "split", "lasso", "query"]

JUNK = "junk"
_OLDER = 0.1  # what earlier answers count for where a narrower group, or one drawn by hand, is named
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
    kind : a "cluster", a part of a "split" group, a "lasso" drawn by hand, or a "query", asked about after those
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


class Labels(NamedTuple):
    """The name that each picture has now: an index into `names` or -1, how sure, and whether an answer gave it."""

    names: tuple[str, ...]
    name_of: NDArray[np.int64]
    confidence: NDArray[np.float32]
    given: NDArray[np.bool_]


class Targets(NamedTuple):
    """What a classifier learns: (N, K) shares of the names, rows summing to 1 or 0, and (N,) weights from 0 to 1.

    `group_sizes` (N,) tells how many pictures got their name by the same answer; None where each got its own.
    """

    names: tuple[str, ...]
    soft: NDArray[np.float32]
    weights: NDArray[np.float32]
    group_sizes: NDArray[np.int64] | None = None


class Estimate(NamedTuple):
    """Share of right names among pictures in named groups, its 95 % interval, and how many pictures tell."""

    accuracy: float
    low: float
    high: float
    looked_at: int


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
    text = _spelt(name)
    if not visible(text):
        raise UserError("The name is empty: type one, or skip the group.")
    if len(text) > LONGEST_NAME:
        raise UserError(f"The name has {len(text)} characters: use at most {LONGEST_NAME}.")
    return text


def _spelt(name: str | None) -> str:
    """Return how a name is kept; one that nobody can see, which earlier versions took, as it is."""
    typed = "".join(letter for letter in name or "" if not "\ud800" <= letter <= "\udfff")
    return visible(typed) or typed


class Session:
    """Groups of pictures, the answers about them, and what both say of every picture.

    Parameters
    ----------
    n_images : number of pictures
    decay : the paper's a: a picture at distance d from the centre of its group gets its name with weight
        p_c * exp(-a * d) (equation 2)

    """

    def __init__(self, n_images: int, decay: float = 1.0):
        self.n_images = n_images
        self.decay = decay
        self.groups: dict[int, Group] = {}
        self.events: list[Event] = []
        self.round = 0
        self.model_names: tuple[str, ...] = ()
        self.model_probabilities: NDArray[np.float32] | None = None
        self.error_probability: NDArray[np.float32] | None = None
        self.learnt_from = 0
        self._children: dict[int, list[int]] = {}

    def add(self, groups: Iterable[Group]) -> None:
        """Add groups to ask about."""
        for group in groups:
            self.groups[group.id] = group
            if group.parent is not None:
                self._children.setdefault(group.parent, []).append(group.id)
        self._changed()

    def next_id(self) -> int:
        """Return a number that no group has had."""
        return max(self.groups, default=-1) + 1

    def check(self, event: Event) -> None:
        """Raise an error when an answer cannot be applied.

        Raises
        ------
        Taken
            When its group was answered meanwhile or does not exist.
        SimilarName
            When its name differs from a given one in case or spaces only.
        UserError
            For an empty or unknown name, foreign pictures, a confidence outside 1 to 5, or a split of one picture.

        """
        if not 1 <= event.confidence <= 5:
            raise UserError(f"Confidence {event.confidence} is not from 1 to 5.")
        if event.kind in ("merge", "pull"):
            self._check_names(event)
        else:
            self._check_group(event)
        if event.kind in ("name", "merge") or (event.kind == "pull" and event.name is not None):
            self._check_new_name(event)

    def _check_group(self, event: Event) -> None:
        group = self.groups.get(-1 if event.group is None else event.group)
        if group is None or not self._is_reachable(group):
            raise Taken(f"Group {event.group} is not there any more: go on with the next one.")
        if group.id in self._now.answered:
            raise Taken(f"Group {group.id} has been answered already: go on with the next one.")
        if event.kind == "mixed" and len(group.members) < 2:
            raise UserError("A group of one picture cannot be split: name it, skip it or call it junk.")
        if event.pictures and not np.isin(event.pictures, group.members).all():
            raise UserError(f"Some of the pictures thrown out are not in group {group.id}: load it again.")

    def _check_names(self, event: Event) -> None:
        for name in event.names:
            if _spelt(name) not in self._now.index:
                raise UserError(f"No picture is named {name!r}: choose a name that was given.")
        if not event.names:
            raise UserError("Say which name it is about.")
        if event.kind == "pull" and not event.pictures:
            raise UserError("Say which pictures to pull out.")
        if any(not 0 <= picture < self.n_images for picture in event.pictures):
            raise UserError(f"Some of the pictures do not exist: there are {self.n_images:,}.")

    def _check_new_name(self, event: Event) -> None:
        name = cleaned(event.name)
        if event.distinct or name in self._now.index:
            return
        going = {self._now.index[_spelt(old)] for old in event.names} if event.kind == "merge" else set()
        for existing, number in self._now.index.items():
            if folded(existing) == folded(name) and number not in going:
                raise SimilarName(name, existing)

    def apply(self, event: Event) -> None:
        """Check an answer and let it count."""
        self.check(event)
        # Going on from what was replayed keeps an answer quick after hundreds of others.
        now = self._now
        self.events.append(event)
        now.take(len(self.events) - 1, event)
        now.settle()
        self._sort()

    def undo(self, position: int = -1) -> Event:
        """Take back the answer at a position, by default the last; all others are replayed."""
        if not -len(self.events) <= position < len(self.events):
            raise UserError("There is no answer to take back.")
        position %= len(self.events)
        if position < self.learnt_from:
            self.learnt_from -= 1
        event = self.events.pop(position)
        self._changed()
        return event

    def learn(
        self,
        names: tuple[str, ...],
        probabilities: NDArray[np.float32],
        seen: int | None = None,
        error_probability: NDArray[np.float32] | None = None,
    ) -> None:
        """Take over a model's (N, K) opinion, which was trained on the first `seen` answers.

        Answers given since then count for more than the model, earlier ones for less. `error_probability` (N,) is how
        likely the model's name is wrong (see `error_probability.error_probabilities`), else what its own probabilities
        leave.
        """
        if probabilities.shape != (self.n_images, len(names)):
            raise ValueError(
                f"{probabilities.shape} probabilities for {self.n_images} pictures and {len(names)} names."
            )
        self.model_names, self.model_probabilities, self.error_probability = names, probabilities, error_probability
        self.learnt_from = len(self.events) if seen is None else seen
        self._changed()

    def begin_round(self) -> None:
        """Leave the groups proposed so far behind: a refined model sees others."""
        self.round += 1
        self._changed()

    def forget(self) -> None:
        """Let the answers alone count, without a model's opinion."""
        self.model_names, self.model_probabilities, self.error_probability = (), None, None
        self.learnt_from = 0
        self._changed()

    def answered(self) -> Mapping[int, Event]:
        """Return the answers in force about groups, by the group's number."""
        return self._now.answered

    def open_groups(self) -> list[Group]:
        """Return the groups to ask about, the one whose answer brings most first."""
        return self._now.open

    def unsplit(self) -> list[Group]:
        """Return the groups that were called mixed and have no parts yet."""
        mixed = [key for key, event in self._now.answered.items() if event.kind == "mixed"]
        return [self.groups[key] for key in mixed if key not in self._children]

    def gain(self, group: Group) -> float:
        """Return how many pictures an answer is expected to put right: those likely to have no or a wrong name now."""
        return float((1 - self._now.labels.confidence[group.members]).sum())

    def suggestion(self, group: Group) -> str | None:
        """Return the name that most pictures of a group have now, if any."""
        labels = self._now.labels
        named = labels.name_of[group.members]
        named = named[named >= 0]
        return labels.names[int(np.bincount(named).argmax())] if 2 * len(named) > len(group.members) else None

    def names(self) -> tuple[str, ...]:
        """Return the names in the order of their first use."""
        return self._now.labels.names

    def labels(self) -> Labels:
        """Return the name that each picture has now: by hand, by answers the model has not seen, by it, by others."""
        return self._now.labels

    def counts(self) -> list[tuple[str, int]]:
        """Return each name with its number of pictures, most first."""
        labels = self._now.labels
        sizes = np.bincount(labels.name_of[labels.name_of >= 0], minlength=len(labels.names))
        return [(labels.names[k], int(sizes[k])) for k in np.argsort(-sizes, kind="stable")]

    def covered(self) -> int:
        """Return how many pictures have a name from an answer."""
        return int((self._now.latest >= 0).sum())

    def owners(self) -> NDArray[np.int64]:
        """Return the group (N,) whose answer last named each picture, -1 where there is none."""
        return self._now.owner

    def evidence(self) -> NDArray[np.float32]:
        """Return the sums (N, K) of the answers' weights (equation 2) for each of the `names`."""
        return self._now.evidence

    def targets(self) -> Targets:
        """Return the weighted soft targets that the answers make (equation 2); the model's opinion is not in them."""
        evidence = self._now.evidence
        total = evidence.sum(1, keepdims=True)
        soft = np.divide(evidence, total, out=np.zeros_like(evidence), where=total > 0)
        owners = self._now.owner
        groups, place, sizes = np.unique(owners, return_inverse=True, return_counts=True)
        group_sizes = np.where(groups < 0, 1, sizes)[place]
        return Targets(self.names(), soft, np.minimum(evidence.max(1, initial=0), 1), group_sizes)

    def denied(self) -> NDArray[np.bool_]:
        """Tell which of the `names` each picture (N, K) was said not to have."""
        denied = np.zeros(self._now.evidence.shape, np.bool_)
        for pictures, number in self._now.denied:
            denied[pictures, number] = True
        denied[self._now.evidence > 0] = False  # said to have it after all
        return denied

    def estimate(self) -> Estimate | None:
        """Estimate the share of right names among the pictures in named groups; None before the first.

        Of each named group the person saw a fair sample. What was left in counts as right where the picture still has
        that name, what was thrown out as wrong until it gets its right name by hand.
        """
        strata = [self._stratum(key, event) for key, event in self._now.answered.items() if event.kind == "name"]
        strata = [stratum for stratum in strata if stratum[1] and stratum[2]]
        if not strata:
            return None
        right, looked_at, sizes = (np.array(column) for column in zip(*strata, strict=True))
        return Estimate(*stratified_interval(right, looked_at, sizes), int(looked_at.sum()))

    def _stratum(self, key: int, event: Event) -> tuple[int, int, int]:
        """Return how many pictures of a named group's sample are right, how many were seen, and how many it names."""
        group, now = self.groups[key], self._now
        sample = np.array(fair_sample(group), dtype=np.int64)
        thrown_out = np.isin(sample, event.pictures) if event.pictures else np.zeros(len(sample), np.bool_)
        counted = thrown_out | (now.owner[sample] == key)
        sample, thrown_out = sample[counted], thrown_out[counted]
        name = now.numbers[key]
        right = np.where(thrown_out, now.by_hand[sample] >= 0, now.labels.name_of[sample] == name)
        return int(right.sum()), len(sample), int((now.owner[group.members] == key).sum())

    def _is_reachable(self, group: Group) -> bool:
        """Tell whether the groups that a part was split from still are called mixed."""
        while group.parent is not None:
            answer = self._now.answered.get(group.parent)
            if answer is None or answer.kind != "mixed":
                return False
            group = self.groups[group.parent]
        return True

    def _changed(self) -> None:
        self.__dict__.pop("_now", None)

    @cached_property
    def _now(self) -> "_Replay":
        replay = _Replay(self)
        # `_sort` asks the session, which asks this replay.
        self.__dict__["_now"] = replay
        self._sort()
        return replay

    def _sort(self) -> None:
        waiting = [group for group in self.groups.values() if self._is_waiting(group)]
        self._now.open = sorted(waiting, key=lambda group: (-self.gain(group), group.id))

    def _is_waiting(self, group: Group) -> bool:
        current = group.round == self.round or group.kind == "lasso"
        return current and group.id not in self._now.answered and self._is_reachable(group)


@dataclass
class _Replay:
    """All answers of a session, replayed."""

    session: Session
    answered: dict[int, Event] = field(default_factory=dict)
    index: dict[str, int] = field(default_factory=dict)  # names in force
    merged: dict[int, int] = field(default_factory=dict)  # number of a merged name -> number of the name that stays
    denied: list[tuple[NDArray[np.int64], int]] = field(default_factory=list)  # pictures, and the name they do not have
    open: list[Group] = field(default_factory=list)

    def __post_init__(self) -> None:
        n_images = self.session.n_images
        self.known: list[str] = []
        self.numbers: dict[int, int] = {}  # named group -> its name
        self.latest = np.full(n_images, -1)  # number of the last answer that gave a picture its name
        self.owner = np.full(n_images, -1)  # its group
        self.given = np.full(n_images, -1)  # the name that answers give
        self.by_hand = np.full(n_images, -1)  # the name that a picture got by itself
        self._room = np.zeros((n_images, 0), np.float32)
        self.evidence = self._room
        for name in self.session.model_names:
            self.number(name)
        self.columns = list(range(len(self.known)))  # the numbers of the model's names
        self._opinion: NDArray[np.float32] | None = None
        for position, event in enumerate(self.session.events):
            self.take(position, event)
        self.settle()

    def take(self, position: int, event: Event) -> None:
        """Replay one more answer; `settle` makes it count."""
        getattr(self, f"_{event.kind}")(position, event)

    def settle(self) -> None:
        """Bring `labels` up to the answers replayed so far."""
        if self.merged:
            self._renumber()
        self.labels = self._labels(tuple(self.index))

    def number(self, name: str) -> int:
        """Return the number of a name, a new one if it is new."""
        if name not in self.index:
            self.index[name] = len(self.known)
            self.known.append(name)
            self._make_room()
        return self.index[name]

    def _make_room(self) -> None:
        """Add a column to the evidence; doubling what is held makes that cheap for every name but a few."""
        n_images, held = self._room.shape
        if len(self.known) > held:
            self._room = np.concatenate([self._room, np.zeros((n_images, max(8, held)), np.float32)], axis=1)
        self.evidence = self._room[:, : len(self.known)]

    def _name(self, position: int, event: Event, name: str | None = None) -> None:
        group = self._answered(event)
        number = self.numbers[group.id] = self.number(name or _spelt(event.name))
        out = np.array(event.pictures, dtype=np.int64)
        inside = ~np.isin(group.members, out)
        members = group.members[inside]
        self.latest[members], self.owner[members], self.given[members] = position, group.id, number
        weight = event.confidence / 5 * np.exp(-self.session.decay * group.distances[inside])
        if group.kind in ("query", "lasso"):
            self.evidence[members] *= _OLDER
        self.evidence[members, number] += weight
        self._take_away(out, number)
        # A group of one picture is that picture, named by hand.
        hand = self.by_hand[members] if len(group.members) > 1 else np.full(len(members), number)
        self._put_by_hand(members[hand >= 0], hand[hand >= 0])

    def _junk(self, position: int, event: Event) -> None:
        self._name(position, event, JUNK)

    def _mixed(self, position: int, event: Event) -> None:
        self._answered(event)

    def _skip(self, position: int, event: Event) -> None:
        self._answered(event)

    def _answered(self, event: Event) -> Group:
        assert event.group is not None
        self.answered[event.group] = event
        return self.session.groups[event.group]

    def _merge(self, position: int, event: Event) -> None:
        stays = self.number(_spelt(event.name))
        for name in map(_spelt, event.names):
            goes = self.number(name)
            if goes == stays:
                continue
            del self.index[name]
            self.merged[goes] = stays
            for names in (self.given, self.by_hand):
                names[names == goes] = stays
            self.evidence[:, stays] += self.evidence[:, goes]
            self.evidence[:, goes] = 0

    def _pull(self, position: int, event: Event) -> None:
        pictures = np.array(event.pictures, dtype=np.int64)
        self._take_away(pictures, self.number(_spelt(event.names[0])))
        if event.name is not None:
            number = self.number(_spelt(event.name))
            self._put_by_hand(pictures, np.full(len(pictures), number))
            self.latest[pictures], self.owner[pictures] = position, -1

    def _take_away(self, pictures: NDArray[np.int64], number: int) -> None:
        """Note that pictures do not have a name."""
        self.evidence[pictures, number] = 0
        for names in (self.given, self.by_hand):
            names[pictures[names[pictures] == number]] = -1
        gone = pictures[self.given[pictures] < 0]
        self.latest[gone] = self.owner[gone] = -1
        self.denied.append((pictures, number))
        if self._opinion is not None and number < self._opinion.shape[1]:
            self._opinion[pictures, number] = 0
            self._judge(pictures)

    def _put_by_hand(self, pictures: NDArray[np.int64], numbers: NDArray[np.int64]) -> None:
        self.by_hand[pictures] = self.given[pictures] = numbers
        self.evidence[pictures] = 0
        self.evidence[pictures, numbers] = 1

    def _renumber(self) -> None:
        """Leave out the names that were merged away."""
        kept = np.array(sorted(self.index.values()), dtype=np.int64)
        place = np.full(len(self.known) + 1, -1)
        place[kept] = np.arange(len(kept))
        self.index = {self.known[number]: int(place[number]) for number in kept}
        self._room = self.evidence = np.ascontiguousarray(self.evidence[:, kept])
        self.given, self.by_hand = place[self.given], place[self.by_hand]
        self.denied = [(pictures, self._place(number, place)) for pictures, number in self.denied]
        self.columns = [self._place(number, place) for number in self.columns]
        self.numbers = {group: self._place(number, place) for group, number in self.numbers.items()}
        self.known, self.merged, self._opinion = list(self.index), {}, None

    def _labels(self, names: tuple[str, ...]) -> Labels:
        """Combine the answers with the model's opinion."""
        total = self.evidence.sum(1)
        own = self.evidence[np.arange(len(total)), self.given] if names else total
        sure = np.divide(own, np.maximum(total, 1), out=np.zeros_like(own), where=self.given >= 0)
        name_of, confidence, given = self.given.copy(), sure, self.given >= 0
        if self.session.model_probabilities is not None:
            if self._opinion is None:
                self._form_opinion(self.session.model_probabilities)
            asked = (self.latest < self.session.learnt_from) & (self.by_hand < 0)
            sure = self._chance if self.session.error_probability is None else 1 - self.session.error_probability
            name_of[asked], confidence[asked] = self._choice[asked], sure[asked]
            given &= ~asked
        return Labels(names, name_of, confidence.astype(np.float32), given)

    def _form_opinion(self, probabilities: NDArray[np.float32]) -> None:
        """Take the model's probabilities of the names in force, 0 for a name that was denied."""
        n_images = len(probabilities)
        self._opinion = np.zeros((n_images, len(self.known)), np.float32)
        for column, number in enumerate(self.columns):
            self._opinion[:, number] += probabilities[:, column]
        for pictures, number in self.denied:
            self._opinion[pictures, number] = 0
        self._choice, self._chance = np.zeros(n_images, np.int64), np.zeros(n_images, np.float32)
        self._judge(np.arange(n_images))

    def _judge(self, pictures: NDArray[np.int64]) -> None:
        """Note which name the model gives pictures; names that came after its own cannot be the most likely."""
        assert self._opinion is not None
        opinion = self._opinion[pictures]
        self._choice[pictures], self._chance[pictures] = opinion.argmax(1), opinion.max(1)

    def _place(self, number: int, place: NDArray[np.int64]) -> int:
        while number in self.merged:
            number = self.merged[number]
        return int(place[number])
