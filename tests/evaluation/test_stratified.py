import math

import numpy as np
import pytest

from selfsort.evaluation.stratified import stratified_interval

RUNS = 2000


def slow_low_end(right, seen, sizes, tail=0.025):
    """The largest mean that Chernoff's bound refutes, searched on grids of means, tilts and shares (two groups)."""
    weights = np.array(sizes) / sum(sizes)
    shares = np.array(right) / np.array(seen)
    refuted = 0.0
    for mean in np.linspace(0.01, 0.99, 99):
        first = np.linspace(0, 1, 201)
        second = (mean - weights[0] * first) / weights[1]
        possible = (second >= 0) & (second <= 1)
        p = np.stack([first[possible], second[possible]])
        for tilt in np.geomspace(0.1, 2000, 80):
            factor = np.expm1(np.minimum(tilt * weights / np.array(seen), 700))
            logs = (np.array(seen)[:, None] * np.log1p(p * factor[:, None])).sum(0) - tilt * weights @ shares
            if logs.max() < math.log(tail):
                refuted = mean
                break
    return refuted


class TestStratifiedInterval:
    @pytest.mark.parametrize(
        ("right", "seen", "sizes"),
        [([9, 8], [9, 9], [300, 100]), ([5, 20], [9, 20], [50, 500]), ([3, 3], [3, 9], [9, 90])],
    )
    def test_against_a_slow_reference(self, right, seen, sizes):
        _, low, high = stratified_interval(right, seen, [1000 * size for size in sizes])
        assert low == pytest.approx(slow_low_end(right, seen, sizes), abs=0.015)
        wrong = [n - r for n, r in zip(seen, right, strict=True)]
        assert 1 - high == pytest.approx(slow_low_end(wrong, seen, sizes), abs=0.015)

    @pytest.mark.parametrize("groups", [1, 7, 200])
    def test_all_right_is_clopper_and_pearsons(self, groups):
        estimate, low, high = stratified_interval([9] * groups, [9] * groups, [500] * groups)
        assert (estimate, high) == (1, 1) and low == pytest.approx(0.025 ** (1 / (9 * groups)), rel=1e-6)

    def test_contains_the_estimate_and_does_not_depend_on_order_or_unit(self):
        random = np.random.default_rng(0)
        sizes, seen = random.integers(20, 900, 30), random.integers(1, 10, 30)
        right = random.binomial(seen, 0.8)
        found = stratified_interval(right, seen, sizes)
        assert found[0] == pytest.approx((sizes * right / seen).sum() / sizes.sum())
        assert 0 < found[1] < found[0] < found[2] < 1
        order = random.permutation(30)
        assert stratified_interval(right[order], seen[order], sizes[order]) == pytest.approx(found)
        assert stratified_interval(right, seen, sizes * 10) == pytest.approx(found)
        wrong = stratified_interval(seen - right, seen, sizes)
        assert wrong == pytest.approx((1 - found[0], 1 - found[2], 1 - found[1]))

    def test_fully_checked_groups_are_known(self):
        assert stratified_interval([9, 18], [10, 20], [10, 20]) == pytest.approx((0.9, 0.9, 0.9))
        _, low, high = stratified_interval([10, 9], [10, 9], [10, 900])
        assert stratified_interval([9], [9], [900])[1] < low < high == 1

    def test_unchecked_groups_may_be_anything(self):
        seen = stratified_interval([90], [90], [500])
        estimate, low, high = stratified_interval([90, 0], [90, 0], [500, 500])
        assert (estimate, low, high) == pytest.approx((1.0, seen[1] / 2, 1.0))
        estimate, low, high = stratified_interval([0, 0], [90, 0], [500, 500])
        assert (estimate, low, high) == pytest.approx((0.0, 0.0, 1 - seen[1] / 2))
        assert np.isnan(stratified_interval([0], [0], [10])[0]) and stratified_interval([0], [0], [10])[1:] == (0, 1)

    def test_impossible_counts(self):
        for right, seen, sizes in ([3], [2], [10]), ([-1], [2], [10]), ([1, 1], [2], [10]):
            with pytest.raises(ValueError, match="Every group needs"):
                stratified_interval(right, seen, sizes)

    @pytest.mark.parametrize(
        ("shares", "sizes", "seen"),
        [
            (np.full(20, 0.9), np.full(20, 500), np.full(20, 9)),
            (
                np.r_[0.75, np.ones(50)],
                np.r_[5000, np.full(50, 100)],
                np.full(51, 9),
            ),  # all errors in the largest group
            (np.r_[np.zeros(3), np.ones(50)], np.full(53, 60), np.ones(53, dtype=int)),
            (np.array([0.5, 0.99]), np.array([1000, 1000]), np.array([2, 200])),
            (np.linspace(0, 1, 40), np.arange(30, 70), np.full(40, 9)),
        ],
    )
    def test_covers_the_truth(self, shares, sizes, seen):
        random = np.random.default_rng(1)
        wrong = np.round(sizes * (1 - shares)).astype(int)
        truth = 1 - wrong.sum() / sizes.sum()
        hits = 0
        for right in seen - random.hypergeometric(wrong, sizes - wrong, seen, (RUNS // 4, len(seen))):
            _, low, high = stratified_interval(right, seen, sizes)
            hits += low <= truth <= high
        assert hits >= 0.95 * RUNS // 4
