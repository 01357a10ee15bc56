import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit

from selfsort.labelling.core.calibration import Calibration, calibrated, calibration


def slow(confidence, right):
    """Return the most likely stretch and shift, by a search."""
    odds = logit(np.clip(confidence, 1e-4, 1 - 1e-4))

    def loss(found):
        chance = np.clip(expit(found[0] * odds + found[1]), 1e-12, 1 - 1e-12)
        likely = np.log(np.where(right, chance, 1 - chance)).sum()
        return -likely + (found[0] - 1) ** 2 / (2 * 0.5**2) + found[1] ** 2 / 2

    options = {"xatol": 1e-7, "fatol": 1e-9}
    return minimize(loss, [1.2, 0.3], method="Nelder-Mead", bounds=[(0, None), (None, None)], options=options).x


@pytest.mark.parametrize("n", [1, 20, 400])
@pytest.mark.parametrize("true", [(1, 0), (0.4, 0.5), (2, -1)])
def test_against_a_slow_reference(n, true):
    random = np.random.default_rng(n)
    confidence = random.random(n).astype(np.float32)
    right = random.random(n) < expit(true[0] * logit(confidence) + true[1])
    assert calibration(confidence, right) == pytest.approx(slow(confidence, right), abs=3e-3)


def test_without_pictures_the_confidence_is_the_chance():
    nothing = calibration(np.zeros(0, np.float32), np.zeros(0, bool))
    assert nothing == Calibration(1, 0)
    given = np.array([0.001, 0.5, 0.97], np.float32)
    assert calibrated(given, nothing) == pytest.approx(given, abs=1e-6)


def test_chances_match_the_observed_ones():
    random = np.random.default_rng(0)
    chance = expit(random.normal(3, 2, 2000))
    right = random.random(2000) < chance
    confidence = expit(2.5 * logit(chance)).astype(np.float32)  # far too sure
    found = calibrated(confidence, calibration(confidence[:200], right[:200]))
    assert np.abs(found - chance).mean() < 0.4 * np.abs(confidence - chance).mean()


def test_certainties_and_the_order_are_kept():
    confidence = np.array([0, 0.2, 0.9, 1], np.float32)
    found = calibrated(confidence, calibration(confidence, np.array([True, True, False, False])))
    assert np.isfinite(found).all() and (found > 0).all() and (found < 1).all() and (np.diff(found) >= 0).all()
