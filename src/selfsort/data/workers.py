"""Python processes that work for this one.

They are neither forked, which is unsafe with torch's threads, nor started by `multiprocessing`, whose other methods run
the user's script again unless its main part is guarded. They end with this process, however it ends: their input
closes.
"""

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

Result = TypeVar("Result")

_BOOT = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); from selfsort.data.workers import serve; serve()"
)
_READY = b"+"
_CLOCK_SECONDS = 6  # for each second of processor time: then work that waits for a disk, or its turn, is given up


class WorkerDied(Exception):
    """A process ended in the middle of its work, for example because a C library crashed or memory ran out."""


class TookTooLong(WorkerDied):
    """A process was killed because its work took too long; the message says how long."""

    by_clock = False  # rather than by processor time: it may have waited for something


class Workers:
    """`count` processes that live for one `with` block.

    Raises `OSError` if they cannot be started.
    """

    def __init__(self, count: int) -> None:
        self._idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._closed = False
        try:
            for _ in range(count):
                self._processes.append(_start())
            for process in self._processes:
                _await(process)
                self._idle.put(process)
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self._processes)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill all processes, whatever they are doing."""
        self._closed = True
        for process in self._processes:
            _end(process)

    def run(self, task: Callable[..., Result], *arguments: Any, seconds: float | None = None) -> Result:
        """Return `task(*arguments)`, computed by the next free process; any thread may call this.

        The task, a function of a module, its arguments and its result must be picklable. Raises `WorkerDied`, and
        `TookTooLong` after `seconds` of processor time, or six times as many by the clock: the result must not depend
        on how busy the machine is.
        """
        process = self._idle.get()
        try:
            return _ask(process, (seconds or 0.0, task, arguments))
        # A reply that is cut off within an array raises ValueError.
        except (EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
            ended, process = process, self._replace(process)
            if seconds is not None and ended.returncode == -signal.SIGPROF:
                raise TookTooLong(f"more than {seconds:g} seconds of processor time") from error
            if seconds is not None and ended.returncode == -signal.SIGALRM:
                slow = TookTooLong(f"more than {_CLOCK_SECONDS * seconds:g} seconds by the clock")
                slow.by_clock = True
                raise slow from error
            raise WorkerDied from error
        finally:
            self._idle.put(process)

    def _replace(self, process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        _end(process)
        if not self._closed:
            place = self._processes.index(process)
            self._processes[place] = process = _start()
            _await(process)
        return process


def serve() -> None:
    """Answer tasks from standard input until it closes: the main loop of a worker process."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not end up among the replies
    replies.write(_READY)
    replies.flush()
    with suppress(EOFError, BrokenPipeError):
        while True:
            seconds, task, arguments = pickle.load(sys.stdin.buffer)
            _limit(seconds)  # what they need is imported by now
            result = task(*arguments)
            _limit(0.0)
            pickle.dump(result, replies, protocol=pickle.HIGHEST_PROTOCOL)
            replies.flush()


def cores() -> int:
    """Return the number of cores that this process may use."""
    from joblib import cpu_count  # respects the limits of containers and schedulers

    return int(cpu_count())


def _limit(seconds: float) -> None:
    """Make the system kill this process after so much computing, even within a C library; 0 means no limit."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, _CLOCK_SECONDS * seconds)


def _start() -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", _BOOT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C in the terminal is for the main process, which ends the workers
    )
    with suppress(BrokenPipeError):  # it has died already, which `_await` notices
        _send(process, sys.path)
    return process


def _await(process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    if process.stdout.read(len(_READY)) != _READY:
        raise OSError("a Python process for decoding pictures did not start")


def _ask(process: subprocess.Popen[bytes], work: tuple[float, Callable[..., Result], tuple[Any, ...]]) -> Result:
    _send(process, work)
    assert process.stdout is not None
    result: Result = pickle.load(process.stdout)
    return result


def _send(process: subprocess.Popen[bytes], message: object) -> None:
    assert process.stdin is not None
    pickle.dump(message, process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
    process.stdin.flush()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):  # unsent bytes of a broken pipe
                pipe.close()
