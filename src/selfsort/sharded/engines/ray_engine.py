"""Shards computed by a Ray Data pipeline, on this machine or on a cluster.

A worker is an actor that loads the network once. Ray starts another one for any that dies, and gives it the same shard
again. Each worker has one core, or one GPU, whatever the number of workers, since the number of threads may change the
last bits of a sum.
"""

import logging
import os
import pickle
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from selfsort.data.workers import cores
from selfsort.errors import UserError
from selfsort.sharded.folder import FinishedShard
from selfsort.sharded.job import Part, Worker

# Nothing leaves the machine, and what Ray prints about itself hides what selfsort says.
_SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal", "RAY_DATA_DISABLE_PROGRESS_BARS": "1"}

_SECONDS_TO_ANSWER = 10


def run(worker: Worker, parts: Iterator[Part], count: int, workers: int | None) -> Iterator[FinishedShard]:
    """Compute the parts and yield what is known of each, in the order in which they are finished."""
    with _connected(workers) as ray:
        size, resources = _workers(ray, worker, workers, count)
        ray.data.DataContext.get_current().enable_progress_bars = False
        rows = [{"part": pickle.dumps(part)} for part in parts]
        results = ray.data.from_items(rows, override_num_blocks=count).map_batches(
            _Actor,
            batch_size=1,
            fn_constructor_args=(pickle.dumps(worker),),
            compute=ray.data.ActorPoolStrategy(size=size),
            **resources,
        )
        try:
            for row in results.iter_rows():
                if row["problem"]:
                    raise UserError(row["problem"])
                yield pickle.loads(row["shard"])
        except ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[-1].rstrip(".")
            raise UserError(f"Ray stopped ({reason}); the finished shards are kept, run the same again.") from error


class _Actor:
    """A worker in a process of Ray's."""

    def __init__(self, worker: bytes) -> None:
        os.environ["LOKY_MAX_CPU_COUNT"] = "1"  # decode in this process, which has one core
        self._worker: Worker = pickle.loads(worker)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        # Ray would wrap the error, and try the same again.
        try:
            return {"shard": [pickle.dumps(self._worker(pickle.loads(batch["part"][0])))], "problem": [""]}
        except UserError as error:
            return {"shard": [b""], "problem": [str(error)]}


@contextmanager
def _connected(workers: int | None) -> Iterator[Any]:
    """Use the cluster that this program is connected to or that RAY_ADDRESS names, or else start one here."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    started = not ray.is_initialized()
    if started:
        _start(ray, workers)
    try:
        yield ray
    finally:
        if started:
            ray.shutdown()


def _start(ray: Any, workers: int | None) -> None:
    """Connect to the cluster that RAY_ADDRESS names, or start one; raise `UserError` if that is impossible."""
    how: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address := os.environ.get("RAY_ADDRESS", ""):
        _check_answers(address)
    else:  # without "local", Ray would use any cluster of this machine, whoever started it
        how |= {"address": "local", "num_cpus": workers or cores(), "include_dashboard": False}
    try:
        with _silent():
            ray.init(**how)
    except Exception as error:  # of the network, of the system, of Ray itself
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise UserError(f"Ray cannot be started ({reason}); check RAY_ADDRESS and Ray's log.") from error


def _check_answers(address: str) -> None:
    """Raise `UserError` if nothing answers at a host and port: Ray would try for many minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not (host and port.isdecimal()):  # such as "auto"
        return
    try:
        socket.create_connection((host, int(port)), _SECONDS_TO_ANSWER).close()
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"No Ray cluster answers at RAY_ADDRESS={address!r} ({reason}); start it, or name another."
        ) from error


@contextmanager
def _silent() -> Iterator[None]:
    """Drop what C++ code prints on standard error, such as a line about its own log level."""
    sys.stderr.flush()
    before, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nothing)


def _workers(ray: Any, worker: Worker, workers: int | None, count: int) -> tuple[int, dict[str, int]]:
    """Return how many workers to start, and what each of them gets."""
    there = ray.cluster_resources()
    gpu = worker.task.uses_gpu
    kind = "GPU" if gpu else "CPU"
    most = int(there.get(kind, 0))
    if (workers or 1) > most:
        raise UserError(f"workers={workers or 1} is more than the cluster's {most} {kind}s; ask for fewer.")
    return min(workers or most, count), {"num_cpus": 1, "num_gpus": 1} if gpu else {"num_cpus": 1}
