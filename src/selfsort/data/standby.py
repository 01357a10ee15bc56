"""Decode a picture that may take long in a standby process, which unlike this one can be killed."""

import atexit
import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from selfsort.data.limits import Heavy, only_light
from selfsort.data.workers import Workers, cores

Result = TypeVar("Result")

_MOST = 2  # a slow picture must not keep all others waiting
_lock = threading.Lock()
_standing: dict[int, Workers] = {}  # by process id: a fork must not use its parent's workers


def within_limits(task: Callable[..., Result], *arguments: Any, seconds: float) -> Result:
    """Return `task(*arguments)`, computed in this process unless the picture is `Heavy`; any thread may call this.

    The task, a function of a module, its arguments and its result must be picklable. Raises `TookTooLong` after
    `seconds` of processor time, and `WorkerDied` if decoding crashed; see `Workers.run`.
    """
    try:
        with only_light():
            return task(*arguments)
    except Heavy:
        pass
    try:
        workers = _workers()
    except OSError:  # no process can be started: better without a time limit than not at all
        return task(*arguments)
    return workers.run(task, *arguments, seconds=seconds)


def _workers() -> Workers:
    """Return the standby processes, started for the first picture; they end with this one."""
    with _lock:
        own = _standing.get(os.getpid())
        if own is None:
            own = _standing[os.getpid()] = Workers(min(_MOST, cores()))
            atexit.register(own.close)
        return own
