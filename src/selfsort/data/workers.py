"""Python processes that work for this one.

They are neither forked, which is unsafe beside torch's threads, nor made by `multiprocessing`, whose other ways run the
user's script again unless it guards its main part. They end with this process, however it ends: their input closes.
"""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Timer
from typing import Any, TypeVar

Result = TypeVar("Result")

_BOOT = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); from selfsort.data.workers import serve; serve()"
)
_READY = b"+"


class WorkerDied(Exception):
    """A process ended in the middle of its work, as when a C library crashes or memory runs out."""


class TookTooLong(WorkerDied):
    """A process was ended because its work had taken too long."""


class Workers:
    """`count` processes that are there for one `with` block and dead after it.

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
        """End all processes, whatever they are doing."""
        self._closed = True
        for process in self._processes:
            _end(process)

    def run(self, task: Callable[..., Result], *arguments: Any, seconds: float | None = None) -> Result:
        """Return `task(*arguments)`, computed by the next process that is free; any thread may call this.

        The task, a function of a module, its arguments and its result must be picklable. Raises `WorkerDied`, and
        `TookTooLong` when it has not answered after so many `seconds`.
        """
        process = self._idle.get()
        clock = _Clock(process, seconds)
        try:
            with clock:
                result = _ask(process, task, arguments)
            if clock.struck:  # just when the answer had come
                process = self._replace(process)
            return result
        # A reply that is cut off within an array is a ValueError.
        except (EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
            process = self._replace(process)
            raise (TookTooLong if clock.struck else WorkerDied) from error
        finally:
            self._idle.put(process)

    def _replace(self, process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        _end(process)
        if not self._closed:
            place = self._processes.index(process)
            self._processes[place] = process = _start()
            _await(process)
        return process


class _Clock:
    """Ends a process that works for longer than some seconds; None lets it."""

    def __init__(self, process: subprocess.Popen[bytes], seconds: float | None) -> None:
        self._process, self.struck = process, False
        self._timer = None if seconds is None else Timer(seconds, self._strike)

    def __enter__(self) -> None:
        if self._timer is not None:
            self._timer.daemon = True
            self._timer.start()

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _strike(self) -> None:
        self.struck = True
        self._process.kill()


def serve() -> None:
    """Answer tasks on standard input until it ends: what a worker process does."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not get among the replies
    replies.write(_READY)
    replies.flush()
    with suppress(EOFError, BrokenPipeError):
        while True:
            task, arguments = pickle.load(sys.stdin.buffer)
            pickle.dump(task(*arguments), replies, protocol=pickle.HIGHEST_PROTOCOL)
            replies.flush()


def _start() -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", _BOOT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C in the terminal is for the main process, which ends the others
    )
    _send(process, sys.path)
    return process


def _await(process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    if process.stdout.read(len(_READY)) != _READY:
        raise OSError("a Python process to decode pictures in did not start")


def _ask(process: subprocess.Popen[bytes], task: Callable[..., Result], arguments: tuple[Any, ...]) -> Result:
    _send(process, (task, arguments))
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
