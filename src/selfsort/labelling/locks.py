"""Locks that let only one process label or certify a run and one refine it, but never certify and refine at once."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from selfsort.errors import UserError
from selfsort.files import write_error
from selfsort.labelling.store import Store
from selfsort.runs import RunFolder, is_locked


@contextmanager
def label_lock(run: Path, port: int | None = None, *, certifying: bool = False) -> Iterator[None]:
    """Lock a run against other processes that would label or certify it.

    Raises `UserError` with the id of the process that has locked it, or, if `certifying`, while the run is refined.
    """
    with closing(Store.open(run)) as store:
        lock = FileLock(RunFolder(run).label_lock)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise UserError(f"{str(run)!r} is being {_doing(store)}: continue there or stop it.") from None
        except OSError as error:
            raise write_error(Path(run), error) from error
        try:
            store.put("server", {"process": os.getpid(), "port": port, "certifying": certifying})
            if certifying and is_locked(RunFolder(run).refine_lock):
                raise UserError(f"A refinement of {str(run)!r} is running: wait until it is done.")
            yield
        finally:
            lock.release()


@contextmanager
def refine_lock(run: Path) -> Iterator[None]:
    """Lock a run against other refinements; raise `UserError` if one is running or the run is being certified."""
    lock = FileLock(RunFolder(run).refine_lock)
    try:
        with lock.acquire(timeout=0):
            _check_not_certified(run)
            yield
    except Timeout:
        raise UserError(f"Another refinement of {str(run)!r} is running: wait until it is done.") from None
    except OSError as error:
        raise write_error(run, error) from error


def _check_not_certified(run: Path) -> None:
    with closing(Store.open(run, create=False)) as store:
        if is_locked(RunFolder(run).label_lock) and (store.get("server", dict[str, Any]) or {}).get("certifying"):
            raise UserError(
                f"{str(run)!r} is being {_doing(store)}: finish or stop that first, as the sample is for the current "
                "model."
            )


def _doing(store: Store) -> str:
    """Say what the process that has locked a run is doing, and where."""
    holder = {"process": "unknown", "port": None, "certifying": False} | (store.get("server", dict[str, Any]) or {})
    where = f" on port {holder['port']}" if holder["port"] else ""
    return f"{'certified' if holder['certifying'] else 'labelled'} already, by process {holder['process']}{where}"
