"""What a person has said about groups of pictures, and what follows from it; no input or output happens here.

The state is a function of the groups proposed and the answers in force, replayed in order: taking one back is
leaving it out. Names spread from a group to its pictures as in paper 4, section 3.3.
"""

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfsort.errors import UserError
from selfsort.evaluation.certificate import stratified_interval
from selfsort.labelling.core.answers import Event, Group, SimilarName, Taken, cleaned, fair_sample, spelt
from selfsort.labelling.core.replay import Labels, Replay
from selfsort.spelling import folded


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
            if spelt(name) not in self._now.index:
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
        going = {self._now.index[spelt(old)] for old in event.names} if event.kind == "merge" else set()
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
    def _now(self) -> Replay:
        replay = Replay(self)
        # `_sort` asks the session, which asks this replay.
        self.__dict__["_now"] = replay
        self._sort()
        return replay

    def has_clusters(self) -> bool:
        """Tell whether groups were proposed since the model was refined last, other than rough ones."""
        return any(group.kind == "cluster" and group.round == self.round for group in self.groups.values())

    def _sort(self) -> None:
        passed = {"rough"} if self.has_clusters() else set()
        waiting = [group for group in self.groups.values() if group.kind not in passed and self._is_waiting(group)]
        self._now.open = sorted(waiting, key=lambda group: (-self.gain(group), group.id))

    def _is_waiting(self, group: Group) -> bool:
        current = group.round == self.round or group.kind == "lasso"
        return current and group.id not in self._now.answered and self._is_reachable(group)
