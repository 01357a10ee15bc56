"""The pictures that people check for a certificate, one by one, and their right names."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from selfsort.errors import UserError
from selfsort.evaluation.certificate import Certificate, NamedPredictions, RoundOfChecks, SampleFacts, certify
from selfsort.evaluation.draw import SampleDraw
from selfsort.labelling.core.answers import cleaned
from selfsort.labelling.store import Checker
from selfsort.spelling import folded


class Asking(Protocol):
    """A series of checks by one person, the first or the second, who is asked about one picture after another."""

    by: Checker
    budget: int

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names that the model knows."""

    @property
    def done(self) -> int:
        """Return how many pictures have been checked."""

    @property
    def left(self) -> int:
        """Return how many pictures there are beyond the budget."""

    def next(self) -> int | None:
        """Return the picture to check now, None when enough have been checked."""

    def given(self, picture: int) -> str:
        """Return the name that the model gives a picture."""

    def confidence_of(self, picture: int) -> float:
        """Return the model's confidence in that name, from 0 to 1; show it only after the answer."""

    def extend(self, more: int) -> None:
        """Ask about this many more pictures."""

    def settle(self, name: str) -> str:
        """Return the known name that was meant by what was typed."""

    def record(self, picture: int, name: str) -> None:
        """Record the right name of the picture to check now."""

    def undo(self) -> None:
        """Forget the last check."""

    def certificate(self) -> Certificate | None:
        """Return the certificate so far."""


class Checks:
    """A drawn sample and the right names given so far.

    Parameters
    ----------
    predictions : those of the certified model, for all pictures
    draw : the draw, made before anybody looked
    budget : pictures of the sample to check before the page stops asking; more can be requested at any time
    known : right names of the pictures in `draw.known`
    target : share of right names for a rejection threshold, if one is wanted
    facts : how the sample was drawn, without the checks; for each model that it served, `rounds` says how many pictures
        had been checked before
    ids : (N,) ids of the pictures, for the certificate

    Attributes
    ----------
    second : names given by a second person

    Raises
    ------
    UserError
        For a `budget` below 1 and a `target` that is not between 0 and 1.

    """

    by: Checker = "check"

    def __init__(
        self,
        predictions: NamedPredictions,
        draw: SampleDraw,
        budget: int,
        *,
        known: Mapping[int, str] | None = None,
        target: float | None = None,
        facts: SampleFacts | None = None,
        ids: Sequence[str] = (),
    ):
        if target is not None and not 0 < target < 1:
            raise UserError(f"A target of {target:g} is not a share: choose one between 0 and 1, such as 0.99.")
        if budget < 1:
            raise UserError(f"A budget of {budget} checks nothing: use at least 1.")
        self.predictions, self.draw, self.target = predictions, draw, target
        self.budget = min(budget, len(draw.order))
        self.known, self._facts, self._ids = dict(known or {}), facts, ids
        self._answers: dict[int, str] = {}
        self.second: dict[int, str] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names that the model knows."""
        return self.predictions.names

    @property
    def done(self) -> int:
        """Return how many pictures of the sample have been checked."""
        return len(self._answers)

    @property
    def left(self) -> int:
        """Return how many pictures there are beyond the budget."""
        return len(self.draw.order) - self.budget

    def answers(self) -> dict[int, str]:
        """Return the right names of the sample's pictures, in the order of the draw."""
        return dict(self._answers)

    def next(self) -> int | None:
        """Return the picture to check now, None when enough have been checked."""
        return int(self.draw.order[self.done]) if self.done < self.budget else None

    def given(self, picture: int) -> str:
        """Return the name that the model gives a picture."""
        return self.names[int(self.predictions.predicted[picture])]

    def confidence_of(self, picture: int) -> float:
        """Return the model's confidence in that name, from 0 to 1; show it only after the answer."""
        return float(self.predictions.confidence[picture])

    def extend(self, more: int) -> None:
        """Ask about this many more pictures, or all that are left; raise `UserError` if there are none."""
        self.budget += _as_many(more, self.left)

    def settle(self, name: str) -> str:
        """Return the name that a person typed, or the known name from which it differs only in case or spaces.

        Raises
        ------
        UserError
            If it is empty or too long.

        """
        name = cleaned(name)
        known = dict.fromkeys([*self.names, *self.known.values(), *self._answers.values()])
        same = (other for other in known if folded(other) == folded(name))
        return name if name in known else next(same, name)

    def record(self, picture: int, name: str) -> None:
        """Record the right name of the picture to check now.

        Raises
        ------
        UserError
            For another picture, and a name that is empty or too long.

        """
        _check_asked(picture, self.next())
        self._answers[picture] = self.settle(name)

    def undo(self) -> None:
        """Forget the last check; raise `UserError` if there is none."""
        _take_back(self._answers)

    def certificate(self) -> Certificate | None:
        """Return the certificate from the checks so far, None before the first one."""
        if not self._answers and len(self.draw.order):
            return None
        truth = self.known | self._answers
        found = certify(self.predictions, self.draw, truth, target=self.target, second=self.second)
        return replace(found, sample=self._sample())

    def _sample(self) -> SampleFacts | None:
        """Return the facts of the sample as it is now."""
        if self._facts is None:
            return None
        firsts = [each.checks for each in self._facts.rounds]
        counts = [
            max(0, min(self.done, end) - first) for first, end in zip(firsts, [*firsts[1:], self.done], strict=True)
        ]
        rounds = zip(self._facts.rounds, counts, strict=True)
        known, checks, second = (
            tuple((self._ids[place], name) for place, name in part.items())
            for part in (self.known, self._answers, self.second)
        )
        counted = tuple(RoundOfChecks(each.refinements, count) for each, count in rounds)
        return replace(self._facts, rounds=counted, known=known, checks=checks, second=second)


class SecondChecks:
    """Checks by a second person of pictures that a first person has checked, without seeing what the first one said.

    Parameters
    ----------
    first : the checks of the first person, to whose certificate the second person's are added
    budget : pictures to look at

    Raises
    ------
    UserError
        If the first person has not checked any pictures, or for a `budget` below 1.

    """

    by: Checker = "second"

    def __init__(self, first: Checks, budget: int):
        if not first.done:
            raise UserError("There is nothing yet for a second person to check: let the first person start.")
        if budget < 1:
            raise UserError(f"A budget of {budget} checks nothing: use at least 1.")
        self._first, self._order = first, list(first.answers())
        self.budget = min(max(budget, self.done), len(self._order))

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names that the model knows."""
        return self._first.names

    @property
    def done(self) -> int:
        """Return how many pictures the second person has looked at."""
        return len(self._first.second)

    @property
    def left(self) -> int:
        """Return how many of the first person's pictures are beyond the budget."""
        return len(self._order) - self.budget

    def next(self) -> int | None:
        """Return the picture to look at now, None when enough have been looked at."""
        return self._order[self.done] if self.done < self.budget else None

    def given(self, picture: int) -> str:
        """Return the name that the model gives a picture."""
        return self._first.given(picture)

    def confidence_of(self, picture: int) -> float:
        """Return the model's confidence in that name, from 0 to 1; show it only after the answer."""
        return self._first.confidence_of(picture)

    def extend(self, more: int) -> None:
        """Ask about this many more pictures, or all that are left; raise `UserError` if there are none."""
        self.budget += _as_many(more, self.left)

    def settle(self, name: str) -> str:
        """Return the name that a person typed, or the known name from which it differs only in case or spaces."""
        return self._first.settle(name)

    def record(self, picture: int, name: str) -> None:
        """Record the right name of the picture to look at now; raise `UserError` for another picture."""
        _check_asked(picture, self.next())
        self._first.second[picture] = self.settle(name)

    def undo(self) -> None:
        """Forget the last picture looked at; raise `UserError` if there is none."""
        _take_back(self._first.second)

    def certificate(self) -> Certificate | None:
        """Return the certificate from both people's checks."""
        return self._first.certificate()


def _as_many(more: int, left: int) -> int:
    if more < 1:
        raise UserError(f"Cannot check {more} more pictures: use at least 1.")
    if not left:
        raise UserError("There are no more pictures to check.")
    return min(more, left)


def _check_asked(picture: int, asked: int | None) -> None:
    if picture != asked:
        raise UserError(f"Picture {picture} is not the one to check now.")


def _take_back(answers: dict[int, str]) -> None:
    if not answers:
        raise UserError("There is no check to take back.")
    answers.popitem()
