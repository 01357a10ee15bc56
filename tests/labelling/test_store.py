"""The store: what is acknowledged is in the file exactly once, despite concurrent writers and kills."""

import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import numpy as np
import pytest

from run_files import edit, reseal
from samples import pictures, quick
from selfsort.data.image_set import as_image_set
from selfsort.errors import UserError
from selfsort.labelling.core.answers import Event, Group
from selfsort.labelling.store import Store, Unwritable, load_session

NAME = "labels.sqlite"


def group(number: int, members: list[int], **changes: object) -> Group:
    array = np.array(members, dtype=np.int64)
    values = {"distances": np.linspace(0, 1, len(array), dtype=np.float32), "centre": np.ones(3, np.float32)}
    return Group(number, array, **({"kind": "cluster", "round": 0} | values | changes))


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "labels.sqlite")
    yield store
    store.close()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "run"
    quick("kmeans").fit(as_image_set(pictures(30)), run_dir=run)
    return run


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def add_groups(store: Store, n: int) -> None:
    """Add groups to answer about, numbered from 0."""
    store.add_groups(group(number, [number]) for number in range(n))


def same(one: Group, other: Group) -> bool:
    arrays = all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("members", "distances"))
    centres = one.centre is other.centre is None or np.array_equal(one.centre, other.centre)
    return arrays and centres and all(getattr(one, k) == getattr(other, k) for k in ("id", "kind", "round", "parent"))


def test_groups_are_restored_unchanged(store, tmp_path):
    made = [group(0, [4, 1, 2]), group(7, [3], kind="split", parent=0), group(9, [1], kind="lasso", centre=None)]
    store.add_groups(made)
    other = Store(tmp_path / "labels.sqlite")
    assert all(same(*pair) for pair in zip(made, other.groups(), strict=True))
    assert other.groups()[0].members.dtype == np.int64 and other.groups()[0].members.flags.writeable
    other.close()


def test_numbers_taken_meanwhile_are_moved_up(store):
    store.add_groups([group(0, [1, 2]), group(1, [3])])
    added = store.add_groups([group(1, [1], parent=0), group(2, [2], parent=0)])
    assert [(each.id, each.parent) for each in added] == [(2, 0), (3, 0)]
    assert [each.id for each in store.groups()] == [0, 1, 2, 3]


def test_groups_with_a_key_are_added_once(store):
    first = store.add_groups([group(0, [1, 2])], key="k", client="c")
    again = store.add_groups([group(1, [1, 2])], key="k", client="c")
    assert same(first[0], again[0]) and len(store.groups()) == 1
    store.add_event("answer", "c", Event("skip", 0))
    assert store.add_groups([group(1, [1])], key="answer") == [] and len(store.groups()) == 1


def test_events_in_order_and_once(store):
    add_groups(store, 4)
    events = [
        Event("name", 3, "Rose \N{ROSE}", 4, (1, 2)),
        Event("pull", name=None, pictures=(5,), names=("Rose",)),
        Event("merge", name="x", names=("y", "z"), distinct=True),
    ]
    for number, event in enumerate(events):
        assert store.add_event(f"k{number}", "ann", event)
    assert not store.add_event("k0", "bob", Event("skip", 9))
    found = store.events()
    assert [item.event for item in found] == events
    assert [(item.key, item.client) for item in found] == [("k0", "ann"), ("k1", "ann"), ("k2", "ann")]
    assert [item.seq for item in found] == sorted(item.seq for item in found)


def test_undo_is_kept_and_counts_once(store, tmp_path):
    add_groups(store, 3)
    seqs = [store.add_event(f"k{n}", "ann", Event("skip", n)) for n in range(3)]
    assert store.undo("u", seqs[1]) and store.knows("u")
    assert not store.undo("u", seqs[0]), "the key was used"
    assert not store.undo("v", seqs[1]), "it was taken back already"
    assert not store.undo("w", 99) and not store.knows("w")
    assert [item.event.group for item in store.events()] == [0, 2]
    assert store.taken_back_by("u") == seqs[1] and store.taken_back_by("k0") is None
    rows = sqlite3.connect(tmp_path / NAME).execute("SELECT count(*) FROM log").fetchone()
    assert rows == (4,), "nothing is deleted"
    assert not store.add_event("k1", "ann", Event("skip", 1)), "an answer taken back does not return under its key"


def test_checks(store):
    assert store.add_check("a", "c", 5, "rose", "tulip") and store.add_check("b", "c", 2, "tulip")
    assert not store.add_check("a", "c", 5, "tulip")
    assert store.add_check("d", "c", 5, "lily", by="second")
    assert [check[1:] for check in store.checks()] == [(5, "rose", "tulip"), (2, "tulip", None)]
    assert [check[1:] for check in store.checks("second")] == [(5, "lily", None)]
    assert store.undo_check("u") and not store.undo_check("u")
    assert [check[1:] for check in store.checks()] == [(5, "rose", "tulip")] and store.checks("second")
    assert store.undo_check("v") and not store.undo_check("w")


def test_facts(store):
    assert store.get("rounds") is None
    store.put("rounds", [{"round": 1, "after_seq": 5, "names": ["é"]}])
    store.put("rounds", {"x": None})
    assert store.get("rounds") == {"x": None}


def test_durable_settings(tmp_path, monkeypatch):
    opened, connect = [], sqlite3.connect

    def connecting(*arguments, **settings):
        opened.append(connect(*arguments, **settings))
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", connecting)
    with closing(Store(tmp_path / NAME)):
        for connection in opened:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert opened


def test_a_second_store_of_a_process_leaves_the_first_ones_locks_alone(tmp_path):
    """Otherwise another process that closes the file deletes the log in use, and answers are lost."""
    path = tmp_path / NAME
    visit = f"from pathlib import Path; from selfsort.labelling.store import Store; s = Store(Path({str(path)!r})); "
    with closing(Store(path)) as first:
        first.add_groups([group(0, [1, 2]), group(1, [3, 4])])
        first.add_event("a", "ann", Event("name", 0, "rose"))
        Store(path).close()
        subprocess.run([sys.executable, "-c", visit + "s.close()"], check=True)
        first.add_event("b", "ann", Event("name", 1, "tulip"))
        told = visit + "print(*[item.event.name for item in s.events()]); s.close()"
        found = subprocess.run([sys.executable, "-c", told], check=True, capture_output=True, text=True)
    assert found.stdout.split() == ["rose", "tulip"]


def test_all_or_none(store):
    with pytest.raises(UserError):
        store.add_groups([group(0, [1]), group(1, [2], parent=77)])
    assert store.groups() == []


def test_threads_and_stores_write_at_once(store, tmp_path):
    """Every key is accepted from exactly one of those that send it."""
    add_groups(store, 30)
    accepted: list[tuple[int, int]] = []

    def write(which: int) -> None:
        own = Store(tmp_path / "labels.sqlite") if which % 2 else store
        for number in range(30):
            if own.add_event(f"k{number}", f"c{which}", Event("skip", number)):
                accepted.append((number, which))
        if own is not store:
            own.close()

    threads = [threading.Thread(target=write, args=(which,)) for which in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(number for number, _ in accepted) == list(range(30))
    by_number = dict(accepted)
    assert all(item.client == f"c{by_number[item.event.group]}" for item in store.events())


def test_changes_by_others_are_noticed(store, tmp_path):
    before = store.foreign_changes()
    store.put("x", 1)
    assert store.foreign_changes() == before
    other = Store(tmp_path / "labels.sqlite")
    other.put("x", 2)
    other.close()
    assert store.foreign_changes() != before


def test_a_store_waits_for_another_that_is_creating_the_file(tmp_path):
    path = tmp_path / "labels.sqlite"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    done = threading.Timer(0.3, other.execute, ["ROLLBACK"])
    done.start()
    store = Store(path)
    done.join()
    assert store.add_event("a", "c", Event("name", 0, "rose")) == 1
    store.close()
    other.close()


def test_several_may_create_the_same_file_at_once(tmp_path):
    failed = []

    def make(path, start):
        start.wait()
        try:
            Store(path).close()
        except UserError as error:
            failed.append(str(error))

    for number in range(20):
        start = threading.Barrier(4)
        threads = [threading.Thread(target=make, args=(tmp_path / f"{number}.sqlite", start)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failed == []


WRITER = """
import sys
import time
from pathlib import Path
from selfsort.labelling.core.answers import Event
from selfsort.labelling.store import Store
store = Store(Path(sys.argv[1]))
for number in range(100_000):
    store.add_event(f"{sys.argv[2]}-{number}", "c", Event("pull", name="rose", names=("tulip",), pictures=(number,)))
    print(number, flush=True)
    time.sleep(0.002)  # SQLite's waiting is not fair: without a pause one writer can shut the other out for long
"""


def test_killed_writers_lose_nothing_that_they_acknowledged(tmp_path):
    path = tmp_path / "labels.sqlite"
    words = [sys.executable, "-c", WRITER, str(path)]
    writers = [subprocess.Popen([*words, name], stdout=subprocess.PIPE, text=True) for name in ("a", "b")]
    said = []
    for writer in writers:
        assert writer.stdout is not None
        said.append([int(writer.stdout.readline()) for _ in range(20)])
        writer.send_signal(signal.SIGKILL)
        said[-1] += [int(line) for line in writer.stdout if line.endswith("\n")]
        writer.wait()
        writer.stdout.close()
    store = Store(path)
    keys = [item.key for item in store.events()]
    assert len(keys) == len(set(keys))
    for name, numbers in zip(("a", "b"), said, strict=True):
        kept = [int(key[2:]) for key in keys if key.startswith(name)]
        assert kept[: len(numbers)] == numbers and len(kept) - len(numbers) <= 1
    store.close()


class TestSession:
    def test_loads_what_was_stored(self, run):
        store = Store.open(run)
        store.add_groups([group(0, list(range(20))), group(1, list(range(20, 30)))])
        for number, name in enumerate(["rose", "tulip"]):
            store.add_event(f"k{number}", "c", Event("name", number, name))
        session = load_session(store, run)
        assert session.round == 0 and session.counts() == [("rose", 20), ("tulip", 10)] and session.open_groups() == []
        store.undo("u", store.events()[0].seq)
        assert load_session(store, run).counts() == [("tulip", 10)]
        store.close()

    def test_an_answer_that_only_makes_sense_after_one_taken_back_does_not_stop_it(self, run):
        store = Store.open(run)
        store.add_groups([group(0, list(range(30)))])
        first = store.add_event("a", "c", Event("name", 0, "rose"))
        store.add_event("b", "c", Event("pull", names=("rose",), pictures=(3,)))
        store.undo("u", first)
        assert len(load_session(store, run).events) == 1
        store.close()

    def test_a_refinement_counts_answers_given_since(self, run):
        store = Store.open(run)
        store.add_groups([group(0, list(range(20))), group(1, list(range(20, 30)))])
        seq = store.add_event("a", "c", Event("name", 0, "rose"))
        store.add_event("b", "c", Event("name", 1, "tulip"))
        named = shutil.copytree(run, run / "named", ignore=shutil.ignore_patterns("labels.sqlite*"))
        probabilities = np.tile(np.float32([0.1, 0.1, 0.8]), (30, 1))
        np.save(named / "probabilities.npy", probabilities)
        edit(named, names=["rose", "tulip", "daisy"])
        reseal(named)
        store.put("rounds", [{"round": 1, "after_seq": seq, "names": ["rose", "tulip", "daisy"]}])
        session = load_session(store, run)
        assert session.round == 1
        labels = session.labels()
        assert [labels.names[number] for number in labels.name_of] == ["daisy"] * 20 + ["tulip"] * 10
        store.close()


class TestErrors:
    def check(self, error, *words):
        text = str(error.value)
        assert "\n" not in text and text.endswith(".")
        assert all(word in text for word in words), text

    def test_a_run_without_answers(self, run):
        with pytest.raises(UserError) as error:
            Store.open(run, create=False)
        self.check(error, "no answers", "selfsort label")
        assert not (run / NAME).exists()

    def test_no_run(self, tmp_path):
        with pytest.raises(UserError, match="not a run folder"):
            Store.open(tmp_path)

    @pytest.mark.parametrize(("version", "age"), [(3, "newer"), (0, "older")])
    def test_another_version(self, run, version, age):
        Store.open(run).close()
        with sqlite3.connect(run / NAME) as db:
            db.execute(f"PRAGMA user_version = {version}")
        db.close()
        before = (run / NAME).read_bytes()
        with pytest.raises(UserError) as error:
            Store.open(run)
        self.check(error, NAME, age, f"format {version}")
        assert (run / NAME).read_bytes() == before

    def test_another_run(self, run, tmp_path):
        Store.open(run).close()
        quick("kmeans").fit(as_image_set(pictures(30, seed=1)), run_dir=tmp_path / "other")
        shutil.copy(run / NAME, tmp_path / "other" / NAME)
        with pytest.raises(UserError) as error:
            Store.open(tmp_path / "other")
        self.check(error, "other/labels.sqlite", "other pictures")

    def test_another_program(self, run):
        with sqlite3.connect(run / NAME) as db:
            db.execute("CREATE TABLE x (y)")
        db.close()
        with pytest.raises(UserError) as error:
            Store.open(run)
        self.check(error, "another program")

    @pytest.mark.parametrize("where", [0, 30])
    def test_damaged_throughout(self, run, where):
        store = Store.open(run)
        store.add_groups([group(number, list(range(30))) for number in range(40)])
        store.close()
        with open(run / NAME, "r+b") as file:
            file.seek(where)
            file.write(b"\xff" * 20_000)
        with pytest.raises(UserError) as error:
            store = Store.open(run)
            store.groups()
        self.check(error, NAME)

    def test_not_a_database(self, run):
        (run / NAME).write_text("Dear all, this is no database.\n" * 100)
        with pytest.raises(UserError) as error:
            Store.open(run)
        self.check(error, NAME, "damaged")

    def test_read_only_folder(self, run, tmp_path):
        if os.geteuid():
            run.chmod(0o500)
        elif subprocess.run(["mount", "--bind", run, run], capture_output=True).returncode == 0:
            subprocess.run(["mount", "-o", "remount,ro,bind", run], check=True)
        else:
            pytest.skip("root can write everywhere here")
        try:
            with pytest.raises(Unwritable) as error:
                Store.open(run)
            self.check(error, NAME, "read-only")
        finally:
            run.chmod(0o700) if os.geteuid() else subprocess.run(["umount", run], check=True)

    def test_full_disk(self, run):
        """Accepted answers stay, others are absent, and the store works again once there is space."""
        store = Store.open(run)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        accepted = 0
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
            with pytest.raises(Unwritable) as error:
                for accepted in range(10_000):
                    store.add_event(
                        f"k{accepted}", "c", Event("pull", name="rose", names=("tulip",), pictures=(accepted % 30,))
                    )
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, ignored)
        self.check(error, NAME, "full")
        assert len(store.events()) == accepted > 5
        assert store.add_event("more", "c", Event("pull", names=("rose",), pictures=(1,)))
        store.close()
        again = Store.open(run)
        assert len(again.events()) == accepted + 1
        again.close()
