"""The interface of all heads."""

from collections.abc import Mapping
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray


class Groups(Protocol):
    """Groups that features of other pictures can join without fitting again."""

    def predict_proba(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the (M, n_classes) memberships of (M, D) features, rows summing to 1."""

    def state(self) -> Mapping[str, NDArray[np.generic]]:
        """Return everything needed to restore them, as plain arrays."""


class Head(Groups, Protocol):
    """Finds groups in features."""

    @classmethod
    def fit(cls, features: NDArray[np.float32], n_classes: int, *, random_state: int = 0) -> Self:
        """Find `n_classes` groups in (N, D) features."""

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[np.generic]]) -> Self:
        """Restore what `state` returned; raise `Invalid` if it cannot have returned these arrays."""
