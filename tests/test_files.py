"""Files appear completely or not at all, and what a killed process left is cleaned up."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from selfsort.errors import UserError
from selfsort.files import atomic_path, write_error, write_json
from selfsort.tables import write_table


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "table.csv"
    write_table(target, ["a"], [[1]])
    with pytest.raises(RuntimeError), atomic_path(target) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert target.read_bytes() == b"a\r\n1\r\n"
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


def test_a_failure_removes_new_parents_but_no_others(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "kept/new/newer/file") as partial:
        partial.write_text("half")
        raise RuntimeError
    assert [path.name for path in tmp_path.rglob("*")] == ["kept"]


def test_leftovers_of_killed_processes_are_cleaned_up_but_not_files_of_living_ones(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from selfsort.files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as partial:\n"
        "    partial.mkdir()\n"
        "    (partial / 'half').write_text('x')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "run [1].json")])
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".run [1].json.partial-")
    living = tmp_path / f".run [1].json.partial-{os.getppid()}"
    living.write_text("still being written")
    write_json(tmp_path / "run [1].json", {"a": 1})
    assert {path.name for path in tmp_path.iterdir()} == {"run [1].json", living.name}


def test_write_errors_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="part of the path is a file"):
        write_json(tmp_path / "file/run.json", {})
    with pytest.raises(UserError, match="the disk is full"), atomic_path(tmp_path / "a"):
        raise OSError("30720 requested and 11232 written")
    inner = tmp_path / "..named.new.partial-12" / ".model.partial-3"
    assert repr(str(tmp_path / "named" / "model")) in str(write_error(inner, OSError(errno.ENOSPC, "full")))
