"""Answers that a model has not learnt from, to tell whether it got better."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from selfsort.labelling.core.session import Session, Targets

_EVERY = 5  # of the named groups, one of so many is held out


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Answers about some groups, kept from training, and what is left.

    Attributes
    ----------
    rest : all other answers
    answers : how many are kept
    pictures, names, weights : (n,) of their groups: positions, names as positions in `rest.names`, what each counts for

    """

    rest: Targets
    answers: int
    pictures: NDArray[np.int64]
    names: NDArray[np.int64]
    weights: NDArray[np.float32]

    def agreement(self, chosen: NDArray[np.int64]) -> float:
        """Return the share of the held-out pictures, by weight, whose name (N,) in `chosen` is that of the answer."""
        right = chosen[self.pictures] == self.names
        return float((right * self.weights).sum() / self.weights.sum())


@dataclass(frozen=True)
class HeldOutComparison:
    """How far a network agrees with held-out answers before and after it was trained on, and which was kept."""

    answers: int
    before: float
    after: float

    @property
    def is_better(self) -> bool:
        """Tell whether the trained network is at least as good."""
        return self.after >= self.before

    @property
    def sentence(self) -> str:
        """Return it in words."""
        kept = "the trained one is kept" if self.is_better else "training made it worse, so the network stays as it was"
        return (
            f"Of {self.answers} answers held out, the network agreed with {self.before:.0%} of the pictures before "
            f"training and with {self.after:.0%} after it: {kept}."
        )

    def to_json(self) -> dict[str, Any]:
        """Return what the facts of a refinement hold of it."""
        return {f"held_out_{name}": value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Self | None:
        """Return what the facts of a refinement say of it; None where nothing was held out."""
        found: dict[str, Any] = {field.name: facts.get(f"held_out_{field.name}") for field in fields(cls)}
        return None if None in found.values() else cls(**found)


def hold_out(session: Session, targets: Targets, random_state: int = 0) -> HeldOut | None:
    """Keep the answers about a fifth of the named groups from the targets; None where none can be spared.

    No name loses its only group.
    """
    owners, given = session.owners(), targets.soft.argmax(1)
    named = {number for number, event in session.answered().items() if event.names_pictures}
    groups = [number for number in np.unique(owners[owners >= 0]).tolist() if number in named]
    name_of = {number: int(np.bincount(given[owners == number]).argmax()) for number in groups}
    left = np.bincount(list(name_of.values()), minlength=len(targets.names))
    chosen: list[int] = []
    for number in np.random.default_rng((random_state, 8)).permutation(groups).tolist():
        if len(chosen) < len(groups) // _EVERY and left[name_of[number]] > 1:
            chosen.append(number)
            left[name_of[number]] -= 1
    pictures = np.flatnonzero(np.isin(owners, chosen) & (targets.weights > 0))
    if not len(pictures):
        return None
    weights = targets.weights.copy()
    weights[pictures] = 0
    sizes = 1.0 if targets.group_sizes is None else np.sqrt(targets.group_sizes[pictures])
    each = (targets.weights[pictures] / sizes).astype(np.float32)
    return HeldOut(targets._replace(weights=weights), len(chosen), pictures, given[pictures], each)
