"""What `selfsort evaluate` measures: clusters against labels, and probes on the frozen embedding."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfsort.errors import UserError
from selfsort.evaluation.metrics import class_table, clustering_scores, confusion_matrix, silhouette
from selfsort.evaluation.probes import ProbeKind, few_shot, probe, stratified_split

_SHOTS = (1, 5, 10)


@dataclass(frozen=True)
class Labelled:
    """Embedded pictures with labels.

    Attributes
    ----------
    embedding : (N, D) float32
    labels : (N,) int64 positions in `names`, -1 for no label
    names : names of the classes
    bursts : (N,) int64 number of each picture's burst, from `Shots.bursts`; None if every picture is a burst of its
        own. A split never divides a burst

    """

    embedding: NDArray[np.float32]
    labels: NDArray[np.int64]
    names: tuple[str, ...]
    bursts: NDArray[np.int64] | None = None

    def only_labelled(self) -> "Labelled":
        """Return the pictures that have a label."""
        if not (self.labels >= 0).any():
            raise UserError("These pictures have no labels: put them in one folder per class.")
        return self.rows(np.flatnonzero(self.labels >= 0))

    def rows(self, rows: NDArray[np.int64]) -> "Labelled":
        """Return some of the pictures."""
        bursts = None if self.bursts is None else self.bursts[rows]
        return Labelled(self.embedding[rows], self.labels[rows], self.names, bursts)

    def has_bursts(self) -> bool:
        """Tell whether any burst has several pictures."""
        return self.bursts is not None and len(np.unique(self.bursts)) < len(self.bursts)


def evaluate_clusters(pictures: Labelled, clusters: NDArray[np.int64], *, random_state: int = 0) -> dict[str, Any]:
    """Return the metrics of (N,) clusters as plain values for JSON; those that need labels are None without them."""
    scores = None
    if (pictures.labels >= 0).any():
        scores = clustering_scores(pictures.labels, clusters, label_names=pictures.names).to_json()
    return {
        "clustering": scores,
        "silhouette": silhouette(pictures.embedding, clusters, random_state=random_state),
        "probe": None,
    }


def same_pictures(embedding: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Tell whether two embeddings (N, D) by one model are of the same pictures, in any order.

    Embeddings are compared because paths may differ, for example by class folders; embedding a picture again changes
    its values only by rounding.
    """
    if embedding.shape != other.shape:
        return False
    one, another = np.sort(embedding, axis=0), np.sort(other, axis=0)
    return bool(np.allclose(one, another, rtol=1e-3, atol=1e-3 * float(np.abs(another).max())))


def evaluate_names(pictures: Labelled, predicted: NDArray[np.int64], names: Sequence[str]) -> dict[str, Any] | None:
    """Compare names given to pictures with the names of their labels, without any matching, as plain values for JSON.

    `predicted` (N,) are positions in `names`. A name that is not a label is always wrong. Return None without labels,
    or if no name is a label.
    """
    known = pictures.labels >= 0
    if not known.any() or not set(names) & set(pictures.names):
        return None
    true, found = pictures.labels[known], predicted[known]
    column_of = {label: names.index(name) for label, name in enumerate(pictures.names) if name in names}
    confusion = confusion_matrix(true, found, n_classes=len(pictures.names), n_clusters=len(names))
    return {
        "accuracy": float(sum(confusion[pair] for pair in column_of.items()) / len(true)),
        "n": len(true),
        "n_unlabelled": int((~known).sum()),
        "per_class": [asdict(row) for row in class_table(confusion, pictures.names, column_of)],
        "confusion": confusion.tolist(),
        "names": list(names),
    }


def evaluate_probe(kind: ProbeKind, test: Labelled, train: Labelled | None, *, random_state: int = 0) -> dict[str, Any]:
    """Return the results of a probe on `test`, trained on `train` or else on a stratified 80 % of `test` itself.

    For "centroid", the key "few_shot" has the results with 1, 5 and 10 pictures per class, as far as there are enough.
    """
    test = test.only_labelled()
    if train is None:
        if test.has_bursts():
            parts = max(2, min(5, _fewest_bursts(test)[0]))  # a fifth of the bursts, if every class has five
            (second, *others), whole = _dealt_by_burst(test, parts, random_state), test
            first = np.sort(np.concatenate(others))
            train, test = whole.rows(first), whole.rows(second)
        else:
            first, second = stratified_split(test.labels, 0.2, random_state)
            train, test = test.rows(first), test.rows(second)
    train = _renamed(train.only_labelled(), test.names)
    pictures = (train.embedding, train.labels, test.embedding, test.labels)
    result = probe(kind, *pictures, label_names=test.names, random_state=random_state)
    figures = result.to_json()
    if kind == "centroid":
        fewest = np.unique(train.labels, return_counts=True)[1].min()
        shots = [count for count in _SHOTS if count <= fewest]
        figures["few_shot"] = [asdict(each) for each in few_shot(*pictures, shots=shots, random_state=random_state)]
    return figures


def evaluate_folds(
    kind: ProbeKind, test: Labelled, folds: Sequence[Labelled], *, random_state: int = 0
) -> dict[str, Any]:
    """Return the results of probes that are each trained on one fold and all tested on `test`.

    This is the protocol of STL-10 (Coates et al. 2011; paper 3, section 3.2.1): `accuracy` is the mean over the folds,
    `std` the standard deviation. Use `seeded_folds` for a data set without folds of its own.
    """
    test = test.only_labelled()
    found = []
    for number, fold in enumerate(folds):
        train = _renamed(fold.only_labelled(), test.names)
        pictures = (train.embedding, train.labels, test.embedding, test.labels)
        found.append(probe(kind, *pictures, label_names=test.names, random_state=random_state + number))
    accuracies = [each.accuracy for each in found]
    return {
        "kind": kind,
        "accuracy": float(np.mean(accuracies)),
        "std": float(np.std(accuracies, ddof=len(folds) > 1)),
        "folds": accuracies,
        "n_train": round(float(np.mean([each.n_train for each in found]))),
        "n_test": found[0].n_test,
        "details": found[0].details,
    }


def seeded_folds(pictures: Labelled, n_folds: int, *, random_state: int = 0) -> list[Labelled]:
    """Split labelled pictures into stratified folds of equal size; each picture is in one fold only.

    So is each burst: if there are any, folds are equal and stratified as far as whole bursts allow.

    Raises
    ------
    UserError
        For fewer than two folds, or a class with fewer pictures than folds.

    """
    if n_folds < 2:
        raise UserError(f"n_folds={n_folds} must be at least 2, as each fold trains a probe of its own.")
    pictures = pictures.only_labelled()
    counts = np.bincount(pictures.labels, minlength=len(pictures.names))
    smallest = int(np.where(counts > 0, counts, counts.max()).argmin())
    if counts[smallest] < n_folds:
        raise UserError(
            f"Class {pictures.names[smallest]!r} has {counts[smallest]} pictures, fewer than the {n_folds} folds: use "
            "fewer folds."
        )
    if pictures.has_bursts():
        return [pictures.rows(rows) for rows in _dealt_by_burst(pictures, n_folds, random_state)]
    rng = np.random.default_rng((random_state, 10))
    order = np.concatenate([rng.permutation(np.flatnonzero(pictures.labels == label)) for label in range(len(counts))])
    dealt = [np.sort(order[number::n_folds]) for number in range(n_folds)]
    return [pictures.rows(rows) for rows in dealt]


def _dealt_by_burst(pictures: Labelled, n_folds: int, random_state: int) -> list[NDArray[np.int64]]:
    """Return the rows of each fold; no burst is divided among folds."""
    from sklearn.model_selection import StratifiedGroupKFold

    fewest, name = _fewest_bursts(pictures)
    if fewest < n_folds:
        raise UserError(
            f"The pictures of class {name!r} are from {fewest} burst{'s' * (fewest > 1)}, none of which can be "
            "divided among folds: use fewer folds, or separate pictures to train on."
        )
    dealer = StratifiedGroupKFold(n_folds, shuffle=True, random_state=random_state)
    return [rows for _, rows in dealer.split(pictures.embedding, pictures.labels, pictures.bursts)]


def _fewest_bursts(pictures: Labelled) -> tuple[int, str]:
    """Return the smallest number of bursts of any class, and that class's name."""
    assert pictures.bursts is not None
    counts = {label: len(np.unique(pictures.bursts[pictures.labels == label])) for label in np.unique(pictures.labels)}
    label = min(counts, key=lambda label: counts[label])
    return counts[label], pictures.names[label]


def _renamed(pictures: Labelled, names: tuple[str, ...]) -> Labelled:
    """Renumber the classes of one source as in another."""
    if pictures.names == names:
        return pictures
    unknown = sorted(set(pictures.names) - set(names))
    if unknown:
        raise UserError(f"Class {unknown[0]!r} is in only one of the two labelled sources: give both the same classes.")
    numbers = np.array([names.index(name) for name in pictures.names])
    return Labelled(pictures.embedding, numbers[pictures.labels], names, pictures.bursts)
