"""The run folder: its newest model, its stages, its title, and that no other code contains the names of its files."""

import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from run_files import made
from selfsort.audit import read_rejected
from selfsort.errors import UserError
from selfsort.runs import RunFolder, check_startable, read_run, run_lock

ROOT = Path(__file__).parents[2]


def test_the_newest_model_is_the_refined_one_once_it_is_complete(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    assert run.newest().path == run.path
    made(run.refined.path, status="training")
    assert run.newest().path == run.path
    made(run.refined.path)
    assert run.newest().path == run.path / "named"


@pytest.mark.skipif(sys.platform == "win32", reason="needs the permissions of POSIX")
@pytest.mark.parametrize("look", [read_run, partial(check_startable, resume=False), read_rejected])
def test_another_users_folder_is_refused_in_a_sentence(closed, look: Callable[[Path], object]) -> None:
    folder, held = closed
    with held(), pytest.raises(UserError, match="cannot be accessed: Permission denied"):
        look(folder / "run")


def test_a_refined_model_moved_aside_by_a_crash_is_restored(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    made(run.path / ".named.before")
    assert run.newest().path == run.path / "named"


def test_the_title_and_the_advice_for_a_refined_model_are_those_of_its_run(tmp_path: Path) -> None:
    run = made(tmp_path / "flowers")
    made(run.refined.path)
    assert run.title == run.refined.title == "flowers"
    assert "selfsort refine" in run.refined.way_out() and "train again" in run.way_out()
    assert RunFolder(made(tmp_path / "other/named").path).title == "named"


def test_a_stage_has_its_own_checkpoints(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    assert not run.has_checkpoints()
    stage = run.stage("round-1")
    stage.checkpoints.mkdir(parents=True)
    (stage.checkpoints / "step-000000001.safetensors").touch()
    assert run.has_checkpoints() and stage.path.parent == run.path


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"format": 1, "status": "lost"}', '{"format": "1", "status": "complete"}']
)
def test_a_damaged_manifest_is_one_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(UserError, match=r"run\.json' is damaged \(it.*\): restore a copy, or train again"):
        RunFolder(tmp_path).is_complete()


def test_a_locked_folder_is_refused_and_an_empty_one_removed(tmp_path: Path) -> None:
    program = "from pathlib import Path; from selfsort.runs import run_lock\nwith run_lock(Path(sys.argv[1])): pass"
    with run_lock(tmp_path / "run"):
        done = subprocess.run(
            [sys.executable, "-c", f"import sys; {program}", str(tmp_path / "run")], capture_output=True, text=True
        )
        assert "is open in another process" in done.stderr
    assert not (tmp_path / "run").exists()
    with run_lock(tmp_path / "run"):
        (tmp_path / "run/kept").touch()
    assert (tmp_path / "run/kept").exists()


def test_only_the_run_folder_contains_file_names() -> None:
    """A new file of a run is a property there, so that one module lists everything that a run holds."""
    names = "model.safetensors metrics.csv skipped.csv assignments.csv labels.sqlite points.npz map.npz doubt.npy"
    names += " embedding.npy probabilities.npy evaluation.json certificate.json model-card.md report.html"
    literal = re.compile(rf"/ \"({'|'.join(map(re.escape, names.split()))}|run\.json|checkpoints|tensorboard|named)\"")
    own = ROOT / "src/selfsort/runs/folder.py"
    for path in sorted([*(ROOT / "src").rglob("*.py"), *(ROOT / "papers").glob("*.py")]):
        # Weights from a hub have names like a run's, but are elsewhere.
        if path != own and "models" not in path.parts:
            assert not literal.search(path.read_text(encoding="utf-8")), path
