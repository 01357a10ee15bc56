"""The base of the findings: what may be wrong with single pictures, one file each in `selfsort.audit.findings`."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfsort.audit.look import Looks


class Found(NamedTuple):
    """Which pictures (N,) a finding is about, and its score (N,): the larger, the clearer."""

    pictures: NDArray[np.bool_]
    score: NDArray[np.floating]

    def clearest(self) -> NDArray[np.intp]:
        """Return the positions of the pictures, the clearest first."""
        rows = np.flatnonzero(self.pictures)
        return rows[np.argsort(-self.score[rows], kind="stable")]


class Finding(ABC):
    """One thing that may be wrong with single pictures.

    Attributes
    ----------
    order : among the findings, the lowest first
    name : the key in `audit.json`, the column in `pictures.csv`, the anchor on the page
    words : what was found, for the table of findings
    title, text : heading on the page and the sentence below it, which may be ""
    rejects : whether such pictures are proposed to be left out, because they are `words`
    proposal : what comes of the pictures, unless they are left out
    details : columns of `pictures.csv` that the finding fills, beside the one that says yes
    flagged : whether there is that column

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
        """Look for it in what was noted of N pictures."""

    def note(self, looks: Looks, found: Found, picture: int) -> str:
        """Return what is written below a picture on the page."""
        return ""

    def box(self, looks: Looks, picture: int) -> tuple[int, int, int, int] | None:
        """Return a rectangle (left, top, right, bottom) to be drawn on a picture, in its own pixels."""
        return None

    def detail(self, looks: Looks, found: Found, picture: int) -> Mapping[str, object]:
        """Return a picture's values of `details`."""
        return {}


def middle(values: NDArray[np.number]) -> float:
    """Return the median, 0 of no values."""
    return float(np.median(values)) if len(values) else 0.0


def size_words(width: int, height: int) -> str:
    """Write a size.

    >>> size_words(640, 480)
    '640 × 480'
    """
    return f"{width} × {height}"
