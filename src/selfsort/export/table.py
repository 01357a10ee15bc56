"""What a table of predictions holds, whatever its format."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Predictions(NamedTuple):
    """What a model says of pictures: their N ids, (N, K) probabilities, and the K names of the clusters, if any.

    A text format begins with a `bom` if so, by which Excel knows UTF-8.
    """

    ids: Sequence[str]
    probabilities: NDArray[np.floating[Any]]
    names: Sequence[str] = ()
    bom: bool = False

    def columns(self) -> list[str]:
        """Return the names of a table's columns."""
        named = ["name"] if self.names else []
        return ["id", "cluster", *named, "confidence", *(f"p{k}" for k in range(self.probabilities.shape[1]))]
