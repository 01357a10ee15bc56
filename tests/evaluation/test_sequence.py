import itertools
import math

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import beta

from selfsort.evaluation.sequence import Counts, guesses, least_log_wealth, log_wealth, wrong_range

FLAT = np.full((23, 23), -2 * math.log(23))
LIMIT = math.log(20)
LEVELS = expit(np.linspace(-8, 3, 23))


def counts(wrong, checked, sizes) -> Counts:
    return Counts(*(np.array(part, dtype=np.int64) for part in (wrong, checked, sizes)))


def chance(wrong: int, checked: int, size: int, true: int) -> float:
    """The probability of exactly these answers in their order, draw by draw."""
    found, left = 1.0, size
    for number in range(checked):
        is_wrong = number < wrong
        remaining = true - number if is_wrong else size - true - (number - wrong)
        found *= max(0, remaining) / left
        left -= 1
    return found


def slow_wealth(seen: Counts, log_weights: np.ndarray, total: int) -> float:
    """The wealth for every pair with a total, guess by guess."""
    bets = sum(
        math.exp(log_weights[i, j])
        * math.prod(
            rate**x * (1 - rate) ** (n - x)
            for rate, x, n in zip((LEVELS[i], LEVELS[j]), seen.wrong.tolist(), seen.checked.tolist(), strict=True)
        )
        for i, j in itertools.product(range(23), repeat=2)
    )
    pairs = [(one, total - one) for one in range(seen.sizes[0] + 1) if 0 <= total - one <= seen.sizes[1]]
    best = max(
        math.prod(chance(*row) for row in zip(*(part.tolist() for part in seen), pair, strict=True)) for pair in pairs
    )
    return bets / best if best else math.inf


CASES = [
    ([0, 0], [0, 0], [7, 3]),
    ([0, 0], [4, 2], [9, 5]),
    ([1, 2], [6, 4], [12, 5]),
    ([0, 3], [3, 3], [10, 3]),
    ([2, 0], [5, 0], [8, 6]),
    ([5, 2], [5, 2], [11, 6]),
    ([1, 0], [4, 0], [9, 0]),
]


class TestFortune:
    @pytest.mark.parametrize("case", CASES)
    @pytest.mark.parametrize("expected", [None, (0.02, 0.3)])
    def test_against_a_slow_reference(self, case, expected):
        seen = counts(*case)
        weights = FLAT if expected is None else guesses(np.array(expected))
        for total in range(seen.sizes.sum() + 1):
            found = math.exp(log_wealth(seen, weights, np.int64(total)))
            assert found == pytest.approx(slow_wealth(seen, weights, total), rel=1e-6)

    @pytest.mark.parametrize("case", CASES)
    @pytest.mark.parametrize("confidence", [0.5, 0.95])
    def test_the_range_is_what_is_not_refuted(self, case, confidence):
        seen = counts(*case)
        kept = [k for k in range(seen.sizes.sum() + 1) if slow_wealth(seen, FLAT, k) < 1 / (1 - confidence)]
        low, high = wrong_range(seen, FLAT, -math.log(1 - confidence))
        assert kept == list(range(int(low), int(high) + 1))

    @pytest.mark.parametrize("case", CASES)
    def test_the_least_wealth_is_that_of_the_total_least_refuted(self, case):
        seen = counts(*case)
        wealths = [slow_wealth(seen, FLAT, k) for k in range(seen.sizes.sum() + 1)]
        assert math.exp(least_log_wealth(seen, FLAT)) == pytest.approx(min(wealths))
        low, high = wrong_range(seen, FLAT, -100.0)
        assert wealths[low] == pytest.approx(min(wealths)) == pytest.approx(wealths[high])

    def test_it_is_a_fair_game(self):
        """Averaged over all pictures that may come next, the wealth against the truth does not change."""
        for wrong, checked, true in [((0, 0), (0, 0), (3, 2)), ((1, 0), (4, 1), (3, 2)), ((1, 2), (4, 3), (3, 2))]:
            sizes = (9, 5)

            def wealth(wrong, checked, true=true, sizes=sizes):
                seen = counts(wrong, checked, sizes)
                bets = math.exp(log_wealth(seen, FLAT, np.int64(sum(true))))
                pairs = zip(wrong, checked, sizes, true, strict=True)
                # `log_wealth` takes the least over pairs; this is the one of the true pair.
                best = max(
                    math.prod(chance(*row) for row in zip(wrong, checked, sizes, (k, sum(true) - k), strict=True))
                    for k in range(sum(true) + 1)
                    if sum(true) - k <= sizes[1]
                )
                return bets * best / math.prod(chance(*row) for row in pairs)

            now = wealth(wrong, checked)
            for stratum in (0, 1):
                left = sizes[stratum] - checked[stratum]
                bad = (true[stratum] - wrong[stratum]) / left
                more = tuple(n + (place == stratum) for place, n in enumerate(checked))
                worse = tuple(n + (place == stratum) for place, n in enumerate(wrong))
                mean = (bad * wealth(worse, more) if bad else 0) + (1 - bad) * wealth(wrong, more)
                assert mean == pytest.approx(now) or (bad == 0 and mean < now)  # a bet on an impossible outcome is lost

    def test_many_questions_at_once_give_the_same_as_one_by_one(self):
        random = np.random.default_rng(0)
        sizes = random.integers(1, 400, (50, 2))
        checked = (sizes * random.random((50, 2))).astype(np.int64)
        wrong = (checked * random.random((50, 2)) ** 3).astype(np.int64)
        weights = guesses(np.array([0.01, 0.1]))
        low, high = wrong_range(Counts(wrong, checked, sizes), weights, LIMIT)
        for row in range(50):
            single = wrong_range(Counts(wrong[row], checked[row], sizes[row]), weights, LIMIT)
            assert (low[row], high[row]) == single
            assert wrong[row].sum() <= low[row] <= high[row] <= (sizes - checked + wrong)[row].sum()

    def test_guesses_are_shares_and_follow_what_is_expected(self):
        for expected in (0.0, 0.0), (0.01, 0.2), (1.0, 0.5):
            assert np.exp(guesses(np.array(expected))).sum() == pytest.approx(1)
        weights = guesses(np.array([0.01, 0.2]))
        first, second = np.unravel_index(weights.argmax(), weights.shape)
        assert LEVELS[first] == pytest.approx(0.01, rel=0.4) and LEVELS[second] == pytest.approx(0.2, rel=0.4)

    def test_checking_everything_leaves_no_doubt(self):
        low, high = wrong_range(counts([2, 1], [20, 5], [20, 5]), FLAT, LIMIT)
        assert (low, high) == (3, 3)

    def test_strata_may_be_given_in_either_order(self):
        one = wrong_range(counts([1, 4], [40, 20], [300, 100]), FLAT, LIMIT)
        other = wrong_range(counts([4, 1], [20, 40], [100, 300]), FLAT, LIMIT)
        assert one == other


def paths(errors: np.ndarray, doubtful: np.ndarray, length: int, runs: int) -> Counts:
    """Counts (R, T, 2) after each of the first pictures of many samples, every third of them doubtful."""
    random = np.random.default_rng(3)
    turn = np.arange(length) % 3 == 2
    columns = []
    for stratum in (False, True):
        members = np.flatnonzero(doubtful == stratum)
        order = np.argsort(random.random((runs, len(members))), axis=1)
        columns.append(errors[members[order[:, : int((turn == stratum).sum())]]])
    wrong = np.zeros((runs, length, 2), np.int64)
    wrong[:, ~turn, 0], wrong[:, turn, 1] = columns
    checked = np.stack([~turn, turn], -1).cumsum(0)
    sizes = np.array([(~doubtful).sum(), doubtful.sum()])
    return Counts(wrong.cumsum(1), *np.broadcast_arrays(checked, sizes, wrong)[:2])


KINDS = {
    "as expected": (0.02, 0.2),
    "all errors where none is expected": (0.1, 0.0),
    "many errors": (0.5, 0.6),
    "no error": (0.0, 0.0),
    "hardly any": (0.003, 0.0),
}


class TestPromise:
    @pytest.mark.parametrize("kind", KINDS)
    def test_the_truth_is_rarely_refuted_at_any_time(self, kind):
        doubtful = np.arange(400) % 4 == 0
        errors = np.zeros(400, np.int64)
        for stratum, rate in enumerate(KINDS[kind]):
            members = np.flatnonzero(doubtful == stratum)
            errors[members[: round(rate * len(members))]] = 1
        seen = paths(errors, doubtful, 240, 500)
        weights = guesses(np.array([0.02, 0.2]))
        refuted = (log_wealth(seen, weights, errors.sum()) >= math.log(20)).any(axis=1)
        assert refuted.mean() <= 0.05

    def test_an_interval_for_a_single_look_would_fail(self):
        """With a look after every picture, Clopper and Pearson's interval misses the truth in far more than 5 %."""
        doubtful = np.arange(400) % 4 == 0
        errors = (np.arange(400) % 10 == 1).astype(np.int64)
        seen = paths(errors, doubtful, 240, 300)
        n, x = seen.checked.sum(-1)[0], seen.wrong.sum(-1)
        low = np.where(x > 0, beta.ppf(0.025, x, n - x + 1), 0)
        high = beta.ppf(0.975, x + 1, n - x)
        outside = (errors.mean() < low) | (errors.mean() > np.nan_to_num(high, nan=1.0))
        assert outside.any(axis=1).mean() > 0.1
