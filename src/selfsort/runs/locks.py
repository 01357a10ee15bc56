"""Run locks, which let only one process at a time work in a folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from selfsort.errors import UserError
from selfsort.files import remove, write_error

_LOCK = ".lock"


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Lock a folder, creating it; remove it if left empty.

    Raises
    ------
    UserError
        If another process has locked it, or it cannot be written.

    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / _LOCK)
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"{str(folder)!r} is open in another process: wait for it or choose another folder.") from None
    except OSError as error:
        raise write_error(folder, error) from error
    try:
        yield
    finally:
        if is_empty(folder):
            remove(folder)
        lock.release()


def is_empty(folder: Path) -> bool:
    """Tell whether a folder holds nothing but a lock."""
    return not any(entry.name != _LOCK for entry in folder.iterdir())


def is_running(folder: Path) -> bool:
    """Tell whether a process has locked a folder."""
    return (folder / _LOCK).exists() and is_locked(folder / _LOCK)  # is_locked would create the file


def is_locked(path: Path) -> bool:
    """Tell whether a process has locked a file; one that cannot be opened counts as locked."""
    try:
        with FileLock(path).acquire(timeout=0):
            return False
    except (Timeout, OSError):
        return True
