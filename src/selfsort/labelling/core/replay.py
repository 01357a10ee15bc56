"""Replay all answers of a session in order: the name of each picture by the answers and by the model's predictions."""

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfsort.labelling.core.answers import Event, Group, spelt
from selfsort.labelling.core.calibration import calibrated, calibration
from selfsort.spelling import JUNK

if TYPE_CHECKING:
    from selfsort.labelling.core.session import Session

_OLDER = 0.1  # weight of earlier answers once a narrower group, or one drawn by hand, is named


class Labels(NamedTuple):
    """The names of N pictures: the current ones, those given by people, and those given by the model.

    Attributes
    ----------
    names : the K names
    name_of : (N,) position in `names` of the current name, -1 without one
    confidence : (N,) confidence in the current name; it ranks pictures, it is not a chance
    said : (N,) position of the name that somebody gave the picture or its group, -1 if nobody did
    single : (N,) whether it was given to the picture by itself
    sure : (N,) how sure that person was, 1 to 5; 0 if nobody said anything
    model : (N,) position of the name that the model gives, -1 without a model
    probability : (N,) chance that the model's name is right, 0 without a model; see `calibration`

    """

    names: tuple[str, ...]
    name_of: NDArray[np.int64]
    confidence: NDArray[np.float32]
    said: NDArray[np.int64]
    single: NDArray[np.bool_]
    sure: NDArray[np.int64]
    model: NDArray[np.int64]
    probability: NDArray[np.float32]

    @property
    def given(self) -> NDArray[np.bool_]:
        """Tell for which pictures (N,) somebody gave the current name."""
        given: NDArray[np.bool_] = (self.said >= 0) & (self.said == self.name_of)
        return given

    @property
    def disputed(self) -> NDArray[np.bool_]:
        """Tell for which pictures (N,) the model disagrees with what somebody said."""
        disputed: NDArray[np.bool_] = (self.said >= 0) & (self.model >= 0) & (self.said != self.model)
        return disputed


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
        self.owner = np.full(n_images, -1)  # the group of that answer
        self.given = np.full(n_images, -1)  # the name that answers give
        self.by_hand = np.full(n_images, -1)  # the name given to the picture by itself
        self.sure = np.zeros(n_images, np.int64)  # how sure the person who gave it was
        self.again = np.zeros(n_images, np.bool_)  # whether somebody has reviewed the picture's own name
        self._room = _columns(n_images, 0)
        self.evidence = self._room
        for name in self.session.model_names:
            self.number(name)
        self.columns = list(range(len(self.known)))  # the numbers of the model's names
        self.dropped: set[int] = set()  # names that the model must no longer give
        self._probabilities: NDArray[np.float32] | None = None
        for position, event in enumerate(self.session.events):
            self.take(position, event)
        self.settle()

    def take(self, position: int, event: Event) -> None:
        """Replay one more answer; call `settle` for it to count."""
        getattr(self, f"_{event.kind}")(position, event)

    def settle(self) -> None:
        """Update `labels` to the answers replayed so far."""
        if self.merged:
            self._renumber()
        self.labels = self._labels(tuple(self.index))

    def learnt(self) -> bool:
        """Update to predictions that the session has learnt; return False if that takes a replay of all answers."""
        names = self.session.model_names
        is_longer = self.columns == list(range(len(self.columns))) and len(names) >= len(self.columns)
        if not is_longer or tuple(self.known[: len(names)]) != names:
            return False
        # What these say about a name depends on whether the model has learnt it.
        if any(event.kind in ("drop", "merge") for event in self.session.events):
            return False
        self.columns, self._probabilities = list(range(len(names))), None
        self.settle()
        return True

    def frozen(self) -> "Replay":
        """Return a copy that later answers do not change, to be read by another thread."""
        found = copy.copy(self)
        for name in ("answered", "index", "numbers", "denied", "evidence", "latest", "owner", "given", "by_hand"):
            setattr(found, name, copy.copy(getattr(self, name)))
        return found

    def number(self, name: str) -> int:
        """Return the number of a name, assigning one if it is new."""
        if name not in self.index:
            self.index[name] = len(self.known)
            self.known.append(name)
            self._make_room()
        return self.index[name]

    def _make_room(self) -> None:
        """Add a column to the evidence; doubling the capacity makes this cheap for all but a few names."""
        n_images, held = self._room.shape
        if len(self.known) > held:
            room = _columns(n_images, held + max(8, held))
            room[:, :held] = self._room
            self._room = room
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
        # Naming a group of one picture names that picture by hand.
        if len(group.members) == 1:
            self._look_at(members)
        hand = self.by_hand[members] if len(group.members) > 1 else np.full(len(members), number)
        self.sure[members if len(group.members) == 1 else members[hand < 0]] = event.confidence
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
        self._look_at(pictures)
        self._take_away(pictures, self.number(spelt(event.names[0])))
        if event.name is not None:
            number = self.number(spelt(event.name))
            self._put_by_hand(pictures, np.full(len(pictures), number))
            self.latest[pictures], self.owner[pictures], self.sure[pictures] = position, -1, event.confidence

    def _assign(self, position: int, event: Event) -> None:
        pictures = np.array(event.pictures, dtype=np.int64)
        numbers = np.array([self.number(spelt(name)) for name in event.names])[list(event.chosen)]
        self._look_at(pictures)
        self._put_by_hand(pictures, numbers)
        self.latest[pictures], self.owner[pictures], self.sure[pictures] = position, -1, event.confidence

    def _look_at(self, pictures: NDArray[np.int64]) -> None:
        """Record that somebody named single pictures, which counts as a review of those with a name of their own."""
        self.again[pictures] |= self.by_hand[pictures] >= 0

    def _drop(self, position: int, event: Event) -> None:
        """Treat names as if they had never been given: their groups are asked about again."""
        for number in {self.number(spelt(name)) for name in event.names}:
            for group in [group for group, named in self.numbers.items() if named == number]:
                del self.numbers[group]
                self.answered.pop(group, None)
            everywhere = np.arange(len(self.given))
            kept = list(self.denied)
            self._take_away(everywhere, number)
            self.denied = kept  # the name may be given again
            if position >= self.session.learnt_from:
                self.dropped.add(number)

    def _take_away(self, pictures: NDArray[np.int64], number: int) -> None:
        """Record that pictures do not have a name."""
        self.evidence[pictures, number] = 0
        for names in (self.given, self.by_hand):
            names[pictures[names[pictures] == number]] = -1
        gone = pictures[self.given[pictures] < 0]
        self.latest[gone] = self.owner[gone] = -1
        self.sure[gone] = 0
        self.denied.append((pictures, number))
        if self._probabilities is not None and number < self._probabilities.shape[1]:
            self._probabilities[pictures, number] = 0
            self._judge(pictures)

    def _put_by_hand(self, pictures: NDArray[np.int64], numbers: NDArray[np.int64]) -> None:
        self.by_hand[pictures] = self.given[pictures] = numbers
        self.evidence[pictures] = 0
        self.evidence[pictures, numbers] = 1

    def _renumber(self) -> None:
        """Remove the names that were merged into others."""
        kept = np.array(sorted(self.index.values()), dtype=np.int64)
        place = np.full(len(self.known) + 1, -1)
        place[kept] = np.arange(len(kept))
        self.index = {self.known[number]: int(place[number]) for number in kept}
        self._room = self.evidence = np.asfortranarray(self.evidence[:, kept])
        self.given, self.by_hand = place[self.given], place[self.by_hand]
        self.denied = [(pictures, self._place(number, place)) for pictures, number in self.denied]
        self.columns = [self._place(number, place) for number in self.columns]
        self.dropped = {self._place(number, place) for number in self.dropped}
        self.numbers = {group: self._place(number, place) for group, number in self.numbers.items()}
        self.known, self.merged, self._probabilities = list(self.index), {}, None

    def _labels(self, names: tuple[str, ...]) -> Labels:
        """Combine the answers with the model's predictions."""
        total = self.evidence.sum(1)
        own = self.evidence[np.arange(len(total)), self.given] if names else total
        sure = np.divide(own, np.maximum(total, 1), out=np.zeros_like(own), where=self.given >= 0)
        name_of, confidence = self.given.copy(), sure
        model, probability = np.full(len(total), -1), np.zeros(len(total), np.float32)
        if self.session.model_probabilities is not None:
            if self._probabilities is None:
                self._combine_probabilities(self.session.model_probabilities)
            asked = (self.latest < self.session.learnt_from) & (self.by_hand < 0)
            sure = self._chance if self.session.error_probability is None else 1 - self.session.error_probability
            name_of[asked], confidence[asked] = self._choice[asked], sure[asked]
            model, probability = self._choice.copy(), self._probability(names)
        said = self.given.copy(), self.by_hand >= 0, self.sure.copy()
        return Labels(names, name_of, confidence.astype(np.float32), *said, model, probability)

    def _probability(self, names: tuple[str, ...]) -> NDArray[np.float32]:
        """Return the chance (N,) that the model's name is right, calibrated by the pictures checked."""
        checked = {place: name for place, name in self.session.checked.items() if place < len(self._choice)}
        places = np.array(list(checked), dtype=np.int64)
        right = np.array([names[self._choice[place]] == name for place, name in checked.items()], dtype=np.bool_)
        return calibrated(self._chance, calibration(self._chance[places], right))

    def chance(self, pictures: NDArray[np.int64], numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the model's chance (n,) of a name for each picture, given pictures (n,) and names (n,).

        It is 1 if the model has not learnt from the picture's answer, or does not know the name.
        """
        if self._probabilities is None or not self._probabilities.shape[1]:
            return np.ones(len(pictures), np.float32)
        n_known = self._probabilities.shape[1]
        learnt = (self.latest[pictures] < self.session.learnt_from) & (self.by_hand[pictures] < 0) & (numbers < n_known)
        return np.where(learnt, self._probabilities[pictures, np.minimum(numbers, n_known - 1)], np.float32(1))

    def _combine_probabilities(self, probabilities: NDArray[np.float32]) -> None:
        """Compute the model's probabilities of the names in force, 0 for a name that was denied."""
        n_images = len(probabilities)
        self._probabilities = _columns(n_images, len(self.known))
        for column, number in enumerate(self.columns):
            self._probabilities[:, number] += probabilities[:, column]
        for pictures, number in self.denied:
            self._probabilities[pictures, number] = 0
        self._probabilities[:, list(self.dropped)] = 0
        self._choice, self._chance = _most_likely(self._probabilities)

    def _judge(self, pictures: NDArray[np.int64]) -> None:
        """Update the name that the model gives pictures; names newer than the model cannot be the most likely."""
        assert self._probabilities is not None
        probabilities = self._probabilities[pictures]
        self._choice[pictures], self._chance[pictures] = probabilities.argmax(1), probabilities.max(1)

    def _place(self, number: int, place: NDArray[np.int64]) -> int:
        while number in self.merged:
            number = self.merged[number]
        return int(place[number])


def _columns(n_images: int, n_names: int) -> NDArray[np.float32]:
    """Return zeros (N, K) stored column by column: a sum or maximum over few names is then ten times as fast."""
    return np.zeros((n_images, n_names), np.float32, order="F")


def _most_likely(probabilities: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the column (N,) of the largest of the probabilities (N, K) of each picture, and the largest itself."""
    choice = np.zeros(len(probabilities), np.int64)
    chance = probabilities[:, 0].copy() if probabilities.shape[1] else np.zeros(len(choice), np.float32)
    for column in range(1, probabilities.shape[1]):
        is_larger = probabilities[:, column] > chance
        choice[is_larger] = column
        np.copyto(chance, probabilities[:, column], where=is_larger)
    return choice, chance
