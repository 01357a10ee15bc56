"""Commands that run at the same time, fill the disk, or are interrupted."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from commands import Cli, program
from refusals import KMEANS, LONG, SIMCLR, check_sentence, half_written, read_csv, save_classes, snapshot


@pytest.mark.parametrize(
    ("command", "limit", "naming"),
    [
        (("fit", "photos", "--out", "new", *KMEANS), 2_000, "new/"),
        (("fit", "photos", "--out", "a/b/new", *KMEANS), 2_000, "new/"),
        (("fit", "photos", "--out", "new", *SIMCLR), 50_000, "new/checkpoints"),
        (("predict", "kmeans", "photos", "--out", "new.csv"), 400, "new.csv"),
        (("predict", "kmeans", "photos", "--out", "new.parquet"), 400, "new.parquet"),
        (("sort", "kmeans", "photos", "--out", "new", "--copy"), 300, "new"),
        (("evaluate", "kmeans", "labelled"), 400, "kmeans/evaluation.json"),
        (("report", "kmeans", "--images", "photos"), 5_000, "kmeans/report.html"),
    ],
    ids=lambda value: " ".join(value[:4]) if isinstance(value, tuple) else None,
)
def test_full_output(cli: Cli, start: Any, desk: Path, command: tuple[str, ...], limit: int, naming: str) -> None:
    cli("predict", "kmeans", "photos", "--out", "warm.csv")
    cli("evaluate", "simclr", save_classes(desk / "labelled"))
    cli("fit", "photos", "--out", "warm", *KMEANS)  # so that everything needed is in the cache
    before = snapshot(desk)
    answer = start(*command, "--json", limit=limit).end()
    assert answer.code == 1
    check_sentence(answer.err, (naming, "larger than this system allows"))
    assert snapshot(desk) == before


def test_full_cache(start: Any, desk: Path, cache_folder: Path) -> None:
    before = snapshot(desk)
    answer = start("fit", "photos", "--out", "new", *KMEANS, "--json", limit=1_000).end()
    assert answer.code == 1
    check_sentence(answer.err, (str(cache_folder), "full"))
    assert snapshot(desk) == before and not half_written(cache_folder)
    assert not [path for path in cache_folder.rglob("*") if path.is_file() and path.stat().st_size]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
@pytest.mark.parametrize("size", ["8k", "24k", "400k"])
def test_full_disk(cli: Cli, desk: Path, tmp_path_factory: pytest.TempPathFactory, size: str) -> None:
    disk = tmp_path_factory.mktemp("disk")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        answer = cli("fit", "photos", "--out", disk / "a/new", *SIMCLR, "--json")
        assert answer.code == 1
        check_sentence(answer.err, (str(disk), "full"))
        assert not list(disk.iterdir())
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.slow
def test_interrupt_and_kill_in_the_middle_of_training(start: Any, cli: Cli, desk: Path) -> None:
    """Both resumed runs end with the same weights as one that was not stopped."""
    whole = start("fit", "photos", "--out", "whole", *LONG)
    killed = start("fit", "photos", "--out", "killed", *LONG).when(
        lambda: list(Path("killed").glob("checkpoints/step-*")), signal.SIGKILL
    )
    assert killed.code == -signal.SIGKILL
    stopped = start("fit", "photos", "--out", "stopped", *LONG).when(
        lambda: list(Path("stopped").glob("checkpoints/step-*")), signal.SIGINT
    )
    assert stopped.code == 130
    check_sentence(stopped.err, "--resume")
    assert whole.end().code == 0
    weights = (desk / "whole/model.safetensors").read_bytes()
    for name in ("killed", "stopped"):
        answer = cli("predict", name, "photos", "--out", "new.csv", "--json")
        assert answer.code == 1 and "unfinished" in answer.err
        answer = start("fit", "photos", "--out", name, *LONG, "--resume").end()
        assert (answer.code, answer.err) == (0, "")
        assert (desk / name / "model.safetensors").read_bytes() == weights
        assert len(read_csv(desk / name / "metrics.csv")) == 40
        assert not [path for path in (desk / name).rglob("*partial*")]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["interrupt", "kill"])
def test_stopped_while_pictures_are_read(
    start: Any, cli: Cli, desk: Path, cache_folder: Path, how: signal.Signals
) -> None:
    arguments = ("fit", "photos", "--out", "new", *KMEANS, "--json")
    before = snapshot(desk)
    answer = start(*arguments, stall=True).when(lambda: list(cache_folder.glob("*/.*/pixels")), how)
    assert snapshot(desk) == before
    if how == signal.SIGINT:
        assert answer.code == 130
        assert not half_written(cache_folder)
        check_sentence(answer.err, "Stopped")
    assert cli(*arguments, "--resume").code == 0
    assert not half_written(cache_folder)


def test_same_command_twice_at_once(start: Any, cli: Cli, desk: Path) -> None:
    both = [start("fit", "photos", "--out", "new", *LONG) for _ in range(2)]
    won, lost = sorted(running.end() for running in both)
    assert (won.code, lost.code) == (0, 1)
    waited = "Another process is reading the same pictures; waiting for it to finish.\n"  # if they met there, too
    check_sentence(lost.err.removeprefix(waited), "'new'")
    assert cli("predict", "new", "photos", "--out", "new.csv", "--json").code == 0


def test_same_pictures_twice_at_once(start: Any, desk: Path, cache_folder: Path) -> None:
    both = [start("fit", "photos", "--out", out, *SIMCLR, "--json") for out in ("first", "second")]
    assert [running.end().code for running in both] == [0, 0]
    first, second = ((desk / out / "model.safetensors").read_bytes() for out in ("first", "second"))
    assert first == second
    assert len(list(cache_folder.glob("*/*/pixels"))) == 1 and not half_written(cache_folder)


@pytest.mark.slow
def test_methods_are_listed_without_docstrings() -> None:
    """`python -OO` removes docstrings."""
    for words, told in ((["methods"], "simclr"), (["methods", "simclr"], "temperature")):
        done = subprocess.run([sys.executable, "-OO", "-m", "selfsort", *words], capture_output=True, text=True)
        assert done.returncode == 0 and told in done.stdout and "(*" not in done.stdout, done.stderr


TRAINED = ("fit", "digits", "--size", "8", *SIMCLR, "--batch-size", "400", "--device", "cpu")


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["devices", "torchrun"])
def test_a_training_in_two_processes(launcher: str, cli: Cli, desk: Path) -> None:
    if launcher == "devices":
        words = program(*TRAINED, "--devices", "2", "--out", "two")
    else:
        options = ("--standalone", "--nproc-per-node", "2", "--no-python")
        words = [sys.executable, "-m", "torch.distributed.run", *options, *program(*TRAINED, "--out", "two")]
    done = subprocess.run(words, cwd=desk, capture_output=True, text=True, check=True)
    assert done.stderr.count("epoch 1/1") == 1, "only the first process prints"
    assert cli("fit", *TRAINED[1:], "--out", "one").code == 0
    losses = [float(read_csv(desk / run / "metrics.csv")[0]["loss"]) for run in ("one", "two")]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert cli("predict", "two", "digits", "--out", "two.csv").code == 0
