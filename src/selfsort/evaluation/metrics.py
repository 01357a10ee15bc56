"""Metrics of clusters, with and without labels, and the gauge that detects a collapsed embedding."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from selfsort.errors import UserError
from selfsort.threads import one_thread

# Differences between embeddings below this share of their size are rounding errors of a float32 network.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class ClassScore:
    """How well one class is found, as fractions; `cluster` is the cluster matched with it, None if there is none."""

    name: str
    n: int
    precision: float
    recall: float
    f1: float
    cluster: int | None = None


@dataclass(frozen=True, eq=False)
class ClusteringScores:
    """How well clusters agree with labels; every score is a fraction (1 is perfect), none is a percentage.

    accuracy : share of the n labelled pictures in their class's cluster, matched one to one (Hungarian method)
    purity : share whose label is the most frequent in their cluster (many-to-one); grows with the number of clusters
    nmi, ami, ari : normalised (by the arithmetic mean) and adjusted mutual information, adjusted Rand index
    n, n_unlabelled : pictures that count, and pictures without a label, which do not
    per_class : one row per class
    confusion : pictures of each class in each cluster, (classes, clusters) int64
    mapping : the class that each cluster stands for, None for an unmatched cluster
    """

    accuracy: float
    purity: float
    nmi: float
    ami: float
    ari: float
    n: int
    n_unlabelled: int
    per_class: tuple[ClassScore, ...]
    confusion: NDArray[np.int64]
    mapping: dict[int, str | None]

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain numbers, lists and dictionaries; scores are fractions from 0 to 1."""
        return {
            "accuracy": self.accuracy,
            "purity": self.purity,
            "nmi": self.nmi,
            "ami": self.ami,
            "ari": self.ari,
            "n": self.n,
            "n_unlabelled": self.n_unlabelled,
            "per_class": [asdict(row) for row in self.per_class],
            "confusion": self.confusion.tolist(),
            "mapping": {str(cluster): name for cluster, name in self.mapping.items()},
        }


def clustering_scores(labels: ArrayLike, clusters: ArrayLike, *, label_names: Sequence[str] = ()) -> ClusteringScores:
    """Compare clusters (N,) with labels (N,), both counted from 0; rows with label -1 do not count.

    Classes and clusters may differ in number; pictures of those left unmatched count as wrong.
    Raises UserError if the lengths differ or no row has a label.

    >>> scores = clustering_scores([0, 0, 1, 1, -1], [1, 1, 0, 1, 0], label_names=("cat", "dog"))
    >>> scores.accuracy, scores.mapping, scores.n_unlabelled
    (0.75, {0: 'dog', 1: 'cat'}, 1)
    """
    from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score, normalized_mutual_info_score

    all_labels, all_clusters = _same_length(labels, clusters)
    labelled = all_labels >= 0
    if not labelled.any():
        raise UserError("No picture has a label to compare clusters with: give a labelled source.")
    true, found = all_labels[labelled], all_clusters[labelled]
    confusion = confusion_matrix(true, found, n_classes=len(label_names))
    cluster_of = _match(confusion)
    names = class_names(label_names, len(confusion))
    class_of = {cluster: names[label] for label, cluster in cluster_of.items()}
    return ClusteringScores(
        accuracy=float(sum(confusion[pair] for pair in cluster_of.items()) / len(true)),
        purity=float(confusion.max(axis=0).sum() / len(true)),
        nmi=float(normalized_mutual_info_score(true, found)),
        ami=float(adjusted_mutual_info_score(true, found)),
        ari=float(adjusted_rand_score(true, found)),
        n=len(true),
        n_unlabelled=len(labelled) - len(true),
        per_class=class_table(confusion, names, cluster_of),
        confusion=confusion,
        mapping={cluster: class_of.get(cluster) for cluster in range(confusion.shape[1])},
    )


def _same_length(labels: ArrayLike, clusters: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    first, second = np.asarray(labels, dtype=np.int64), np.asarray(clusters, dtype=np.int64)
    if first.shape != second.shape or first.ndim != 1:
        raise UserError(
            f"labels of shape {first.shape} and clusters of shape {second.shape} do not match: give one per picture."
        )
    return first, second


def confusion_matrix(
    true: NDArray[np.int64], found: NDArray[np.int64], *, n_classes: int = 0, n_clusters: int = 0
) -> NDArray[np.int64]:
    """Count each class's pictures (rows, at least `n_classes`) in each cluster (columns, at least `n_clusters`)."""
    from sklearn.metrics import confusion_matrix as square

    rows, columns = max(n_classes, int(true.max()) + 1), max(n_clusters, int(found.max()) + 1)
    side = max(rows, columns, 2)  # scikit-learn warns about a single label
    counts: NDArray[np.int64] = square(true, found, labels=np.arange(side))[:rows, :columns]
    return counts


def _match(confusion: NDArray[np.int64]) -> dict[int, int]:
    """Return the matching of classes to clusters in which most pictures agree (Kuhn 1955)."""
    from scipy.optimize import linear_sum_assignment

    classes, clusters = linear_sum_assignment(confusion, maximize=True)
    return dict(zip(classes.tolist(), clusters.tolist(), strict=True))


def class_names(label_names: Sequence[str], n_classes: int) -> list[str]:
    """Return a name for every class: its own, or its number if none is given."""
    return [*label_names, *map(str, range(len(label_names), n_classes))]


def class_table(
    confusion: NDArray[np.int64], names: Sequence[str], cluster_of: dict[int, int]
) -> tuple[ClassScore, ...]:
    """Return each class's precision, recall and F1, given the column of `confusion` matched with it."""
    sizes, found = confusion.sum(axis=1), confusion.sum(axis=0)
    rows = []
    for label, name in enumerate(names):
        cluster = cluster_of.get(label)
        hits = 0 if cluster is None else int(confusion[label, cluster])
        claimed = 0 if cluster is None else int(found[cluster])
        n = int(sizes[label])
        precision, recall, f1 = hits / max(claimed, 1), hits / max(n, 1), 2 * hits / max(claimed + n, 1)
        rows.append(ClassScore(name, n, precision, recall, f1, cluster))
    return tuple(rows)


def silhouette(points: ArrayLike, clusters: ArrayLike, *, sample: int = 2000, random_state: int = 0) -> float | None:
    """Return the mean silhouette (Rousseeuw 1987), from -1 to 1, of points (N, D), or of a random `sample` of them.

    It needs no labels, and says how well clusters are separated, not whether they mean anything. A cluster's only point
    counts as 0; with a single cluster there is no silhouette, and the result is None.
    """
    from sklearn.metrics import silhouette_score

    array, members = np.asarray(points, dtype=np.float64), np.asarray(clusters)
    if len(array) > sample:
        chosen = np.sort(np.random.default_rng(random_state).choice(len(array), sample, replace=False))
        array, members = array[chosen], members[chosen]
    n_clusters = len(np.unique(members))
    if n_clusters < 2:
        return None
    if n_clusters == len(members):  # scikit-learn does not define it
        return 0.0
    # Far from the origin, distances lose precision.
    return float(silhouette_score(array - array.mean(axis=0), members))


def effective_rank(embedding: ArrayLike) -> float:
    """Return the effective rank of an embedding (N, D): how many dimensions it uses.

    It is exp of the entropy of the shares of the singular values (Roy and Vetterli 2007), after subtracting the mean:
    at most min(N - 1, D), 1 if all points are on a line, and 0 if they are equal up to rounding.

    >>> round(effective_rank([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]), 6)
    2.0
    """
    points = np.asarray(embedding, dtype=np.float64)
    size = float(np.sqrt((points**2).sum()))
    points = points - points.mean(axis=0)
    # float64, as the square root of the Gram matrix's rounding error would drown small singular values.
    with one_thread():  # at this size threads gain nothing, and cost a second if the cores are busy
        gram = points.T @ points if len(points) > points.shape[1] else points @ points.T
        singular = np.sqrt(np.maximum(np.linalg.eigvalsh(gram), 0.0))
    singular = singular[singular > _ROUNDING * size]
    if not singular.size:
        return 0.0
    shares = singular / singular.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


@dataclass(frozen=True)
class ClassUse:
    """How evenly classes are used: entropy from 0 (one class) to 1 (all equal), largest and smallest share."""

    entropy: float
    largest: float
    smallest: float


def class_use(clusters: ArrayLike, n_classes: int) -> ClassUse:
    """Measure how evenly `n_classes` >= 2 classes are used, from clusters (N,) or probabilities (N, n_classes).

    >>> class_use([0, 0, 1, 1], 2)
    ClassUse(entropy=1.0, largest=0.5, smallest=0.5)
    """
    array = np.asarray(clusters)
    if array.ndim == 2:
        shares = array.mean(axis=0, dtype=np.float64)
    else:
        shares = np.bincount(array, minlength=n_classes) / len(array)
    used = shares[shares > 0]
    entropy = -float((used * np.log(used)).sum()) / float(np.log(n_classes))
    return ClassUse(entropy=max(0.0, entropy), largest=float(shares.max()), smallest=float(shares.min()))
