"""The pictures that a person checks for a certificate, one by one, and what they turn out to be."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from selfsort.errors import UserError
from selfsort.evaluation.certificate import Certificate, Sample, certify, draw_sample
from selfsort.labelling.core.answers import cleaned
from selfsort.spelling import folded

if TYPE_CHECKING:
    from selfsort.labelling.store import Store

_FACT = "certificate"


class Checks:
    """A drawn sample and the right names given so far.

    Parameters
    ----------
    sample : drawn before anybody looked
    names : (K,) names that the model knows
    predicted : (N,) int64 position in `names` of each picture's
    confidence : (N,) of it
    target : share of right names for a rejection threshold, if one is wanted

    Attributes
    ----------
    budget : different pictures to check; fewer than drawn where one was drawn twice
    done : pictures checked

    """

    def __init__(
        self,
        sample: Sample,
        names: Sequence[str],
        predicted: NDArray[np.int64],
        confidence: NDArray[np.float32],
        target: float | None = None,
    ):
        if target is not None and not 0 < target < 1:
            raise UserError(f"--reject {target:g} cannot be shown: choose a share between 0 and 1, such as 0.99.")
        self.sample, self.names, self.target = sample, tuple(names), target
        self.predicted, self.confidence = predicted, confidence
        self._order = list(dict.fromkeys(sample.pictures.tolist()))
        self._answers: dict[int, str] = {}

    @classmethod
    def start(
        cls,
        names: Sequence[str],
        probabilities: NDArray[np.float32],
        budget: int,
        random_state: int = 0,
        target: float | None = None,
    ) -> Self:
        """Draw `budget` pictures by a model's (N, K) probabilities of its names."""
        predicted, confidence = probabilities.argmax(1), probabilities.max(1)
        sample = draw_sample(predicted, confidence, budget, random_state, n_classes=len(names))
        return cls(sample, names, predicted, confidence, target)

    @property
    def budget(self) -> int:
        """Return how many different pictures there are to check."""
        return len(self._order)

    @property
    def done(self) -> int:
        """Return how many have been checked."""
        return len(self._answers)

    def next(self) -> int | None:
        """Return the picture to check now, None when all have been."""
        return self._order[self.done] if self.done < self.budget else None

    def settle(self, name: str) -> str:
        """Return what a person typed as one of the names where it differs from that in case or spaces only.

        Raises
        ------
        UserError
            When it is empty or too long.

        """
        name = cleaned(name)
        known = dict.fromkeys([*self.names, *self._answers.values()])
        same = (other for other in known if folded(other) == folded(name))
        return name if name in known else next(same, name)

    def record(self, picture: int, name: str) -> None:
        """Take the right name of the picture to check now.

        Raises
        ------
        UserError
            For another picture, and a name that is empty or too long.

        """
        if picture != self.next():
            raise UserError(f"Picture {picture} is not the one to check now.")
        self._answers[picture] = self.settle(name)

    def undo(self) -> None:
        """Forget the last picture checked; raises UserError when there is none."""
        if not self._answers:
            raise UserError("There is no check to take back.")
        self._answers.popitem()

    def certificate(self) -> Certificate | None:
        """Return what the sample shows, None before all of it has been checked."""
        if self.done < self.budget:
            return None
        pictures = self.sample.pictures.tolist()
        right = [self._answers[picture] == self.names[self.predicted[picture]] for picture in pictures]
        return certify(self.sample, right, self.names, target=self.target)


def open_checks(
    store: "Store",
    names: Sequence[str],
    probabilities: NDArray[np.float32],
    budget: int,
    *,
    random_state: int = 0,
    target: float | None = None,
) -> tuple[Checks, bool]:
    """Go on with the sample that a store keeps, or draw one; also tell whether an earlier one was given up for it.

    A sample serves one model and one budget. A new one is drawn with fresh random numbers, for what was seen in an
    earlier one may have been put right by hand since, and none of its answers count.
    """
    wanted = {"model": _fingerprint(names, probabilities), "budget": budget, "random_state": random_state}
    kept: Mapping[str, Any] | None = store.get(_FACT)
    if kept is not None and kept["wanted"] == wanted:
        sample = Sample.from_json(kept["sample"])
        checks = Checks(sample, names, probabilities.argmax(1), probabilities.max(1), target)
        for picture, name in store.checks()[kept["first"] :]:
            checks.record(picture, name)
        return checks, False
    number = 0 if kept is None else kept["number"] + 1
    seed = int(np.random.SeedSequence((random_state, number)).generate_state(1)[0])
    checks = Checks.start(names, probabilities, budget, seed, target)
    fact = {"wanted": wanted, "number": number, "first": len(store.checks()), "sample": checks.sample.to_json()}
    store.put(_FACT, fact)
    return checks, kept is not None


def _fingerprint(names: Sequence[str], probabilities: NDArray[np.float32]) -> str:
    digest = hashlib.blake2b(json.dumps(list(names)).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(probabilities).data)
    return digest.hexdigest()
