"""The desk: several people, keys that count once, groups split behind the scenes, and refinements."""

import csv
import io
import json
import subprocess
import sys
import threading
import time
from contextlib import closing

import numpy as np
import pytest
from PIL import Image

from selfsort.errors import UserError
from selfsort.labelling.core.session import Event, SimilarName, Taken
from selfsort.labelling.server.desk import Conflict, Desk, Missing
from selfsort.labelling.server.improvement import command
from selfsort.labelling.store import Store, load_session


@pytest.fixture
def desk(run, images):
    with closing(Desk(run, images, n_groups=6)) as desk:
        yield desk


def name(group, text, **more):
    return Event("name", group["id"], text, **more)


def wait(condition, seconds=60.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


def test_first_groups_are_proposed_once(run, images):
    with closing(Desk(run, images, n_groups=6)) as desk:
        groups = desk.session.groups
        members = np.concatenate([group.members for group in groups.values()])
        assert len(groups) == 6 and sorted(members) == list(range(60))
        assert desk.state()["open_groups"] == 6 and desk.state()["pictures"] == 60
    with closing(Desk(run, images, n_groups=3)) as desk:
        assert list(desk.session.groups) == list(groups)


def test_as_many_groups_as_four_to_a_class_by_default(run, images):
    with closing(Desk(run, images)) as desk:
        assert len(desk.session.groups) == 6, "none of less than about ten pictures"


def test_two_people_get_different_groups_and_each_the_same_until_answered(desk):
    ann, bob = desk.next_group("ann"), desk.next_group("bob")
    assert ann["id"] != bob["id"]
    assert desk.next_group("ann")["id"] == ann["id"]
    ahead = desk.next_group("ann", after=ann["id"])
    assert ahead["id"] not in (ann["id"], bob["id"])
    assert desk.next_group("ann")["id"] == ann["id"]
    reply = desk.answer("k", "ann", name(ann, "rose"))
    assert reply["group"]["id"] == ahead["id"]


def test_a_lease_ends(desk, monkeypatch):
    ann = desk.next_group("ann")
    monkeypatch.setattr(time, "monotonic", lambda now=time.monotonic: now() + 121)
    assert desk.next_group("bob")["id"] == ann["id"]


def test_a_group_shows_its_pictures(desk):
    group = desk.next_group("ann")
    rows = group["typical"] + group["random"] + group["borderline"]
    members = desk.session.groups[group["id"]].members
    assert len(set(rows)) == len(rows) and set(rows) <= set(members.tolist())
    assert group["size"] == len(members) and group["gain"] == pytest.approx(len(members))
    assert group["centre"] is None and group["suggestion"] is None and group["depth"] == 0
    assert desk.group(group["id"]) == group
    with pytest.raises(Missing, match="no centre"):
        desk.centre(group["id"])
    with pytest.raises(Missing, match="no group 99"):
        desk.group(99)


def test_answers_count_once_and_survive(desk, run):
    group = desk.next_group("ann")
    first = desk.answer("k", "ann", name(group, "rose", pictures=(group["typical"][0],)))
    again = desk.answer("k", "ann", name(group, "rose", pictures=(group["typical"][0],)))
    assert first["state"]["answers"] == again["state"]["answers"] == 1
    assert first["group"]["id"] == again["group"]["id"]
    assert first["state"]["covered"] == group["size"] - 1
    store = Store.open(run)
    assert load_session(store, run).counts() == [("rose", group["size"] - 1)]
    store.close()


def test_what_is_refused_is_not_stored(desk):
    ann, bob = desk.next_group("ann"), desk.next_group("bob")
    desk.answer("a", "ann", name(ann, "Rose"))
    with pytest.raises(Taken):
        desk.answer("b", "bob", name(ann, "tulip"))
    with pytest.raises(SimilarName) as similar:
        desk.answer("c", "bob", name(bob, " rose"))
    assert similar.value.existing == "Rose"
    with pytest.raises(UserError, match="empty"):
        desk.answer("d", "bob", name(bob, "  "))
    assert [item.key for item in desk.store.events()] == ["a"]
    assert desk.answer("c", "bob", name(bob, "rose", distinct=True))["state"]["answers"] == 2


def test_a_full_disk_changes_nothing(desk, monkeypatch):
    group = desk.next_group("ann")
    monkeypatch.setattr(desk.store, "add_event", lambda *what: (_ for _ in ()).throw(UserError("The disk is full.")))
    with pytest.raises(UserError, match="full"):
        desk.answer("k", "ann", name(group, "rose"))
    monkeypatch.undo()
    assert desk.state()["answers"] == 0
    assert desk.answer("k", "ann", name(group, "rose"))["state"]["answers"] == 1


def test_a_mixed_group_is_split_behind_the_scenes(desk, run, images):
    group = desk.next_group("ann")
    desk.answer("k", "ann", Event("mixed", group["id"]))
    desk.settle()
    parts = [other for other in desk.session.groups.values() if other.parent == group["id"]]
    whole = desk.session.groups[group["id"]].members
    assert len(parts) > 1 and sorted(np.concatenate([part.members for part in parts])) == sorted(whole)
    assert all(desk.group(part.id)["depth"] == 1 for part in parts)
    largest = max(parts, key=lambda part: len(part.members))
    desk.answer("again", "ann", Event("mixed", largest.id))
    assert desk.undo("u", "ann")["group"]["id"] == largest.id
    desk.settle()
    with closing(Store.open(run)) as store:
        assert load_session(store, run).open_groups()[0].id == desk.session.open_groups()[0].id


def test_a_split_that_was_missed_is_made_up_for(run, images):
    with closing(Desk(run, images, n_groups=6)) as desk:
        number = desk.next_group("ann")["id"]
    with closing(Store.open(run)) as store:  # the server died before the parts were there
        store.add_event("k", "ann", Event("mixed", number))
    with closing(Desk(run, images)) as desk:
        desk.settle()
        assert sum(group.parent == number for group in desk.session.groups.values()) > 1


def test_who_has_nothing_else_to_do_waits_for_the_parts(run, images, monkeypatch):
    monkeypatch.setattr("selfsort.labelling.server.desk._SPLITTING", 60)
    with closing(Desk(run, images, n_groups=2)) as desk:
        for key in ("a", "b"):
            desk.answer(key, "ann", Event("mixed", desk.next_group("ann")["id"]))
        assert desk.next_group("ann")["kind"] == "split"


def test_undo_is_of_ones_own_answers_and_asks_again(desk):
    ann, bob = desk.next_group("ann"), desk.next_group("bob")
    desk.answer("a", "ann", name(ann, "rose"))
    desk.answer("b", "bob", name(bob, "tulip"))
    first = desk.undo("u", "ann")
    again = desk.undo("u", "ann")
    assert first["group"]["id"] == again["group"]["id"] == ann["id"] == desk.next_group("ann")["id"]
    assert [each["name"] for each in again["state"]["names"]] == ["tulip"]
    with pytest.raises(Conflict):
        desk.undo("v", "ann")
    assert not desk.store.knows("v")


def test_who_comes_back_in_another_tab_may_undo_unless_somebody_else_is_at_work(desk):
    group = desk.next_group("old tab")
    desk.answer("a", "old tab", name(group, "rose"))
    desk.next_group("new tab")
    with pytest.raises(Conflict, match="no answer of yours"):
        desk.undo("u", "new tab")  # the old tab has been given the next group
    desk._leases = {number: lease for number, lease in desk._leases.items() if lease[0] == "new tab"}
    assert desk.undo("v", "new tab")["group"]["id"] == group["id"]
    assert desk.state()["answers"] == 0
    with pytest.raises(Conflict, match="no answer of yours"):
        desk.undo("w", "new tab")


def test_lasso(desk):
    reply = desk.lasso("k", "ann", [5, 3, 9, 3])
    assert reply["group"]["kind"] == "lasso" and reply["group"]["size"] == 3
    assert desk.lasso("k", "ann", [5, 3, 9])["group"]["id"] == reply["group"]["id"] == desk.next_group("ann")["id"]
    assert desk.answer("a", "ann", name(reply["group"], "rose"))["state"]["covered"] == 3
    with pytest.raises(Conflict):
        desk.lasso("a", "ann", [1])
    for pictures in ([], [60], [2**40]):
        with pytest.raises(UserError, match="no pictures"):
            desk.lasso("x", "ann", pictures)


def test_a_lasso_takes_along_what_is_not_drawn(run, images, monkeypatch):
    monkeypatch.setattr("selfsort.labelling.server.embedding_map._POINTS", 20)
    with closing(Desk(run, images)) as desk:
        drawn = [point[0] for point in desk.map()["points"]]
        chosen = [picture for picture in drawn if picture % 3 == 0]
        members = desk.session.groups[desk.lasso("k", "ann", chosen, nearby=True)["group"]["id"]].members
        assert len(drawn) == 20 and len(members) > 15 and set(chosen) < set(members.tolist())
        assert (members % 3 == 0).all(), "of the same kind"
        whole = desk.lasso("w", "ann", drawn, nearby=True)["group"]
        assert whole["size"] == 60
        for pictures in ([], [60], [-1]):
            with pytest.raises(UserError, match="lasso"):
                desk.lasso("x", "ann", pictures, nearby=True)


def test_names_are_merged_and_pictures_pulled_out(desk):
    for number, text in enumerate(["roze", "rose"]):
        desk.answer(f"a{number}", "ann", name(desk.next_group("ann"), text))
    before = {each["name"]: each["colour"] for each in desk.state()["names"]}
    desk.tell("m", "ann", Event("merge", name="rose", names=("roze",)))
    shown = desk.named("rose", 0, 5, "doubtful")
    assert len(shown["pictures"]) == 5 and shown["total"] == desk.state()["covered"]
    confidences = [row["confidence"] for row in desk.named("rose", 0, 100, "doubtful")["pictures"]]
    assert confidences == sorted(confidences)
    assert [r["confidence"] for r in desk.named("rose", 0, 100, "typical")["pictures"]] == confidences[::-1]
    pulled = shown["pictures"][0]["index"]
    state = desk.tell("p", "ann", Event("pull", name="tulip", pictures=(pulled,), names=("rose",)))["state"]
    assert desk.picture(pulled)["name"] == "tulip" and desk.picture(pulled)["given"]
    assert {each["name"]: each["colour"] for each in state["names"]}["rose"] == before["rose"]
    with pytest.raises(Missing):
        desk.named("roze", 0, 5, "doubtful")


def test_map(desk):
    seen = desk.map()
    assert [row for row, _, _ in seen["points"]] == list(range(60))
    points = np.array([[x, y] for _, x, y in seen["points"]])
    assert points.min() >= 0 and points.max() <= 1 and np.ptp(points, axis=0).max() == pytest.approx(1, abs=1e-3)
    assert set(desk.map_names()["names"]) == {-1}
    group = desk.next_group("ann")
    desk.answer("k", "ann", name(group, "rose"))
    colours = desk.map_names()["names"]
    assert [row for row, colour in enumerate(colours) if colour == 0] == sorted(
        desk.session.groups[group["id"]].members.tolist()
    )


def test_the_better_map_is_kept(run, images, monkeypatch):
    with closing(Desk(run, images)) as desk:
        version = desk.map()["version"]
        wait(lambda: desk.map()["kind"] == "tsne")
        kept = desk.map()
        assert kept["version"] > version
    monkeypatch.setattr("selfsort.labelling.server.embedding_map.project", None)
    with closing(Desk(run, images)) as desk:
        assert desk.map()["points"] == kept["points"]


def test_pictures(desk, images):
    with Image.open(io.BytesIO(desk.thumbnail(7))) as drawn:
        np.testing.assert_array_equal(np.asarray(drawn), images.images[7])
    content, kind = desk.full(7)
    assert kind == "image/png" and content == desk.thumbnail(7)
    assert desk.picture(7)["id"] == images.ids[7]
    for index in (-1, 60):
        with pytest.raises(Missing):
            desk.thumbnail(index)


def test_labels_as_a_table(desk, images):
    group = desk.next_group("ann")
    desk.answer("k", "ann", name(group, 'say "é", or not'))
    rows = list(csv.DictReader(io.StringIO(desk.labels_csv().decode())))
    assert [row["id"] for row in rows] == list(images.ids)
    named = [index for index, row in enumerate(rows) if row["name"] == 'say "é", or not']
    assert named == sorted(desk.session.groups[group["id"]].members.tolist())
    assert all((row["given"] == "1") == bool(row["confidence"]) for row in rows)


def test_no_spreadsheet_computes_a_name(desk):
    for number, text in enumerate(["=1+1", "@SUM(A1)", "-1", "+ 2 kinds"]):
        desk.answer(f"k{number}", "ann", name(desk.next_group("ann"), text))
    found = {row["name"] for row in csv.DictReader(io.StringIO(desk.labels_csv().decode()))}
    assert found == {"'=1+1", "'@SUM(A1)", "-1", "'+ 2 kinds", ""}
    assert "=1+1" in desk.session.names()


def test_versions_grow_over_restarts(run, images):
    versions = []
    for number in range(3):
        with closing(Desk(run, images)) as desk:
            for key in range(3):
                desk.answer(f"{number}-{key}", "ann", Event("skip", desk.next_group("ann")["id"])) if key < 2 else None
                versions.append(desk.state()["version"])
    assert versions == sorted(versions) and len(set(versions)) >= 6


def test_other_pictures_are_refused(run, images):
    with pytest.raises(UserError, match="other pictures"):
        Desk(run, images.subset(range(59)))


@pytest.mark.parametrize("n_groups", [1, 61])
def test_too_few_or_many_groups(run, images, n_groups):
    with pytest.raises(UserError, match=f"{n_groups} groups"):
        Desk(run, images, n_groups=n_groups)


def test_many_threads(desk):
    """Each group is answered by exactly one of those who try, whatever they do meanwhile."""
    outcomes = []

    def work(client):
        while (group := desk.next_group(client)) is not None:
            try:
                outcomes.append(desk.answer(f"{client}-{group['id']}", client, name(group, "rose"))["state"]["answers"])
            except Taken:
                outcomes.append(None)
            desk.map_names(), desk.labels_csv(), desk.state()

    threads = [threading.Thread(target=work, args=(f"c{number}",)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(count for count in outcomes if count) == list(range(1, 7))
    assert desk.state()["covered"] == 60


REFINE = """
import json, sys, time
from pathlib import Path
import numpy as np, shutil
from selfsort.labelling.core.query_selection import next_groups
from selfsort.labelling.store import Store, load_session, newest_model
run = Path(sys.argv[1])
store = Store.open(run)
session, after = load_session(store, run), store.events()[-1].seq
for epoch in (1, 2):
    print(json.dumps({"epoch": epoch, "epochs": 2, "loss": 1 / epoch}), flush=True)
print("a line that is no progress", flush=True)
until = time.monotonic() + 60
while not (run / "go").exists() and time.monotonic() < until:
    time.sleep(0.02)
names = session.names()
partial = shutil.copytree(run, run / ".named", ignore=shutil.ignore_patterns("labels*", ".label*", "named", ".named"))
facts = json.loads((partial / "run.json").read_text())
(partial / "run.json").write_text(json.dumps(facts | {"names": list(names)}))
kinds = np.arange(session.n_images) % 3 % len(names)
probabilities = np.full((session.n_images, len(names)), 0.1, np.float32)
probabilities[np.arange(session.n_images), kinds] = 0.9
np.save(partial / "probabilities.npy", probabilities)
partial.rename(run / "named")
store.put("rounds", [{"round": 1, "after_seq": after, "names": list(names)}])
session = load_session(store, run)
store.add_groups(next_groups(session, np.load(partial.with_name("named") / "embedding.npy"), 4))
"""
FAIL = "import sys; print('noise', file=sys.stderr); sys.exit('selfsort: The loss is not finite: try again.')"


def by(program):
    return lambda run, epochs: [sys.executable, "-c", program, str(run), str(epochs)]


def test_improve_goes_on_asking_and_brings_new_groups(desk, run):
    desk.refine_command = by(REFINE)
    for number, text in enumerate(["rose", "tulip"]):
        desk.answer(f"a{number}", "ann", name(desk.next_group("ann"), text))
    assert desk.improve("i", None)["state"]["improve"]["state"] == "running"
    assert desk.improve("i", None)["state"]["improve"]["state"] == "running", "the key was used"
    with pytest.raises(Conflict, match="running already"):
        desk.improve("j", None)
    wait(lambda: desk.state()["improve"]["epoch"] == 2)
    late = desk.next_group("ann")
    desk.answer("late", "ann", name(late, "daisy"))
    (run / "go").touch()
    wait(lambda: desk.state()["improve"]["state"] != "running")
    state = desk.state()
    assert state["improve"] == {"state": "done", "epoch": 2, "epochs": 2, "loss": 0.5, "message": ""}
    assert state["round"] == 1 and state["answers"] == 3
    members = desk.session.groups[late["id"]].members
    assert all(desk.picture(int(index))["name"] == "daisy" for index in members), "answers given since count for more"
    assert desk.next_group("bob")["round"] == 1


def test_improve_needs_two_names(desk):
    desk.answer("a", "ann", name(desk.next_group("ann"), "rose"))
    with pytest.raises(Conflict, match="two kinds"):
        desk.improve("i", None)


def test_a_refinement_that_fails_says_why(desk):
    desk.refine_command = by(FAIL)
    for number, text in enumerate(["rose", "tulip"]):
        desk.answer(f"a{number}", "ann", name(desk.next_group("ann"), text))
    desk.improve("i", None)
    wait(lambda: desk.state()["improve"]["state"] != "running")
    assert desk.state()["improve"]["state"] == "failed"
    assert desk.state()["improve"]["message"] == "The loss is not finite: try again."
    assert desk.improve("j", None)["state"]["improve"]["state"] == "running", "it can be tried again"


def test_closing_ends_a_refinement(run, images):
    desk = Desk(run, images, n_groups=6)
    desk.refine_command = by("import time; time.sleep(600)")
    for number, text in enumerate(["rose", "tulip"]):
        desk.answer(f"a{number}", "ann", name(desk.next_group("ann"), text))
    desk.improve("i", 3)
    wait(lambda: desk._improvement._process is not None)
    began = time.monotonic()
    desk.close()
    assert desk._improvement._process.poll() is not None and time.monotonic() - began < 60


def test_a_refinement_notices_that_its_server_is_gone():
    program = (
        "from selfsort.labelling.server.improvement import end_with_input as end; end(); import time; time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.stdin.close()
        assert process.wait(60) == 1


def test_a_refinement_by_another_process_is_noticed(desk, run, monkeypatch):
    for number, text in enumerate(["rose", "tulip"]):
        desk.answer(f"a{number}", "ann", name(desk.next_group("ann"), text))
    (run / "go").touch()
    monkeypatch.setattr(sys, "argv", ["refine", str(run)])
    exec(compile(REFINE, "refine", "exec"), {})
    wait(lambda: desk.state()["round"] == 1)
    assert desk.next_group("ann")["round"] == 1


def test_json_holds_everything(desk):
    desk.answer("a", "ann", name(desk.next_group("ann"), "rose"))
    for content in (desk.state(), desk.next_group("ann"), desk.map(), desk.map_names(), desk.picture(3)):
        assert json.loads(json.dumps(content)) == content


def test_a_refinement_is_told_where_the_pictures_are_now(run, images):
    with closing(Desk(run, images, moved="elsewhere.npy")) as desk:
        words = desk.refine_command(run, 3)
    assert words[-4:] == ["--images", "elsewhere.npy", "--epochs", "3"] and str(run) in words
    assert "--images" not in command(run, None)
