"""The content of a table of predictions, whatever its format."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Predictions(NamedTuple):
    """A model's predictions: the N ids, (N, K) probabilities, and the K names of the clusters, if any.

    With a `bom`, text formats start with a byte order mark, so that Excel reads them as UTF-8.
    """

    ids: Sequence[str]
    probabilities: NDArray[np.floating[Any]]
    names: Sequence[str] = ()
    bom: bool = False

    def columns(self) -> list[str]:
        """Return the names of the table's columns."""
        named = ["name"] if self.names else []
        return ["id", "cluster", *named, "confidence", *(f"p{k}" for k in range(self.probabilities.shape[1]))]
