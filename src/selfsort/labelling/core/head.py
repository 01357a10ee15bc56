"""The classifier of names on an embedding: a logistic regression, quick enough to fit after each answer.

It is linear in the original embedding, so that a network can use it as its last layer.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfsort.labelling.core.session import Targets
from selfsort.memory import drop_pages
from selfsort.threads import one_thread

_AXES = 256  # principal axes of a standardised embedding that a head uses; more cost time and gain nothing
_SAMPLE = 10_000  # pictures from which mean, variance and axes are found
_WIDE, _WIDE_VALUES = 4_096, 1 << 25  # above so many columns, axes are found by another method, from so many values
_CHUNK = 1_024  # pictures standardised at a time, which stay in the processor's cache
_MOST_ROWS = 8_000  # most pictures that a head is fitted to, which takes under a second
_PENALTY = 4e-5  # per column of the embedding, as the scores of a standardised one grow with the number of columns
_BALANCE = 0.5  # 0: names count in proportion to their evidence, 1: all equally
_THROWN_OUT = 0.1  # weight of a picture that was thrown out of a group and named only by the head
_NEVER = -1e4  # score of a name that no picture has any more
_LEAST_VARIANCE = 1e-5


class NameHead(NamedTuple):
    """Scores of K names: weights (K, D) of a standardised embedding and biases (K,)."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]


class HeadSpace:
    """What all heads on an embedding (N, D) share: it is standardised, and projected on its principal axes once.

    Attributes
    ----------
    mean, variance : (D,) mean and variance of the embedding, of a sample of at least 5,000 if there are over 10,000
    scale : (D,) divisor that standardises the embedding
    axes : (D, d) at most 256 principal axes, in order of decreasing variance
    points : (N, d) the standardised embedding along the axes

    """

    def __init__(self, embedding: NDArray[np.float32]):
        sample = np.ascontiguousarray(embedding[:: max(1, -(-len(embedding) // _SAMPLE))])
        drop_pages(embedding)
        self.mean, self.variance = _moments(sample)
        self.scale = np.sqrt(self.variance + _LEAST_VARIANCE)
        with one_thread():
            self.axes = self._principal_axes(sample)
            self.points = self._projected(embedding)

    def _projected(self, embedding: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a standardised embedding (N, D) along the axes, (N, d)."""
        points = np.empty((len(embedding), self.axes.shape[1]), np.float32)
        from joblib import cpu_count

        axes = self.axes / self.scale[:, None]

        def project(rows: slice) -> None:
            np.matmul(embedding[rows] - self.mean, axes, out=points[rows])
            drop_pages(embedding)

        # Threads of our own, as they do not wait for one another after every product.
        with ThreadPoolExecutor(cpu_count()) as pool:
            list(pool.map(project, _chunks(len(embedding))))
        return points

    def _standardised(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        standardised: NDArray[np.float32] = (rows - self.mean) / self.scale
        return standardised

    def _principal_axes(self, sample: NDArray[np.float32]) -> NDArray[np.float32]:
        if len(self.mean) > _WIDE:
            return self._axes_of_wide(sample)
        products = np.zeros((len(self.mean), len(self.mean)))
        for rows in _chunks(len(sample)):
            standardised = self._standardised(sample[rows])
            products += standardised.T @ standardised
        axes: NDArray[np.float32] = np.linalg.eigh(products)[1][:, : -_AXES - 1 : -1].astype(np.float32)
        return np.ascontiguousarray(axes)

    def _axes_of_wide(self, sample: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the axes of an embedding with many columns, such as raw pixels, whose products would take minutes."""
        from sklearn.utils.extmath import randomized_svd

        rows = self._standardised(sample[:: max(1, -(-sample.size // _WIDE_VALUES))])
        turned = randomized_svd(rows, n_components=min(_AXES, *rows.shape), random_state=0)[2]
        axes: NDArray[np.float32] = np.ascontiguousarray(turned.T, dtype=np.float32)
        return axes

    def fit(self, targets: Targets, random_state: int = 0) -> NameHead:
        """Fit a head to weighted names of some pictures.

        An answer counts in proportion to the square root of its group's size, so that a few large groups do not drown
        out many small ones, and rare names count more than their share.
        """
        from sklearn.linear_model import LogisticRegression

        n_names, width = len(targets.names), len(self.mean)
        named = np.flatnonzero(targets.soft.any(1) & (targets.weights > 0))
        if len(named) > _MOST_ROWS:
            named = np.sort(np.random.default_rng((random_state, 7)).choice(named, _MOST_ROWS, replace=False))
        sizes = np.ones(1) if targets.group_sizes is None else targets.group_sizes[named]
        evidence = targets.soft[named] * (targets.weights[named] / np.sqrt(sizes))[:, None]
        rows, names = np.nonzero(evidence)
        head = NameHead(np.zeros((n_names, width), np.float32), np.full(n_names, _NEVER, np.float32))
        present = np.unique(names)
        if len(present) < 2:
            head.bias[present] = 0
            return head
        totals = evidence.sum(0, dtype=np.float64)
        weights = evidence[rows, names] * (totals[names] / totals.sum()) ** -_BALANCE
        # The penalty is relative to the evidence, so that twice as many pictures do not make the head twice as sure.
        fitted = LogisticRegression(C=1 / (_PENALTY * width * float(weights.sum())), max_iter=1000, tol=1e-3)
        with one_thread():
            fitted.fit(self.points[named[rows]], names, sample_weight=weights)
        along, bias = fitted.coef_, fitted.intercept_
        if len(present) == 2:
            along, bias = (np.concatenate([-half, half]) for half in (along / 2, bias / 2))
        head.weight[present], head.bias[present] = along @ self.axes.T, bias
        return head

    def with_denied(self, targets: Targets, denied: NDArray[np.bool_]) -> Targets:
        """Return targets in which pictures only `denied` names (N, K) count a little for their most likely name.

        Nobody has said what they are, only what they are not; a head that does not know this gives them the name of the
        group that they were thrown out of.
        """
        thrown_out = denied.any(1) & (targets.weights == 0)
        if not thrown_out.any():
            return targets
        rows = np.flatnonzero(thrown_out)
        chances = _softmax(self._scores(self.fit(targets), self.points[rows]))
        chances[denied[rows]] = 0
        rows, chances = rows[chances.any(1)], chances[chances.any(1)]
        soft, weights = targets.soft.copy("K"), targets.weights.copy()
        soft[rows] = np.eye(len(targets.names), dtype=np.float32)[chances.argmax(1)]
        weights[rows] = _THROWN_OUT
        return targets._replace(soft=soft, weights=weights)

    def choices(self, head: NameHead, pictures: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the positions (n,) of the names that a head gives some pictures (n,)."""
        chosen: NDArray[np.int64] = self._scores(head, self.points[pictures]).argmax(1)
        return chosen

    def _scores(self, head: NameHead, points: NDArray[np.float32]) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = points @ (head.weight @ self.axes).T + head.bias
        return scores

    def probabilities(self, head: NameHead) -> NDArray[np.float32]:
        """Return a head's chances of all names for all pictures, (N, K)."""
        return _softmax(self._scores(head, self.points))


class SpreadNames(NamedTuple):
    """Names as spread by a head: the head's names, and the chances (N, K) of each for all pictures."""

    names: tuple[str, ...]
    probabilities: NDArray[np.float32]


def spread(space: HeadSpace, targets: Targets, denied: NDArray[np.bool_], random_state: int = 0) -> SpreadNames:
    """Fit a head to a session's `targets` and `denied` names (N, K), and let it spread the names."""
    # A name from an answer that was taken back has no evidence.
    present: NDArray[np.bool_] = np.any(targets.soft[targets.weights > 0], axis=0)
    names = tuple(name for name, is_present in zip(targets.names, present, strict=True) if is_present)
    if not present.all():
        targets, denied = targets._replace(names=names, soft=targets.soft[:, present]), denied[:, present]
    given = space.with_denied(targets, denied)
    return SpreadNames(names, space.probabilities(space.fit(given, random_state)))


def _softmax(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the chances (N, K) that scores (N, K) stand for, stored column by column, which is quicker."""
    shares = np.asfortranarray(scores)
    chances: NDArray[np.float32] = np.exp(shares - shares.max(1, keepdims=True, initial=_NEVER))
    chances /= chances.sum(1, keepdims=True)
    return chances


def _moments(embedding: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the mean and the variance (D,) of an embedding (N, D), without copying it."""
    mean = embedding.mean(0, dtype=np.float64)
    squares = np.zeros_like(mean)
    for rows in _chunks(len(embedding)):
        squares += ((embedding[rows] - mean) ** 2).sum(0)
    return mean.astype(np.float32), (squares / len(embedding)).astype(np.float32)


def _chunks(count: int) -> list[slice]:
    return [slice(start, start + _CHUNK) for start in range(0, count, _CHUNK)]
