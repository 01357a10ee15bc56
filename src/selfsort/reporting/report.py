"""The report: the results of a run in one HTML file that needs no network and no scripts."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from selfsort.clustering.class_count import ClassCount
from selfsort.clustering.layout import project
from selfsort.data.image_set import ImageSet
from selfsort.evaluation.certificate import Certificate, ClassShare, between
from selfsort.evaluation.certificate import percent as bound
from selfsort.evaluation.group_quality import GroupQuality
from selfsort.files import atomic_path
from selfsort.reporting import figures
from selfsort.reporting.gallery import Gallery, percent
from selfsort.reporting.pages import render
from selfsort.reporting.thumbnails import data_uri
from selfsort.spelling import counted

_SKIPPED = 200  # files listed


@dataclass(frozen=True)
class ReportData:
    """The contents of a report.

    Attributes
    ----------
    title : heading of the report
    config : method, parameters, versions, seed, source, fingerprint, …; values may themselves be mappings
    images : the N pictures and their ids
    embedding : (N, D) embedding of the pictures
    probabilities : (N, K) probability of each cluster for each picture
    clusters : (N,) cluster of each picture
    history : one row of metrics per epoch, as in `metrics.csv`; columns may be missing or NaN
    skipped : id and reason of each file that could not be read
    evaluation : the latest result of `selfsort evaluate`, if any
    training_evaluation : the latest result on the training pictures, if `evaluation` is of others
    warnings : sentences that the reader must see first
    names : (K,) names of the clusters, if a person has given any
    certificate : what checked pictures say about the names, if any were checked
    quality : whether the groups mean anything, judged without labels
    class_count : the estimated number of classes, if it was estimated

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
    training_evaluation: Mapping[str, Any] | None = None
    warnings: Sequence[str] = ()
    names: Sequence[str] = ()
    certificate: Certificate | None = None
    quality: GroupQuality | None = None
    class_count: ClassCount | None = None


def write_report(
    data: ReportData, path: str | Path, *, map_kind: Literal["tsne", "pca"] = "tsne", random_state: int = 0
) -> None:
    """Write the report of a run as one self-contained HTML file, replacing an earlier one.

    `map_kind` is the projection of the embedding map; `random_state` is its seed and that of the choice of random
    pictures. Raises `UserError` if the file cannot be written.
    """
    page = _page(data, map_kind, random_state)
    with atomic_path(path) as partial:
        partial.write_bytes(page.encode("utf-8"))


def _page(data: ReportData, map_kind: Literal["tsne", "pca"], random_state: int) -> str:
    return render("report.html.j2", _context(data, map_kind, random_state))


def _context(data: ReportData, map_kind: Literal["tsne", "pca"], random_state: int) -> dict[str, Any]:
    pictures = (data.images, data.embedding, data.probabilities, data.clusters)
    gallery = Gallery(*pictures, names=data.names, random_state=random_state)
    wanted = ("clustering", "named", "silhouette", "probe", "source", "of_training")
    evaluation = dict.fromkeys(wanted) | dict(data.evaluation or {})
    return {
        "data": data,
        "lead": _lead(data),
        "headline": _headline(data),
        "clusters": gallery.clusters,
        "shown": [cluster for cluster in gallery.clusters if cluster.strips],
        "largest": max(1, *(cluster.size for cluster in gallery.clusters)),
        "compact": gallery.per_strip <= 4,
        "map": _map(data, map_kind, random_state),
        "curves": _curves(data.history),
        "judged": data.quality.sentences(data.names) if data.quality else [],
        "compared": _compared(data.quality, "names" if data.names else "clusters") if data.quality else [],
        "count_curve": _count_curve(data.class_count) if data.class_count and data.class_count.curve else None,
        "evaluation": evaluation,
        "certified": [_certified(row) for row in data.certificate.rows] if data.certificate else [],
        "tables": _evaluation_tables(evaluation, data.names),
        "confusion": _confusion(evaluation["clustering"], data.names),
        "group": "name" if data.names else "cluster",
        "matched": evaluation["clustering"]["mapping"] if evaluation["clustering"] else {},
        "skipped": data.skipped[:_SKIPPED],
        "settings": _settings(data.config),
    }


@dataclass(frozen=True)
class _Figure:
    """A drawing for light and for dark pages, and a description of it."""

    light: str
    dark: str
    alt: str


def _drawn(draw: Callable[[figures.Theme], bytes], alt: str) -> _Figure:
    return _Figure(data_uri(draw(figures.LIGHT), "png"), data_uri(draw(figures.DARK), "png"), alt)


def _map(data: ReportData, kind: Literal["tsne", "pca"], random_state: int) -> Mapping[str, Any]:
    rows, points = project(data.embedding, kind=kind, random_state=random_state)
    name = "t-SNE" if kind == "tsne" else "PCA"
    by = "coloured and marked by name" if data.names else "coloured and numbered by cluster"
    drawing = _drawn(
        lambda theme: figures.embedding_map(points, data.clusters[rows], names=data.names, theme=theme),
        f"{name} map of {counted(len(rows), 'picture')}, {by}",
    )
    return {"figure": drawing, "name": name, "n_drawn": len(rows)}


def _curves(history: Sequence[Mapping[str, float]]) -> list[_Figure]:
    return [
        _drawn(
            lambda theme, curve=curve: figures.loss_curves(history, curves=[curve], columns=1, theme=theme),  # type: ignore[misc]
            f"{curve.title} over {len(history)} epochs",
        )
        for curve in figures.drawable_curves(history)
    ]


def _compared(quality: GroupQuality, groups: str) -> list[tuple[str, str, str]]:
    """Return the figures behind the judgement, of the groups and of data without groups: agreement and stability."""
    titles = {
        f"These {groups}": "features",
        "Groups in shuffled features": "shuffled",
        "Groups in one Gaussian cloud": "cloud",
        f"These {groups}, in plain pixels": "pixels",
    }
    pairs = {
        title: (getattr(quality.neighbors, name), getattr(quality.stability, name)) for title, name in titles.items()
    }
    return [(title, f"{a:.2f}", f"{b:.2f}") for title, (a, b) in pairs.items() if a is not None and b is not None]


def _count_curve(count: ClassCount) -> _Figure:
    ks, scores = zip(*count.curve, strict=True)
    line = figures.Line("score", ks, scores, star=True)
    return _drawn(
        lambda theme: figures.line_chart(
            [line], "number of groups", "score (best 1)", span=(count.low, count.high), theme=theme
        ),
        f"Score of each number of groups, highest at {count.estimate}; {count.low} to {count.high} are nearly as good",
    )


def _lead(data: ReportData) -> str:
    """Describe the run in one sentence."""
    known = {name: data.config[name] for name in ("source", "method", "minutes", "device") if name in data.config}
    words = counted(len(data.images), "picture")
    words += f" from {known['source']}" if "source" in known else ""
    number = data.probabilities.shape[1]
    words += f", each given one of {number} names" if data.names else f", sorted into {number} clusters"
    words += f" by {known['method']}" if "method" in known else ""
    words += f" in {_duration(60 * known['minutes'])}" if "minutes" in known else ""
    return words + (f" on {known['device']}." if "device" in known else ".")


def _duration(seconds: float) -> str:
    """Format a duration.

    >>> _duration(0.2), _duration(8.2), _duration(754), _duration(9000)
    ('1 s', '8 s', '13 min', '2.5 h')
    """
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _headline(data: ReportData) -> list[tuple[str, str, str]]:
    """Return the figures at the top: name, value, unit."""
    n_clusters = data.probabilities.shape[1]
    used = len(np.unique(data.clusters))
    confidence = float(data.probabilities[np.arange(len(data.clusters)), data.clusters].mean())
    shown = [
        ("pictures", f"{len(data.images):,}", ""),
        (
            f"{'names' if data.names else 'clusters'} in use",
            f"{used:,}",
            "" if used == n_clusters else f"of {n_clusters:,}",
        ),
        ("files skipped", f"{len(data.skipped):,}", ""),
        ("mean confidence", f"{100 * confidence:.0f}", "%"),
    ]
    if data.certificate:
        share = data.certificate.accuracy
        ends = dict.fromkeys((math.floor(round(100 * share.low, 6)), math.ceil(round(100 * share.high, 6))))
        shown.insert(0, ("names right, 95\N{NO-BREAK SPACE}% sure", "–".join(map(str, ends)), "%"))
    rank = data.history[-1].get("effective_rank", np.nan) if data.history else np.nan
    if np.isfinite(rank):
        shown.append(("effective rank", f"{rank:.1f}", f"of {data.embedding.shape[1]:,}"))
    # The page is about the pictures that the run was trained on; figures of others are shown only with their source.
    evaluation = dict(data.evaluation or {})
    if not evaluation.get("of_training", True):
        evaluation = dict(data.training_evaluation or {})
    if named := evaluation.get("named"):
        shown.append(("accuracy by name", f"{100 * named['accuracy']:.1f}", "%"))
    if scores := evaluation.get("clustering"):
        shown += [] if named else [("accuracy after matching", f"{100 * scores['accuracy']:.1f}", "%")]
        shown += [("NMI", f"{scores['nmi']:.2f}", "")]
    return shown


@dataclass(frozen=True)
class _Certified:
    """A name's precision and recall as text, and the precision as a bar from `start` with a `length`, in per cent."""

    name: str
    pictures: int
    checks: int
    estimate: str
    interval: str
    found: str
    start: float
    length: float
    middle: float | None


def _certified(row: ClassShare) -> _Certified:
    interval = "not checked" if row.estimate is None else between(row)
    found = "–" if row.recall is None or row.recall.estimate is None else between(row.recall)
    length = max(100 * (row.high - row.low), 0.6)  # so that an exact share is visible, too
    middle = None if row.estimate is None else 100 * row.estimate
    estimate = "–" if row.estimate is None else bound(row.estimate)
    start = min(100 * row.low, 100 - length)
    return _Certified(row.name, row.pictures, row.n, estimate, interval, found, start, length, middle)


def _settings(config: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Turn a configuration into tables: one for the plain values, one for each mapping in it."""
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
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


@dataclass(frozen=True)
class _Table:
    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def _evaluation_tables(evaluation: Mapping[str, Any], names: Sequence[str]) -> list[_Table]:
    """Turn the result of `selfsort evaluate`, in which scores are fractions, into tables."""
    scores, named, probe = evaluation["clustering"], evaluation["named"], evaluation["probe"]
    tables = [_Table("Clusters", ("Figure", "Value"), _scores(scores, evaluation["silhouette"]))]
    if probe:
        known = [("Accuracy", percent(probe["accuracy"]))]
        known += [("Training pictures", f"{probe['n_train']:,}"), ("Test pictures", f"{probe['n_test']:,}")]
        tables.append(_Table(f"Probe on the frozen embedding ({probe['kind']})", ("Figure", "Value"), known))
    if scores:
        header = ("Class", "Pictures", "Cluster", "Precision", "Recall", "F1")
        tables.append(_Table("Clusters by class", header, [_class_row(row, names) for row in scores["per_class"]]))
    if named:
        rows = [("All", f"{named['n']:,}", percent(named["accuracy"]), "")]
        rows += [_named_row(row) for row in named["per_class"]]
        tables.insert(0, _Table("Names against labels", ("Label", "Pictures", "Found (recall)", "Precision"), rows))
    return [table for table in tables if table.rows]


def _scores(scores: Mapping[str, Any] | None, silhouette: float | None) -> list[tuple[str, str]]:
    rows = []
    if scores:
        rows += [("Accuracy after matching", percent(scores["accuracy"]))]
        if "purity" in scores and len(scores["mapping"]) > len(scores["per_class"]):
            rows += [("Purity (many-to-one), as clusters outnumber classes", percent(scores["purity"]))]
        rows += [(name.upper(), f"{scores[name]:.3f}") for name in ("nmi", "ami", "ari")]
        rows += [("Pictures with a label", f"{scores['n']:,}")]
        rows += [("Without a label", f"{scores['n_unlabelled']:,}")] if scores["n_unlabelled"] else []
    if silhouette is not None:
        rows.append(("Silhouette", f"{silhouette:.3f}" if np.isfinite(silhouette) else "–"))
    return rows


def _named_row(row: Mapping[str, Any]) -> tuple[str, str, str, str]:
    return row["name"], f"{row['n']:,}", percent(row["recall"]), percent(row["precision"])


def _class_row(row: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    cluster = "–" if row["cluster"] is None else _cluster_name(row["cluster"], names)
    return [row["name"], f"{row['n']:,}", cluster, *(percent(row[name]) for name in ("precision", "recall", "f1"))]


def _cluster_name(cluster: int, names: Sequence[str]) -> str:
    return names[cluster] if names else str(cluster)


def _confusion(scores: Mapping[str, Any] | None, names: Sequence[str]) -> _Figure | None:
    if not scores:
        return None
    counts = np.array(scores["confusion"])
    # The cluster matched with the first class comes first, and so on, so that agreement is on the diagonal.
    matched = [row["cluster"] for row in scores["per_class"] if row["cluster"] is not None]
    order = matched + [cluster for cluster in range(counts.shape[1]) if cluster not in matched]
    classes, clusters = [row["name"] for row in scores["per_class"]], [_cluster_name(c, names) for c in order]
    return _drawn(
        lambda theme: figures.confusion_matrix(
            counts[:, order], classes, clusters, column_title="name" if names else "cluster", theme=theme
        ),
        f"Confusion matrix of {len(classes)} classes and {len(clusters)} clusters",
    )
