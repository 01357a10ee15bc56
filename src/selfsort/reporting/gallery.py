"""Choose which pictures of each cluster a report shows, and make their thumbnails."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfsort.data.image_set import ImageSet
from selfsort.reporting.figures import cluster_marker, contact_sheet
from selfsort.reporting.thumbnails import Thumbnail, thumbnails, whole

_CLUSTERS = 300  # most clusters shown with pictures: the largest ones
_STRIP = 12  # pictures in a strip; with many clusters fewer, but at least two
_STRIPS_TOTAL = 600  # pictures in all strips of one kind
_DRAWN = 112  # longer side of a picture on the page
_SHEET_SIDE = 96  # of a picture on a contact sheet

# The markers of the map as SVG paths in a box of 12 by 12.
_MARKS = {
    "o": "M6 1a5 5 0 1 0 0 10a5 5 0 1 0 0-10z",
    "s": "M1.5 1.5h9v9h-9z",
    "^": "M6 1l5.2 9.6H.8z",
    "D": "M6 .5L11.5 6 6 11.5.5 6z",
    "v": "M6 11L.8 1.4h10.4z",
    "P": "M4.2 1h3.6v3.2H11v3.6H7.8V11H4.2V7.8H1V4.2h3.2z",
    "X": "M3.5 1L6 3.5 8.5 1 11 3.5 8.5 6 11 8.5 8.5 11 6 8.5 3.5 11 1 8.5 3.5 6 1 3.5z",
}


@dataclass(frozen=True)
class ShownImage:
    """A picture as shown: its id, its thumbnail, and the text below it."""

    id: str
    thumbnail: Thumbnail
    note: str

    @property
    def size(self) -> tuple[int, int]:
        """Return the width and height at which to show it."""
        return self.thumbnail.drawn(_DRAWN)

    @property
    def coarse(self) -> bool:
        """Tell whether single pixels are visible."""
        return self.thumbnail.coarse(_DRAWN)


class _Choice(NamedTuple):
    """A picture to show: its position, and the text below it."""

    position: int
    note: str


@dataclass(frozen=True)
class Cluster:
    """A cluster as shown; `name` is "" if it has none, `strips` is empty except for the largest clusters."""

    number: int
    name: str
    size: int
    share: float
    confidence: float
    strips: Mapping[str, Sequence[ShownImage]]

    @property
    def label(self) -> str:
        """Return the name, or the number if there is none."""
        return self.name or str(self.number)

    @property
    def mark(self) -> tuple[str, str]:
        """Return the cluster's colour and SVG path, the same as on the map."""
        colour, mark = cluster_marker(self.number)
        return colour, _MARKS[mark]


class Gallery:
    """Chooses typical, random and borderline pictures of each cluster.

    images, embedding (N, D), probabilities (N, K) and clusters (N,) correspond row by row; `random_state` is the seed
    of the random choice. `names` (K) are shown instead of numbers.
    """

    def __init__(
        self,
        images: ImageSet,
        embedding: NDArray[np.floating[Any]],
        probabilities: NDArray[np.floating[Any]],
        clusters: NDArray[np.integer[Any]],
        *,
        names: Sequence[str] = (),
        random_state: int = 0,
    ) -> None:
        self.images, self.embedding, self.probabilities = images, embedding, probabilities
        self.names = names or [""] * probabilities.shape[1]
        self.random = np.random.default_rng(random_state)
        shown = min(probabilities.shape[1], _CLUSTERS)
        self.per_strip = int(np.clip(_STRIPS_TOTAL // shown, 2, _STRIP))
        sizes = np.bincount(clusters, minlength=probabilities.shape[1])
        members = np.split(np.argsort(clusters, kind="stable"), np.cumsum(sizes)[:-1])
        largest = set(np.argsort(-sizes, kind="stable")[:_CLUSTERS].tolist())
        chosen = [self._strips(number, rows) if number in largest else {} for number, rows in enumerate(members)]
        self.thumbnails = thumbnails(images, _positions(chosen))
        self.clusters = [self._cluster(number, members[number], strips) for number, strips in enumerate(chosen)]

    def _cluster(self, number: int, members: NDArray[np.intp], chosen: Mapping[str, Sequence[_Choice]]) -> Cluster:
        share = len(members) / max(len(self.images), 1)
        confidence = float(self.probabilities[members, number].mean()) if len(members) else float("nan")
        strips = {title: [*self._pictures(choices)] for title, choices in chosen.items()}
        return Cluster(number, self.names[number], len(members), share, confidence, strips)

    def _pictures(self, choices: Sequence[_Choice]) -> Iterator[ShownImage]:
        for position, note in choices:
            if position in self.thumbnails:
                yield ShownImage(self.images.ids[position], self.thumbnails[position], note)

    def _strips(self, cluster: int, members: NDArray[np.intp]) -> dict[str, list[_Choice]]:
        own = self.probabilities[members, cluster]
        others = self.probabilities[members]
        others[:, cluster] = -1  # in a copy; a cluster is not its own rival
        rival, share = others.argmax(axis=1), others.max(axis=1)

        def pictures(rows: NDArray[np.intp], note: Callable[[int], str]) -> list[_Choice]:
            return [_Choice(int(members[row]), note(row)) for row in rows[: self.per_strip]]

        def confidence(row: int) -> str:
            return percent(own[row], 0)

        random = np.sort(self.random.permutation(len(members))[: self.per_strip])
        borderline = np.argsort(own - share, kind="stable")
        return {
            "Most typical": pictures(by_typicality(self.embedding[members]), confidence),
            "At random": pictures(random, confidence),
            "Borderline": pictures(
                borderline, lambda row: f"or {self.names[rival[row]] or rival[row]} ({percent(share[row], 0)})"
            ),
        }


def _positions(chosen: Sequence[Mapping[str, Sequence[_Choice]]]) -> list[int]:
    return [choice.position for strips in chosen for choices in strips.values() for choice in choices]


def by_typicality(embedding: NDArray[np.floating[Any]]) -> NDArray[np.intp]:
    """Order the members (n, D) of a cluster by their distance to its centre, nearest first.

    >>> by_typicality(np.array([[0.0], [5.0], [1.0]])).tolist()
    [2, 0, 1]
    """
    centred = embedding - embedding.mean(axis=0) if len(embedding) else embedding
    return np.argsort(np.einsum("nd,nd->n", centred, centred), kind="stable")


def percent(share: float, digits: int = 1) -> str:
    """Write a share in per cent, never rounded to 0 or 100 %.

    >>> [percent(share).replace(chr(160), " ") for share in (0.123, 0.0001, 0.9999, 1.0, float("nan"))]
    ['12.3 %', '<0.1 %', '>99.9 %', '100.0 %', '–']
    """
    if not np.isfinite(share):
        return "–"
    step = 10.0**-digits
    if 0 < share < step / 200:
        text = f"<{step:.{digits}f}"
    elif 1 - step / 200 < share < 1:
        text = f">{100 - step:.{digits}f}"
    else:
        text = f"{100 * share:.{digits}f}"
    return f"{text}\N{NO-BREAK SPACE}%"


def cluster_sheet(
    images: ImageSet,
    embedding: NDArray[np.floating[Any]],
    clusters: NDArray[np.integer[Any]],
    *,
    names: Sequence[str] = (),
    columns: int = 12,
) -> bytes:
    """Draw a row of the most typical pictures for each of the 40 largest clusters; return a PNG.

    The pictures are uncropped originals. The titles of the rows are the `names` of the clusters, or their numbers.
    """
    numbers, sizes = np.unique(clusters, return_counts=True)
    shown = np.sort(numbers[np.argsort(-sizes, kind="stable")[:40]])
    sheet = np.full((len(shown), columns, _SHEET_SIDE, _SHEET_SIDE, 3), 255, np.uint8)
    for row, number in zip(sheet, shown, strict=True):
        members = np.flatnonzero(clusters == number)
        typical = members[by_typicality(embedding[members])[:columns]].tolist()
        for cell, position in zip(row, typical, strict=False):
            _put(cell, np.asarray(whole(images, position, _SHEET_SIDE).convert("RGB")))
    images.originals.close()
    titles = [names[number] if names else f"cluster {number}" for number in shown]
    return contact_sheet(sheet.reshape(-1, *sheet.shape[2:]), columns, row_titles=titles, side=_SHEET_SIDE)


def _put(cell: NDArray[np.uint8], pixels: NDArray[np.uint8]) -> None:
    """Centre a picture (h, w, 3) in a square cell, enlarging small ones by an integer factor."""
    factor = len(cell) // max(pixels.shape[:2])
    pixels = pixels.repeat(factor, 0).repeat(factor, 1)
    top, left = ((len(cell) - length) // 2 for length in pixels.shape[:2])
    cell[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
