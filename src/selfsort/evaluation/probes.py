"""Probes: how well a simple classifier can read the classes from a frozen embedding."""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from selfsort.errors import UserError
from selfsort.evaluation.metrics import ClassScore, class_names, class_table, confusion_matrix

ProbeKind = Literal["linear", "svm", "knn", "centroid"]

_NEIGHBORS = 20
_LIBLINEAR_WORK = 150_000_000  # pictures x features x classes; takes LIBLINEAR about 15 s
_BATCH = 256
_LEAST_EPOCHS = 30
_LEAST_STEPS = 5000
_QUICK_STEPS = 200
_NUMBERS_AT_ONCE = 1 << 22  # of unlabelled features, which take several times the memory in double precision

_Fit = tuple[NDArray[np.int64], dict[str, Any]]  # predictions for the test set, and details of the classifier


@dataclass(frozen=True)
class ProbeResult:
    """Accuracy of a probe on test pictures, overall and per class, as fractions; and how it was trained."""

    kind: ProbeKind
    accuracy: float
    per_class: tuple[ClassScore, ...]
    n_train: int
    n_test: int
    details: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain numbers, lists and dictionaries; scores are fractions from 0 to 1."""
        rows = [{name: value for name, value in asdict(row).items() if name != "cluster"} for row in self.per_class]
        return asdict(self) | {"per_class": rows}


@dataclass(frozen=True)
class FewShotResult:
    """Accuracy with centroids of `shots` pictures per class: mean and standard deviation over draws."""

    shots: int
    accuracy: float
    std: float
    draws: int


def probe(
    kind: ProbeKind,
    train_x: ArrayLike,
    train_y: ArrayLike,
    test_x: ArrayLike,
    test_y: ArrayLike,
    *,
    label_names: Sequence[str] = (),
    random_state: int = 0,
) -> ProbeResult:
    """Train a classifier on embeddings train_x (N, D) with labels train_y (N,), and test it on others.

    linear : one-vs-rest logistic regression by LIBLINEAR (paper 1; Fan et al. 2008); if pictures x features x
        classes exceed 150 million, multinomial logistic regression by Adam on mini-batches
    svm : one-vs-all linear support vector machine by LIBLINEAR
    knn : majority vote of the 20 training pictures with highest cosine similarity; ties go to the more similar class
    centroid : the class with the nearest mean, of embeddings centred by the training mean and scaled to unit length
        (Wang et al., "SimpleShot", 2019); see also `few_shot`

    linear and svm use features standardised by their training mean and standard deviation; knn uses them as they are.
    Rows with label -1 are left out. Nothing is tuned on the test set. The same seed gives the same result.

    Raises UserError for an unknown kind, fewer than two classes to train on, nothing to test on, arrays that do not
    fit together, or features that are not finite.
    """
    if kind not in get_args(ProbeKind):
        raise UserError(f"{kind!r} is not a probe: choose one of {', '.join(get_args(ProbeKind))}.")
    train, train_labels = _labelled(train_x, train_y, "train")
    test, test_labels = _labelled(test_x, test_y, "test")
    _check_fit(train, train_labels, test)
    if kind in ("linear", "svm"):
        train, test = _standardised(train, test)
    predicted, details = _PROBES[kind](train, train_labels, test, random_state)
    return _result(kind, test_labels, predicted, label_names, len(train), details)


def few_shot(
    train_x: ArrayLike,
    train_y: ArrayLike,
    test_x: ArrayLike,
    test_y: ArrayLike,
    *,
    shots: Sequence[int] = (1, 5, 10),
    draws: int = 20,
    random_state: int = 0,
) -> tuple[FewShotResult, ...]:
    """Classify test pictures (M, D) by the nearest centroid of a few labelled pictures per class, drawn from (N, D).

    Like `probe("centroid", ...)`, but with centroids of `shots` pictures, redrawn `draws` times; embeddings are still
    centred by the mean of all training pictures, which needs no labels. Rows with label -1 are left out. The
    same seed draws the same pictures.

    Raises UserError for a class with fewer training pictures than shots, and in the same cases as `probe`.
    """
    train, labels = _labelled(train_x, train_y, "train")
    test, truth = _labelled(test_x, test_y, "test")
    _check_fit(train, labels, test)
    if draws < 1:
        raise UserError(f"{draws} draws leave nothing to average: ask for at least 1.")
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    _check_shots(shots, labels, members)
    train, test = _centred(train, test)
    results = []
    for count in shots:
        rngs = (np.random.default_rng((random_state, count, draw)) for draw in range(draws))
        chosen = (np.concatenate([rng.choice(rows, count, replace=False) for rows in members]) for rng in rngs)
        right = [(_nearest_centroid(train[rows], labels[rows], test) == truth).mean() for rows in chosen]
        results.append(FewShotResult(count, float(np.mean(right)), float(np.std(right, ddof=draws > 1)), draws))
    return tuple(results)


def _check_shots(shots: Sequence[int], labels: NDArray[np.int64], members: Sequence[NDArray[np.int64]]) -> None:
    rows = min(members, key=len)
    if not shots or min(shots) < 1:
        raise UserError(f"shots={tuple(shots)}: ask for at least 1 labelled picture per class.")
    if max(shots) > len(rows):
        raise UserError(
            f"Class {labels[rows[0]]} has {len(rows)} training pictures, fewer than {max(shots)} shots: ask for fewer."
        )


@dataclass(frozen=True)
class SVMLabels:
    """Labels that a linear support vector machine gives to unlabelled pictures.

    Attributes
    ----------
    labels : (N,) int64
    margins : (N,) float32, the difference between the best and the second-best score

    """

    labels: NDArray[np.int64]
    margins: NDArray[np.float32]

    def surest(self, share: float) -> NDArray[np.int64]:
        """Return the rows, in ascending order, of the given share of each class with the largest margins."""
        if not 0 < share <= 1:
            raise UserError(f"The share {share} of pictures to keep must be above 0 and at most 1.")
        kept = []
        for label in np.unique(self.labels):
            rows = np.flatnonzero(self.labels == label)
            order = rows[np.argsort(-self.margins[rows], kind="stable")]
            kept.append(order[: max(1, round(share * len(rows)))])
        return np.sort(np.concatenate(kept))


def svm_labels(train_x: ArrayLike, train_y: ArrayLike, features: ArrayLike, *, random_state: int = 0) -> SVMLabels:
    """Label pictures from their features (N, D) by an "svm" probe of labelled ones (paper 3, section 4.2).

    Raises UserError in the same cases as `probe`.
    """
    from sklearn.svm import LinearSVC

    train, labels = _labelled(train_x, train_y, "train")
    others, _ = _labelled(features, np.zeros(len(np.asarray(features)), np.int64), "unlabelled")
    _check_fit(train, labels, others)
    mean, scale = _scaling(train)
    classifier = LinearSVC(dual="auto", random_state=random_state)
    _fit(classifier, _scaled(train, mean, scale), labels)
    rows = max(1, _NUMBERS_AT_ONCE // others.shape[1])
    blocks = (_scaled(others[start : start + rows], mean, scale) for start in range(0, len(others), rows))
    parts = [(classifier.predict(block), _margins(classifier.decision_function(block))) for block in blocks]
    return SVMLabels(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _margins(scores: NDArray[np.float64]) -> NDArray[np.float32]:
    if scores.ndim == 1:  # two classes share one score
        return np.abs(scores).astype(np.float32)
    highest = np.partition(scores, -2, axis=1)[:, -2:]
    return (highest[:, 1] - highest[:, 0]).astype(np.float32)


def quick_linear(train_x: ArrayLike, train_y: ArrayLike, test_x: ArrayLike, test_y: ArrayLike) -> float:
    """Return the accuracy on test pictures (M, D) of a quick linear probe fitted to training pictures (N, D).

    It monitors a network during training: multinomial logistic regression on standardised features with at most 200
    steps of L-BFGS takes seconds on 60,000 x 300 features, where LIBLINEAR takes minutes. It starts from zero, so that
    the same network gets the same score even if its training was interrupted.

    Raises UserError for fewer than two classes, arrays that do not fit together, or features that are not finite.
    """
    from sklearn.linear_model import LogisticRegression

    train, train_labels = _labelled(train_x, train_y, "train")
    test, test_labels = _labelled(test_x, test_y, "test")
    _check_fit(train, train_labels, test)
    train, test = _standardised(train, test)
    predicted, _ = _fitted(LogisticRegression(max_iter=_QUICK_STEPS), train, train_labels, test, {})
    return float((predicted == test_labels).mean())


def stratified_split(
    labels: ArrayLike, test_share: float = 0.3, random_state: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices of training and test rows in ascending order, with `test_share` of every class for testing.

    Each class has at least one row on either side; rows with label -1 are in neither. Raises UserError for a share
    that is not between 0 and 1, a class with a single row, or no label at all.

    >>> stratified_split([0, 0, 0, 0, 1, 1, -1], 0.25)[1].size
    2
    """
    array = np.asarray(labels, dtype=np.int64)
    if not 0 < test_share < 1:
        raise UserError(f"A test share of {test_share} leaves one side empty: choose one between 0 and 1.")
    if not (array >= 0).any():
        raise UserError("No picture has a label, so there is nothing to split: give a labelled source.")
    rng = np.random.default_rng(random_state)
    test = []
    for label in np.unique(array[array >= 0]):
        rows = rng.permutation(np.flatnonzero(array == label))
        if len(rows) < 2:
            raise UserError(
                f"Class {label} has only one labelled picture, too few to train and test on: add one, or remove it."
            )
        test.append(rows[: min(max(round(test_share * len(rows)), 1), len(rows) - 1)])
    test_rows = np.sort(np.concatenate(test))
    return np.setdiff1d(np.flatnonzero(array >= 0), test_rows), test_rows


def _labelled(features: ArrayLike, labels: ArrayLike, side: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    array, classes = np.asarray(features, dtype=np.float32), np.asarray(labels, dtype=np.int64)
    if array.ndim != 2 or classes.shape != array.shape[:1]:
        raise UserError(
            f"The {side} set's features {array.shape} and labels {classes.shape} do not match: give a row per picture."
        )
    if not (known := classes >= 0).all():  # features may be large: do not copy them if all are labelled
        array, classes = array[known], classes[known]
    if not len(array):
        raise UserError(f"The {side} set has no labelled picture, so nothing can be probed: give a labelled source.")
    if not (np.isfinite(array.min()) and np.isfinite(array.max())):  # both propagate NaN
        raise UserError(f"The {side} set's features contain NaN or infinity: train again with a lower learning rate.")
    return array, classes


def _check_fit(train: NDArray[np.float32], train_labels: NDArray[np.int64], test: NDArray[np.float32]) -> None:
    if (train_labels == train_labels[0]).all():
        raise UserError(f"All training pictures are of class {train_labels[0]}: a probe needs at least two classes.")
    if train.shape[1] != test.shape[1]:
        raise UserError(
            f"Training pictures have {train.shape[1]} features but test pictures {test.shape[1]}: embed both with the "
            "same model."
        )


def _standardised(
    train: NDArray[np.float32], test: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    mean, scale = _scaling(train)
    return _scaled(train, mean, scale), _scaled(test, mean, scale)


def _scaling(train: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each feature's mean and the inverse of its standard deviation, 0 for a constant feature."""
    mean, deviation = train.mean(axis=0, dtype=np.float64), train.std(axis=0, dtype=np.float64)
    deviation[deviation < 1e-6 * np.abs(mean)] = 0.0  # equal up to rounding: do not scale rounding errors up
    return mean, np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 0)


def _scaled(
    features: NDArray[np.float32], mean: NDArray[np.float64], scale: NDArray[np.float64]
) -> NDArray[np.float32]:
    return ((features - mean) * scale).astype(np.float32)


def _linear(train: NDArray[np.float32], labels: NDArray[np.int64], test: NDArray[np.float32], seed: int) -> _Fit:
    if train.size * len(np.unique(labels)) > _LIBLINEAR_WORK:
        return _mini_batch(train, labels, test, seed)
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    classifier = OneVsRestClassifier(LogisticRegression(solver="liblinear", random_state=seed))
    return _fitted(classifier, train, labels, test, {"solver": "liblinear", "loss": "logistic, one-vs-rest", "C": 1.0})


def _mini_batch(train: NDArray[np.float32], labels: NDArray[np.int64], test: NDArray[np.float32], seed: int) -> _Fit:
    from sklearn.neural_network import MLPClassifier

    batch_size = min(_BATCH, len(train))
    epochs = max(_LEAST_EPOCHS, math.ceil(_LEAST_STEPS * batch_size / len(train)))
    # A perceptron without hidden layers is multinomial logistic regression.
    classifier = MLPClassifier((), batch_size=batch_size, max_iter=epochs, random_state=seed)
    predicted, details = _fitted(classifier, train, labels, test, {"solver": "adam", "loss": "multinomial logistic"})
    return predicted, details | {"batch_size": batch_size, "epochs": classifier.n_iter_}


def _svm(train: NDArray[np.float32], labels: NDArray[np.int64], test: NDArray[np.float32], seed: int) -> _Fit:
    from sklearn.svm import LinearSVC

    details = {"solver": "liblinear", "loss": "squared hinge, one-vs-all", "C": 1.0}
    return _fitted(LinearSVC(dual="auto", random_state=seed), train, labels, test, details)


def _fitted(
    classifier: Any,
    train: NDArray[np.float32],
    labels: NDArray[np.int64],
    test: NDArray[np.float32],
    details: dict[str, Any],
) -> _Fit:
    converged = _fit(classifier, train, labels)
    return classifier.predict(test), details | {"converged": converged}


def _fit(classifier: Any, train: NDArray[np.float32], labels: NDArray[np.int64]) -> bool:
    """Fit a classifier and tell whether it converged."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        classifier.fit(train, labels)
    return not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)


def _knn(train: NDArray[np.float32], labels: NDArray[np.int64], test: NDArray[np.float32], seed: int) -> _Fit:
    import faiss

    k = min(_NEIGHBORS, len(train))
    similarity, indices = faiss.knn(_unit(test), _unit(train), k, metric=faiss.METRIC_INNER_PRODUCT)
    classes, members = np.unique(labels, return_inverse=True)
    # Similarities sum to at most k, so that their share only breaks ties between equal counts.
    weights = 1 + similarity / (2 * k + 2)
    cells = np.arange(len(test))[:, None] * len(classes) + members[indices]
    votes = np.bincount(cells.ravel(), weights.ravel(), minlength=len(test) * len(classes))
    predicted: NDArray[np.int64] = classes[votes.reshape(len(test), -1).argmax(axis=1)]
    return predicted, {"k": k, "similarity": "cosine"}


def _centroid(train: NDArray[np.float32], labels: NDArray[np.int64], test: NDArray[np.float32], seed: int) -> _Fit:
    train, test = _centred(train, test)
    return _nearest_centroid(train, labels, test), {"distance": "Euclidean, of centred unit vectors"}


def _centred(train: NDArray[np.float32], test: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Subtract the training mean from both sides and scale them to unit length."""
    mean = train.mean(axis=0, dtype=np.float64).astype(np.float32)
    return _unit(train - mean), _unit(test - mean)


def _nearest_centroid(
    train: NDArray[np.float32], labels: NDArray[np.int64], test: NDArray[np.float32]
) -> NDArray[np.int64]:
    # Not scikit-learn's NearestCentroid, which divides by the spread within classes: 0 with one picture of each.
    from sklearn.metrics import pairwise_distances_argmin

    classes = np.unique(labels)
    centroids = np.stack([train[labels == label].mean(axis=0) for label in classes])
    nearest: NDArray[np.int64] = classes[pairwise_distances_argmin(test, centroids)]
    return nearest


def _unit(features: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    unit: NDArray[np.float32] = np.divide(features, norms, out=np.zeros_like(features), where=norms > 0)
    return unit


_PROBES: dict[ProbeKind, Callable[[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32], int], _Fit]] = {
    "linear": _linear,
    "svm": _svm,
    "knn": _knn,
    "centroid": _centroid,
}


def _result(
    kind: ProbeKind,
    true: NDArray[np.int64],
    predicted: NDArray[np.int64],
    label_names: Sequence[str],
    n_train: int,
    details: dict[str, Any],
) -> ProbeResult:
    n_classes = max(int(true.max()), int(predicted.max())) + 1
    confusion = confusion_matrix(true, predicted, n_classes=max(n_classes, len(label_names)))
    own_column = {label: label for label in range(confusion.shape[1])}
    names = class_names(label_names, len(confusion))
    accuracy = float((true == predicted).mean())
    return ProbeResult(kind, accuracy, class_table(confusion, names, own_column), n_train, len(true), details)
