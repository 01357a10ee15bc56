"""`make fuzz` finds what it should find, resumes where it was, and can be run."""

import json
import mmap
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fuzz.child import run
from fuzz.journal import Journal, Trial, table
from fuzz.mutate import damaged, odd_json


def test_a_child_ends_as_its_work_did(tmp_path):
    def raises() -> None:
        raise KeyError("x")

    def says() -> None:
        print("selfsort: No.", file=sys.stderr)
        sys.exit(1)

    def mumbles() -> None:
        sys.exit(1)

    def holds() -> None:
        # Straight from the system: what this process freed and kept of earlier tests would be no new memory.
        np.frombuffer(mmap.mmap(-1, 200 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), np.uint8).fill(1)

    faults = [run(work, tmp_path).fault for work in (raises, says, mumbles, lambda: print("x"))]
    assert faults == ["traceback", None, "no sentence", None]
    assert run(holds, tmp_path).mib > 150
    assert run(lambda: __import__("time").sleep(60), tmp_path, seconds=0.2).fault == "hang"


def test_a_journal_resumes_where_it_was(tmp_path):
    journal = Journal(tmp_path / "part.jsonl")
    journal.add(Trial("1", "png", "read", 0.5))
    journal.add(Trial("2", "png", "hang", 12))
    with open(journal.path, "a") as file:
        file.write('{"key": "3", "ki')  # killed while it wrote
    again = Journal(journal.path)
    assert list(again.open_keys("123")) == ["3"]
    again.add(Trial("3", "jpg", "refused"))
    assert [trial.key for trial in Journal(journal.path).read()] == ["1", "2", "3"]
    assert "| pictures | png | 2 | 1 | 1 read, 1 hang | 12.0 s | 0 MiB |" in table({"pictures": again.read()})


def test_damage_is_seeded_and_damages():
    data = bytes(range(256))
    for number in range(200):
        first, second = (damaged(data, np.random.default_rng(number)) for _ in range(2))
        assert first == second
    assert sum(damaged(data, np.random.default_rng(number)) != data for number in range(200)) > 190
    content = {"a": [1, {"b": 2}], "c": "x"}
    assert any(odd_json(content, np.random.default_rng(number)) != content for number in range(5))
    assert content == {"a": [1, {"b": 2}], "c": "x"}


@pytest.mark.slow
def test_parts_can_be_run(tmp_path):
    words = [sys.executable, "-m", "fuzz", "pictures", "runs", "--size", "0.002", "--out", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stdout + done.stderr
    for part, count in (("pictures", 20), ("runs", 4)):
        trials = [json.loads(line) for line in (tmp_path / f"{part}-0.jsonl").read_text().splitlines()]
        assert len(trials) == count and f"| {part} |" in done.stdout
