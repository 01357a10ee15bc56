"""The service: several people, keys that count once, groups split in the background, and refinements."""

import csv
import io
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import closing

import numpy as np
import pytest
from PIL import Image

from refining import REFINE, by, wait
from run_files import edit
from selfsort import runs
from selfsort.errors import UserError
from selfsort.export.formats import csv_list
from selfsort.labelling import label_space
from selfsort.labelling.core.answers import Event, SimilarName, Taken
from selfsort.labelling.core.query_tree import QueryTree
from selfsort.labelling.server.better_points import BetterPoints
from selfsort.labelling.server.journal import Conflict
from selfsort.labelling.server.refinement import Refinement, refine_command
from selfsort.labelling.server.service import LabelService, Missing
from selfsort.labelling.store import Store, load_session


@pytest.fixture
def service(run, images):
    with closing(LabelService(run, images, n_groups=6)) as service:
        yield service


def keys(run):
    """Return the keys of the answers in the store of a run."""
    with closing(Store.open(run)) as store:
        return [item.key for item in store.events()]


def name(group, text, **more):
    return Event("name", group["id"], text, **more)


def test_first_groups_are_proposed_once(run, images):
    with closing(LabelService(run, images, n_groups=6)) as service:
        groups = service.session.groups
        members = np.concatenate([group.members for group in groups.values()])
        assert len(groups) == 6 and sorted(members) == list(range(60))
        assert service.state()["open_groups"] == 6 and service.state()["pictures"] == 60
    with closing(LabelService(run, images, n_groups=3)) as service:
        assert list(service.session.groups) == list(groups)


def test_the_judgement_from_fitting_is_reported(run, images):
    facts = json.loads((run / "run.json").read_text())
    with closing(LabelService(run, images)) as service:
        judged, found = service.state()["judged"], facts["training"]["groups"]
    assert judged["verdict"] == found["verdict"] and judged["features"] == round(found["neighbors"]["features"], 2)
    assert judged["dead"] == len(found["dead"]) and judged["swollen"] == len(found["swollen"])
    del facts["training"]["groups"]  # as earlier versions have none
    edit(run, training=facts["training"])
    with closing(LabelService(run, images)) as service:
        assert service.state()["judged"] is None


def test_four_groups_per_class_by_default(run, images):
    with closing(LabelService(run, images)) as service:
        assert len(service.session.groups) == 6, "none with fewer than about ten pictures"


def test_two_people_get_different_groups_and_each_the_same_until_answered(service):
    ann, bob = service.next_group("ann"), service.next_group("bob")
    assert ann["id"] != bob["id"]
    assert service.next_group("ann")["id"] == ann["id"]
    ahead = service.next_group("ann", after=ann["id"])
    assert ahead["id"] not in (ann["id"], bob["id"])
    assert service.next_group("ann")["id"] == ann["id"]
    reply = service.answer("k", "ann", name(ann, "rose"))
    assert reply["group"]["id"] == ahead["id"]


def test_a_lease_ends(service, monkeypatch):
    ann = service.next_group("ann")
    monkeypatch.setattr(time, "monotonic", lambda now=time.monotonic: now() + 121)
    assert service.next_group("bob")["id"] == ann["id"]


def test_a_group_shows_its_pictures(service):
    group = service.next_group("ann")
    rows = group["typical"] + group["random"] + group["borderline"]
    members = service.session.groups[group["id"]].members
    assert len(set(rows)) == len(rows) and set(rows) <= set(members.tolist())
    assert group["size"] == len(members) and group["gain"] == pytest.approx(len(members))
    assert group["centre"] is None and group["suggestion"] is None and group["depth"] == 0
    assert service.group(group["id"]) == group
    with pytest.raises(Missing, match="no centre"):
        service.centre(group["id"])
    with pytest.raises(Missing, match="no group 99"):
        service.group(99)


def test_answers_count_once_and_survive(service, run):
    group = service.next_group("ann")
    first = service.answer("k", "ann", name(group, "rose", pictures=(group["typical"][0],)))
    again = service.answer("k", "ann", name(group, "rose", pictures=(group["typical"][0],)))
    assert first["state"]["answers"] == again["state"]["answers"] == 1
    assert first["group"]["id"] == again["group"]["id"]
    assert first["state"]["covered"] == group["size"] - 1
    store = Store.open(run)
    assert load_session(store, run).counts() == [("rose", group["size"] - 1)]
    store.close()


def test_refused_answers_are_not_stored(service, run):
    ann, bob = service.next_group("ann"), service.next_group("bob")
    service.answer("a", "ann", name(ann, "Rose"))
    with pytest.raises(Taken):
        service.answer("b", "bob", name(ann, "tulip"))
    with pytest.raises(SimilarName) as similar:
        service.answer("c", "bob", name(bob, " rose"))
    assert similar.value.existing == "Rose"
    with pytest.raises(UserError, match="empty"):
        service.answer("d", "bob", name(bob, "  "))
    assert keys(run) == ["a"]
    assert service.answer("c", "bob", name(bob, "rose", distinct=True))["state"]["answers"] == 2


def test_a_full_disk_changes_nothing(service, monkeypatch):
    group = service.next_group("ann")
    monkeypatch.setattr(Store, "add_event", lambda *what: (_ for _ in ()).throw(UserError("The disk is full.")))
    with pytest.raises(UserError, match="full"):
        service.answer("k", "ann", name(group, "rose"))
    monkeypatch.undo()
    assert service.state()["answers"] == 0
    assert service.answer("k", "ann", name(group, "rose"))["state"]["answers"] == 1


def test_parts_of_a_mixed_group_are_asked_about_later(run, images):
    with closing(LabelService(run, images, n_groups=2)) as service:
        whole = service.session.groups[service.next_group("ann")["id"]].members
        for key in ("a", "b"):
            service.answer(key, "ann", Event("mixed", service.next_group("ann")["id"]))
        part = service.next_group("ann")
        assert part["kind"] == "query" and part["depth"] == 0
        members = service.session.groups[part["id"]].members
        assert 0 < len(members) < len(whole)
    with closing(LabelService(run, images)) as service:
        assert service.next_group("bob")["id"] == part["id"], "it is asked about again after a restart"


def test_a_client_without_a_group_waits_for_the_tree(run, images, monkeypatch):
    ready = threading.Event()

    def late(points, **options):
        ready.wait()
        return QueryTree(points, **options)

    monkeypatch.setattr("selfsort.labelling.server.service.QueryTree", late)
    monkeypatch.setattr("selfsort.labelling.server.service._WAITING", 60)
    with closing(LabelService(run, images, n_groups=2)) as service:
        for key in ("a", "b"):
            service.answer(key, "ann", name(service.next_group("ann"), f"kind {key}"))
        threading.Timer(0.2, ready.set).start()
        assert service.next_group("ann")["kind"] == "query"


@pytest.fixture
def gate(run, monkeypatch):
    """Withhold a run's better points until this is set; until then groups are rough."""
    runs.RunFolder(run).points.unlink()
    gate = threading.Event()

    def compute(self, folder, random_state):
        while not gate.wait(0.02):
            if self.stopped:
                return
        embedding = np.load(runs.RunFolder(folder).embedding)
        label_space.keep(folder, label_space.stamp_of(embedding), embedding)

    monkeypatch.setattr(BetterPoints, "compute", compute)
    return gate


def test_rough_groups_are_asked_about_until_there_are_better_ones(run, images, gate):
    with closing(LabelService(run, images, n_groups=4)) as service:
        rough = service.next_group("ann")
        assert rough["kind"] == "rough" and rough["centre"] is None and service.state()["open_groups"] == 4
        service.answer("a", "ann", name(rough, "rose"))
        asked, bobs = service.next_group("ann"), service.next_group("bob")
        drawn = service.lasso("l", "cleo", [1, 4, 7])["group"]
        gate.set()
        service.settle()
        kinds = [group.kind for group in service.session.open_groups()]
        assert sorted(kinds) == ["cluster"] * 4 + ["lasso"]
        assert service.next_group("ann")["id"] == asked["id"], "the group that somebody looks at stays"
        service.answer("b", "bob", name(bobs, "tulip"))
        assert service.next_group("bob")["kind"] == "cluster" and service.next_group("cleo")["id"] == drawn["id"]
        assert service.undo("u", "bob")["group"]["id"] == bobs["id"] == service.next_group("bob")["id"]
        assert {"rose"} == set(service.session.names())
        known = set(service.session.groups)
    with closing(LabelService(run, images)) as service:
        assert set(service.session.groups) == known and service.next_group("ann")["kind"] == "cluster"


def test_better_groups_come_even_after_a_restart(run, images, gate):
    with closing(LabelService(run, images, n_groups=4)) as service:
        service.answer("a", "ann", name(service.next_group("ann"), "rose"))
        members = set(np.flatnonzero(service.session.labels().given))
    runs.RunFolder(run).points.unlink(missing_ok=True)
    gate.set()
    with closing(LabelService(run, images, n_groups=3)) as service:
        service.settle()
        assert service.state()["open_groups"] == 3 and set(np.flatnonzero(service.session.labels().given)) == members


def test_groups_stay_rough_if_better_ones_cannot_be_found(run, images, monkeypatch, caplog):
    runs.RunFolder(run).points.unlink()
    monkeypatch.setattr(sys, "executable", "false")
    with closing(LabelService(run, images, n_groups=2)) as service:
        service.settle()
        assert "stay rough" in caplog.text and len(caplog.records) == 1 and caplog.records[0].exc_info is None
        for key in ("a", "b"):
            assert service.next_group("ann")["kind"] == "rough"
            service.answer(key, "ann", name(service.next_group("ann"), f"kind {key}"))
        assert service.next_group("ann")["kind"] == "query"


@pytest.mark.slow
def test_better_points_come_from_a_process_that_reports_progress(run):
    folder = runs.RunFolder(run)
    kept = np.load(folder.points)["points"]
    folder.points.unlink()
    seen = []
    better = BetterPoints(lambda: seen.append(better.progress))
    better.compute(run, 0)
    points = np.load(folder.points)["points"]
    assert len(points) == len(kept) and points.shape[1] < kept.shape[1], "a UMAP of the embedding"
    shares = [progress["share"] for progress in seen if progress]
    assert shares == sorted(shares) and shares[0] == 0 and seen[-1] is None and better.progress is None


def test_undo_takes_back_own_answers_and_asks_again(service, run):
    ann, bob = service.next_group("ann"), service.next_group("bob")
    service.answer("a", "ann", name(ann, "rose"))
    service.answer("b", "bob", name(bob, "tulip"))
    first = service.undo("u", "ann")
    service.settle()  # what was learnt before may still have the removed name
    again = service.undo("u", "ann")
    assert first["group"]["id"] == again["group"]["id"] == ann["id"] == service.next_group("ann")["id"]
    assert [each["name"] for each in again["state"]["names"]] == ["tulip"]
    with pytest.raises(Conflict):
        service.undo("v", "ann")
    assert keys(run) == ["b"]


def test_a_person_in_another_tab_may_undo_unless_somebody_else_is_working(service, monkeypatch):
    group = service.next_group("old tab")
    service.answer("a", "old tab", name(group, "rose"))
    service.next_group("new tab")
    with pytest.raises(Conflict, match="nothing of yours"):
        service.undo("u", "new tab")  # the old tab has been given the next group
    monkeypatch.setattr(time, "monotonic", lambda now=time.monotonic: now() + 121)
    assert service.undo("v", "new tab")["group"]["id"] == group["id"]
    assert service.state()["answers"] == 0
    with pytest.raises(Conflict, match="nothing of yours"):
        service.undo("w", "new tab")


def test_lasso(service):
    reply = service.lasso("k", "ann", [5, 3, 9, 3])
    assert reply["group"]["kind"] == "lasso" and reply["group"]["size"] == 3
    assert (
        service.lasso("k", "ann", [5, 3, 9])["group"]["id"] == reply["group"]["id"] == service.next_group("ann")["id"]
    )
    assert service.answer("a", "ann", name(reply["group"], "rose"))["state"]["covered"] == 3
    with pytest.raises(Conflict):
        service.lasso("a", "ann", [1])
    for pictures in ([], [60], [2**40]):
        with pytest.raises(UserError, match="no pictures"):
            service.lasso("x", "ann", pictures)


def test_a_lasso_includes_pictures_that_are_not_drawn(run, images, monkeypatch):
    monkeypatch.setattr("selfsort.labelling.server.embedding_map._POINTS", 20)
    with closing(LabelService(run, images)) as service:
        drawn = [point[0] for point in service.map()["points"]]
        chosen = [picture for picture in drawn if picture % 3 == 0]
        members = service.session.groups[service.lasso("k", "ann", chosen, nearby=True)["group"]["id"]].members
        assert sum(point[3] for point in service.map()["points"]) == 60
        assert len(drawn) == 20 and len(members) > 15 and set(chosen) < set(members.tolist())
        assert (members % 3 == 0).all(), "of the same kind"
        whole = service.lasso("w", "ann", drawn, nearby=True)["group"]
        assert whole["size"] == 60
        for pictures in ([], [60], [-1]):
            with pytest.raises(UserError, match="lasso"):
                service.lasso("x", "ann", pictures, nearby=True)


def test_a_lasso_may_leave_out_named_pictures(service):
    group = service.next_group("ann")
    service.answer("a", "ann", name(group, "rose"))
    named = service.session.groups[group["id"]].members.tolist()
    assert set(service.map_names()["unnamed"]) == set(range(60)) - set(named)
    circled = service.lasso("k", "ann", list(range(60)), only_unnamed=True)["group"]
    assert circled["size"] == 60 - len(named)
    with pytest.raises(UserError, match="lasso"):
        service.lasso("l", "ann", named, only_unnamed=True)


def test_names_are_merged_and_pictures_pulled_out(service):
    for number, text in enumerate(["roze", "rose"]):
        service.answer(f"a{number}", "ann", name(service.next_group("ann"), text))
    before = {each["name"]: each["colour"] for each in service.state()["names"]}
    service.tell("m", "ann", Event("merge", name="rose", names=("roze",)))
    service.settle()
    shown = service.named("rose", 0, 5, "doubtful")
    assert len(shown["pictures"]) == 5 and shown["total"] == service.state()["covered"]
    confidences = [row["confidence"] for row in service.named("rose", 0, 100, "doubtful")["pictures"]]
    assert confidences == sorted(confidences)
    assert [r["confidence"] for r in service.named("rose", 0, 100, "typical")["pictures"]] == confidences[::-1]
    pulled = shown["pictures"][0]["index"]
    state = service.tell("p", "ann", Event("pull", name="tulip", pictures=(pulled,), names=("rose",)))["state"]
    assert service.image(pulled)["name"] == "tulip" and service.image(pulled)["given"]
    assert {each["name"]: each["colour"] for each in state["names"]}["rose"] == before["rose"]
    with pytest.raises(Missing):
        service.named("roze", 0, 5, "doubtful")


def test_map(service):
    seen = service.map()
    assert [row for row, *_ in seen["points"]] == list(range(60)) and {count for *_, count in seen["points"]} == {1}
    points = np.array([[x, y] for _, x, y, _ in seen["points"]])
    assert points.min() >= 0 and points.max() <= 1 and np.ptp(points, axis=0).max() == pytest.approx(1, abs=1e-3)
    assert set(service.map_names()["names"]) == {-1} and service.map_names()["unnamed"] == list(range(60))
    group = service.next_group("ann")
    service.answer("k", "ann", name(group, "rose"))
    colours = service.map_names()["names"]
    assert [row for row, colour in enumerate(colours) if colour == 0] == sorted(
        service.session.groups[group["id"]].members.tolist()
    )


def test_the_better_map_is_kept(run, images, monkeypatch):
    with closing(LabelService(run, images)) as service:
        version = service.map()["version"]
        wait(lambda: service.map()["kind"] == "tsne")
        kept = service.map()
        assert kept["version"] > version
    monkeypatch.setattr("selfsort.labelling.server.embedding_map.project", None)
    with closing(LabelService(run, images)) as service:
        assert service.map()["points"] == kept["points"]


@pytest.mark.slow
def test_a_better_map_of_many_pictures_tells_how_far_it_is(run, images, monkeypatch):
    monkeypatch.setattr("selfsort.labelling.server.embedding_map._QUICK", 0)
    seen = []
    with closing(LabelService(run, images)) as service:
        assert service.state()["map_drawing"] is None and service.map()["kind"] == "pca"
        assert service.state()["map_drawing"] is not None

        def is_better():
            seen.append(service.state()["map_drawing"])
            return service.map()["kind"] == "tsne"

        wait(is_better)
        assert service.state()["map_drawing"] is None
    shares = [share for share in seen if share is not None]
    assert shares == sorted(shares) and len(set(shares)) > 1, "it was told in between"


def test_pictures(service, images):
    with Image.open(io.BytesIO(service.thumbnail(7).content)) as drawn:
        np.testing.assert_array_equal(np.asarray(drawn), images.images[7])
    assert service.original(7) == service.thumbnail(7), "an array has no file"
    assert service.image(7)["id"] == images.ids[7]
    for look in (service.thumbnail, service.original, service.image):
        for index in (-1, 60):
            with pytest.raises(Missing):
                look(index)


def test_labels_as_a_table(service, images):
    group = service.next_group("ann")
    service.answer("k", "ann", name(group, 'say "é", or not'))
    rows = list(csv.DictReader(io.StringIO(b"".join(csv_list.chunks(service.named_pictures())).decode())))
    assert [row["id"] for row in rows] == list(images.ids)
    named = [index for index, row in enumerate(rows) if row["name"] == 'say "é", or not']
    assert named == sorted(service.session.groups[group["id"]].members.tolist())
    assert all((row["given"] == "1") == bool(row["confidence"]) for row in rows)


def test_no_spreadsheet_computes_a_name(service):
    for number, text in enumerate(["=1+1", "@SUM(A1)", "-1", "+ 2 kinds"]):
        service.answer(f"k{number}", "ann", name(service.next_group("ann"), text))
    found = {
        row["name"] for row in csv.DictReader(io.StringIO(b"".join(csv_list.chunks(service.named_pictures())).decode()))
    }
    assert found - {""} == {"'=1+1", "'@SUM(A1)", "-1", "'+ 2 kinds"}
    assert "=1+1" in service.session.names()


def test_versions_grow_over_restarts(run, images):
    versions = []
    for number in range(3):
        with closing(LabelService(run, images)) as service:
            for key in range(3):
                group = service.next_group("ann")
                if key < 2:
                    service.answer(f"{number}-{key}", "ann", Event("skip", group["id"]))
                versions.append(service.state()["version"])
    assert versions == sorted(versions) and len(set(versions)) >= 6


def test_a_generation_is_for_names_and_groups_a_version_for_everything(service):
    def seen():
        return [service.state()[key] for key in ("generation", "version", "map")]

    service.settle()
    before = seen()
    assert before[2] == 0, "nobody has looked at the map"
    service.map()
    wait(lambda: service.map()["kind"] == "tsne")
    mapped = seen()
    assert mapped[0] == before[0] and mapped[1] > before[1] and mapped[2] > 0
    service.answer("a", "ann", name(service.next_group("ann"), "rose"))
    service.settle()
    named = seen()
    assert named[1] > named[0] > mapped[1], "the estimate comes after the names"
    assert named[2] == mapped[2]
    service.answer("a", "ann", name(service.next_group("ann"), "rose"))
    assert seen() == named, "the key was used"
    service.undo("u", "ann")
    assert seen()[0] > named[0]


def test_other_pictures_are_refused(run, images):
    with pytest.raises(UserError, match="other pictures"):
        LabelService(run, images.subset(range(59)))


@pytest.mark.parametrize("n_groups", [1, 61])
def test_too_few_or_many_groups(run, images, n_groups):
    with pytest.raises(UserError, match=f"{n_groups} groups"):
        LabelService(run, images, n_groups=n_groups)


def test_many_threads(service):
    """Each group is answered by exactly one of the clients that try, whatever they do meanwhile."""
    outcomes = []

    def work(client):
        while len(outcomes) < 30 and (group := service.next_group(client)) is not None:
            try:
                outcomes.append(
                    service.answer(f"{client}-{group['id']}", client, name(group, "rose"))["state"]["answers"]
                )
            except Taken:
                outcomes.append(None)
            service.map_names(), service.named_pictures(), service.state()

    threads = [threading.Thread(target=work, args=(f"c{number}",)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = sorted(count for count in outcomes if count)
    assert counts == list(range(1, len(counts) + 1)) and len(counts) > 6
    assert service.state()["covered"] == 60


def test_names_spread_after_every_answer(service, images):
    kinds = {"rose": 0, "tulip": 1}
    for text, kind in kinds.items():
        group = next(g for g in service.session.groups.values() if set(g.members % 3) == {kind})
        service.answer(text, "ann", Event("name", group.id, text))
    service.settle()
    labels = service.session.labels()
    own = np.arange(60) % 3 < 2
    spread = np.array(labels.names)[labels.name_of[own]]
    assert (spread == np.where(np.flatnonzero(own) % 3, "tulip", "rose")).all()
    assert service.session.round == 0 and (labels.model >= 0).all()
    assert (labels.given == (labels.said >= 0)).all(), "names from answers stay, and the spread names agree with them"
    generation = service.state()["generation"]
    service.undo("u", "ann")
    service.settle()
    assert service.state()["generation"] > generation
    assert service.session.counts() == [("rose", service.state()["covered"])], "a single name does not spread"


def test_after_the_first_groups_come_narrower_ones(run, images):
    with closing(LabelService(run, images, n_groups=2)) as service:
        asked = []
        for number in range(10):
            group = service.next_group("ann")
            most = np.bincount(np.array(group["typical"] + group["random"] + group["borderline"]) % 3).argmax()
            service.answer(f"k{number}", "ann", name(group, f"kind {most}"))
            service.settle()
            asked.append(group["kind"])
        assert asked == ["cluster"] * 2 + ["query"] * 8
        labels = service.session.labels()
        right = np.array([int(labels.names[k][-1]) for k in labels.name_of]) == np.arange(60) % 3
        assert right.mean() > 0.75, "the kind that was hidden in a group is found"
        known = set(service.session.groups)
    with closing(LabelService(run, images)) as service:
        assert known <= set(service.session.groups)
        service.settle()
        assert service.next_group("ann")["id"] not in range(10)


def test_circled_groups_are_asked_about_even_if_groups_do_not_fit(service):
    for number in range(8):
        service.answer(f"k{number}", "ann", Event("mixed", service.next_group("ann")["id"]))
    circled = service.lasso("l", "ann", list(range(10)))["group"]
    assert circled["size"] == 10 and not service.state()["groups_fit"]
    assert service.next_group("ann")["id"] == circled["id"]
    assert service.next_group("bob")["size"] == 1


def test_single_pictures_are_asked_about_if_groups_do_not_fit(service):
    for number in range(8):
        group = service.next_group("ann")
        service.answer(f"k{number}", "ann", Event("mixed", group["id"]))
        service.settle()
    assert not service.state()["groups_fit"]
    singles = []
    for number in range(3):
        group = service.next_group("ann")
        assert group["size"] == 1
        singles.append(group["typical"] + group["random"] + group["borderline"])
        service.answer(f"s{number}", "ann", name(group, f"kind {number}"))
        service.settle()
    assert len({pictures[0] for pictures in singles}) == 3
    assert service.session.labels().name_of[singles[0][0]] == 0


WAIT = """
import os, sys, time
open(f"{sys.argv[1]}/.pid", "w").write(str(os.getpid()))
os.rename(f"{sys.argv[1]}/.pid", f"{sys.argv[1]}/pid")
time.sleep(600)
"""
FAIL = "import sys; print('noise', file=sys.stderr); sys.exit('selfsort: The loss is not finite: try again.')"


@pytest.mark.slow
def test_refine_keeps_asking_and_brings_new_groups(service, run):
    service.refinement.words = by(REFINE, run)
    for number, text in enumerate(["rose", "tulip"]):
        service.answer(f"a{number}", "ann", name(service.next_group("ann"), text))
    assert service.refine("i", "ann", None)["state"]["refinement"]["state"] == "running"
    assert service.refine("i", "ann", None)["state"]["refinement"]["state"] == "running", "the key was used"
    with pytest.raises(Conflict, match="running already"):
        service.refine("j", "ann", None)
    wait(lambda: service.state()["refinement"]["epoch"] == 2)
    late = service.next_group("ann")
    service.answer("late", "ann", name(late, "daisy"))
    (run / "go").touch()
    wait(lambda: service.state()["refinement"]["state"] != "running")
    state = service.state()
    found = state["refinement"]
    changed = found.pop("changed")
    wanted = {"state": "done", "epoch": 2, "epochs": 2, "loss": 0.5, "message": "", "seconds": None, "held_out": None}
    assert found == wanted
    assert 0 < sum(move["count"] for move in changed["moves"]) <= changed["pictures"] <= 60
    assert state["round"] == 1 and state["answers"] == 3
    members = service.session.groups[late["id"]].members
    assert all(service.image(int(index))["name"] == "daisy" for index in members), "answers given since count more"
    assert service.next_group("bob")["round"] == 1


def test_refine_needs_a_name(service):
    with pytest.raises(Conflict, match="Name a group first"):
        service.refine("i", "ann", None)


def test_a_refinement_that_fails_says_why(service, run):
    service.refinement.words = by(FAIL, run)
    for number, text in enumerate(["rose", "tulip"]):
        service.answer(f"a{number}", "ann", name(service.next_group("ann"), text))
    service.refine("i", "ann", None)
    wait(lambda: service.state()["refinement"]["state"] != "running")
    assert service.state()["refinement"]["state"] == "failed"
    assert service.state()["refinement"]["message"] == "The loss is not finite: try again."
    assert service.refine("j", "ann", None)["state"]["refinement"]["state"] == "running", "it can be tried again"


def test_closing_ends_a_refinement(run, images):
    service = LabelService(run, images, n_groups=6)
    service.refinement.words = by(WAIT, run)
    for number, text in enumerate(["rose", "tulip"]):
        service.answer(f"a{number}", "ann", name(service.next_group("ann"), text))
    service.refine("i", "ann", 3)
    wait((run / "pid").exists)
    began = time.monotonic()
    service.close()
    assert time.monotonic() - began < 60
    with pytest.raises(ProcessLookupError):
        os.kill(int((run / "pid").read_text()), 0)


def test_a_refinement_is_cancelled_without_a_trace(service, run):
    service.refinement.words = by(WAIT, run)
    for number, text in enumerate(["rose", "tulip"]):
        service.answer(f"a{number}", "ann", name(service.next_group("ann"), text))
    service.refine("i", "ann", None)
    wait((run / "pid").exists)
    assert service.cancel_refinement()["state"]["refinement"]["state"] == "cancelled"
    with pytest.raises(ProcessLookupError):
        os.kill(int((run / "pid").read_text()), 0)
    assert service.state()["round"] == 0 and not (run / "named").exists()
    (run / "pid").unlink()
    service.refine("j", "ann", None)
    wait((run / "pid").exists)
    assert service.cancel_refinement()["state"]["refinement"]["state"] == "cancelled", "it could be started again"


def test_the_time_left_follows_from_the_epochs_since_the_first(monkeypatch):
    refinement = Refinement(lambda epochs: [], lambda: None, lambda key, client: {})
    now = iter((100.0, 110.0, 120.0))
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    left = []
    for epoch in (1, 2, 3):
        refinement._follow({"epoch": epoch, "epochs": 5, "loss": 1.0})
        left.append(refinement.status.seconds)
    assert left == [None, 30, 20]


def test_a_refinement_notices_that_its_server_is_gone():
    program = "from selfsort.labelling.server.helper import end_with_input as end; end(); import time; time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.stdin.close()
        assert process.wait(60) == 1


def test_a_refinement_by_another_process_is_noticed(service, run, monkeypatch):
    for number, text in enumerate(["rose", "tulip"]):
        service.answer(f"a{number}", "ann", name(service.next_group("ann"), text))
    (run / "go").touch()
    monkeypatch.setattr(sys, "argv", ["refine", str(run)])
    exec(compile(REFINE, "refine", "exec"), {})
    wait(lambda: service.state()["round"] == 1)
    assert service.next_group("ann")["round"] == 1


def test_json_holds_everything(service):
    service.answer("a", "ann", name(service.next_group("ann"), "rose"))
    for content in (service.state(), service.next_group("ann"), service.map(), service.map_names(), service.image(3)):
        assert json.loads(json.dumps(content)) == content


def test_a_refinement_gets_the_new_location_of_the_pictures(run, images):
    with closing(LabelService(run, images, moved="elsewhere.npy")) as service:
        words = service.refinement.words(3)
    assert words[-4:] == ["--images", "elsewhere.npy", "--epochs", "3"] and str(run) in words
    assert "--images" not in refine_command(run, None)
