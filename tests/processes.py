"""Commands in separate processes, forked from one that has imported everything, to be stopped or starved."""

import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from commands import Answer
from selfsort.__main__ import main
from selfsort.data import decoding

# Processes are forked from a server that has imported everything: a fresh start takes seconds.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["pytest", "selfsort.__main__", "selfsort.methods.conv_autoencoder", "lightning.fabric", "torch.utils.tensorboard"]
)


def _run(folder: str, cache: str, arguments: tuple[str, ...], log: str, limit: int | None, stall: bool) -> None:
    """Run the command in a forked process; `limit` bounds the bytes of any file, `stall` stops decoding for ever."""
    for number in (1, 2):
        os.dup2(os.open(f"{log}.{number}", os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))
    torch.set_num_threads(1)  # several such processes would wait for each other's threads
    os.chdir(folder)
    os.environ["SELFSORT_CACHE"] = cache
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if stall:
        decoding.decode_chunk = lambda *_: time.sleep(60)  # type: ignore[assignment]
    sys.argv = ["selfsort", *arguments]
    main()


class Running:
    """A command in a separate process."""

    def __init__(self, log: Path, arguments: tuple[object, ...], limit: int | None = None, stall: bool = False):
        self.log = log
        place = (os.getcwd(), os.environ["SELFSORT_CACHE"])
        self.process = SERVER.Process(target=_run, args=(*place, tuple(map(str, arguments)), str(log), limit, stall))
        self.process.start()

    def when(self, happened: Callable[[], object], then: signal.Signals) -> Answer:
        """Send a signal as soon as something has happened."""
        until = time.monotonic() + 60
        while not happened():
            assert self.process.is_alive() and time.monotonic() < until, f"{self.log}.2"
            time.sleep(0.002)
        assert self.process.pid is not None
        os.kill(self.process.pid, then)
        return self.end()

    def end(self) -> Answer:
        self.process.join(60)
        if self.process.exitcode is None:
            self.process.kill()
            pytest.fail("the command did not end")
        out, err = (Path(f"{self.log}.{number}").read_text(encoding="utf-8") for number in (1, 2))
        return Answer(self.process.exitcode, out, err)
