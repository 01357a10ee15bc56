import itertools
import json
import math
import subprocess
import sys

import numpy as np
import pytest
import scipy.stats

from selfsort.errors import UserError
from selfsort.evaluation.certificate import (
    Certificate,
    Sample,
    binomial_interval,
    certify,
    draw_sample,
    rejection_threshold,
    stratified_interval,
)

RUNS = 2000


def binomial_tail(right: int, n: int, p: float) -> float:
    """The chance of `right` or more in n trials, term by term."""
    return sum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(right, n + 1))


class TestBinomialInterval:
    @pytest.mark.parametrize("n", [1, 2, 7, 100, 263])
    def test_against_scipy(self, n):
        for right in range(n + 1):
            expected = scipy.stats.binomtest(right, n).proportion_ci(method="exact")
            assert binomial_interval(right, n) == pytest.approx((expected.low, expected.high), abs=1e-9)

    def test_known_values(self):
        assert binomial_interval(20, 20)[0] == pytest.approx(0.025 ** (1 / 20))
        assert binomial_interval(300, 300, 0.9)[0] == pytest.approx(1 - 3 / 300, abs=1e-4)  # the rule of three
        assert binomial_interval(1, 1) == pytest.approx((0.025, 1))

    @pytest.mark.parametrize(("right", "n"), [(1, 1), (3, 7), (50, 100), (99, 100), (299, 299)])
    @pytest.mark.parametrize("confidence", [0.9, 0.95])
    def test_ends_leave_half_the_risk_on_either_side(self, right, n, confidence):
        low, high = binomial_interval(right, n, confidence)
        assert binomial_tail(right, n, low) == pytest.approx((1 - confidence) / 2)
        assert high == 1 if right == n else 1 - binomial_tail(right + 1, n, high) == pytest.approx((1 - confidence) / 2)

    def test_mirrored(self):
        low, high = binomial_interval(7, 30)
        assert binomial_interval(23, 30) == pytest.approx((1 - high, 1 - low))

    def test_nothing_looked_at_and_impossible_counts(self):
        assert binomial_interval(0, 0) == (0, 1)
        with pytest.raises(ValueError, match="5 of 4"):
            binomial_interval(5, 4)


def slow_low_end(right, seen, sizes, tail=0.025):
    """The largest mean that Chernoff's bound refutes, by trying means, tilts and shares on grids (two groups)."""
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
        assert (estimate, high) == (1, 1) and low == pytest.approx(
            binomial_interval(9 * groups, 9 * groups)[0], rel=1e-6
        )

    def test_holds_the_estimate_and_does_not_depend_on_order_or_unit(self):
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

    def test_groups_looked_at_as_a_whole_are_known(self):
        assert stratified_interval([9, 18], [10, 20], [10, 20]) == pytest.approx((0.9, 0.9, 0.9))
        _, low, high = stratified_interval([10, 9], [10, 9], [10, 900])
        assert stratified_interval([9], [9], [900])[1] < low < high == 1

    def test_groups_not_looked_at_may_be_anything(self):
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
            (np.r_[0.75, np.ones(50)], np.r_[5000, np.full(50, 100)], np.full(51, 9)),  # all errors in the largest
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


def population(kind: str, n: int = 2000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predicted class, confidence, and whether the prediction is right, of n pictures."""
    random = np.random.default_rng(5)
    classes, confidence = random.integers(0, 5, n), random.random(n)
    if kind == "every other tiny class":
        classes = np.arange(n) // 10
        return classes, confidence, classes % 2 == 0
    if kind == "classes of one picture":
        return np.arange(n), confidence, random.random(n) < 0.8
    if kind == "all errors in one class":
        classes = random.choice(8, n, p=(0.3, 0.2, 0.15, 0.1, 0.1, 0.08, 0.05, 0.02))
        return classes, confidence, classes != 5
    if kind == "errors at low confidence":
        return classes, confidence, confidence > 0.1
    if kind == "errors at high confidence":
        return classes, confidence, confidence < 0.9
    if kind == "errors in bands":
        return classes, confidence, (confidence * 40).astype(int) % 2 == 0
    if kind == "confidence all alike":
        return classes, np.full(n, 0.5), random.random(n) < 0.7
    return classes, confidence, random.random(n) < float(kind)


KINDS = (
    "every other tiny class",
    "all errors in one class",
    "errors at low confidence",
    "errors at high confidence",
    "errors in bands",
    "confidence all alike",
    "0.5",
    "0.9",
    "0.99",
    "1.0",
)


def wald(right: int, n: int) -> tuple[float, float]:
    share = right / n
    half = 1.96 * math.sqrt(share * (1 - share) / n)
    return share - half, share + half


class TestCoverage:
    """The promise itself, kept by the real functions on populations made to break it."""

    @pytest.mark.parametrize("kind", KINDS)
    def test_intervals_cover_the_truth(self, kind):
        classes, confidence, right = population(kind)
        names = [str(name) for name in range(classes.max() + 1)]
        precision = np.array([right[classes == name].mean() for name in range(len(names))])
        n_by_class = RUNS if len(names) < 20 else RUNS // 4  # of 200 names, each is a trial of its own
        overall, by_class = 0, np.zeros(len(names))
        for seed in range(RUNS):
            sample = draw_sample(classes, confidence, 100, seed)
            low, high = binomial_interval(int(right[sample.pictures].sum()), 100)
            overall += low <= right.mean() <= high
            if seed < n_by_class:
                found = certify(sample, right[sample.pictures], names)
                assert (found.accuracy.low, found.accuracy.high) == (low, high)
                low, high = np.array([(row.low, row.high) for row in found.per_class]).T
                by_class += (low <= precision) & (precision <= high)
        assert overall >= 0.94 * RUNS
        assert (by_class if n_by_class == RUNS else by_class.mean()).min() >= 0.94 * n_by_class

    @pytest.mark.parametrize("budget", [3, 37, 1500])
    def test_also_with_few_and_with_most_pictures(self, budget):
        classes, confidence, right = population("0.9")
        hits = 0
        for seed in range(RUNS):
            sample = draw_sample(classes, confidence, budget, seed)
            low, high = binomial_interval(int(right[sample.pictures].sum()), budget)
            hits += low <= right.mean() <= high
        assert hits >= 0.94 * RUNS

    def test_a_careless_interval_and_a_careless_sample_would_be_found_out(self):
        """The simulation tells right from wrong: Wald's interval and a choice of confident pictures both fail."""
        classes, confidence, right = population("errors at low confidence")
        walds, sures = 0, 0
        most_sure = np.argsort(-confidence)[:1500]
        for seed in range(RUNS):
            sample = draw_sample(classes, np.zeros(len(classes)), 30, seed)
            low, high = wald(int(right[sample.pictures].sum()), 30)
            walds += low <= right.mean() <= high
            drawn = np.random.default_rng(seed).choice(most_sure, 100)
            low, high = binomial_interval(int(right[drawn].sum()), 100)
            sures += low <= right.mean() <= high
        assert walds < 0.94 * RUNS and sures < 0.94 * RUNS

    def test_drawing_classes_at_fixed_steps_would_be_found_out(self):
        """Systematic sampling over classes takes only the even or only the odd ones."""
        classes, _, right = population("every other tiny class")
        hits = 0
        for seed in range(200):
            places = (np.arange(100) + np.random.default_rng(seed).random()) * 20
            low, high = binomial_interval(int(right[places.astype(int) // 20 * 20].sum()), 100)
            hits += low <= right.mean() <= high
        assert hits == 0

    @pytest.mark.parametrize(
        ("target", "budget", "accuracy"),
        # A little less than the target above every threshold: whatever is accepted is a mistake.
        [(0.95, 400, 0.949), (0.9, 100, 0.897), (0.99, 1000, 0.9895), (0.5, 60, 0.495)],
    )
    def test_rejection_keeps_its_promise(self, target, budget, accuracy):
        n = 4000
        classes, confidence = np.arange(n) % 4, np.linspace(1, 0, n)
        # Errors at even distances in the order of confidence.
        right = np.diff(np.floor(np.arange(n + 1) * (1 - accuracy) + 0.999), prepend=1)[1:] == 0
        mistakes, bold = 0, 0
        for seed in range(RUNS):
            sample = draw_sample(classes, confidence, budget, seed)
            found = rejection_threshold(sample, right[sample.pictures], target)
            mistakes += found.threshold is not None and right[confidence >= found.threshold].mean() < target
            estimate = right[sample.pictures].mean()
            bold += estimate >= target and right.mean() < target
        assert mistakes <= 0.06 * RUNS
        assert bold > 0.2 * RUNS, "to trust the estimate alone would be found out"

    @pytest.mark.parametrize(
        ("kind", "least"),
        [("errors at low confidence", 0.99), ("errors at high confidence", -1), ("0.9", -1), ("0.99", 0.7)],
    )
    def test_rejection_keeps_its_promise_elsewhere_and_is_of_use(self, kind, least):
        classes, confidence, right = population(kind)
        mistakes, found_some = 0, 0
        for seed in range(RUNS):
            sample = draw_sample(classes, confidence, 300, seed)
            found = rejection_threshold(sample, right[sample.pictures], 0.95)
            found_some += found.threshold is not None
            mistakes += found.threshold is not None and right[confidence >= found.threshold].mean() < 0.95
        assert mistakes <= 0.06 * RUNS
        assert found_some > least * RUNS


class TestDrawSample:
    @pytest.mark.parametrize("kind", ["all errors in one class", "every other tiny class", "classes of one picture"])
    def test_every_picture_has_the_same_chance(self, kind):
        classes, confidence, _ = population(kind, 60)
        drawn = np.zeros(60)
        for seed in range(4000):
            drawn += np.bincount(draw_sample(classes, confidence, 7, seed).pictures, minlength=60)
        expected = 4000 * 7 / 60
        assert drawn.sum() == 28000 and np.abs(drawn - expected).max() < 4.5 * math.sqrt(expected)

    def test_against_a_slow_reference(self):
        classes, confidence, _ = population("all errors in one class", 500)
        sample = draw_sample(classes, confidence, 80, 3)
        random = np.random.default_rng((3, 3))
        row = sorted(range(500), key=lambda i: (classes[i], confidence[i]))
        points = [(j + random.random()) * 500 / 80 for j in range(80)]
        counts = [sum(classes[row[int(point)]] == name for point in points) for name in range(8)]
        chosen = []
        for name, count in enumerate(counts):
            members = [i for i in row if classes[i] == name]
            chosen += [members[int((j + random.random()) / count * len(members))] for j in range(count)]
        assert sorted(sample.pictures) == sorted(chosen)
        assert (sample.classes == classes[sample.pictures]).all()
        assert (sample.confidence == confidence[sample.pictures]).all()
        assert sample.sizes.tolist() == np.bincount(classes).tolist() and sample.n_images == 500

    def test_spreads_over_classes_and_confidence(self):
        classes, confidence, _ = population("0.9")
        sample = draw_sample(classes, confidence, 100)
        assert np.abs(np.bincount(sample.classes) - np.bincount(classes) / 20).max() < 2
        for name in range(5):
            own = np.sort(sample.confidence[sample.classes == name])
            assert np.abs(own - (np.arange(len(own)) + 0.5) / len(own)).max() < 2.5 / len(own)
        assert (np.diff(sample.classes) < 0).sum() > 20, "asked in random order"

    def test_same_seed_same_sample_whatever_the_order_of_pictures(self):
        classes, confidence, _ = population("0.9")
        sample = draw_sample(classes, confidence, 50, 1)
        order = np.random.default_rng(0).permutation(len(classes))
        assert (order[draw_sample(classes[order], confidence[order], 50, 1).pictures] == sample.pictures).all()
        assert (draw_sample(classes, confidence, 50, 2).pictures != sample.pictures).any()

    def test_thresholds_are_quantiles(self):
        classes, confidence, _ = population("0.9")
        sample = draw_sample(classes, confidence, 10)
        assert sample.kept.tolist() == list(range(100, 2001, 100))
        assert [(confidence >= t).sum() for t in sample.thresholds] == sample.kept.tolist()
        assert (np.diff(sample.thresholds) < 0).all()

    def test_ties_in_confidence(self):
        sample = draw_sample(np.zeros(10), [0.9] * 4 + [0.2] * 6, 5)
        assert sample.thresholds.tolist() == [0.9, 0.2] and sample.kept.tolist() == [4, 10]

    @pytest.mark.parametrize("budget", [10, 11, 1000])
    def test_a_large_budget_takes_everything_once(self, budget):
        sample = draw_sample(np.arange(10) % 3, np.linspace(0, 1, 10), budget)
        assert sorted(sample.pictures) == list(range(10)) and sample.is_everything

    @pytest.mark.parametrize("budget", [1, 2, 9])
    def test_small_budgets(self, budget):
        sample = draw_sample([0, 2, 2], [0.5, 0.6, 0.7], min(budget, 2), n_classes=4)
        assert len(sample.pictures) == min(budget, 2) and sample.sizes.tolist() == [1, 0, 2, 0]

    @pytest.mark.parametrize("budget", [0, -3])
    def test_no_budget(self, budget):
        with pytest.raises(UserError, match=f"A budget of {budget} checks nothing"):
            draw_sample([0], [1.0], budget)

    def test_json_brings_everything_back(self):
        classes, confidence, _ = population("0.9")
        sample = draw_sample(classes, confidence.astype(np.float32), 30)
        again = Sample.from_json(json.loads(json.dumps(sample.to_json())))
        for name, column in vars(sample).items():
            assert (getattr(again, name) == column).all() and getattr(again, name).dtype == column.dtype


def sample_of(pictures, classes, sizes) -> Sample:
    count = len(pictures)
    parts = np.array(pictures), np.array(classes), np.full(count, 0.5), np.array(sizes), np.array([0.5])
    return Sample(*parts, np.array([sum(sizes)]))


class TestCertify:
    def test_counts_by_class_and_overall(self):
        sample = sample_of([0, 3, 3, 7, 9], [0, 0, 0, 1, 1], [50, 30, 20])
        found = certify(sample, [True, False, False, True, True], ["rose", "tulip", "lily"])
        assert (found.accuracy.estimate, found.accuracy.n) == (0.6, 5)
        assert (found.accuracy.low, found.accuracy.high) == binomial_interval(3, 5)
        rose, tulip, lily = found.per_class
        assert (rose.name, rose.estimate, rose.n, rose.pictures) == ("rose", pytest.approx(1 / 3), 3, 50)
        assert (rose.low, rose.high) == binomial_interval(1, 3) and (tulip.low, tulip.high) == binomial_interval(2, 2)
        assert (lily.estimate, lily.low, lily.high, lily.n, lily.pictures) == (None, 0, 1, 0, 20)
        assert found.pictures == 100 and found.checked == 4

    def test_what_was_checked_as_a_whole_is_exact(self):
        sample = draw_sample([0, 0, 1, 1, 1], [0.1, 0.2, 0.3, 0.4, 0.5], 5)
        right = np.array([True, False, True, True, True])[sample.pictures]
        found = certify(sample, right, ["a", "b"], target=0.7)
        assert (found.accuracy.estimate, found.accuracy.low, found.accuracy.high) == (0.8, 0.8, 0.8)
        assert [(row.low, row.high) for row in found.per_class] == [(0.5, 0.5), (1, 1)]
        assert found.sentence == "All 5 pictures were checked: 80.0 % of the names are right."
        assert (found.rejection.kept, found.rejection.low) == (1, 0.8)
        # A class of one picture that was drawn twice is known; the whole is not.
        row = certify(sample_of([4, 4, 5], [0, 0, 1], [1, 30]), [True, True, False], ["a", "b"]).per_class[0]
        assert (row.estimate, row.low, row.high, row.n) == (1, 1, 1, 1)

    @pytest.mark.parametrize("right", [True, False])
    def test_all_right_and_all_wrong(self, right):
        classes, confidence, _ = population("0.9")
        found = certify(draw_sample(classes, confidence, 100), np.full(100, right), list("abcde"))
        expected = (0.9638, 1) if right else (0, 0.0362)
        assert found.accuracy.estimate == right
        assert (found.accuracy.low, found.accuracy.high) == pytest.approx(expected, abs=1e-4)

    def test_renaming_renames(self):
        classes, confidence, right = population("0.9")
        sample = draw_sample(classes, confidence, 100)
        other = np.array([3, 0, 4, 1, 2])
        moved = draw_sample(other[classes], confidence, 100)
        assert np.bincount(moved.classes).sum() == 100
        swapped = Sample(**vars(sample) | {"classes": other[sample.classes], "sizes": sample.sizes[np.argsort(other)]})
        first = certify(sample, right[sample.pictures], list("abcde"))
        second = certify(swapped, right[sample.pictures], list("bdeac"))
        assert second.accuracy == first.accuracy
        assert sorted(second.per_class, key=lambda row: row.name) == list(first.per_class)

    def test_order_of_answers_does_not_matter(self):
        classes, confidence, right = population("0.9")
        sample = draw_sample(classes, confidence, 100)
        order = np.random.default_rng(0).permutation(100)
        columns = {name: getattr(sample, name)[order] for name in ("pictures", "classes", "confidence")}
        shuffled = Sample(**vars(sample) | columns)
        first = certify(sample, right[sample.pictures], list("abcde"), target=0.8)
        assert certify(shuffled, right[shuffled.pictures], list("abcde"), target=0.8) == first

    def test_one_class_and_one_draw(self):
        found = certify(draw_sample([0, 0, 0], [0.3, 0.2, 0.1], 1), [True], ["all"])
        assert (found.accuracy.estimate, found.accuracy.low, found.accuracy.high) == (1, pytest.approx(0.025), 1)
        assert found.per_class[0].low == found.accuracy.low

    def test_json_brings_everything_back(self):
        classes, confidence, right = population("errors at low confidence")
        for budget, target in itertools.product((40, 300, 2000), (None, 0.9)):
            sample = draw_sample(classes, confidence, budget)
            found = certify(sample, right[sample.pictures], list("abcde"), target=target)
            content = json.loads(json.dumps(found.to_json()))
            assert Certificate.from_json(content) == found and content["sentence"] == found.sentence
            assert set(content["accuracy"]) == {"estimate", "low", "high", "n"}
            assert set(content["per_class"][0]) == {"name", "estimate", "low", "high", "n", "pictures"}

    def test_sentence_promises_no_more_than_the_interval(self):
        found = certify(sample_of(range(1000), [0] * 1000, [5000]), [True] * 999 + [False], ["a"])
        assert found.accuracy.low == pytest.approx(0.99444, abs=1e-5)
        assert found.sentence == (
            "Of 5,000 pictures, between 99.4 % and 100.0 % have the right name (95 % sure); 1,000 were drawn at random "
            "and checked, and 99.9 % of these names were right."
        )

    def test_answers_that_do_not_fit(self):
        sample = sample_of([0, 3], [0, 0], [50])
        for right, names in ([True], ["a"]), ([True, True], ["a", "b"]):
            with pytest.raises(ValueError, match="do not fit"):
                certify(sample, right, names)


class TestRejection:
    def test_finds_the_threshold(self):
        classes, confidence, right = population("errors at low confidence")
        sample = draw_sample(classes, confidence, 600)
        found = rejection_threshold(sample, right[sample.pictures], 0.98)
        assert 0.05 < found.threshold < 0.2 and 0.8 < found.kept < 0.95 and found.low >= 0.98
        assert found.kept == (confidence >= found.threshold).mean()
        assert found.sentence.startswith(f"Of the {(confidence >= found.threshold).sum():,} pictures (")

    def test_against_a_slow_reference(self):
        classes, confidence, right = population("errors at low confidence")
        sample = draw_sample(classes, confidence, 600, 1)
        answers = right[sample.pictures]
        best, started = None, False
        for threshold, kept in zip(sample.thresholds, sample.kept, strict=True):
            share = kept / 2000
            # The bound on the share of all pictures that are above and wrong: where so few become a 5 % chance.
            spare = binomial_interval(math.ceil(600 * share * 0.04 / 4), 600, 0.9)[1]
            started |= 1 - spare / share >= 0.96
            wrong = sum(sure >= threshold and not good for sure, good in zip(sample.confidence, answers, strict=True))
            low = 1 - binomial_interval(wrong, 600, 0.9)[1] / share
            if started and low < 0.96:
                break
            best = (threshold, low) if started else None
        found = rejection_threshold(sample, answers, 0.96)
        assert (found.threshold, found.low) == pytest.approx(best)

    @pytest.mark.parametrize(("budget", "possible"), [(298, False), (299, True)])
    def test_says_how_many_it_takes(self, budget, possible):
        classes, confidence, _ = population("1.0")
        found = rejection_threshold(draw_sample(classes, confidence, budget), np.ones(budget, bool), 0.99)
        assert (found.threshold is not None) == possible
        few = (
            "298 checked pictures cannot show that 99.0 % are right, not even without an error: it takes at least 299."
        )
        assert (found.sentence == few) != possible
        assert found.low is None or found.low == pytest.approx(0.05 ** (1 / 299))

    def test_stops_at_the_first_failure(self):
        classes, confidence, right = population("errors at high confidence")
        sample = draw_sample(classes, confidence, 1000)
        found = rejection_threshold(sample, right[sample.pictures], 0.8)
        assert right.mean() > 0.88 and found.threshold is None and found.kept == 0 and found.low is None
        assert (
            found.sentence == "No threshold was shown to make 80.0 % of the names right: check more, or ask for less."
        )

    def test_everything_checked_needs_no_sequence(self):
        classes, confidence, right = population("errors at high confidence")
        sample = draw_sample(classes, confidence, 2000)
        found = rejection_threshold(sample, right[sample.pictures], 0.8)
        assert found.kept == 1 and found.low == right.mean()

    @pytest.mark.parametrize("target", [0, 1, -0.5, 99])
    def test_impossible_targets(self, target):
        with pytest.raises(UserError, match="between 0 and 1"):
            rejection_threshold(sample_of([0], [0], [5]), [True], target)


def test_starts_without_torch():
    program = "import sys, selfsort.evaluation.certificate; assert not {'torch', 'sklearn'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
