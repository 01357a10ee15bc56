"""The report: what a run found, in one HTML file that needs no network and no script."""

import base64
import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from selfsort.files import atomic_path
from selfsort.images import ImageSet
from selfsort.reporting import figures

_SECTIONS = 300  # clusters shown with pictures; the table lists all
_PICTURES = 600  # per strip, all clusters together: keeps the file below 10 MB
_SKIPPED = 200
_THUMBNAIL = 96  # pixels

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
class ReportData:
    """What a report tells of.

    Attributes
    ----------
    title : heading of the report
    config : method, parameters, versions, seed, source, fingerprint, …; values may be mappings themselves
    images : the N pictures and their ids
    embedding : (N, D) where the method sees each picture
    probabilities : (N, K) membership of each picture in each cluster
    clusters : (N,) cluster of each picture
    history : one row of figures per epoch, as in `metrics.csv`; columns may be missing or NaN
    skipped : id and reason of each file that could not be read
    evaluation : what `selfsort evaluate --json` wrote, if it was run
    warnings : sentences that the reader has to see first

    """

    title: str
    config: Mapping[str, Any]
    images: ImageSet
    embedding: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    clusters: NDArray[np.integer[Any]]
    history: Sequence[Mapping[str, float]] = ()
    skipped: Sequence[tuple[str, str]] = ()
    evaluation: Mapping[str, Any] | None = None
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class _Picture:
    id: str
    uri: str
    note: str


@dataclass(frozen=True)
class _Cluster:
    number: int
    size: int
    share: float
    confidence: float
    strips: Mapping[str, Sequence[_Picture]]

    @property
    def mark(self) -> tuple[str, str]:
        """The colour and the SVG path that stand for the cluster on the map too."""
        colour, mark = figures.cluster_mark(self.number)
        return colour, _MARKS[mark]


def write_report(
    data: ReportData, path: str | Path, *, map_kind: Literal["tsne", "pca"] = "tsne", random_state: int = 0
) -> None:
    """Write the report of a run as one self-contained HTML file, replacing an earlier one.

    `map_kind` says how the embedding is laid out in the plane, `random_state` seeds that and the choice of random
    pictures. Raises `UserError` if the file cannot be written.
    """
    page = _page(data, map_kind, random_state)
    with atomic_path(path) as partial:
        partial.write_bytes(page.encode("utf-8"))


def _page(data: ReportData, map_kind: Literal["tsne", "pca"], random_state: int) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": _count, "percent": _percent, "text": printable, "sha256": _sha256}
    return environment.get_template("report.html.j2").render(_context(data, map_kind, random_state))


def _context(data: ReportData, map_kind: Literal["tsne", "pca"], random_state: int) -> dict[str, Any]:
    clusters = _clusters(data, random_state)
    height, width, _ = data.images.image_shape
    scale = _THUMBNAIL / max(height, width)
    return {
        "data": data,
        "lead": _lead(data),
        "headline": _headline(data),
        "clusters": clusters,
        "shown": [cluster for cluster in clusters if cluster.strips],
        "largest": max(1, *(cluster.size for cluster in clusters)),
        "compact": all(len(pictures) <= 4 for cluster in clusters for pictures in cluster.strips.values()),
        "thumb": (max(1, round(width * scale)), max(1, round(height * scale))),
        "pixelated": scale > 2,
        "map": _map(data, map_kind, random_state),
        "curves": _curves(data.history),
        "evaluation": _evaluation(data.evaluation),
        "skipped": data.skipped[:_SKIPPED],
        "silhouette": False,
        "settings": _settings(data.config),
    }


def printable(text: object) -> str:
    r"""Show what does not print (control and direction characters, bytes that are no UTF-8) as escapes.

    >>> printable("a\nb\udcff") == r"a\nb\udcff"
    True
    """
    return "".join(
        letter if letter.isprintable() or letter == "\u200d" else letter.encode("unicode_escape").decode()
        for letter in str(text)
    )


def _count(number: int) -> str:
    return f"{number:,}"


def _percent(share: float, digits: int = 1) -> str:
    """Write a share in per cent, never rounded to nothing or to all.

    >>> _percent(0.123), _percent(0.0001), _percent(0.9999, 0), _percent(1.0, 0)
    ('12.3 %', '<0.1 %', '>99 %', '100 %')
    """
    if not np.isfinite(share):
        return "–"
    step = 10.0**-digits
    if 0 < share < step / 200:
        return f"<{step:.{digits}f} %"
    if 1 - step / 200 < share < 1:
        return f">{100 - step:.{digits}f} %"
    return f"{100 * share:.{digits}f} %"


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _clusters(data: ReportData, random_state: int) -> list[_Cluster]:
    n_clusters = data.probabilities.shape[1]
    sizes = np.bincount(data.clusters, minlength=n_clusters)
    members = np.split(np.argsort(data.clusters, kind="stable"), np.cumsum(sizes)[:-1])
    largest = set(np.argsort(-sizes, kind="stable")[:_SECTIONS].tolist())
    per_strip = int(np.clip(_PICTURES // min(n_clusters, _SECTIONS), 2, 12))
    random = np.random.default_rng(random_state)
    return [
        _Cluster(
            number=cluster,
            size=len(own),
            share=len(own) / max(len(data.clusters), 1),
            confidence=float(data.probabilities[own, cluster].mean()) if len(own) else float("nan"),
            strips=_strips(data, cluster, own, per_strip, random) if cluster in largest else {},
        )
        for cluster, own in enumerate(members)
    ]


def _strips(
    data: ReportData, cluster: int, members: NDArray[np.intp], count: int, random: np.random.Generator
) -> dict[str, list[_Picture]]:
    own = data.probabilities[members, cluster]
    others = data.probabilities[members]
    others[:, cluster] = -1  # a copy: the assigned cluster is no rival of itself
    rival, share = others.argmax(axis=1), others.max(axis=1)

    def pictures(rows: NDArray[np.intp], note: Callable[[int], str]) -> list[_Picture]:
        return [_picture(data.images, int(members[row]), note(row)) for row in rows[:count]]

    def confidence(row: int) -> str:
        return _percent(own[row], 0)

    return {
        "Most typical": pictures(typical(data.embedding[members]), confidence),
        "At random": pictures(np.sort(random.permutation(len(members))[:count]), confidence),
        "Borderline": pictures(
            np.argsort(own - share, kind="stable"), lambda row: f"or {rival[row]} ({_percent(share[row], 0)})"
        ),
    }


def typical(embedding: NDArray[np.floating[Any]]) -> NDArray[np.intp]:
    """Order the members (n, D) of a cluster by their distance to its centre, nearest first.

    >>> typical(np.array([[0.0], [5.0], [1.0]])).tolist()
    [2, 0, 1]
    """
    centred = embedding - embedding.mean(axis=0) if len(embedding) else embedding
    return np.argsort(np.einsum("nd,nd->n", centred, centred), kind="stable")


def _picture(images: ImageSet, index: int, note: str) -> _Picture:
    return _Picture(images.ids[index], _thumbnail(images.images[index]), note)


def _thumbnail(pixels: NDArray[np.uint8], side: int = _THUMBNAIL) -> str:
    from PIL import Image

    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    # The smallest pictures are shown pixel by pixel, where lossy artefacts would be seen.
    kind, options = ("png", {}) if max(picture.size) <= 32 else ("webp", {"quality": 75, "method": 2})
    picture.save(buffer, kind, **options)
    return _uri(buffer.getvalue(), kind)


@dataclass(frozen=True)
class _Figure:
    """A drawing for light and for dark pages, and what it shows in words."""

    light: str
    dark: str
    alt: str


def _drawn(draw: Callable[[figures.Theme], bytes], alt: str) -> _Figure:
    return _Figure(_uri(draw(figures.LIGHT), "png"), _uri(draw(figures.DARK), "png"), alt)


def _map(data: ReportData, kind: Literal["tsne", "pca"], random_state: int) -> Mapping[str, Any]:
    rows, points = figures.project(data.embedding, kind=kind, random_state=random_state)
    name = "t-SNE" if kind == "tsne" else "PCA"
    alt = f"{name} map of {len(rows):,} pictures, coloured and numbered by cluster"
    drawing = _drawn(lambda theme: figures.embedding_map(points, data.clusters[rows], theme=theme), alt)
    return {"figure": drawing, "name": name, "n_drawn": len(rows)}


def _curves(history: Sequence[Mapping[str, float]]) -> list[_Figure]:
    return [
        _drawn(
            lambda theme, curve=curve: figures.loss_curves(history, curves=[curve], columns=1, theme=theme),  # type: ignore[misc]
            f"{curve.title} over {len(history)} epochs",
        )
        for curve in figures.drawable_curves(history)
    ]


def _lead(data: ReportData) -> str:
    """Say in one sentence what was done to what."""
    known = {name: data.config[name] for name in ("source", "method", "minutes", "device") if name in data.config}
    words = f"{len(data.images):,} pictures"
    words += f" from {known['source']}" if "source" in known else ""
    words += f", sorted into {data.probabilities.shape[1]} clusters"
    words += f" by {known['method']}" if "method" in known else ""
    words += f" in {_duration(60 * known['minutes'])}" if "minutes" in known else ""
    return words + (f" on {known['device']}." if "device" in known else ".")


def _duration(seconds: float) -> str:
    """Write a duration for people.

    >>> _duration(8.2), _duration(754), _duration(9000)
    ('8 s', '13 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _headline(data: ReportData) -> list[tuple[str, str, str]]:
    """Give the figures at the top: name, value, unit."""
    n_clusters = data.probabilities.shape[1]
    used = len(np.unique(data.clusters))
    confidence = float(data.probabilities[np.arange(len(data.clusters)), data.clusters].mean())
    figures = [
        ("pictures", f"{len(data.images):,}", ""),
        ("clusters in use", f"{used:,}", "" if used == n_clusters else f"of {n_clusters:,}"),
        ("files skipped", f"{len(data.skipped):,}", ""),
        ("mean confidence", f"{100 * confidence:.0f}", "%"),
    ]
    rank = data.history[-1].get("effective_rank", np.nan) if data.history else np.nan
    if np.isfinite(rank):
        figures.append(("effective rank", f"{rank:.1f}", f"of {data.embedding.shape[1]:,}"))
    return figures


def _settings(config: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Turn a configuration into tables: one of the plain values, one for each mapping in it."""
    groups = {"run": {name: value for name, value in config.items() if not isinstance(value, Mapping)}}
    groups |= {name: dict(value) for name, value in config.items() if isinstance(value, Mapping)}
    return [
        (_words(title), [(name, _setting(value)) for name, value in group.items()])
        for title, group in groups.items()
        if group
    ]


def _words(name: object) -> str:
    words = str(name).replace("_", " ")
    return words[:1].upper() + words[1:]


def _setting(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _evaluation(evaluation: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    return None
