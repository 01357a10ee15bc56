"""Hold out answers from training, to tell whether the model got better."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from selfsort.labelling.core.bursts import inseparable
from selfsort.labelling.core.session import Session, Targets

_EVERY = 5  # one of this many named groups is held out


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Answers about some groups, held out from training, and the rest.

    Attributes
    ----------
    rest : targets from all other answers
    answers : number of answers held out
    pictures, names, weights : (n,) positions, names (as positions in `rest.names`) and weights of their pictures

    """

    rest: Targets
    answers: int
    pictures: NDArray[np.int64]
    names: NDArray[np.int64]
    weights: NDArray[np.float32]

    def agreement(self, chosen: NDArray[np.int64]) -> float:
        """Return the share, by weight, of the held-out pictures whose name in `chosen` (N,) is that of the answer."""
        right = chosen[self.pictures] == self.names
        return float((right * self.weights).sum() / self.weights.sum())


@dataclass(frozen=True)
class HeldOutComparison:
    """How far a network agrees with held-out answers before and after refinement, and which one was kept."""

    answers: int
    before: float
    after: float

    @property
    def is_better(self) -> bool:
        """Tell whether the trained network is at least as good."""
        return self.after >= self.before

    @property
    def sentence(self) -> str:
        """Return a sentence for people."""
        kept = "the trained one is kept" if self.is_better else "training made it worse, so the network stays as it was"
        return (
            f"In {self.answers} answers held out, the network agreed on {self.before:.0%} of the pictures before "
            f"training and on {self.after:.0%} after it: {kept}."
        )

    def to_json(self) -> dict[str, Any]:
        """Return the entries for the facts of a refinement."""
        return {f"held_out_{name}": value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Self | None:
        """Return the comparison in the facts of a refinement; None if nothing was held out."""
        found: dict[str, Any] = {field.name: facts.get(f"held_out_{field.name}") for field in fields(cls)}
        return None if None in found.values() else cls(**found)


def hold_out(
    session: Session, targets: Targets, random_state: int = 0, bursts: NDArray[np.int64] | None = None
) -> HeldOut | None:
    """Hold out the answers about a fifth of the named groups from the targets; return None if none can be spared.

    No name loses its only group, and groups with frames of one of the `bursts` (N,) are held out together.
    """
    owners, given = session.owners(), targets.soft.argmax(1)
    named = {number for number, event in session.answered().items() if event.names_pictures}
    groups = [number for number in np.unique(owners[owners >= 0]).tolist() if number in named]
    name_of = {number: int(np.bincount(given[owners == number]).argmax()) for number in groups}
    left = np.bincount(list(name_of.values()), minlength=len(targets.names))
    together = _together(session, bursts)
    chosen: list[int] = []
    for number in np.random.default_rng((random_state, 8)).permutation(groups).tolist():
        part = together[number]
        if number in chosen or not part <= named or len(chosen) + len(part) > len(groups) // _EVERY:
            continue
        fewer = left - np.bincount([name_of[each] for each in part], minlength=len(left))
        if all(fewer[name_of[each]] >= 1 for each in part):
            chosen += sorted(part)
            left = fewer
    pictures = np.flatnonzero(np.isin(owners, chosen) & (targets.weights > 0))
    if not len(pictures):
        return None
    weights = targets.weights.copy()
    weights[pictures] = 0
    sizes = 1.0 if targets.group_sizes is None else np.sqrt(targets.group_sizes[pictures])
    each = (targets.weights[pictures] / sizes).astype(np.float32)
    return HeldOut(targets._replace(weights=weights), len(chosen), pictures, given[pictures], each)


def _together(session: Session, bursts: NDArray[np.int64] | None) -> dict[int, set[int]]:
    """Return, for each group, those that must be on the same side of a split; -1 stands for individual pictures."""
    owners = session.owners()
    answered = np.flatnonzero((owners >= 0) | (session.by_hand() >= 0))
    parts = inseparable(owners[answered], None if bursts is None else bursts[answered])
    members: dict[int, set[int]] = {}
    for part, owner in zip(parts.tolist(), owners[answered].tolist(), strict=True):
        members.setdefault(part, set()).add(owner)
    return {owner: part for part in members.values() for owner in part if owner >= 0}
