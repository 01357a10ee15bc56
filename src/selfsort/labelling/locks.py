"""Run locks: one process at a time names or certifies a run, one refines it, and none does the last two at once."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from selfsort.errors import UserError
from selfsort.files import write_error
from selfsort.labelling.store import Store
from selfsort.runs import RunFolder, is_locked


@contextmanager
def label_lock(run: Path, port: int | None = None, *, certifying: bool = False) -> Iterator[None]:
    """Lock a run against other processes that would name or certify it, too.

    Raises `UserError` with the number of the process that has locked it, and for `certifying` while the run is refined.
    """
    with closing(Store.open(run)) as store:
        lock = FileLock(RunFolder(run).label_lock)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise UserError(f"{str(run)!r} is being {_doing(store)}: go on there or stop it.") from None
        except OSError as error:
            raise write_error(Path(run), error) from error
        try:
            store.put("server", {"process": os.getpid(), "port": port, "certifying": certifying})
            if certifying and is_locked(RunFolder(run).refine_lock):
                raise UserError(f"A refinement of {str(run)!r} is going on: wait until it is done.")
            yield
        finally:
            lock.release()


@contextmanager
def refine_lock(run: Path) -> Iterator[None]:
    """Lock a run against other refinements; raises `UserError` for one that is going on, and while it is certified."""
    lock = FileLock(RunFolder(run).refine_lock)
    try:
        with lock.acquire(timeout=0):
            _check_not_certified(run)
            yield
    except Timeout:
        raise UserError(f"Another refinement of {str(run)!r} is going on: wait until it is done.") from None
    except OSError as error:
        raise write_error(run, error) from error


def _check_not_certified(run: Path) -> None:
    with closing(Store.open(run, create=False)) as store:
        if is_locked(RunFolder(run).label_lock) and (store.get("server") or {}).get("certifying"):
            raise UserError(
                f"{str(run)!r} is being {_doing(store)}: finish or stop that first, for the sample is of the model "
                "as it is."
            )


def _doing(store: Store) -> str:
    """Say what the process does that has locked a run, and where."""
    holder = {"process": "unknown", "port": None, "certifying": False} | (store.get("server") or {})
    where = f" on port {holder['port']}" if holder["port"] else ""
    return f"{'certified' if holder['certifying'] else 'named'} already, by process {holder['process']}{where}"
