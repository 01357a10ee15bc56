"""A session: what people have said about groups of pictures, and what follows from it, without input or output.

The state is a function of the groups proposed and the answers in force, replayed in order: taking back an answer means
leaving it out. Names spread from a group to its pictures as in paper 4, section 3.3.
"""

import copy
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfsort.errors import UserError
from selfsort.evaluation.stratified import stratified_interval
from selfsort.labelling.core.answers import Event, Group, SimilarName, Taken, cleaned, fair_sample, spelt
from selfsort.labelling.core.replay import Labels, Replay
from selfsort.spelling import folded


class Targets(NamedTuple):
    """What a classifier learns: (N, K) shares of the names, rows summing to 1 or 0, and (N,) weights from 0 to 1.

    `group_sizes` (N,) is the number of pictures named by the same answer; None if each was named by its own.
    """

    names: tuple[str, ...]
    soft: NDArray[np.float32]
    weights: NDArray[np.float32]
    group_sizes: NDArray[np.int64] | None = None


class Judgement(NamedTuple):
    """The names that heads which have not learnt from a group choose for those of its pictures that were seen.

    Attributes
    ----------
    names : the names that they know
    chosen : for each group that could be judged, the positions (n,) in `names` of their choices for its fair sample

    """

    names: tuple[str, ...]
    chosen: Mapping[int, NDArray[np.int64]]


class Estimate(NamedTuple):
    """Share of right names among pictures in named groups, its 95 % interval, and how many pictures it is based on."""

    accuracy: float
    low: float
    high: float
    looked_at: int


class Session:
    """Groups of pictures, the answers about them, and the resulting name of every picture.

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
        self.checked: dict[int, str] = {}  # right names from a certificate's checks
        self.learnt_from = 0
        self.judgement: Judgement | None = None
        self.withdrawn: set[int] = set()
        self._children: dict[int, list[int]] = {}

    def add(self, groups: Iterable[Group]) -> None:
        """Add groups to ask about."""
        for group in groups:
            self.groups[group.id] = group
            if group.parent is not None:
                self._children.setdefault(group.parent, []).append(group.id)
        self._sort_again()

    def withdraw(self, groups: Iterable[int]) -> None:
        """Stop asking about these groups, and ask again about those that were withdrawn before."""
        self.withdrawn = set(groups)
        self._sort_again()

    def next_id(self) -> int:
        """Return a number that no group has had."""
        return max(self.groups, default=-1) + 1

    def check(self, event: Event) -> None:
        """Raise an error if an answer cannot be applied.

        Raises
        ------
        Taken
            If its group was answered meanwhile or does not exist.
        SimilarName
            If its name differs from a given one only in case or spaces.
        UserError
            For an empty or unknown name, unknown pictures, a confidence outside 1 to 5, or a split of one picture.

        """
        if not 1 <= event.confidence <= 5:
            raise UserError(f"Confidence {event.confidence} is not from 1 to 5.")
        if event.kind in ("merge", "pull", "drop"):
            self._check_names(event)
        elif event.kind == "assign":
            self._check_assigned(event)
        else:
            self._check_group(event)
        if event.kind in ("name", "merge") or (event.kind == "pull" and event.name is not None):
            going = event.names if event.kind == "merge" else ()
            self._check_new_name(event.name, event.distinct, going)

    def _check_group(self, event: Event) -> None:
        group = self.groups.get(-1 if event.group is None else event.group)
        if group is None or group.id in self.withdrawn or not self._is_reachable(group):
            raise Taken(f"Group {event.group} no longer exists: continue with the next one.")
        if group.id in self._now.answered:
            raise Taken(f"Group {group.id} has been answered already: continue with the next one.")
        if event.kind == "mixed" and len(group.members) < 2:
            raise UserError(
                "A group of one picture cannot be split: name it, skip it or call it junk.", code="split-one"
            )
        if event.pictures and not np.isin(event.pictures, group.members).all():
            sentence = f"Some of the pictures thrown out are not in group {group.id}: load it again."
            raise UserError(sentence, code="not-in-group")

    def _check_names(self, event: Event) -> None:
        for name in event.names:
            if spelt(name) not in self._now.index:
                sentence = f"No picture is named {name!r}: choose a name that was given."
                raise UserError(sentence, code="no-such-name", name=name)
        if not event.names:
            raise UserError("The answer needs a name: say which one it is about.")
        if event.kind == "pull" and not event.pictures:
            raise UserError("The answer needs pictures: say which ones to pull out.")
        self._check_pictures(event)

    def _check_assigned(self, event: Event) -> None:
        if not event.pictures or len(event.chosen) != len(event.pictures):
            raise UserError("The answer needs pictures and the name of each.")
        if any(not 0 <= chosen < len(event.names) for chosen in event.chosen):
            raise UserError(f"A picture's name must be a position from 0 to {len(event.names) - 1} in names.")
        self._check_pictures(event)
        for name in event.names:
            self._check_new_name(name, event.distinct)

    def _check_pictures(self, event: Event) -> None:
        if any(not 0 <= picture < self.n_images for picture in event.pictures):
            raise UserError(f"Some of the pictures do not exist: there are only {self.n_images:,}.")

    def _check_new_name(self, given: str | None, distinct: bool, going: tuple[str, ...] = ()) -> None:
        """Raise `SimilarName` if a name looks like one in force that is not `going`, unless it is meant to."""
        name = cleaned(given)
        if distinct or name in self._now.index:
            return
        merged = {self._now.index[spelt(old)] for old in going}
        for existing, number in self._now.index.items():
            if folded(existing) == folded(name) and number not in merged:
                raise SimilarName(name, existing)

    def apply(self, event: Event) -> None:
        """Check an answer and apply it."""
        self.check(event)
        # Continuing the replay keeps an answer quick after hundreds of others.
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
        if event.kind == "merge":
            self._rename_back(event)
        self._changed()
        return event

    def _rename_back(self, event: Event) -> None:
        """After taking back a renaming, let the model, which has learnt the new name, give the old one."""
        name, names = spelt(event.name), [spelt(old) for old in event.names]
        given = (spelt(other.name) for other in self.events if other.name is not None)
        if len(names) == 1 and names[0] not in self.model_names and name not in given:
            self.model_names = tuple(names[0] if known == name else known for known in self.model_names)

    def learn(
        self,
        names: tuple[str, ...],
        probabilities: NDArray[np.float32],
        seen: int | None = None,
        error_probability: NDArray[np.float32] | None = None,
    ) -> None:
        """Use the (N, K) predictions of a model that was trained on the first `seen` answers.

        Answers given since then count more than the model, earlier ones less. `error_probability` (N,) is how likely
        the model's name is wrong, as runs of earlier versions keep it; by default, it follows from the model's own
        probabilities.
        """
        if probabilities.shape != (self.n_images, len(names)):
            raise ValueError(
                f"Probabilities of shape {probabilities.shape} do not fit {self.n_images} pictures and {len(names)} "
                "names."
            )
        self.model_names, self.model_probabilities, self.error_probability = names, probabilities, error_probability
        self.learnt_from = len(self.events) if seen is None else seen
        now: Replay | None = self.__dict__.get("_now")
        if now is not None and now.learnt():
            self._sort()
        else:
            self._changed()

    def as_now(self) -> "Session":
        """Return a copy that later answers do not change, to be read by another thread."""
        found = copy.copy(self)
        found.__dict__["_now"] = self._now.frozen()
        found.groups, found.events = dict(self.groups), list(self.events)
        return found

    def begin_round(self) -> None:
        """Stop asking about the groups proposed so far, as a refined model sees others.

        The number of a round that was taken back is not reused.
        """
        self.round = 1 + max(self.round, max((group.round for group in self.groups.values()), default=0))
        self._changed()

    def forget(self) -> None:
        """Let only the answers count, without a model's predictions."""
        self.model_names, self.model_probabilities, self.error_probability = (), None, None
        self.learnt_from = 0
        self._changed()

    def forget_names_taken_back(self) -> None:
        """Let the model no longer give names that no answer gives, such as one that was taken back."""
        has_evidence: NDArray[np.bool_] = np.any(self.evidence(), axis=0)
        given = {name for name, has in zip(self.names(), has_evidence, strict=True) if has}
        kept = [k for k, name in enumerate(self.model_names) if name in given]
        if len(kept) == len(self.model_names) or self.model_probabilities is None:
            return
        if len(kept) < 2:  # there is nothing to distinguish a single name from
            self.forget()
            return
        chances = self.model_probabilities[:, kept]
        total = chances.sum(1, keepdims=True)
        even = np.full_like(chances, 1 / len(kept))
        chances = np.divide(chances, total, out=even, where=total > 0)
        self.learn(tuple(self.model_names[k] for k in kept), chances, self.learnt_from)

    def answered(self) -> Mapping[int, Event]:
        """Return the answers in force about groups, by the group's number."""
        return self._now.answered

    def open_groups(self) -> list[Group]:
        """Return the groups to ask about, those first whose answers are expected to bring most."""
        return self._now.open

    def unsplit(self) -> list[Group]:
        """Return the groups that were called mixed and have no parts yet."""
        mixed = [key for key, event in self._now.answered.items() if event.kind == "mixed"]
        return [self.groups[key] for key in mixed if key not in self._children]

    def gain(self, group: Group) -> float:
        """Return how many pictures an answer is expected to correct: those likely to have no name or a wrong one."""
        return float((1 - self._now.labels.confidence[group.members]).sum())

    def suggestion(self, group: Group) -> str | None:
        """Return the name that more than half of a group's pictures have now, if any."""
        labels = self._now.labels
        named = labels.name_of[group.members]
        named = named[named >= 0]
        return labels.names[int(np.bincount(named).argmax())] if 2 * len(named) > len(group.members) else None

    def names(self) -> tuple[str, ...]:
        """Return the names in order of first use."""
        return self._now.labels.names

    def labels(self) -> Labels:
        """Return each picture's name: by hand, by answers the model has not seen, by the model, or by other answers."""
        return self._now.labels

    def counts(self) -> list[tuple[str, int]]:
        """Return each name with its number of pictures, most frequent first."""
        labels = self._now.labels
        sizes = np.bincount(labels.name_of[labels.name_of >= 0], minlength=len(labels.names))
        return [(labels.names[k], int(sizes[k])) for k in np.argsort(-sizes, kind="stable")]

    def named_groups(self) -> dict[int, int]:
        """Return the position in `names` of the name of each group that was named; junk is not a name."""
        named = {key for key, event in self._now.answered.items() if event.kind == "name"}
        return {key: name for key, name in self._now.numbers.items() if key in named}

    def covered(self) -> int:
        """Return how many pictures have a name from an answer."""
        return int(self.are_covered().sum())

    def are_covered(self) -> NDArray[np.bool_]:
        """Tell which pictures (N,) have a name from an answer."""
        return self._now.latest >= 0

    def owners(self) -> NDArray[np.int64]:
        """Return the group (N,) whose answer last named each picture, -1 if there is none."""
        return self._now.owner

    def by_hand(self) -> NDArray[np.int64]:
        """Return the position (N,) in `names` of the name that somebody gave each picture by itself, -1 for none."""
        return self._now.by_hand

    def looked_at_again(self) -> NDArray[np.bool_]:
        """Tell for which pictures (N,) with a name of their own somebody has since said again what they are."""
        return self._now.again

    def evidence(self) -> NDArray[np.float32]:
        """Return the sums (N, K) of the answers' weights (equation 2) for each of the `names`."""
        return self._now.evidence

    def targets(self) -> Targets:
        """Return weighted soft targets from the answers alone (equation 2), without the model's predictions."""
        evidence = self._now.evidence
        total = evidence.sum(1, keepdims=True)
        soft = np.divide(evidence, total, out=np.zeros_like(evidence), where=total > 0)
        owners = self._now.owner
        sizes = self._sizes()
        sizes[-1] = 1
        group_sizes = sizes[owners]
        return Targets(self.names(), soft, np.minimum(evidence.max(1, initial=0), 1), group_sizes)

    def _sizes(self) -> NDArray[np.int64]:
        """Return how many pictures the answer about each group has named last, with those of no group at the end."""
        owners = self._now.owner
        counts = np.bincount(owners + 1)
        return np.roll(counts, -1)

    def denied(self) -> NDArray[np.bool_]:
        """Tell (N, K) which of the `names` each picture was said not to have."""
        denied = np.zeros(self._now.evidence.shape, np.bool_, order="F")
        for pictures, number in self._now.denied:
            denied[pictures, number] = True
        denied &= self._now.evidence <= 0  # otherwise it was said to have it after all
        return denied

    def estimate(self) -> Estimate | None:
        """Estimate the share of right names among the pictures in named groups; None before the first.

        The person saw a random sample of each named group. A picture of it counts as right with the chance that the
        model gives its name. Once there is a `judgement`, that chance counts half; the other half counts if heads that
        have not learnt from the group choose the same name, since a head does not doubt what it has learnt. A group
        that cannot be judged is assumed to be as right as the others. A picture named by itself counts as right, one
        without a name as wrong. Only a certificate is a guarantee; this is not.
        """
        sizes = self._sizes()
        named = [(key, event) for key, event in self._now.answered.items() if event.kind == "name"]
        strata = [self._stratum(key, event, int(sizes[key]) if key < len(sizes) - 1 else 0) for key, event in named]
        strata = [stratum for stratum in strata if stratum[2]]
        if not any(seen for _, seen, _ in strata):
            return None
        right, looked_at, sizes = (np.array(column) for column in zip(*strata, strict=True))
        return Estimate(*stratified_interval(right, looked_at, sizes), int(looked_at.sum()))

    def _stratum(self, key: int, event: Event, size: int) -> tuple[float, int, int]:
        """Return how many pictures of a named group's sample are right, how many were seen, and the `size` named."""
        group, now = self.groups[key], self._now
        sample = np.array(fair_sample(group), dtype=np.int64)
        thrown_out = np.isin(sample, event.pictures) if event.pictures else np.zeros(len(sample), np.bool_)
        counted = thrown_out | (now.owner[sample] == key)
        sample, thrown_out = sample[counted], thrown_out[counted]
        name_of = now.labels.name_of[sample]
        right = np.where(name_of >= 0, now.chance(sample, name_of), 0)
        if self.judgement is None:
            right = np.where(thrown_out, 0, right)
        else:
            others = self._chosen_by_others(key)
            if others is None:
                return 0.0, 0, size
            right = (right + ((name_of >= 0) & (name_of == others[counted]))) / 2
        right = np.where(now.by_hand[sample] >= 0, 1, right)
        return float(right.sum()), len(sample), size

    def _chosen_by_others(self, key: int) -> NDArray[np.int64] | None:
        """Return the names (n,) that heads without a group choose for its sample, -1 for one no longer in use."""
        assert self.judgement is not None
        if key not in self.judgement.chosen:
            return None
        numbers = np.array([self._now.index.get(name, -1) for name in self.judgement.names])
        chosen: NDArray[np.int64] = numbers[self.judgement.chosen[key]]
        return chosen

    def _is_reachable(self, group: Group) -> bool:
        """Tell whether the groups from which a part was split are still called mixed."""
        while group.parent is not None:
            answer = self._now.answered.get(group.parent)
            if answer is None or answer.kind != "mixed":
                return False
            group = self.groups[group.parent]
        return True

    def _changed(self) -> None:
        self.__dict__.pop("_now", None)

    def _sort_again(self) -> None:
        """Sort the groups to ask about, without replaying the answers, on which they have no effect."""
        if "_now" in self.__dict__:
            self._sort()

    @cached_property
    def _now(self) -> Replay:
        replay = Replay(self)
        # `_sort` asks the session, which asks this replay.
        self.__dict__["_now"] = replay
        self._sort()
        return replay

    def has_clusters(self) -> bool:
        """Tell whether groups other than rough ones were proposed since the last refinement."""
        return any(group.kind == "cluster" and group.round == self.round for group in self.groups.values())

    def _sort(self) -> None:
        passed = {"rough"} if self.has_clusters() else set()
        waiting = [group for group in self.groups.values() if group.kind not in passed and self._is_waiting(group)]
        self._now.open = sorted(waiting, key=lambda group: (-self.gain(group), group.id))

    def is_asked_now(self, number: int) -> bool:
        """Tell whether a group is among those asked about since the last refinement, answered or not."""
        group = self.groups[number]
        return (group.round == self.round or group.kind == "lasso") and self._is_reachable(group)

    def _is_waiting(self, group: Group) -> bool:
        current = group.round == self.round or group.kind == "lasso"
        is_answered = group.id in self._now.answered or group.id in self.withdrawn
        return current and not is_answered and self._is_reachable(group)
