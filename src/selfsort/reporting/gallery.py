"""Which pictures a report shows of each cluster, and their thumbnails."""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from selfsort.data.image_set import ImageSet
from selfsort.reporting.figures import cluster_mark, contact_sheet

if TYPE_CHECKING:
    from PIL.Image import Image

_CLUSTERS = 300  # at most so many are shown with pictures, the largest
_STRIP = 12  # pictures in a strip, and at least two where there are many clusters
_STRIPS_TOTAL = 600  # pictures in all strips of one kind: with three kinds, a report stays below 10 MB
_FEW = 200  # up to here they are larger

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
class Picture:
    """A picture as it is shown: its id, its thumbnail as a data URI, and the words below it."""

    id: str
    uri: str
    note: str


@dataclass(frozen=True)
class Cluster:
    """A cluster as it is shown; `name` is "" where it has none, `strips` is empty for those beyond the largest."""

    number: int
    name: str
    size: int
    share: float
    confidence: float
    strips: Mapping[str, Sequence[Picture]]

    @property
    def label(self) -> str:
        """Return the name, or the number where there is none."""
        return self.name or str(self.number)

    @property
    def mark(self) -> tuple[str, str]:
        """Return the colour and the SVG path that stand for the cluster, on the map too."""
        colour, mark = cluster_mark(self.number)
        return colour, _MARKS[mark]


class Gallery:
    """Chooses typical, random and borderline pictures of each cluster.

    images, embedding (N, D), probabilities (N, K) and clusters (N,) belong together row by row; `random_state` seeds
    the random ones. `names` (K) are shown instead of numbers.
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
        self.side, self.quality = (96, 75) if shown * self.per_strip <= _FEW else (64, 50)
        sizes = np.bincount(clusters, minlength=probabilities.shape[1])
        members = np.split(np.argsort(clusters, kind="stable"), np.cumsum(sizes)[:-1])
        largest = set(np.argsort(-sizes, kind="stable")[:_CLUSTERS].tolist())
        self.clusters = [self._cluster(number, rows, number in largest) for number, rows in enumerate(members)]

    @property
    def thumbnail_size(self) -> tuple[int, int]:
        """Return width and height at which thumbnails are meant to be shown."""
        height, width, _ = self.images.image_shape
        scale = self.side / max(height, width)
        return max(1, round(width * scale)), max(1, round(height * scale))

    def _cluster(self, number: int, members: NDArray[np.intp], shown: bool) -> Cluster:
        share = len(members) / max(len(self.images), 1)
        confidence = float(self.probabilities[members, number].mean()) if len(members) else float("nan")
        strips = self._strips(number, members) if shown else {}
        return Cluster(number, self.names[number], len(members), share, confidence, strips)

    def _strips(self, cluster: int, members: NDArray[np.intp]) -> dict[str, list[Picture]]:
        own = self.probabilities[members, cluster]
        others = self.probabilities[members]
        others[:, cluster] = -1  # a copy; the cluster is no rival of itself
        rival, share = others.argmax(axis=1), others.max(axis=1)

        def pictures(rows: NDArray[np.intp], note: Callable[[int], str]) -> list[Picture]:
            return [self._picture(int(members[row]), note(row)) for row in rows[: self.per_strip]]

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

    def _picture(self, index: int, note: str) -> Picture:
        return Picture(self.images.ids[index], self._thumbnail(self.images.images[index]), note)

    def _thumbnail(self, pixels: NDArray[np.uint8]) -> str:
        from PIL import Image

        picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        return data_uri(*small_picture(picture, self.side, self.quality))


def small_picture(picture: "Image", side: int, quality: int = 75) -> tuple[bytes, str]:
    """Return a picture whose longer side is `side` pixels or what it has, encoded, and the name of its format."""
    from PIL import Image

    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    # The smallest pictures are shown pixel by pixel, where the traces of lossy compression would be seen.
    kind = "png" if max(picture.size) <= 32 else "webp"
    picture.save(buffer, kind, **({} if kind == "png" else {"quality": quality, "method": 2}))
    return buffer.getvalue(), kind


def by_typicality(embedding: NDArray[np.floating[Any]]) -> NDArray[np.intp]:
    """Order the members (n, D) of a cluster by their distance to its centre, nearest first.

    >>> by_typicality(np.array([[0.0], [5.0], [1.0]])).tolist()
    [2, 0, 1]
    """
    centred = embedding - embedding.mean(axis=0) if len(embedding) else embedding
    return np.argsort(np.einsum("nd,nd->n", centred, centred), kind="stable")


def percent(share: float, digits: int = 1) -> str:
    """Write a share in per cent, never rounded to nothing or to all.

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


def data_uri(content: bytes, kind: str) -> str:
    """Return an image of a kind ("png", "webp") as an address that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def cluster_sheet(
    images: ImageSet,
    embedding: NDArray[np.floating[Any]],
    clusters: NDArray[np.integer[Any]],
    *,
    names: Sequence[str] = (),
    columns: int = 12,
) -> bytes:
    """Draw one row of most typical pictures per cluster that has any, the largest 40 of them; return a PNG.

    The rows are titled with the `names` of the clusters, or their numbers.
    """
    numbers, sizes = np.unique(clusters, return_counts=True)
    shown = np.sort(numbers[np.argsort(-sizes, kind="stable")[:40]])
    sheet = np.full((len(shown), columns, *images.image_shape), 255, np.uint8)
    for row, number in zip(sheet, shown, strict=True):
        members = np.flatnonzero(clusters == number)
        typical = members[by_typicality(embedding[members])[:columns]]
        row[: len(typical)] = images.images[typical]
    titles = [names[number] if names else f"cluster {number}" for number in shown]
    return contact_sheet(sheet.reshape(-1, *images.image_shape), columns, row_titles=titles, side=64)
