import itertools
import json
import math
import subprocess
import sys

import numpy as np
import pytest

from selfsort.errors import UserError
from selfsort.evaluation.certificate import (
    Certificate,
    NamedPredictions,
    Population,
    Share,
    between,
    certify,
    fewest_checks,
    rejection_threshold,
)
from selfsort.evaluation.draw import SampleDraw, most_doubtful
from selfsort.evaluation.sequence import Counts, guesses, log_wealth, wrong_range
from selfsort.schema import Invalid

NAMES = ("rose", "tulip", "lily")


class World:
    """Pictures, a model and the truth; errors are where the model doubts, or elsewhere."""

    def __init__(self, n: int = 300, errors: float = 0.1, kind: str = "doubtful", seed: int = 0):
        random = np.random.default_rng(seed)
        confidence = random.random(n).astype(np.float32)
        self.predictions = NamedPredictions(NAMES, random.integers(0, 3, n), confidence)
        share = {"doubtful": confidence, "sure": 1 - confidence, "anywhere": random.random(n)}[kind]
        wrong = np.zeros(n, bool)
        wrong[np.argsort(share)[: round(errors * n)]] = True
        self.right = ~wrong
        self.true = np.where(wrong, (self.predictions.predicted + 1) % 3, self.predictions.predicted)
        self.ids = [f"{number}.png" for number in range(n)]
        self.doubtful = most_doubtful(self.predictions.doubt)

    def draw(self, seed: int = 0, known: np.ndarray | None = None) -> SampleDraw:
        return SampleDraw.make(self.ids, self.doubtful, seed, 0, known)

    def truth(self, places) -> dict[int, str]:
        return {int(place): NAMES[self.true[place]] for place in places}

    def certify(self, n: int, seed: int = 0, **options) -> Certificate:
        draw = self.draw(seed)
        return certify(self.predictions, draw, self.truth(draw.order[:n]), **options)

    def population(self, n: int, seed: int = 0) -> Population:
        draw = self.draw(seed)
        return Population(self.predictions, draw, self.truth(draw.order[:n]))


def recall_of(world: World, name: int) -> float:
    has_it = world.true == name
    return (has_it & (world.predictions.predicted == name)).sum() / has_it.sum()


class TestCertify:
    def test_pictures_count_once_and_impossible_values_do_not_appear(self):
        """Of 48 pictures drawn with repeats, "70.0 %" were right; now each counts once."""
        world = World(180)
        for n in (1, 2, 48, 50, 179):
            found = world.certify(n)
            right = int(world.right[world.draw().order[:n]].sum())
            assert found.checked == found.accuracy.n == n and found.right == right
            assert f"of the {n} drawn at random and checked, {right} had it" in found.sentence

    def test_the_estimate_weighs_the_strata(self):
        world = World()
        found, order = world.certify(90), world.draw().order[:90]
        shares = [world.right[order[world.doubtful[order] == stratum]].mean() for stratum in (False, True)]
        assert found.accuracy.estimate == pytest.approx(0.75 * shares[0] + 0.25 * shares[1])
        for number, row in enumerate(found.per_class):
            own = order[world.predictions.predicted[order] == number]
            assert row.n == len(own) and row.pictures == (world.predictions.predicted == number).sum()

    def test_the_interval_is_that_of_the_sequence(self):
        world = World()
        found, order = world.certify(60), world.draw().order[:60]
        parts = [order[world.doubtful[order] == stratum] for stratum in (False, True)]
        seen = Counts(
            np.array([(~world.right[part]).sum() for part in parts]),
            np.array([len(part) for part in parts]),
            np.array([225, 75]),
        )
        expected = [world.predictions.doubt[world.doubtful == stratum].mean() for stratum in (False, True)]
        low, high = wrong_range(seen, guesses(np.array(expected)), math.log(20))
        assert (found.accuracy.low, found.accuracy.high) == (1 - high / 300, 1 - low / 300)

    def test_an_interval_from_the_first_check_on(self):
        found = World().certify(1)
        assert 0 < found.accuracy.high - found.accuracy.low < 1
        assert [row.estimate is None for row in found.per_class].count(True) == 2

    def test_a_fully_checked_name_is_exact(self):
        world = World(40)
        found = world.certify(40, target=0.7)
        exact = world.right.mean()
        assert found.accuracy == Share(exact, exact, exact, 40)
        assert found.sentence == f"All 40 pictures were checked: {100 * exact:.1f} % of the names are right."
        for number, row in enumerate(found.per_class):
            own = world.predictions.predicted == number
            assert (row.estimate, row.low, row.high) == pytest.approx((world.right[own].mean(),) * 3)
            assert (row.recall.low, row.recall.high) == pytest.approx((recall_of(world, number),) * 2)
        assert found.rejection.kept == 1 and found.rejection.low == exact

    def test_known_pictures_count_as_themselves(self):
        world = World(200)
        known = np.zeros(200, bool)
        known[np.flatnonzero(~world.right)] = True  # exactly the wrong ones, unlike a random sample
        draw = world.draw(known=known)
        found = certify(world.predictions, draw, world.truth([*np.flatnonzero(known), *draw.order[:50]]))
        assert found.known == known.sum() and found.checked == known.sum() + 50 and found.right == 50
        assert found.accuracy.high == pytest.approx(world.right.mean())  # the known ones are wrong, whatever the rest
        assert found.accuracy.low <= world.right.mean()
        assert "; 20 more were known from earlier checks." in found.sentence
        alone = certify(world.predictions, world.draw(), world.truth(world.draw().order[:50]))
        assert alone.known == 0

    def test_names_unknown_to_the_model_are_wrong_and_count_for_no_recall(self):
        world, draw = World(), World().draw()
        weeds = dict.fromkeys(draw.order[:30].tolist(), "weed")
        found = certify(world.predictions, draw, weeds)
        assert found.accuracy.estimate == 0 and found.right == 0
        assert [row.recall.n for row in found.per_class] == [0, 0, 0]
        assert all(row.recall.estimate is None for row in found.per_class)

    def test_renaming_renames(self):
        world, order = World(), World().draw().order[:80]
        predictions = NamedPredictions(tuple("abc"), world.predictions.predicted, world.predictions.confidence)
        other = certify(predictions, world.draw(), {place: "abc"[world.true[place]] for place in order.tolist()})
        assert other.accuracy == world.certify(80).accuracy
        for row, mine in zip(other.per_class, world.certify(80).per_class, strict=True):
            assert (row.low, row.high, row.recall) == (mine.low, mine.high, mine.recall)

    def test_a_name_that_no_picture_has(self):
        world = World()
        predictions = NamedPredictions((*NAMES, "none"), world.predictions.predicted, world.predictions.confidence)
        row = certify(predictions, world.draw(), world.truth(world.draw().order[:50])).per_class[3]
        assert (row.estimate, row.low, row.high, row.n, row.pictures) == (None, 0, 1, 0, 0)
        assert row.recall.estimate is None and 0 <= row.recall.low <= row.recall.high <= 1

    def test_answers_that_do_not_fit(self):
        world = World()
        for truth in (
            {299: "rose"},
            world.truth(world.draw().order[1:4]),
            world.truth(world.draw().order[:4]) | {400: "rose"},
        ):
            with pytest.raises(ValueError, match="do not fit"):
                certify(world.predictions, world.draw(), truth)


class TestSecondPerson:
    def test_disagreements_are_counted_and_make_names_wrong(self):
        world, order = World(), World().draw().order
        said = {place: name for place, name in world.truth(order[:40]).items()}
        doubted = order[:40][world.right[order[:40]]][:3].tolist()
        said |= dict.fromkeys(doubted, "weed")
        found = world.certify(60, second=said)
        assert (found.second.checked, found.second.disagreed) == (40, 3)
        alone = world.certify(40)
        assert found.second.accuracy.n == 40 and found.second.accuracy.low < alone.accuracy.low
        assert "looked at 40 of the pictures and disagreed on 3" in found.second.sentence
        assert found.accuracy == world.certify(60).accuracy

    def test_who_agrees_changes_nothing(self):
        world, order = World(), World().draw().order
        found = world.certify(40, second=world.truth(order[:40]))
        assert found.second.disagreed == 0 and found.second.accuracy == found.accuracy

    def test_only_what_both_saw_counts(self):
        world, order = World(), World().draw().order
        assert world.certify(20, second=world.truth(order[30:40])).second is None
        assert world.certify(20, second=world.truth(order[:40])).second.checked == 20


class TestPromise:
    """The guarantee of the intervals holds for the real functions, with repeated looks."""

    @pytest.mark.parametrize("kind", ["doubtful", pytest.param("sure", marks=pytest.mark.slow)])
    @pytest.mark.parametrize("errors", [0.05, pytest.param(0.4, marks=pytest.mark.slow)])
    def test_accuracy_precision_and_recall_hold_at_all_looks(self, kind, errors):
        world = World(120, errors, kind)
        truths = [world.right.mean()]
        truths += [world.right[world.predictions.predicted == number].mean() for number in range(3)]
        truths += [recall_of(world, number) for number in range(3)]
        runs, lost = 40, np.zeros(7)
        for seed in range(runs):
            outside = np.zeros(7, bool)
            for n in (1, 8, 25, 60):
                found = world.certify(n, seed)
                shares = [found.accuracy, *found.per_class, *(row.recall for row in found.per_class)]
                outside |= [
                    not share.low - 1e-9 <= truth <= share.high + 1e-9
                    for share, truth in zip(shares, truths, strict=True)
                ]
            lost += outside
        # 5 % of 40 is 2; even then, the probability of more than 6 is below 1 %.
        assert lost.max() <= 6

    @pytest.mark.parametrize("accuracy", [pytest.param(0.94, marks=pytest.mark.slow), 0.85])
    def test_rejection_keeps_its_guarantee(self, accuracy):
        """The accuracy is just below the target above every threshold, so any acceptance, at any look, is a mistake."""
        world = World(400, 0)
        in_order = np.argsort(-world.predictions.confidence)
        wrong = np.diff(np.floor(np.arange(401) * (1 - accuracy) + 0.999), prepend=1)[1:] > 0
        world.right[in_order[wrong]] = False
        world.true = np.where(world.right, world.predictions.predicted, (world.predictions.predicted + 1) % 3)
        target, mistakes = accuracy + 0.01, 0
        for seed in range(60):
            mistakes += any(
                rejection_threshold(world.population(n, seed), target).threshold is not None for n in (60, 200)
            )
        assert mistakes <= 8

    def test_the_recall_interval_is_no_wider_than_from_two_separate_numbers(self):
        world = World(90, errors=0.05)
        population = world.population(50)
        predicted = world.predictions.predicted
        table = population.table(predicted, population.checked & ~population.right, 3)
        for number, share in enumerate(population.recalls(table)):
            lost = Counts(*(table[number, row, :2] for row in range(3)))
            others = table.sum(0) - table[number]
            others[0] = population.missed(3)[number]
            missed = Counts(*(others[row, :2] for row in range(3)))
            possible = []
            for bad, more in itertools.product(range(lost.sizes.sum() + 1), range(30)):
                both = log_wealth(lost, population.log_weights, np.int64(bad))
                both += log_wealth(missed, guesses(population.expected / 2), np.int64(more))
                found = lost.sizes.sum() - bad
                if both < math.log(20) and found + more:
                    possible.append(found / (found + more))
            assert share.low <= min(possible) and max(possible) <= share.high
            assert share.low > min(possible) - 0.06


class TestJson:
    def test_restores_everything(self):
        world = World()
        for n, target in itertools.product((1, 40, 300), (None, 0.9)):
            found = world.certify(n, target=target, second=world.truth(world.draw().order[:10]))
            content = json.loads(json.dumps(found.to_json()))
            assert Certificate.from_json(content) == found and content["sentence"] == found.sentence
            assert set(content["accuracy"]) == {"estimate", "low", "high", "n"}
            assert set(content["per_class"][0]) == {"name", "estimate", "low", "high", "n", "pictures", "recall"}

    def test_older_certificates_still_open(self):
        share = {"estimate": 0.7, "low": 0.55, "high": 0.82, "n": 50}
        before = {
            "accuracy": share,
            "per_class": [share | {"name": "rose", "pictures": 180}],
            "rejection": None,
            "pictures": 180,
            "checked": 48,
            "confidence": 0.95,
            "sentence": "",
        }
        found = Certificate.from_json(before)
        assert found.right is None and found.per_class[0].recall is None and found.sample is None
        assert "of the 48 drawn at random and checked, 70.0 % of them had it" in found.sentence

    def test_what_was_thrown_away_is_no_name_and_comes_last(self):
        share = {"estimate": 0.7, "low": 0.55, "high": 0.82, "n": 50, "pictures": 180}
        rows = [share | {"name": name} for name in ("junk", "rose")]
        content = {"accuracy": {k: share[k] for k in ("estimate", "low", "high", "n")}, "per_class": rows}
        found = Certificate.from_json(content | {"rejection": None, "pictures": 360, "checked": 100})
        assert [row.name for row in found.names] == ["rose"] and found.junk is not None and found.junk.pictures == 180
        assert [row.name for row in found.rows] == ["rose", "junk (thrown away)"]

    def test_impossible_values_are_refused(self):
        content = json.loads(json.dumps(World().certify(20, second={}).to_json()))
        second = {"checked": 2, "disagreed": 3, "accuracy": content["accuracy"]}
        for change in ({"second": second}, {"sample": {"seed": 0}}, {"right": "many"}):
            with pytest.raises(Invalid):
                Certificate.from_json(content | change)

    def test_an_exact_share_is_one_number(self):
        assert between(Share(0.533333, 0.533333, 0.533333, 3)) == "53.3 %"
        assert between(Share(0.5, 0.4321, 0.56789, 3)) == "43.2 to 56.8 %"


class TestRejection:
    def test_finds_the_threshold(self):
        world = World(1000, 0.2)
        found = world.certify(400, target=0.95).rejection
        above = world.predictions.confidence >= found.threshold
        assert 0.5 <= found.kept == above.mean() < 1 and found.low >= 0.95 and world.right[above].mean() >= 0.95
        assert found.sentence.startswith(f"Of the {above.sum():,} pictures (")

    def test_against_a_slow_reference(self):
        """Thresholds one after another, each with its share of the 5 %."""
        world = World(200)
        population, ranked, found = world.population(120), np.sort(world.predictions.confidence)[::-1], None
        risk = 0.0
        for kept in range(10, 201, 10):
            above = world.predictions.confidence >= ranked[kept - 1]
            assert above.sum() == kept
            risk += 0.05 / 3 if kept in (100, 150, 200) else 0
            row = population.table(np.where(above, 0, 1), population.checked & ~population.right, 2)[:1]
            drawn = Counts(*(row[:, part, :2] for part in range(3)))
            shown = risk > 0 and 1 - wrong_range(drawn, population.log_weights, -math.log(risk))[1][0] / kept >= 0.9
            found = kept if shown else found
            risk = risk if shown else 0.0
        assert round(200 * rejection_threshold(population, 0.9).kept) == found == 180

    def test_ties_in_confidence(self):
        world = World(40, 0)
        predictions = NamedPredictions(NAMES, world.predictions.predicted, np.full(40, 0.5, np.float32))
        draw = world.draw()
        found = certify(predictions, draw, world.truth(draw.order[:35]), target=0.8).rejection
        assert found.kept == 1 and found.threshold == 0.5

    def test_says_how_many_it_takes(self):
        world = World(2000, 0)
        needed = fewest_checks(world.population(1), 0.99)
        assert world.certify(needed, target=0.99).rejection.kept > 0
        few = world.certify(20, target=0.99).rejection
        assert few.threshold is None and few.kept == 0 and few.low is None
        assert few.sentence == (
            "20 checked pictures cannot show that 99.0 % are right, even without an error: that takes about "
            f"{needed:,}."
        )

    def test_errors_among_the_surest_do_not_hide_the_rest(self):
        world = World(600, 0.3, "sure")
        assert rejection_threshold(world.population(400), 0.6).kept == 1
        found = rejection_threshold(world.population(400), 0.75)
        assert (found.threshold, found.kept, found.low) == (None, 0, None)
        assert (
            found.sentence == "No threshold was shown to make 75.0 % of the names right: check more, or ask for less."
        )

    def test_everything_checked_needs_no_sequence(self):
        world = World(100, 0.3, "sure")
        assert rejection_threshold(world.population(100), 0.6).kept == 1

    @pytest.mark.parametrize("target", [0, 1, -0.5, 99])
    def test_impossible_targets(self, target):
        with pytest.raises(UserError, match="between 0 and 1"):
            World().certify(5, target=target)


def test_starts_without_torch():
    program = "import sys, selfsort.evaluation.certificate; assert not {'torch', 'sklearn'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
