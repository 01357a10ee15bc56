"""Who answered what, how fast, and how far people agree."""

from contextlib import closing

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from selfsort.errors import UserError
from selfsort.labelling.core.agreement import agreements, pace
from selfsort.labelling.core.answers import Event
from selfsort.labelling.server.journal import Conflict
from selfsort.labelling.server.service import LabelService


class TestAgreement:
    def test_kappa_is_that_of_scikit_learn(self):
        rng = np.random.default_rng(0)
        said = [(f"n{a}", f"n{a if rng.random() < 0.7 else rng.integers(4)}") for a in rng.integers(0, 4, 80)]
        (found,) = agreements([(1, one, 2, other) for one, other in said])
        assert (found.groups, found.same) == (80, sum(one == other for one, other in said))
        assert found.kappa == pytest.approx(cohen_kappa_score(*zip(*said, strict=True)))

    def test_order_case_and_spaces_do_not_matter(self):
        rows = [(1, "Red Rose", 2, "redrose"), (2, "tulip", 1, "rose")]
        (found,) = agreements(rows)
        assert (found.one, found.other, found.groups, found.same) == (1, 2, 2, 1)

    def test_no_kappa_if_there_is_only_one_answer(self):
        (found,) = agreements([(1, "rose", 2, "rose")] * 3)
        assert found.same == 3 and found.kappa is None

    def test_the_pace_is_the_median_without_breaks(self):
        assert pace([0, 2, 4, 7, 1000, 1004]) == 2.5
        assert pace([5]) is None and pace([0, 1000]) is None and pace([]) is None


@pytest.fixture
def service(run, images):
    with closing(LabelService(run, images, n_groups=6)) as opened:
        yield opened


def answer(service: LabelService, client: str, key: str, name: str | None = None, kind: str = "name") -> int:
    group = service.next_group(client)
    assert group is not None
    service.answer(key, client, Event(kind, group["id"], name))  # type: ignore[arg-type]
    return int(group["id"])


def test_answers_and_pictures_of_everybody(service):
    first = answer(service, "ann-1", "a", "rose")
    answer(service, "ann-2", "b", kind="skip")
    answer(service, "bob-1", "c", "tulip")
    called = service.people.call("bob-1", "Rebut")["people"]
    assert [each["name"] for each in called] == ["", "Rebut"]
    service.people.call("bob-1", " Bob  B ")
    ann, bob = service.people.overview("ann-1")["people"]
    assert (ann["number"], ann["name"], ann["me"], ann["answers"]) == (1, "", True, 2), (
        "two windows of one browser are one person"
    )
    assert ann["pictures"] == len(service.session.groups[first].members)
    assert (bob["name"], bob["me"], bob["answers"]) == ("Bob B", False, 1)
    assert ann["left"] is None or ann["left"] >= 0
    with pytest.raises(UserError, match="called 'Bob B' already"):
        service.people.call("ann-1", "Bob B")
    with pytest.raises(UserError, match="empty"):
        service.people.call("ann-1", " ")


def test_only_others_are_asked_for_a_second_opinion_and_it_changes_no_name(service, run, images):
    asked = [answer(service, "ann-1", f"a{k}", f"kind {k % 2}") for k in range(3)]
    answer(service, "ann-1", "skip", kind="skip")
    assert service.people.next("ann-2") == {"group": None, "waiting": 0}, "not her own"
    before = service.state()["names"]
    seen = []
    for k in range(3):
        group = service.people.next("bob-1")["group"]
        assert group["suggestion"] is None and group["about"] == []
        seen.append(group["id"])
        said = f"KIND {asked.index(group['id']) % 2}" if k else "something else"
        service.people.opinion(f"b{k}", "bob-1", Event("name", group["id"], said))
        service.people.opinion(f"b{k}", "bob-1", Event("name", group["id"], said))
    assert sorted(seen) == sorted(asked) and service.people.next("bob-1")["group"] is None
    assert {each["name"] for each in service.state()["names"]} == {each["name"] for each in before}
    overview = service.people.overview("bob-1")
    (pair,) = overview["agreement"]
    assert (pair["groups"], pair["same"]) == (3, 2)
    assert {pair["one"], pair["other"]} == {person["number"] for person in overview["people"]}
    with pytest.raises(Conflict, match="is needed from you"):
        service.people.opinion("c", "bob-1", Event("name", seen[0], "again"))
    service.close()
    with closing(LabelService(run, images)) as again:
        assert again.people.overview("cid-1")["agreement"][0]["same"] == 2


def test_names_merged_since_are_the_same(service):
    group = answer(service, "ann-1", "a", "roze")
    service.people.opinion("b", "bob-1", Event("name", group, "rose"))
    assert service.people.overview("ann-1")["agreement"][0]["same"] == 0
    service.tell("c", "ann-1", Event("merge", name="rose", names=("roze",)))
    assert service.people.overview("ann-1")["agreement"][0]["same"] == 1


def test_an_undone_answer_is_nobodys(service):
    answer(service, "ann-1", "a", "rose")
    assert service.people.next("bob-1")["waiting"] == 1
    service.undo("b", "ann-1")
    assert service.people.next("bob-1")["waiting"] == 0
    assert service.people.overview("bob-1")["people"] == [
        {"number": 1, "name": "", "me": True, "answers": 0, "pictures": 0, "seconds": None, "left": None}
    ]
