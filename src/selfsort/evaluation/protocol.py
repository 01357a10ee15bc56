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
    labels : (N,) int64 positions in `names`, -1 where there is none
    names : of the classes

    """

    embedding: NDArray[np.float32]
    labels: NDArray[np.int64]
    names: tuple[str, ...]

    def only_labelled(self) -> "Labelled":
        """Return the pictures that have a label."""
        if not (self.labels >= 0).any():
            raise UserError("These pictures have no labels: put them in one folder per class.")
        known = self.labels >= 0
        return Labelled(self.embedding[known], self.labels[known], self.names)


def evaluate_clusters(pictures: Labelled, clusters: NDArray[np.int64], *, random_state: int = 0) -> dict[str, Any]:
    """Return the figures of (N,) clusters as JSON can hold them; those that need labels are None without them."""
    scores = None
    if (pictures.labels >= 0).any():
        scores = clustering_scores(pictures.labels, clusters, label_names=pictures.names).to_json()
    return {
        "clustering": scores,
        "silhouette": silhouette(pictures.embedding, clusters, random_state=random_state),
        "probe": None,
    }


def evaluate_names(pictures: Labelled, predicted: NDArray[np.int64], names: Sequence[str]) -> dict[str, Any] | None:
    """Compare names given to pictures with the names of their labels, as JSON can hold it; nothing is matched.

    `predicted` (N,) are positions in `names`. A name that is no label's is wrong everywhere. None without labels, and
    where no name is a label's.
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
    """Return the figures of a probe on `test`, trained on `train` or else on a stratified 80 % of `test` itself.

    Those of "centroid" hold, under "few_shot", what 1, 5 and 10 pictures of each class give, where there are as many.
    """
    test = test.only_labelled()
    if train is None:
        first, second = stratified_split(test.labels, 0.2, random_state)
        train = Labelled(test.embedding[first], test.labels[first], test.names)
        test = Labelled(test.embedding[second], test.labels[second], test.names)
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
    """Return the figures of probes that each learn from one of some folds and are all tested on `test`.

    That is the protocol of STL-10 (Coates et al. 2011; paper 3, section 3.2.1): `accuracy` is the mean over the folds,
    `std` its standard deviation. See `seeded_folds` where a data set has none of its own.
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
    """Deal labelled pictures into folds of equal size with all classes alike in them; a picture is in one fold only.

    Raises
    ------
    UserError
        For fewer than two folds, or a class with fewer pictures than folds.

    """
    if n_folds < 2:
        raise UserError(f"n_folds={n_folds} must be at least 2: each fold trains a probe of its own.")
    pictures = pictures.only_labelled()
    counts = np.bincount(pictures.labels, minlength=len(pictures.names))
    smallest = int(np.where(counts > 0, counts, counts.max()).argmin())
    if counts[smallest] < n_folds:
        raise UserError(
            f"Class {pictures.names[smallest]!r} has {counts[smallest]} pictures, fewer than the {n_folds} folds: use "
            "fewer folds."
        )
    rng = np.random.default_rng((random_state, 10))
    order = np.concatenate([rng.permutation(np.flatnonzero(pictures.labels == label)) for label in range(len(counts))])
    dealt = [np.sort(order[number::n_folds]) for number in range(n_folds)]
    return [Labelled(pictures.embedding[rows], pictures.labels[rows], pictures.names) for rows in dealt]


def _renamed(pictures: Labelled, names: tuple[str, ...]) -> Labelled:
    """Give the classes of one source the numbers that they have in another."""
    if pictures.names == names:
        return pictures
    unknown = sorted(set(pictures.names) - set(names))
    if unknown:
        raise UserError(f"Class {unknown[0]!r} is in one of the two labelled sources only: name the classes alike.")
    numbers = np.array([names.index(name) for name in pictures.names])
    return Labelled(pictures.embedding, numbers[pictures.labels], names)
