"""Answers in SQLite's write-ahead log after a kill: losses are reported, and nothing else is."""

import os
import random
import shutil
import signal
import stat
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from selfsort.labelling.core.answers import Event, Group
from selfsort.labelling.store import Store

KEYS = [f"k{number}" for number in range(6)]
FRAME = 24 + 4096


def add(store, key):
    return store.add_event(key, "ann", Event("skip", 0))


def add_group(store):
    arrays = np.arange(4), np.linspace(0, 1, 4, dtype=np.float32), np.ones(5, np.float32)
    store.add_groups([Group(0, *arrays, "cluster", 0)])


@pytest.fixture
def killed(tmp_path):
    """A store left by a killed process, with its latest answers in the log."""
    folder = tmp_path / "killed"
    folder.mkdir()
    with closing(Store(tmp_path / "labels.sqlite")) as store:
        add_group(store)
        for key in KEYS:
            add(store, key)
        for name in ("labels.sqlite", "labels.sqlite-wal"):
            shutil.copy(tmp_path / name, folder)
    assert (folder / "labels.sqlite-wal").stat().st_size > 6 * FRAME
    return folder / "labels.sqlite"


def log_of(path: Path) -> Path:
    return path.with_name("labels.sqlite-wal")


def keys(path):
    with closing(Store(path)) as store:
        return [item.key for item in store.events()]


def test_answers_left_by_a_kill_are_recovered_silently(killed, caplog):
    assert keys(killed) == KEYS and not caplog.records


def test_a_changed_bit_is_reported_wherever_it_is(killed, caplog):
    whole, store = log_of(killed).read_bytes(), killed.read_bytes()
    rng = random.Random(0)
    heads = [rng.randrange(start, start + 24) for start in range(32, len(whole), FRAME)]
    for place in [*range(0, 32, 5), *heads[:-1], *rng.sample(range(32, len(whole)), 12)]:
        data = bytearray(whole)
        data[place] ^= 1 << rng.randrange(8)
        killed.write_bytes(store)
        log_of(killed).write_bytes(data)
        caplog.clear()
        found = keys(killed)
        assert found == KEYS[: len(found)] and len(caplog.messages) == 1, place
        said = caplog.messages[0]
        assert f"after line {len(found)} (2" in said if found else "the latest answers are lost" in said
        with closing(Store(killed)) as again:
            kept = [(each.what, each.answers, each.kept) for each in again.repairs()]
        assert kept == [("log", len(found), "labels.sqlite-wal.damaged")]
        for aside in killed.parent.glob("*.damaged"):
            assert aside.read_bytes() == data and stat.S_IMODE(aside.stat().st_mode) == 0o600 and aside.name in said
            aside.unlink()
        assert keys(killed) == found and len(caplog.messages) == 1, "it is reported once"


def test_answers_soon_move_to_the_file_itself(tmp_path):
    with closing(Store(tmp_path / "labels.sqlite")) as store:
        for number in range(60):
            add(store, f"k{number}")
        assert log_of(store.path).stat().st_size < 60 * FRAME


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a fork")
@pytest.mark.slow
def test_neither_kills_nor_other_writers_are_mistaken_for_damage(tmp_path, caplog):
    path = tmp_path / "labels.sqlite"
    with closing(Store(path)) as store:
        add_group(store)
    for trial in range(3):
        reader, writer = os.pipe()
        if not (child := os.fork()):
            store = Store(path)
            for number in range(1_000_000):
                add(store, f"{trial}-{number}")
                os.write(writer, b"x")
        for _ in range(5 + trial):
            os.read(reader, 1)
            keys(path)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.set_blocking(reader, False)
        os.close(writer)
        acknowledged = 5 + trial + len(os.read(reader, 1 << 16))
        assert sum(key.startswith(f"{trial}-") for key in keys(path)) >= acknowledged
        os.close(reader)
    assert not caplog.records
