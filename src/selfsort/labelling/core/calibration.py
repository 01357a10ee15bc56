"""Turn a model's confidence into the chance that it is right, from pictures whose right name is known.

The log odds of the confidence are stretched and shifted (Platt 1999) by the most likely two numbers, given a prior of
1 ± 0.5 for the stretch and 0 ± 1 for the shift. So without any pictures the confidence itself is the chance, and a few
pictures change little. The pictures checked for a certificate are suitable: they are random, and no model learns from
them.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit

_EXPECTED = np.array([1.0, 0.0])
_DEVIATION = np.array([0.5, 1.0])
_LEAST = 1e-4  # chances are kept this far from 0 and 1


class Calibration(NamedTuple):
    """The stretch and shift that turn the log odds of a confidence into those of a chance."""

    stretch: float
    shift: float


_NONE = Calibration(1.0, 0.0)


def calibration(confidence: NDArray[np.float32], right: NDArray[np.bool_]) -> Calibration:
    """Fit a calibration to the `confidence` (n,) of names and whether they are `right` (n,)."""
    if not len(right):
        return _NONE
    odds = _log_odds(confidence)
    signs = np.where(right, 1.0, -1.0)

    def loss(found: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margins = signs * (found[0] * odds + found[1])
        far = (found - _EXPECTED) / _DEVIATION
        missing = -signs * expit(-margins)
        slope = np.array([missing @ odds, missing.sum()]) + far / _DEVIATION
        return float(np.logaddexp(0, -margins).sum() + far @ far / 2), slope

    found = minimize(loss, _EXPECTED, jac=True, method="L-BFGS-B", bounds=[(0, None), (None, None)]).x
    return Calibration(float(found[0]), float(found[1]))


def calibrated(confidence: NDArray[np.float32], by: Calibration) -> NDArray[np.float32]:
    """Return the chances (N,) that names with this `confidence` (N,) are right."""
    chances: NDArray[np.float32]
    if by == _NONE:
        chances = np.clip(confidence, _LEAST, 1 - _LEAST).astype(np.float32)
    else:
        chances = expit(by.stretch * _log_odds(confidence) + by.shift).astype(np.float32)
    return chances


def _log_odds(confidence: NDArray[np.float32]) -> NDArray[np.float64]:
    odds: NDArray[np.float64] = logit(np.clip(confidence.astype(np.float64), _LEAST, 1 - _LEAST))
    return odds
