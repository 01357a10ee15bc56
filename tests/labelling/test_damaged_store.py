"""Damaged lines of the store: each is reported and ignored, the others count, and no line is mistaken for another."""

import logging
import random
import sqlite3
from contextlib import closing

import numpy as np
import pytest

from selfsort.errors import UserError
from selfsort.labelling.core.answers import Event, Group
from selfsort.labelling.store import Round, Store

N_GROUPS = 12
EVENTS = {f"k{n}": Event("name", n, f"name {n}", pictures=(n,)) for n in range(N_GROUPS)}


def fill(path) -> None:
    with closing(Store(path)) as store:
        arrays = np.arange(40), np.linspace(0, 1, 40, dtype=np.float32), np.ones(5, np.float32)
        store.add_groups(Group(number, *arrays, "cluster", 0) for number in range(N_GROUPS))
        for key, event in EVENTS.items():
            store.add_event(key, "ann", event)
        store.add_event("split", "ann", Event("pull", names=("name 1",), pictures=(3,)))
        store.undo("u", 2)
        store.add_check("c", "ann", 5, "rose")
        store.add_round(Round(1, 4, ("rose",)))


@pytest.fixture
def path(tmp_path):
    fill(tmp_path / "labels.sqlite")
    return tmp_path / "labels.sqlite"


def change(path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(statement, values)


def keys(path) -> list[str]:
    with closing(Store(path)) as store:
        return [item.key for item in store.events()]


IN_FORCE = [key for key in [*EVENTS, "split"] if key != "k1"]


@pytest.mark.parametrize(
    "change_to",
    [
        "content = replace(content, 'name 5', 'name 7')",
        "content = '{'",
        "content = x'ff00'",
        "key = 'k55'",
        "kind = 'x'",
    ],
)
def test_a_changed_answer_is_ignored_and_reported_once(path, caplog, change_to):
    change(path, f"UPDATE log SET {change_to} WHERE key = 'k5'")
    with closing(Store(path)) as store:
        assert [item.key for item in store.events()] == [key for key in IN_FORCE if key != "k5"]
        store.events()
        assert store.set_aside == 1
    (said,) = [record.getMessage() for record in caplog.records]
    assert "1 answer" in said and "(6)" in said and str(path) in said and "restore a copy" in said


def test_of_many_changed_answers_some_are_named(path, caplog):
    change(path, "UPDATE log SET content = '' WHERE seq > 2 AND seq < 10")
    assert len(keys(path)) == len(IN_FORCE) - 7
    assert "7 answers" in caplog.text and "(3, 4, 5, 6, 7 …)" in caplog.text


def test_a_changed_undo_does_not_take_another_answer_back(path, caplog):
    change(path, "UPDATE log SET undoes = 4 WHERE kind = 'undo'")
    assert keys(path) == [*EVENTS, "split"] and "(14)" in caplog.text


def test_a_changed_check_or_fact_is_ignored(path, caplog):
    change(path, "UPDATE log SET content = '[6, \"rose\"]' WHERE kind = 'check'")
    change(path, "UPDATE facts SET value = replace(value, '4', '5')")
    with closing(Store(path)) as store:
        assert store.checks() == [] and store.rounds() == [] and store.get("rounds") is None
        store.add_round(Round(1, 5, ("rose",)))
        assert len(store.rounds()) == 1
    assert "The entry 'rounds' in" in caplog.text and "(15)" in caplog.text


def test_answers_about_a_lost_group_go_with_it(path, caplog):
    change(path, "UPDATE groups SET members = zeroblob(320) WHERE id = 4")
    with closing(Store(path)) as store:
        assert [group.id for group in store.groups()] == [number for number in range(N_GROUPS) if number != 4]
        assert "k4" not in [item.key for item in store.events()] and len(store.events()) == len(IN_FORCE) - 1
        (added,) = store.add_groups([Group(4, np.arange(2), np.ones(2, np.float32), None, "split", 0)])
        assert added.id == N_GROUPS, "the number of a lost group is not used again"
    assert "1 group" in caplog.text and "answers about it" in caplog.text


def test_a_part_of_a_lost_group_stays(path):
    with closing(Store(path)) as store:
        store.add_groups([Group(12, np.arange(2), np.ones(2, np.float32), None, "split", 0, parent=4)])
    change(path, "UPDATE groups SET kind = 'x' WHERE id = 4")
    with closing(Store(path)) as store:
        assert store.groups()[-1].parent is None


def as_before(path) -> None:
    """Convert a store to the format without digests."""
    with closing(sqlite3.connect(path)) as db, db:
        for table in ("facts", "groups", "log"):
            db.execute(f"ALTER TABLE {table} DROP COLUMN digest")
        db.execute("PRAGMA user_version = 1")
    path.chmod(0o644)


def test_a_store_without_digests_gets_them(path, caplog):
    as_before(path)
    with closing(Store(path)) as store:
        assert [item.key for item in store.events()] == IN_FORCE and len(store.groups()) == N_GROUPS
        assert store.rounds() == [Round(1, 4, ("rose",))] and [check[1:3] for check in store.checks()] == [(5, "rose")]
    assert not caplog.records and path.stat().st_mode & 0o777 == 0o600
    change(path, "UPDATE log SET content = replace(content, 'name 5', 'name 7') WHERE key = 'k5'")
    assert "k5" not in keys(path)


@pytest.mark.parametrize(
    "content",
    ['{"kind": "name"}', '{"kind": "name", "group": 5, "name": "x", "confidence": 9}', "[]", "{", '{"kind": "odd"}'],
)
def test_lines_without_digests_are_still_checked(path, caplog, content):
    as_before(path)
    change(path, "UPDATE log SET content = ? WHERE key = 'k5'", content)
    assert keys(path) == [key for key in IN_FORCE if key != "k5"] and "1 answer" in caplog.text


def test_only_its_owner_may_read_it(path):
    with closing(Store(path)) as store:
        store.put("x", 1)
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert set(modes.values()) == {0o600} and len(modes) == 3


def test_intact_lines_of_a_damaged_page_are_saved(tmp_path, caplog):
    path = tmp_path / "labels.sqlite"
    with closing(Store(path)) as store:
        for number in range(200):
            store.add_event(f"k{number}", "ann", Event("skip", None, f"{number}", 3))
    with closing(sqlite3.connect(path)) as db:
        pages = [page for (page,) in db.execute("SELECT pageno FROM dbstat WHERE name = 'log' AND pagetype = 'leaf'")]
    data = bytearray(path.read_bytes())
    data[(pages[3] - 1) * 4096] ^= 0xFF
    path.write_bytes(data)
    kept = keys(path)
    assert 150 < len(kept) < 200 and kept == sorted(kept, key=lambda key: int(key[1:]))
    assert "was damaged" in caplog.text and f"{len(kept)} lines" in caplog.text
    assert (tmp_path / "labels.sqlite.damaged").read_bytes() == data
    caplog.clear()
    with closing(Store(path)) as store:
        assert store.add_event("more", "ann", Event("skip")) == 201 and len(store.events()) == len(kept) + 1
        (repair,) = store.repairs()
        assert (repair.what, repair.answers, repair.kept) == ("file", len(kept), "labels.sqlite.damaged")
        (tmp_path / repair.kept).unlink()
        assert store.repairs() == []
    assert not caplog.records


def test_where_no_answer_can_be_saved_the_file_stays(path):
    data = bytearray(path.read_bytes())
    data[4096:] = bytes(len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(UserError, match="none of its answers can be read"):
        Store(path)
    assert path.read_bytes() == data and list(path.parent.glob("*.damaged*")) == []


@pytest.mark.parametrize("part", range(4))
def test_no_flipped_bit_makes_another_answer(tmp_path, caplog, part):
    """Each answer is read as given or reported; only clear sentences are raised."""
    path = tmp_path / "labels.sqlite"
    fill(path)
    whole, rng = path.read_bytes(), random.Random(part)
    refused = 0
    for _ in range(150):
        bit = rng.randrange(8 * len(whole))
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        for other in tmp_path.iterdir():
            other.unlink()
        path.write_bytes(data)
        caplog.clear()
        try:
            with closing(Store(path)) as store:
                found, rounds = {item.key: item.event for item in store.events()}, store.rounds()
        except UserError:
            refused += 1
            continue
        told = bool([record for record in caplog.records if record.levelno >= logging.WARNING])
        assert all(EVENTS[key] == event for key, event in found.items() if key in EVENTS)
        assert told or (list(found) == IN_FORCE and len(rounds) == 1), bit
        assert len(found) >= len(IN_FORCE) - 1 or "was damaged" in caplog.text
    assert refused < 15
