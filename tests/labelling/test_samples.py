import json
from dataclasses import replace

import numpy as np
import pytest

from selfsort.errors import UserError
from selfsort.evaluation.certificate import NamedPredictions, RoundOfChecks
from selfsort.evaluation.draw import most_doubtful, unpacked
from selfsort.labelling.checks import Checks
from selfsort.labelling.core.answers import Event, Group
from selfsort.labelling.samples import open_checks
from selfsort.labelling.store import Round, Store

from .test_checks import IDS, NAMES, predictions_of


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "labels.sqlite")
    yield store
    store.close()


def check(store: Store, checks: Checks, n: int, wrong=()) -> list[int]:
    """Let a person check n pictures; those at the positions `wrong` have another name."""
    asked = []
    for number in range(n):
        picture = checks.next()
        given = checks.given(picture)
        name = "weed" if number in wrong else given
        store.add_check(f"check-{len(store.checks())}", "me", picture, name, given)
        checks.record(picture, name)
        asked.append(picture)
    return asked


def refined(store: Store, seed: int) -> NamedPredictions:
    store.add_round(Round(len(store.rounds()) + 1, 0, NAMES))
    return predictions_of(seed=seed)


class TestOneModel:
    def test_continues_where_it_stopped(self, store, tmp_path):
        checks, told = open_checks(store, predictions_of(), IDS, 20)
        assert told == "" and checks.budget == 20
        check(store, checks, 7)
        other = Store(tmp_path / "labels.sqlite")
        again, told = open_checks(other, predictions_of(), IDS, 20, target=0.5)
        other.close()
        assert (again.done, again.next(), told) == (7, checks.next(), "")
        assert again.certificate().accuracy == checks.certificate().accuracy

    def test_a_smaller_budget_replaces_nothing_and_a_larger_one_continues(self, store):
        checks, _ = open_checks(store, predictions_of(), IDS, 30)
        asked = check(store, checks, 30)
        smaller, _ = open_checks(store, predictions_of(), IDS, 5)
        assert (smaller.done, smaller.budget, smaller.next()) == (30, 30, None)
        larger, _ = open_checks(store, predictions_of(), IDS, 40)
        assert list(larger.answers()) == asked and larger.next() is not None and larger.budget == 40
        assert open_checks(store, predictions_of(), IDS)[0].budget == 100

    def test_the_seed_cannot_be_changed_until_the_result_looks_good(self, store):
        open_checks(store, predictions_of(), IDS, 20, random_state=4)
        assert open_checks(store, predictions_of(), IDS, 20, random_state=4)[0].draw.order.size == 300
        with pytest.raises(UserError, match="drawn with the seed 4 and keeps it"):
            open_checks(store, predictions_of(), IDS, 20, random_state=5)

    def test_the_sample_is_stored_as_json_and_in_the_certificate(self, store):
        checks, _ = open_checks(store, predictions_of(), IDS, 20, random_state=2)
        check(store, checks, 3, wrong=(1,))
        facts = checks.certificate().sample
        assert (facts.seed, facts.earlier, facts.rounds, facts.known) == (2, 0, (RoundOfChecks(0, 3),), ())
        assert [image_id for image_id, _ in facts.checks] == [IDS[place] for place in checks.draw.order[:3]]
        assert facts.checks[1][1] == "weed" and facts.second == ()
        assert (unpacked(facts.doubtful, 300) == most_doubtful(predictions_of().doubt)).all()
        assert json.loads(json.dumps(checks.certificate().to_json()))

    def test_a_second_persons_checks_are_kept_separately(self, store):
        checks, _ = open_checks(store, predictions_of(), IDS, 5)
        asked = check(store, checks, 5)
        store.add_check("second-0", "you", asked[0], "weed", None, by="second")
        again, _ = open_checks(store, predictions_of(), IDS, 5)
        assert again.second == {asked[0]: "weed"} and again.done == 5
        assert again.certificate().second.disagreed == 1
        assert store.undo_check("undo", "second") and not store.undo_check("again", "second")
        assert len(store.checks()) == 5 and store.checks("second") == []

    def test_a_lost_check_is_asked_again(self, store):
        checks, _ = open_checks(store, predictions_of(), IDS, 5)
        asked = check(store, checks, 5)
        with store._transaction() as db:
            db.execute("UPDATE log SET content = '[1, \"x\"]' WHERE seq = 3")
        again, _ = open_checks(store, predictions_of(), IDS, 5)
        assert (again.done, again.next()) == (2, asked[2])


class TestAnotherModel:
    def test_checks_count_for_the_next_model_too(self, store):
        checks, _ = open_checks(store, predictions_of(), IDS, 20)
        asked = check(store, checks, 12, wrong=(1, 5))
        later = refined(store, 1)
        again, told = open_checks(store, later, IDS, 30)
        assert told == "The 12 checks of an earlier model count for this one, too, as the sample was random."
        assert (again.done, list(again.answers())) == (12, asked)
        right = sum(again.answers()[picture] == again.given(picture) for picture in asked)
        found = again.certificate()
        assert (found.right, found.known) == (right, 0)
        check(store, again, 3)
        facts = again.certificate().sample
        assert facts.rounds == (RoundOfChecks(0, 12), RoundOfChecks(1, 3)) and facts.strata_of == 0
        assert open_checks(store, later, IDS, 30)[0].certificate().sample == facts

    def test_one_check_is_told_as_one(self, store):
        checks, _ = open_checks(store, predictions_of(), IDS, 20)
        check(store, checks, 1)
        _, told = open_checks(store, refined(store, 1), IDS, 30)
        assert told == "The check of an earlier model counts for this one, too, as the sample was random."

    @pytest.mark.parametrize("how", ["pull", "throw out", "name alone", "junk alone"])
    def test_unless_pictures_they_showed_to_be_wrong_were_corrected(self, store, how):
        checks, _ = open_checks(store, predictions_of(), IDS, 20)
        asked = check(store, checks, 12, wrong=(1, 5))
        one = Group(0, np.array([asked[1]]), np.zeros(1, np.float32), None, "query", 0)
        many = replace(one, id=1, members=np.arange(300), distances=np.zeros(300, np.float32))
        store.add_groups([one, many])
        event = {
            "pull": Event("pull", name="lily", names=("rose",), pictures=(asked[1],)),
            "throw out": Event("name", 1, "rose", pictures=(asked[1], checks.next())),
            "name alone": Event("name", 0, "lily"),
            "junk alone": Event("junk", 0),
        }[how]
        store.add_event("answer", "me", event)
        again, told = open_checks(store, refined(store, 1), IDS, 20)
        assert "1 of the 12 pictures checked before had a wrong name, corrected by hand, so they count" in told
        assert again.done == 0 and again.known.keys() == set(asked)
        assert not set(asked) & set(again.draw.order.tolist()) and len(again.draw.order) == 288
        check(store, again, 4)
        facts = again.certificate().sample
        assert (facts.earlier, facts.seed, len(facts.known)) == (1, 0, 12) and facts.rounds == (RoundOfChecks(1, 4),)
        assert again.certificate().known == 12

    @pytest.mark.parametrize("how", ["a right one", "before", "in a group"])
    def test_other_answers_do_not_matter(self, store, how):
        checks, _ = open_checks(store, predictions_of(), IDS, 20)
        order = checks.draw.order.tolist()
        group = Group(0, np.arange(300), np.zeros(300, np.float32), None, "cluster", 0)
        store.add_groups([group])
        if how == "before":
            store.add_event("answer", "me", Event("name", 0, "rose", pictures=(order[1],)))
        asked = check(store, checks, 12, wrong=(1, 5))
        if how != "before":
            pictures = (asked[0],) if how == "a right one" else ()
            store.add_event("answer", "me", Event("name", 0, "rose", pictures=pictures))
        assert open_checks(store, refined(store, 1), IDS, 20)[0].done == 12

    def test_if_all_pictures_are_known_none_are_drawn(self, store):
        ids, predictions = IDS[:6], predictions_of(n=6)
        checks, _ = open_checks(store, predictions, ids, 6)
        asked = check(store, checks, 6, wrong=(0,))
        store.add_event("answer", "me", Event("pull", name="lily", names=("rose",), pictures=(asked[0],)))
        store.add_round(Round(1, 1, NAMES))
        again, _ = open_checks(store, replace(predictions, confidence=predictions.confidence / 2), ids, 6)
        assert (again.next(), again.budget, again.left) == (None, 0, 0)
        assert again.certificate().accuracy.low == again.certificate().accuracy.high == 5 / 6


class TestOfBefore:
    def test_checks_of_a_version_that_drew_with_replacement_count_as_themselves(self, store):
        store.put("certificate", {"wanted": {}, "number": 2, "first": 0, "sample": {}})
        store.add_check("old-0", "me", 5, "rose")
        store.add_check("old-1", "me", 7, "tulip")
        checks, told = open_checks(store, predictions_of(), IDS, 20)
        assert "were drawn in another way, so they count only as themselves" in told
        assert checks.known == {5: "rose", 7: "tulip"} and checks.done == 0
        check(store, checks, 1)
        assert checks.certificate().sample.earlier == 3

    def test_checks_without_the_models_name_still_open(self, store):
        with store._transaction():
            store._add("check", "old", "me", [5, "rose"])
        assert [(each.picture, each.name, each.given) for each in store.checks()] == [(5, "rose", None)]
