"""Run `selfsort` commands in tests."""

import json
import subprocess
import sys
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest

from selfsort.__main__ import main


class Answer(NamedTuple):
    """The result of a command: its exit code, and what it printed on standard output and standard error."""

    code: int
    out: str
    err: str


def run_here(*words: object) -> int:
    """Run a command in this process, as the shell would, and return its exit code."""
    with patch.object(sys, "argv", ["selfsort", *map(str, words)]):
        try:
            main()
        except SystemExit as leaving:
            return int(leaving.code or 0)
    return 0


class Cli:
    """Runs commands in this process; see `in_a_process` for a separate one."""

    def __init__(self, capsys: pytest.CaptureFixture[str]):
        self._capsys = capsys

    def run(self, *words: object) -> int:
        """Return a command's exit code; what it prints is left to `capsys`."""
        return run_here(*words)

    def __call__(self, *words: object) -> Answer:
        """Return the result of a command, without earlier output."""
        self._capsys.readouterr()
        return Answer(self.run(*words), *self._capsys.readouterr())

    def json(self, *words: object) -> dict[str, Any]:
        """Return the object that a command prints for programs; it must succeed."""
        answer = self(*words, "--json")
        assert answer.code == 0, answer.err
        (line,) = answer.out.splitlines()
        found: dict[str, Any] = json.loads(line)
        assert found["format"] == 1 and found["command"] == words[0]
        return found


def program(*words: object) -> list[str]:
    """Return the program and the arguments that run a command in a separate process."""
    return [sys.executable, "-u", "-m", "selfsort", *map(str, words)]


def in_a_process(*words: object, **options: Any) -> Answer:
    """Run a command to its end in a separate process."""
    done = subprocess.run(program(*words), capture_output=True, text=True, **options)
    return Answer(done.returncode, done.stdout, done.stderr)
