"""Trials in separate processes, forked from one that has imported everything: a fresh start takes seconds."""

import importlib
import os
import re
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from selfsort import methods
from selfsort.__main__ import main

_RAISED = 99  # exit code after an exception
MOST_MIB = 1024

# Modules that commands import when needed.
_LATER = (
    "faiss lightning.fabric matplotlib.figure matplotlib.backends.backend_agg rich.table safetensors.torch "
    "scipy.optimize scipy.stats sklearn.cluster sklearn.linear_model sklearn.manifold sklearn.metrics pyarrow.parquet "
    "selfsort.audit selfsort.export.sort selfsort.export.predictions selfsort.labelling.server.service "
    "selfsort.labelling.learning.rounds selfsort.reporting.from_run selfsort.reporting.audit_page simplejpeg tifffile"
)


@dataclass(frozen=True)
class Ended:
    """How a child ended: its exit code (below 0 for a signal), what it printed, seconds, and its own MiB."""

    code: int
    out: str
    err: str
    seconds: float
    mib: float
    hung: bool = False

    @property
    def fault(self) -> str | None:
        """Return the kind of fault, whatever the task was; None for a result or a sentence."""
        if self.hung:
            return "hang"
        if self.code == _RAISED or "Traceback (most recent call last)" in self.err:
            return "traceback"
        if self.code < 0 or self.code not in (0, 1, 2):
            return "crash"
        if self.mib > MOST_MIB:
            return "memory"
        if self.code and not re.search(r"^selfsort: [^\n]+[.?]$", self.err.strip().rpartition("\n")[2]):
            return "no sentence"
        return None


def preload() -> None:
    """Import what trials need, so that each fork has it."""
    for name in _LATER.split():
        importlib.import_module(name)
    for name in methods.names():
        methods.find(name)


def command(*words: object, **environment: object) -> Callable[[], None]:
    """Return a function that runs a `selfsort` command, for `run`."""

    def work() -> None:
        os.environ.update({name: str(value) for name, value in environment.items()})
        sys.argv = ["selfsort", *map(str, words)]
        main()

    return work


def run(
    work: Callable[[], object],
    logs: Path,
    *,
    seconds: float = 120,
    kill_after: float | None = None,
    limits: Mapping[int, int] | None = None,
) -> Ended:
    """Have a forked child do some work, and kill it after some seconds if requested."""
    out, err = logs / "out.log", logs / "err.log"
    sys.stdout.flush()
    sys.stderr.flush()
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        _work(work, out, err, limits or {})
    patience = seconds if kill_after is None else kill_after
    hung, status, usage = False, 0, None
    while usage is None:
        done, status, found = os.wait4(child, os.WNOHANG)
        if done:
            usage = found
        elif time.monotonic() - started > patience:
            hung = kill_after is None
            # Its own children should notice by themselves; those of a hung child are killed.
            if hung:
                with suppress(ProcessLookupError):  # it may not lead a process group yet
                    os.killpg(child, signal.SIGKILL)
            os.kill(child, signal.SIGKILL)
            _, status, usage = os.wait4(child, 0)
        else:
            time.sleep(0.002)
    took = time.monotonic() - started
    text = [path.read_text("utf-8", "replace") for path in (out, err)]
    return Ended(os.waitstatus_to_exitcode(status), *text, took, max(0, usage.ru_maxrss - _held()) / 1024, hung)


@cache
def _held() -> int:
    """Return the KiB held by a fork that does nothing."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    return os.wait4(child, 0)[2].ru_maxrss


def _work(work: Callable[[], object], out: Path, err: Path, limits: Mapping[int, int]) -> None:
    code = 0
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for number, path in ((1, out), (2, err)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))
        torch.set_num_threads(1)
        for which, limit in limits.items():
            resource.setrlimit(which, (limit, limit))
        work()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(bool(leaving.code))
    except BaseException:
        traceback.print_exc()
        code = _RAISED
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                pass
        os._exit(code)
