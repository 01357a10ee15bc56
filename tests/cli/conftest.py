"""A working folder with pictures and finished runs, for commands that are refused, run out of space or are stopped."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from commands import Answer, Cli, run_here
from processes import Running
from refusals import KMEANS, SIMCLR, Refused, check_sentence, half_written, save, snapshot


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the finished runs `kmeans` and `simclr` on 12 pictures."""
    place = tmp_path_factory.mktemp("finished")
    source = save(place / "photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELFSORT_CACHE", str(place / "cache"))
        for name, options in (("kmeans", KMEANS), ("simclr", SIMCLR)):
            assert run_here("fit", source, "--out", place / name, *options, "--json") == 0
    return place


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: Path) -> Path:
    """The current folder, with 12 pictures in `photos` and the finished runs `kmeans` and `simclr`."""
    for name in ("photos", "kmeans", "simclr"):
        shutil.copytree(finished / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def refused(cli: Cli, desk: Path, cache_folder: Path) -> Refused:
    """Run a command that must fail with one sentence containing `naming` and change nothing."""

    def run(*arguments: object, naming: str | tuple[str, ...]) -> Answer:
        before = snapshot(desk)
        answer = cli(*arguments)
        assert answer.code == 1
        check_sentence(answer.err, naming)
        assert snapshot(desk) == before
        assert not half_written(cache_folder)
        return answer

    return run


@pytest.fixture
def read_only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which nobody can write, not even root."""
    place = tmp_path_factory.mktemp("read-only")
    if os.geteuid():
        place.chmod(0o500)
        yield place
        place.chmod(0o700)
    elif subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", place], capture_output=True).returncode == 0:
        yield place
        subprocess.run(["umount", place], check=True)
    elif Path("/proc/self").exists():
        yield Path("/proc")
    else:
        pytest.skip("root can write everywhere here")


@pytest.fixture
def start(tmp_path_factory: pytest.TempPathFactory, desk: Path) -> Iterator[Callable[..., Running]]:
    """Start the command in another process."""
    logs, started = tmp_path_factory.mktemp("logs"), list[Running]()

    def begin(*arguments: object, **options: Any) -> Running:
        started.append(Running(logs / f"log{len(started)}", arguments, **options))
        return started[-1]

    yield begin
    for running in started:
        running.process.kill()
        running.process.join()
        running.process.close()
