import json

import numpy as np
import pytest

from selfsort.errors import UserError
from selfsort.evaluation.certificate import certify, draw_sample
from selfsort.labelling.checks import Checks, open_checks
from selfsort.labelling.store import Store

NAMES = ("rose", "tulip", "lily")


def opinions(n: int = 300, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet((0.4, 0.3, 0.3), n).astype(np.float32)


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "labels.sqlite")
    yield store
    store.close()


def answer_all(checks: Checks, right=lambda picture: picture % 4 > 0) -> None:
    while (picture := checks.next()) is not None:
        name = checks.names[checks.predicted[picture]]
        checks.record(picture, name if right(picture) else "weed")


class TestChecks:
    def test_asks_each_drawn_picture_once_and_certifies_the_draws(self):
        probabilities = opinions(40)
        checks = Checks.start(NAMES, probabilities, 35, 5, 0.6)
        drawn = checks.sample.pictures
        assert checks.budget == len(set(drawn.tolist())) < 35 == len(drawn)
        asked = []
        while (picture := checks.next()) is not None:
            assert checks.certificate() is None
            asked.append(picture)
            checks.record(picture, NAMES[probabilities[picture].argmax()] if picture % 4 else "weed")
        assert sorted(asked) == sorted(set(drawn.tolist())) and checks.done == checks.budget
        expected = certify(checks.sample, drawn % 4 > 0, NAMES, target=0.6)
        assert checks.certificate() == expected and expected.rejection is not None
        assert expected.checked == checks.budget and expected.accuracy.n == 35

    def test_the_sample_is_drawn_by_name_and_confidence(self):
        probabilities = opinions()
        sample = draw_sample(probabilities.argmax(1), probabilities.max(1), 50, 3, n_classes=3)
        assert (Checks.start(NAMES, probabilities, 50, 3).sample.pictures == sample.pictures).all()

    def test_undo_goes_back_one_by_one(self):
        checks = Checks.start(NAMES, opinions(), 10)
        first = checks.next()
        checks.record(first, "rose")
        second = checks.next()
        checks.record(second, "tulip")
        checks.undo()
        assert (checks.next(), checks.done) == (second, 1)
        checks.undo()
        assert (checks.next(), checks.done) == (first, 0)
        with pytest.raises(UserError, match="no check to take back"):
            checks.undo()

    def test_another_picture_is_not_taken(self):
        checks = Checks.start(NAMES, opinions(), 10)
        with pytest.raises(UserError, match="is not the one to check now"):
            checks.record(checks.next() + 1, "rose")
        answer_all(checks)
        with pytest.raises(UserError, match="is not the one"):
            checks.record(0, "rose")

    def test_case_and_spaces_make_no_other_name(self):
        checks = Checks.start(("Rose", "rose", "tea rose"), opinions(), 10)
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
        with pytest.raises(UserError, match=f"--reject {target:g} cannot be shown"):
            Checks.start(NAMES, opinions(), 10, target=target)

    def test_no_budget(self):
        with pytest.raises(UserError, match="A budget of 0"):
            Checks.start(NAMES, opinions(), 0)


class TestOpenChecks:
    def test_goes_on_where_it_stopped(self, store, tmp_path):
        checks, fresh = open_checks(store, NAMES, opinions(), 20)
        assert fresh is False
        for number in range(7):
            store.add_check(f"key{number}", "a", checks.next(), "rose")
            checks.record(checks.next(), "rose")
        other = Store(tmp_path / "labels.sqlite")
        again, fresh = open_checks(other, NAMES, opinions(), 20, target=0.5)
        other.close()
        assert (again.done, again.next(), fresh) == (7, checks.next(), False)
        answer_all(checks)
        answer_all(again)
        assert checks.certificate().accuracy == again.certificate().accuracy

    def test_what_is_kept_is_json(self, store):
        open_checks(store, NAMES, opinions(), 20)
        assert json.loads(json.dumps(store.get("certificate"))) == store.get("certificate")

    @pytest.mark.parametrize(
        "change",
        [
            {"probabilities": opinions(seed=1)},
            {"names": ("rose", "tulip", "weed")},
            {"budget": 21},
            {"random_state": 1},
        ],
    )
    def test_a_sample_serves_one_model_and_one_budget(self, store, change):
        settings = {"names": NAMES, "probabilities": opinions(), "budget": 20, "random_state": 0}
        checks, _ = open_checks(store, **settings)
        store.add_check("key", "a", checks.next(), "rose")
        store.add_check("key2", "a", 299, "rose")
        again, fresh = open_checks(store, **settings | change)
        assert fresh and again.done == 0
        store.add_check("key3", "a", again.next(), "tulip")
        assert open_checks(store, **settings | change)[0].done == 1
        last, fresh = open_checks(store, **settings)
        assert fresh and last.done == 0
        # Never the same pictures twice: what was seen may have been put right meanwhile.
        assert len(set(last.sample.pictures) & set(checks.sample.pictures)) < 10
