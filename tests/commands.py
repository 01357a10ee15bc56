"""The command line, called as a user calls it, but in this process."""

import json
import sys
from typing import Any

import pytest

from selfsort import __main__ as entry


def command(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["selfsort", *map(str, words)])
    try:
        entry.main()
    except SystemExit as leaving:
        return int(leaving.code or 0)
    return 0


def answer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    assert command(monkeypatch, *words, "--json") == 0
    (line,) = capsys.readouterr().out.splitlines()
    found: dict[str, Any] = json.loads(line)
    assert found["format"] == 1 and found["command"] == words[0]
    return found
