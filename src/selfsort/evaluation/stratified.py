"""Estimate, with an interval, the share of right pictures in several groups, from a random sample of each."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

_CONFIDENCE = 0.95
_TILTS = 40  # exponents tried
_HALVINGS = 40


def stratified_interval(
    right: ArrayLike, looked_at: ArrayLike, sizes: ArrayLike, confidence: float = _CONFIDENCE
) -> tuple[float, float, float]:
    """Return an estimate and an interval for the share of right pictures in groups of `sizes` (H,), from samples.

    `right` (H,) of `looked_at` (H,) pictures were right. The estimate is the mean of the groups' shares, weighted by
    size. The interval is Chernoff's bound on that mean for the least favourable shares, so it is valid for any number
    of pictures looked at in a group, also without replacement (Hoeffding 1963, section 6); if all are right and all
    groups are equal, it is that of Clopper and Pearson. A group that was looked at completely is known exactly; one
    not looked at may be all right or all wrong, and is estimated by the mean of the others.

    >>> [round(value, 3) for value in stratified_interval([9, 8], [9, 9], [300, 100])]
    [0.972, 0.679, 1.0]
    """
    hits, seen, members = (np.atleast_1d(np.asarray(column, dtype=np.float64)) for column in (right, looked_at, sizes))
    if not len(hits) == len(seen) == len(members) or (hits < 0).any() or (hits > seen).any():
        raise ValueError("Every group needs a size, and right must be from 0 to looked_at.")
    if not seen[members > 0].any():
        return math.nan, 0.0, 1.0
    weights = members / members.sum()
    known, whole = seen > 0, (seen >= members) & (seen > 0)
    shares = np.divide(hits, seen, out=np.zeros_like(hits), where=known)
    some = known & ~whole & (members > 0)
    tail = (1 - confidence) / 2
    fixed = float(weights[whole] @ shares[whole])
    low = fixed + _least_mean(shares[some], seen[some], weights[some], tail)
    lost = float(weights[whole].sum()) - fixed + _least_mean(1 - shares[some], seen[some], weights[some], tail)
    estimate = min(1.0, float(weights[known] @ shares[known] / weights[known].sum()))
    return estimate, low, 1.0 - lost


def _least_mean(
    shares: NDArray[np.float64], seen: NDArray[np.float64], weights: NDArray[np.float64], tail: float
) -> float:
    """Return a lower bound of sum(W p) that fails with a probability of at most `tail`.

    For every tilt t > 0, P(sum(W share) >= x) <= exp(-t x) prod(1 + p (exp(t W / n) - 1)) ** n. A mean m is refuted
    if that is below `tail` for all p with sum(W p) = m. Its logarithm is concave in p, and the worst p for a
    multiplier u is p = n / (u W) - 1 / (exp(t W / n) - 1), clipped to [0, 1]; a larger u gives a smaller m.
    """
    if not len(shares):
        return 0.0
    each = weights / seen
    tilts = np.geomspace(0.02, 60, _TILTS)[:, None] / math.sqrt(float(weights @ each) * float(each.max()))
    with np.errstate(over="ignore"):
        odds = np.expm1(np.minimum(tilts * each, 700.0))  # (tilts, H)
    goal = math.log(tail) + tilts[:, 0] * float(weights @ shares)

    def worst(multiplier: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.clip(1 / (multiplier[:, None] * each) - 1 / odds, 0, 1)

    # Bounds of u: so small that all p are 1, and so large that all are 0.
    least = (odds / (1 + odds) / each).min(axis=1) / 2
    most = (odds / each).max(axis=1) * 2
    for _ in range(_HALVINGS):
        middle = np.sqrt(least * most)
        likely = (seen * np.log1p(worst(middle) * odds)).sum(axis=1) >= goal
        least, most = np.where(likely, middle, least), np.where(likely, most, middle)
    return float(max(0.0, (worst(most) @ weights).max()))
