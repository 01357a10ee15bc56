"""`make bench` gathers the ratios of all benchmarks in one table, also if some fail or cannot run."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import __main__ as bench
from benchmarks.measuring import Ratio, ratios_table, write_json

WRITES = """
import sys
from measuring import ratios_table, write_json
print(sys.argv[1:-1])
write_json(sys.argv[-1], {"x": 1.0}, ratios_table("seconds", [("to sort", "a|b", [8.0, 2.0, 4.0], [1.0, 2.0, 1.0])],
    less_is_better=True))
"""
SLEEPS = """
import subprocess, time
child = subprocess.Popen(["sleep", "60"])
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for benchmarks of the names that the real ones have."""
    measuring = Path(bench.HERE, "measuring.py").read_text(encoding="utf-8")
    (tmp_path / "measuring.py").write_text(measuring, encoding="utf-8")
    monkeypatch.setattr(bench, "HERE", tmp_path)
    return tmp_path


def test_ratios_are_of_medians_with_their_range(capsys: pytest.CaptureFixture[str]) -> None:
    found = ratios_table("rate", [("one", "peer", [1.0, 2.0, 4.0], [4.0, 6.0, 2.0]), ("once", "peer", 3.0, 6.0)])
    assert found == [Ratio("rate: one", "peer", 2.0, 0.5, 4.0), Ratio("rate: once", "peer", 2.0, 2.0, 2.0)]
    assert "2.00" in capsys.readouterr().out


def test_the_table_has_a_row_for_every_ratio_and_every_reason(
    programs: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, text in {"clustering": WRITES, "startup": "raise ValueError('no | luck')", "perceptual": ""}.items():
        (programs / f"{name}.py").write_text(text)
    monkeypatch.setitem(bench.BENCHMARKS, "audit", bench.Benchmark({"no_such_peer": "no-such-peer"}))
    out = programs / "build" / "bench.md"
    names = ["clustering", "startup", "perceptual", "audit"]
    monkeypatch.setattr(sys, "argv", ["bench", *names, "--quick", "--out", str(out)])
    assert bench.main() == 1
    lines = out.read_text().splitlines()
    assert lines[-4:-2] == [
        "| clustering | seconds: to sort | a\\|b | 4.00 | 1.00 to 8.00 |",
        "| startup | failed with exit code 1: ValueError: no \\| luck | | | |",
    ]
    assert lines[-2].startswith("| perceptual | failed: it wrote no ratios (FileNotFoundError")
    assert lines[-1].startswith("| audit | not run: without no-such-peer; pip install")
    assert any(line.startswith("- Versions: Python ") and "no-such-peer not installed" in line for line in lines)
    assert "['--quick', '--json']" in capfd.readouterr().out


def test_a_benchmark_is_stopped_with_all_that_it_started(programs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (programs / "startup.py").write_text(SLEEPS)
    assert bench.measure("startup", [], minutes=0.04) == "failed: stopped after 0.04 minutes"
    child = Path("/proc", capfd.readouterr().out.strip(), "stat")
    for _ in range(100):  # the system may take a moment
        if not child.exists() or child.read_text().split()[2] == "Z":
            return
        time.sleep(0.02)
    raise AssertionError("the child still runs")


def test_every_benchmark_exists_and_another_name_is_refused() -> None:
    assert all(Path(bench.HERE, f"{name}.py").is_file() for name in bench.BENCHMARKS)
    words = [sys.executable, "-m", "benchmarks", "naming"]
    answer = subprocess.run(words, cwd=bench.HERE.parent, capture_output=True, text=True)
    assert answer.returncode == 2 and "'naming' is not a benchmark of speed" in answer.stderr


def test_figures_stay_one_object(tmp_path: Path) -> None:
    write_json(str(tmp_path / "a.json"), {"x": 1.5})
    assert (tmp_path / "a.json").read_text() == '{\n  "x": 1.5\n}\n'
