"""No committed text names a place on the machine where it was written."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_PLACE = re.compile(r"(?<![\w.])/(?:home|root|tmp|work|Users|mnt|private)/[\w.]")


def committed() -> list[Path]:
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in names.split("\0") if name and (ROOT / name).is_file()]


def test_no_committed_text_holds_a_path_of_a_machine() -> None:
    for path in committed():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture
        found = _PLACE.search(text)
        assert not found, f"{path.relative_to(ROOT)}: {text[found.start() :][:60]!r}; write DATA/… or RUN/…"


def test_the_check_finds_one() -> None:
    assert _PLACE.search("--data-root " + "/".join(["", "home", "me"])) and not _PLACE.search(
        "/".join(["a", "home", "b tmp", "x"])
    )
