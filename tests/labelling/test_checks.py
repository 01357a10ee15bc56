import numpy as np
import pytest

from selfsort.errors import UserError
from selfsort.evaluation.certificate import NamedPredictions, certify
from selfsort.evaluation.draw import SampleDraw, most_doubtful
from selfsort.labelling.checks import Checks, SecondChecks

NAMES = ("rose", "tulip", "lily")
IDS = tuple(f"{number}.png" for number in range(300))


def predictions_of(names=NAMES, seed: int = 0, n: int = 300) -> NamedPredictions:
    probabilities = np.random.default_rng(seed).dirichlet([0.4, 0.3, 0.3][: len(names)], n).astype(np.float32)
    return NamedPredictions(tuple(names), probabilities.argmax(1), probabilities.max(1))


def start(budget: int = 10, names=NAMES, n: int = 300, **options) -> Checks:
    predictions = predictions_of(names, n=n)
    return Checks(predictions, SampleDraw.make(IDS[:n], most_doubtful(predictions.doubt), 0), budget, **options)


def answer_all(checks, right=lambda picture: picture % 4 > 0) -> list[int]:
    asked = []
    while (picture := checks.next()) is not None:
        asked.append(picture)
        checks.record(picture, checks.given(picture) if right(picture) else "weed")
    return asked


class TestChecks:
    def test_asks_in_the_order_of_the_draw_and_certifies_from_the_first_check(self):
        checks = start(35, target=0.6)
        assert checks.certificate() is None
        for number in range(1, 36):
            picture = checks.next()
            checks.record(picture, checks.given(picture) if picture % 4 else "weed")
            found = checks.certificate()
            assert found.checked == found.accuracy.n == checks.done == number
        assert list(checks.answers()) == checks.draw.order[:35].tolist() and checks.next() is None
        truth = {p: checks.given(p) if p % 4 else "weed" for p in checks.draw.order[:35].tolist()}
        assert found == certify(checks.predictions, checks.draw, truth, target=0.6) and found.rejection is not None

    def test_can_be_extended(self):
        checks = start(5)
        first = answer_all(checks)
        assert checks.left == 295
        checks.extend(7)
        assert (checks.budget, checks.done) == (12, 5)
        assert len(set(first + answer_all(checks))) == 12 == checks.certificate().checked
        checks.extend(1000)
        assert (checks.budget, checks.left) == (300, 0)
        with pytest.raises(UserError, match="no more pictures"):
            checks.extend(1)
        with pytest.raises(UserError, match="Cannot check 0 more pictures"):
            checks.extend(0)

    def test_undo_goes_back_one_by_one(self):
        checks = start()
        first = checks.next()
        checks.record(first, "rose")
        second = checks.next()
        checks.record(second, "tulip")
        checks.undo()
        assert (checks.next(), checks.done) == (second, 1)
        checks.undo()
        assert (checks.next(), checks.done, checks.certificate()) == (first, 0, None)
        with pytest.raises(UserError, match="no check to take back"):
            checks.undo()

    def test_another_picture_is_refused(self):
        checks = start()
        with pytest.raises(UserError, match="is not the one to check now"):
            checks.record(checks.next() + 1, "rose")
        answer_all(checks)
        with pytest.raises(UserError, match="is not the one"):
            checks.record(0, "rose")

    def test_case_and_spaces_make_no_other_name(self):
        checks = start(names=("Rose", "rose", "tea rose"))
        assert checks.settle("rose") == "rose" and checks.settle(" Rose ") == "Rose"
        assert checks.settle("ROSE") == "Rose" and checks.settle("Tearose") == "tea rose"
        assert checks.settle("Weed") == "Weed"
        checks.record(checks.next(), "Weed")
        assert checks.settle("weed") == "Weed"
        with pytest.raises(UserError, match="name is empty"):
            checks.record(checks.next(), " \n")
        assert checks.done == 1

    @pytest.mark.parametrize("target", [0, 1, -1, 99.0])
    def test_impossible_targets(self, target):
        with pytest.raises(UserError, match=f"A target of {target:g} is not a share"):
            start(target=target)

    def test_a_budget_of_none_or_too_many(self):
        with pytest.raises(UserError, match="A budget of 0"):
            start(0)
        assert start(999, n=40).budget == 40


class TestSecondChecks:
    def test_looks_at_the_same_pictures_and_is_counted(self):
        first = start(20)
        asked = answer_all(first)
        second = SecondChecks(first, 8)
        assert (second.budget, second.left, second.names, second.by) == (8, 12, NAMES, "second")
        assert answer_all(second, lambda picture: picture % 4 > 0 and picture != asked[2]) == asked[:8]
        found = second.certificate().second
        assert found.checked == 8 and found.disagreed == (asked[2] % 4 > 0)
        second.undo()
        assert (second.next(), second.done) == (asked[7], 7)
        second.extend(100)
        assert second.budget == 20 and second.left == 0
        again = SecondChecks(first, 1)
        assert (again.done, again.budget, again.next()) == (7, 7, None), "earlier checks are not forgotten"

    def test_needs_checks_by_a_first_person(self):
        with pytest.raises(UserError, match="let the first person start"):
            SecondChecks(start(), 5)
        first = start()
        answer_all(first)
        with pytest.raises(UserError, match="A budget of 0"):
            SecondChecks(first, 0)
