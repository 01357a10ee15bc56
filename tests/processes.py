"""Commands in separate processes, forked from one that has imported everything, to be stopped or starved."""

import multiprocessing
import os
import pickle
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from commands import Answer
from selfsort.__main__ import main
from selfsort.data import decoding
from selfsort.errors import UserError
from selfsort.training.processes import processes

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


def _run_rank(number: int, port: int, answers: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Run a function in one of two processes, as torchrun starts them."""
    torch.set_num_threads(1)
    os.environ |= {"TORCHELASTIC_RUN_ID": "test", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "RANK": str(number), "LOCAL_RANK": str(number)}
    os.environ["GROUP_RANK"] = "0"
    try:
        with processes(device="cpu"):
            found = function(*arguments)
    except UserError as error:
        found = error
    answers.send_bytes(pickle.dumps(found))  # send would share the memory of tensors, which ends with the process


def in_two(function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Run a function in two processes that train together; return what each returned, or its `UserError`.

    A process that died has returned None.
    """
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    pipes = [SERVER.Pipe(duplex=False) for _ in range(2)]
    started = [
        SERVER.Process(target=_run_rank, args=(number, port, sending, function, arguments))
        for number, (_, sending) in enumerate(pipes)
    ]
    for process in started:
        process.start()
    for _, sending in pipes:
        sending.close()
    answers = []
    for receiving, _ in pipes:
        try:
            assert receiving.poll(300), "the processes did not end"
            answers.append(pickle.loads(receiving.recv_bytes()))
        except EOFError:
            answers.append(None)
        receiving.close()
    for process in started:
        process.join(60)
    return answers
