"""An interval for the number of wrong pictures among N, from some drawn at random, valid whenever drawing stops.

The argument: of the N_1 and N_2 pictures in two strata, K_1 and K_2 are wrong; both are unknown. Pictures are drawn
without replacement, each uniformly from those left in its stratum; which stratum comes next may depend on what was
seen. After n_s draws, x_s of them wrong, the probability of exactly these answers is

    P(K_1, K_2) = product over s of  [K_s]_x [N_s - K_s]_(n - x) / [N_s]_n,     [a]_b = a (a - 1) … (a - b + 1).

A bettor who does not know K_1 and K_2 bets by guesses instead, each with a weight and an error rate p_s for either
stratum. These give the probability Q = sum over guesses of weight * product of p_s^x_s (1 - p_s)^(n_s - x_s). Q / P is
the bettor's wealth against the hypothesis (K_1, K_2). If the hypothesis is true, the wealth is a martingale that starts
at 1: each draw changes it so that its expected value stays the same. Hence the probability that it ever reaches 20 is
at most 5 % (Ville 1939), and with 95 % probability the pairs against which it is below 20 include the true one at all
times. This is the confidence sequence for sampling without replacement of Waudby-Smith and Ramdas (2020,
arXiv:2006.04347, section 2.1: there with one stratum, and the guesses as a prior). However wrong the guesses are, they
only make the interval wider, never invalid.

A total K is refuted if every pair with K_1 + K_2 = K is: its wealth is the smallest over these pairs, as in Spertus,
Sridhar and Stark (2024, arXiv:2409.06680, section 3: wealths of strata multiply, and the least is taken). The
logarithm of P is concave in each K_s, so the largest P of a total is found by bisection, and the totals that are not
refuted form an interval without gaps.

All counts are arrays (…, 2) of whole numbers, so any number of such questions is answered at once.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, gammaln, logit

Whole = NDArray[np.int64]
Real = NDArray[np.float64]

_LEVELS = np.linspace(-8, 3, 23)  # log odds of the guessed error rates
_RATES, _REST = np.log(expit(_LEVELS)), np.log(expit(-_LEVELS))
# Each kind of guess: its weight, the error rates at its centre (None: those that the model expects), and how far
# (standard deviation of the log odds) both strata together and each alone may be from them. The rest of the weight is
# spread evenly over all pairs of levels.
_KINDS = (
    (0.66, None, 0.5, 0.3),
    (0.14, None, 1.5, 1.0),
    (0.17, (0.01, 0.1), 1.0, 0.7),
)


class Counts(NamedTuple):
    """What was seen in two strata (…, 2): `wrong` among `checked` pictures, out of `sizes`."""

    wrong: Whole
    checked: Whole
    sizes: Whole


def guesses(expected: Real) -> Real:
    """Return the logarithms (L, L) of the weights of the bettor's guesses, given the `expected` (2,) error rates."""
    weights = np.full((len(_LEVELS), len(_LEVELS)), (1 - sum(kind[0] for kind in _KINDS)) / len(_LEVELS) ** 2)
    for weight, rates, together, alone in _KINDS:
        first, second = (_LEVELS - logit(np.clip(rate, 0.001, 0.9)) for rate in rates or expected)
        # Two normal deviations with a common part; their sum and difference are independent.
        total = (first[:, None] + second) ** 2 / (4 * together**2 + 2 * alone**2)
        apart = (first[:, None] - second) ** 2 / (2 * alone**2)
        bell = np.exp(-(total + apart) / 2)
        weights += weight * bell / bell.sum()
    logs: Real = np.log(weights)
    return logs


def log_wealth(counts: Counts, log_weights: Real, total: Whole) -> Real:
    """Return the logarithm (…) of the least wealth against a `total` (…) of wrong pictures; infinite if impossible."""
    wealth: Real = _log_bets(counts, log_weights) - _likeliest(counts, np.asarray(total))
    return wealth


def least_log_wealth(counts: Counts, log_weights: Real) -> Real:
    """Return the logarithm (…) of the least wealth against any total."""
    return log_wealth(counts, log_weights, _best(counts).sum(-1))


def wrong_range(counts: Counts, log_weights: Real, log_limit: float | Real) -> tuple[Whole, Whole]:
    """Return the smallest and the largest number (…) of wrong pictures against which the wealth is below a limit.

    `log_limit`, of the same shape or one for all, is the limit's logarithm: that of 20 gives the 95 % interval. If the
    wealth is below the limit for no number, both are the number with the least wealth.
    """
    bar = _log_bets(counts, log_weights) - log_limit
    least, most = counts.wrong.sum(-1), (counts.sizes - counts.checked + counts.wrong).sum(-1)
    best = _best(counts).sum(-1)
    low = _first(least, best, lambda total: _likeliest(counts, total) > bar)
    high = _first(best, most, lambda total: _likeliest(counts, total + 1) <= bar)
    return low, high


def _log_bets(counts: Counts, log_weights: Real) -> Real:
    """Return log Q."""
    wrong, right = counts.wrong[..., None], (counts.checked - counts.wrong)[..., None]
    logs = wrong * _RATES + right * _REST  # (…, 2, L)
    most = logs.max(-1, keepdims=True)
    shares = np.exp(logs - most)
    mixed = np.einsum("...i,ij,...j->...", shares[..., 0, :], np.exp(log_weights), shares[..., 1, :])
    bets: Real = np.log(mixed) + most[..., 0].sum(-1)
    return bets


def _likeliest(counts: Counts, total: Whole) -> Real:
    """Return the largest log P over the pairs with a `total` (…); minus infinity if there is none."""
    most = counts.sizes - counts.checked + counts.wrong
    low = np.maximum(counts.wrong[..., 0], total - most[..., 1])
    high = np.minimum(most[..., 0], total - counts.wrong[..., 1])
    possible = low <= high
    # Find the first step (one more wrong picture in the first stratum, one less in the second) that does not help.
    one = _first(low, np.maximum(low, high), lambda here: _step(counts, 0, here) <= _step(counts, 1, total - here - 1))
    other = np.where(possible, total - one, counts.wrong[..., 1])
    found = _log_chance(counts, np.stack([np.where(possible, one, counts.wrong[..., 0]), other], -1))
    return np.where(possible, found, -np.inf)


def _first(low: Whole, high: Whole, holds: Callable[[Whole], NDArray[np.bool_]]) -> Whole:
    """Return the first number (…) from `low` to `high` from which on a condition holds; `high` is never tested."""
    low, high = np.broadcast_arrays(low, high)
    low, high = low.copy(), high.copy()
    while (open_ := low < high).any():
        middle = (low + high) // 2
        yes = holds(middle)
        high = np.where(open_ & yes, middle, high)
        low = np.where(open_ & ~yes, middle + 1, low)
    return low


def _log_chance(counts: Counts, wrong: Whole) -> Real:
    """Return log P of the answers if `wrong` (…, 2) pictures of the strata are wrong."""
    right = counts.sizes - wrong
    logs: Real = (
        _log_falling(wrong, counts.wrong)
        + _log_falling(right, counts.checked - counts.wrong)
        - _log_falling(counts.sizes, counts.checked)
    ).sum(-1)
    return logs


def _log_falling(a: Whole, b: Whole) -> Real:
    logs: Real = gammaln(a + 1) - gammaln(a - b + 1)
    return logs


def _step(counts: Counts, stratum: int, wrong: Whole) -> Real:
    """Return by how much log P grows if one more than `wrong` pictures of a stratum are wrong."""
    seen, right = counts.wrong[..., stratum], counts.checked[..., stratum] - counts.wrong[..., stratum]
    left = counts.sizes[..., stratum] - wrong
    with np.errstate(divide="ignore", invalid="ignore"):  # at values that `_first` does not use
        steps: Real = np.log((wrong + 1.0) / (wrong + 1.0 - seen)) + np.log((left - right) / (left + 0.0))
    return steps


def _best(counts: Counts) -> Whole:
    """Return the most likely numbers (…, 2) of wrong pictures."""
    whole = (counts.sizes + 1) * counts.wrong // np.maximum(counts.checked, 1)
    best: Whole = np.clip(whole, counts.wrong, counts.sizes - counts.checked + counts.wrong)
    return best
