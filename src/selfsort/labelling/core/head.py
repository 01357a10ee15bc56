"""The classifier that answers make on an embedding: a logistic regression, quick enough to be fitted after each answer.

It is linear in the embedding as it is, so that a network can take it as its last layer.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfsort.labelling.core.session import Targets

_AXES = 256  # principal axes of a standardised embedding that a head looks along; more cost time and gain nothing
_SAMPLE = 10_000  # pictures that show the axes
_CHUNK = 4_096  # pictures that are standardised at a time
_MOST_ROWS = 8_000  # pictures that a head is fitted to: under a second
_PENALTY = 4e-5  # for each column of the embedding: the scores of a standardised one grow with their number
_BALANCE = 0.5  # 0: names count as much as their evidence, 1: all alike
_THROWN_OUT = 0.1  # what a picture counts for that was thrown out of a group, and named by the head alone
_NEVER = -1e4  # the score of a name that no picture has any more
_LEAST_VARIANCE = 1e-5


class NameHead(NamedTuple):
    """Scores of K names: weights (K, D) of a standardised embedding and biases (K,)."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]


class HeadSpace:
    """What all heads on an embedding (N, D) share: it is standardised, and turned to its principal axes once.

    Attributes
    ----------
    mean, variance : (D,) of the embedding
    scale : (D,) by which it is divided
    axes : (D, d), at most 256, the one along which the pictures differ most first
    points : (N, d) the standardised embedding along them

    """

    def __init__(self, embedding: NDArray[np.float32]):
        self.mean, self.variance = _moments(embedding)
        self.scale = np.sqrt(self.variance + _LEAST_VARIANCE)
        self.axes = self._principal_axes(embedding)
        self.points = np.empty((len(embedding), self.axes.shape[1]), np.float32)
        for rows in _chunks(len(embedding)):
            self.points[rows] = self._standardised(embedding[rows]) @ self.axes

    def _standardised(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        standardised: NDArray[np.float32] = (rows - self.mean) / self.scale
        return standardised

    def _principal_axes(self, embedding: NDArray[np.float32]) -> NDArray[np.float32]:
        sample = embedding[:: max(1, -(-len(embedding) // _SAMPLE))]
        products = np.zeros((len(self.mean), len(self.mean)))
        for rows in _chunks(len(sample)):
            standardised = self._standardised(sample[rows])
            products += standardised.T @ standardised
        axes: NDArray[np.float32] = np.linalg.eigh(products)[1][:, : -_AXES - 1 : -1].astype(np.float32)
        return np.ascontiguousarray(axes)

    def fit(self, targets: Targets, random_state: int = 0) -> NameHead:
        """Fit a head to weighted names of some pictures.

        An answer counts by the square root of the pictures in its group, so that many small groups are not drowned by a
        few large ones, and rare names count for more than their share.
        """
        from sklearn.linear_model import LogisticRegression

        n_names, width = len(targets.names), len(self.mean)
        each = targets.weights if targets.group_sizes is None else targets.weights / np.sqrt(targets.group_sizes)
        evidence = targets.soft * each[:, None]
        named = np.flatnonzero(evidence.any(1))
        if len(named) > _MOST_ROWS:
            chosen = np.random.default_rng((random_state, 7)).choice(named, _MOST_ROWS, replace=False)
            left_out = np.setdiff1d(named, chosen)
            evidence[left_out] = 0
        rows, names = np.nonzero(evidence)
        head = NameHead(np.zeros((n_names, width), np.float32), np.full(n_names, _NEVER, np.float32))
        present = np.unique(names)
        if len(present) < 2:
            head.bias[present] = 0
            return head
        totals = evidence.sum(0, dtype=np.float64)
        weights = evidence[rows, names] * (totals[names] / totals.sum()) ** -_BALANCE
        # The penalty is a share of the evidence, so that twice as many pictures do not make the head twice as sure.
        fitted = LogisticRegression(C=1 / (_PENALTY * width * float(weights.sum())), max_iter=1000, tol=1e-3)
        fitted.fit(self.points[rows], names, sample_weight=weights)
        along, bias = fitted.coef_, fitted.intercept_
        if len(present) == 2:
            along, bias = (np.concatenate([-half, half]) for half in (along / 2, bias / 2))
        head.weight[present], head.bias[present] = along @ self.axes.T, bias
        return head

    def with_denied(self, targets: Targets, denied: NDArray[np.bool_]) -> Targets:
        """Return targets in which pictures that were only thrown out (N, K) count a little for their likeliest name.

        Nobody has said what they are. But what they are not was seen, and a head that does not know it gives them the
        name of the group that they were thrown out of.
        """
        thrown_out = denied.any(1) & (targets.weights == 0)
        if not thrown_out.any():
            return targets
        chances = self.probabilities(self.fit(targets))
        chances[denied] = 0
        thrown_out &= chances.any(1)
        soft, weights = targets.soft.copy(), targets.weights.copy()
        soft[thrown_out] = np.eye(len(targets.names), dtype=np.float32)[chances[thrown_out].argmax(1)]
        weights[thrown_out] = _THROWN_OUT
        return targets._replace(soft=soft, weights=weights)

    def probabilities(self, head: NameHead) -> NDArray[np.float32]:
        """Return the (N, K) chances of a head's names for all pictures."""
        scores = self.points @ (head.weight @ self.axes).T + head.bias
        shares = np.exp(scores - scores.max(1, keepdims=True, initial=_NEVER))
        chances: NDArray[np.float32] = (shares / shares.sum(1, keepdims=True)).astype(np.float32)
        return chances


def _moments(embedding: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the mean and the variance (D,) of an embedding (N, D), without a copy of it."""
    mean = embedding.mean(0, dtype=np.float64)
    squares = np.zeros_like(mean)
    for rows in _chunks(len(embedding)):
        squares += ((embedding[rows] - mean) ** 2).sum(0)
    return mean.astype(np.float32), (squares / len(embedding)).astype(np.float32)


def _chunks(count: int) -> list[slice]:
    return [slice(start, start + _CHUNK) for start in range(0, count, _CHUNK)]
