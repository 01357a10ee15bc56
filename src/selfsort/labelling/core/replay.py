"""All answers of a session, replayed in order: what each picture is called by them and by the model's opinion."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfsort.labelling.core.answers import JUNK, Event, Group, spelt

if TYPE_CHECKING:
    from selfsort.labelling.core.session import Session

_OLDER = 0.1  # what earlier answers count for where a narrower group, or one drawn by hand, is named


class Labels(NamedTuple):
    """The name that each picture has now: an index into `names` or -1, how sure, and whether an answer gave it."""

    names: tuple[str, ...]
    name_of: NDArray[np.int64]
    confidence: NDArray[np.float32]
    given: NDArray[np.bool_]


@dataclass
class Replay:
    """All answers of a session, replayed."""

    session: "Session"
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
        number = self.numbers[group.id] = self.number(name or spelt(event.name))
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
        stays = self.number(spelt(event.name))
        for name in map(spelt, event.names):
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
        self._take_away(pictures, self.number(spelt(event.names[0])))
        if event.name is not None:
            number = self.number(spelt(event.name))
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
