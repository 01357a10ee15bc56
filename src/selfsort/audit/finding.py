"""The base class of findings, problems of single pictures; each has a file in `selfsort.audit.findings`."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfsort.audit.look import Looks


class Found(NamedTuple):
    """Which pictures (N,) a finding applies to, and its score (N,): the larger, the clearer."""

    pictures: NDArray[np.bool_]
    score: NDArray[np.floating]

    def clearest(self) -> NDArray[np.intp]:
        """Return the positions of the pictures, clearest first."""
        rows = np.flatnonzero(self.pictures)
        return rows[np.argsort(-self.score[rows], kind="stable")]


class Finding(ABC):
    """One thing that may be wrong with single pictures.

    Attributes
    ----------
    order : position among the findings, lowest first
    name : the key in `audit.json`, the column in `pictures.csv`, the anchor on the page
    words : short description for the table of findings
    title, text : heading on the page and the sentence below it, which may be ""
    rejects : whether the audit proposes to leave such pictures out
    proposal : what happens to the pictures, unless they are left out
    details : columns of `pictures.csv` that the finding fills, beside its yes/no column
    flagged : whether it has a yes/no column

    """

    order: ClassVar[int]
    name: ClassVar[str]
    words: ClassVar[str]
    title: ClassVar[str]
    text: ClassVar[str] = ""
    rejects: ClassVar[bool] = False
    proposal: ClassVar[str] = "kept; look at them"
    details: ClassVar[tuple[str, ...]] = ()
    flagged: ClassVar[bool] = True

    @abstractmethod
    def find(self, looks: Looks, random_state: int) -> Found:
        """Find such pictures among N, from what was noted of them."""

    def note(self, looks: Looks, found: Found, picture: int) -> str:
        """Return the text below a picture on the page."""
        return ""

    def box(self, looks: Looks, picture: int) -> tuple[int, int, int, int] | None:
        """Return a rectangle (left, top, right, bottom) to draw on a picture, in its own pixels."""
        return None

    def detail(self, looks: Looks, found: Found, picture: int) -> Mapping[str, object]:
        """Return a picture's values for `details`."""
        return {}


def middle(values: NDArray[np.number]) -> float:
    """Return the median, 0 if there are no values."""
    return float(np.median(values)) if len(values) else 0.0


def size_words(width: int, height: int) -> str:
    """Format a size.

    >>> size_words(640, 480)
    '640 × 480'
    """
    return f"{width} × {height}"
