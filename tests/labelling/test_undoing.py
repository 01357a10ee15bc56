"""Undo and redo: every act, in order, of the right person, once for each key."""

import json
from contextlib import closing

import numpy as np
import pytest

from refining import REFINE, by, wait
from selfsort.errors import UserError
from selfsort.labelling.about import About
from selfsort.labelling.core.answers import Event, Taken
from selfsort.labelling.server.journal import Conflict
from selfsort.labelling.server.live import LiveLearner
from selfsort.labelling.server.service import LabelService
from selfsort.labelling.store import Store


@pytest.fixture
def service(run, images):
    with closing(LabelService(run, images, n_groups=6)) as service:
        yield service


def answered(service, client, text, key):
    group = service.next_group(client)
    service.answer(key, client, Event("name", group["id"], text))
    return group


def acts(service, client="ann-1"):
    """Return the kinds of the acts in force, newest first."""
    return [act["kind"] for act in service.history(client)["acts"] if not act["taken_back"]]


def test_every_act_is_taken_back_in_order_and_done_again(service):
    answered(service, "ann-1", "rose", "a")
    circled = service.lasso("b", "ann-1", [3, 5, 9])["group"]
    service.answer("c", "ann-1", Event("mixed", circled["id"]))
    service.tell("d", "ann-1", Event("merge", name="red rose", names=("rose",)))
    picture = service.named("red rose", 0, 1, "typical")["pictures"][0]["index"]
    service.tell("e", "ann-1", Event("pull", names=("red rose",), pictures=(picture,)))
    assert acts(service) == ["pull", "merge", "mixed", "lasso", "name"]

    def undo(key):
        reply = service.undo(key, "ann-1")
        assert reply["act"]["taken_back"]
        return reply

    assert undo("u1")["act"]["kind"] == "pull"
    merged = undo("u2")
    assert merged["act"]["kind"] == "merge" and [each["name"] for each in merged["state"]["names"]] == ["rose"]
    assert undo("u3")["group"]["id"] == circled["id"] == service.next_group("ann-1")["id"]
    assert undo("u4")["act"]["pictures"] == 3 and service.next_group("ann-1")["id"] != circled["id"]
    assert circled["id"] not in [group.id for group in service.session.open_groups()]
    with pytest.raises(Taken):
        service.answer("f", "ann-1", Event("skip", circled["id"]))
    assert undo("u5")["state"]["names"] == [] and acts(service) == []
    with pytest.raises(Conflict, match="nothing of yours"):
        undo("u6")
    replies = [service.redo(f"r{number}", "ann-1") for number in range(5)]
    assert not any(reply["act"]["taken_back"] for reply in replies)
    assert [reply["act"]["kind"] for reply in replies] == ["name", "lasso", "mixed", "merge", "pull"]
    assert replies[1]["group"]["id"] == circled["id"]
    assert [each["name"] for each in service.state()["names"]] == ["red rose"] and service.image(picture)[
        "name"
    ] is None
    assert acts(service) == ["pull", "merge", "mixed", "lasso", "name"]
    with pytest.raises(Conflict, match="nothing to redo"):
        service.redo("r6", "ann-1")
    assert undo("u7")["act"]["kind"] == "pull", "a redone act is undone again"


def test_second_opinions_and_descriptions_are_taken_back_and_done_again(service, run, images):
    group = answered(service, "ann-1", "rose", "a")
    service.people.opinion("b", "bob-1", Event("name", group["id"], "tulip"))
    service.describe("c", "bob-1", "rose", About("with thorns"))
    service.describe("d", "bob-1", "rose", About("with thorns"))

    def known():
        return service.state()["names"][0]["about"], service.people.overview("bob-1")["waiting"]

    assert acts(service, "bob-1") == ["about", "opinion", "name"], "a description that changes nothing is not an act"
    assert "tulip" not in json.dumps(service.history("ann-1")), "others are asked without being shown what was said"
    assert service.undo("u1", "bob-1")["act"]["name"] == "rose" and known() == ({}, 0)
    assert service.undo("u2", "bob-1")["act"]["kind"] == "opinion" and known() == ({}, 1)
    assert service.people.overview("bob-1")["agreement"] == []
    assert [service.redo(key, "bob-1")["act"]["kind"] for key in ("r1", "r2")] == ["opinion", "about"]
    assert known() == ({"description": "with thorns"}, 0)
    service.close()
    with closing(LabelService(run, images)) as again:
        assert acts(again, "bob-1") == ["about", "opinion", "name"]
        assert again.people.overview("bob-1")["agreement"][0]["same"] == 0
        again.undo("u3", "bob-1")
        assert again.state()["names"][0]["about"] == {}


def test_the_model_knows_the_old_name_again_at_once(service):
    for number, text in enumerate(["rose", "tulip"]):
        answered(service, "ann-1", text, f"a{number}")
    service.tell("m", "ann-1", Event("merge", name="red rose", names=("rose",)))
    service.settle()
    assert set(service.session.model_names) == {"red rose", "tulip"}
    state = service.undo("u", "ann-1")["state"]
    assert {each["name"] for each in state["names"]} == {"rose", "tulip"}


def test_a_deleted_name_is_as_if_never_given(service):
    groups = [answered(service, "ann-1", text, f"a{number}") for number, text in enumerate(["rose", "tulip", "daisy"])]
    service.settle()
    state = service.tell("d", "ann-1", Event("drop", names=("rose",)))["state"]
    assert {each["name"] for each in state["names"]} == {"tulip", "daisy"}
    assert groups[0]["id"] in [group.id for group in service.session.open_groups()]
    service.settle()
    assert "rose" not in {service.image(index)["name"] for index in range(60)}
    service.answer("again", "ann-1", Event("name", groups[0]["id"], "rose"))
    service.settle()
    assert "rose" in {each["name"] for each in service.state()["names"]}
    service.undo("u1", "ann-1")
    assert service.undo("u2", "ann-1")["act"]["kind"] == "drop"
    service.settle()
    assert {each["name"] for each in service.state()["names"]} == {"rose", "tulip", "daisy"}
    with pytest.raises(UserError, match="No picture is named"):
        service.tell("e", "ann-1", Event("drop", names=("lily",)))


def test_junk_is_not_a_name(service):
    answered(service, "ann-1", "rose", "a")
    group = service.next_group("ann-1")
    state = service.answer("b", "ann-1", Event("junk", group["id"]))["state"]
    assert [each["name"] for each in state["names"]] == ["rose"] and state["junk"] == group["size"]
    service.map()
    assert -2 in service.map_names()["names"] and max(service.map_names()["names"]) == 0
    service.settle()
    assert service.named("junk", 0, 9, "doubtful")["total"] == service.state()["junk"] >= group["size"] / 2


def test_a_name_taken_back_is_gone_before_the_model_has_learnt_anew(service, monkeypatch):
    for name in ("rose", "tulip", "aster"):
        answered(service, "ann-1", name, name)
    service.settle()
    assert "aster" in service.session.model_names, "it has spread"
    monkeypatch.setattr(LiveLearner, "submit", lambda *_: None)
    for left in (["rose", "tulip"], ["rose"], []):
        state = service.undo(f"u{len(left)}", "ann-1")["state"]
        assert sorted(each["name"] for each in state["names"]) == left
        chances = service.session.model_probabilities
        assert chances is None or np.allclose(chances.sum(1), 1)
        assert (chances is None) == (len(left) < 2), "a single name does not spread"
    assert service.redo("r", "ann-1")["state"]["names"][0]["name"] == "rose"


def test_a_key_undoes_and_redoes_once(service):
    for number, text in enumerate(["rose", "tulip"]):
        answered(service, "ann-1", text, f"a{number}")
    first, same = service.undo("u", "ann-1"), service.undo("u", "ann-1")
    assert first["act"] == same["act"] and service.state()["answers"] == 1
    first, same = service.redo("r", "ann-1"), service.redo("r", "ann-1")
    assert first["act"]["name"] == same["act"]["name"] == "tulip" and service.state()["answers"] == 2


def test_after_a_new_act_there_is_nothing_to_redo(service):
    answered(service, "ann-1", "rose", "a")
    service.undo("u", "ann-1")
    assert service.history("ann-1")["redo"] is not None
    answered(service, "ann-1", "tulip", "b")
    assert service.history("ann-1")["redo"] is None
    with pytest.raises(Conflict):
        service.redo("r", "ann-1")


def test_a_new_window_of_the_same_person_continues_at_once(service):
    first = answered(service, "ann-1", "rose", "a")
    answered(service, "bob-1", "tulip", "b")
    assert service.history("ann-2")["undo"] == service.history("ann-1")["undo"]
    assert service.undo("u", "ann-2")["group"]["id"] == first["id"], "ann's, not bob's, though her other window is open"
    assert service.redo("r", "ann-3")["act"]["name"] == "rose"
    with pytest.raises(Conflict):
        service.undo("v", "eve-1")


def test_undone_acts_stay_undone_after_a_restart(run, images):
    with closing(LabelService(run, images, n_groups=6)) as service:
        answered(service, "ann-1", "rose", "a")
        circled = service.lasso("b", "ann-1", [3, 5, 9])["group"]
        service.undo("u", "ann-1")
    with closing(LabelService(run, images, n_groups=6)) as service:
        assert circled["id"] not in [group.id for group in service.session.open_groups()]
        assert [act["taken_back"] for act in service.history("ann-2")["acts"]] == [True, False]
        assert service.redo("r", "ann-2")["group"]["id"] == circled["id"]
        assert circled["id"] in [group.id for group in service.session.open_groups()]


def test_a_circle_that_somebody_else_answered_about_stays(service):
    circled = service.lasso("a", "ann-1", [3, 5, 9])["group"]
    service.answer("b", "bob-1", Event("name", circled["id"], "rose"))
    with pytest.raises(Conflict, match="Somebody has answered"):
        service.undo("u", "ann-1")


def test_an_answer_cannot_be_redone_if_somebody_gave_another(service):
    group = answered(service, "ann-1", "rose", "a")
    service.undo("u", "ann-1")
    service.answer("b", "bob-1", Event("name", group["id"], "tulip"))
    with pytest.raises(Taken):
        service.redo("r", "ann-1")


@pytest.mark.slow
def test_a_refinement_is_taken_back_and_done_again(service, run):
    service.refinement.words = by(REFINE, run)
    for number, text in enumerate(["rose", "tulip"]):
        answered(service, "ann-1", text, f"a{number}")
    service.settle()
    before = [service.image(index)["name"] for index in range(60)]
    (run / "go").touch()
    service.refine("i", "ann-1", None)
    wait(lambda: service.state()["refinement"]["state"] == "done")
    after = [service.image(index)["name"] for index in range(60)]
    assert after != before and service.state()["round"] == 1
    assert acts(service) == ["refine", "name", "name"]

    reply = service.undo("u", "ann-1")
    service.settle()
    assert reply["act"]["kind"] == "refine" and reply["state"]["round"] == 0
    assert [service.image(index)["name"] for index in range(60)] == before and not (run / "named").exists()
    assert {group.round for group in service.session.open_groups()} == {0}
    with closing(Store.open(run)) as store:
        assert store.rounds() == []

    service.redo("r", "ann-1")
    assert [service.image(index)["name"] for index in range(60)] == after and service.state()["round"] == 1
    service.undo("v", "ann-1")
    assert service.session.round == 0
    service.session.begin_round()
    assert service.session.round == 2, "groups of the undone round are not in the next one"


@pytest.mark.slow
def test_no_refinement_is_undone_while_one_runs(service, run):
    service.refinement.words = by(REFINE, run)
    for number, text in enumerate(["rose", "tulip"]):
        answered(service, "ann-1", text, f"a{number}")
    (run / "go").touch()
    service.refine("i", "ann-1", None)
    wait(lambda: service.state()["refinement"]["state"] == "done")
    (run / "go").unlink()
    service.refine("j", "ann-1", None)
    with pytest.raises(Conflict, match="running already"):
        service.undo("u", "ann-1")
    service.cancel_refinement()
    assert service.undo("u", "ann-1")["act"]["kind"] == "refine"
