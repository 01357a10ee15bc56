"""Decoded pictures on disk: each set once, as one file of raw `uint8` that is mapped into memory.

The cache is the folder named by the environment variable `SELFSORT_CACHE`, or else the user's cache folder. Each set is
a folder in it, named by a hash of everything that determines its pixels. It holds two files: `pixels`, the raw array,
and `index.json`, the array's shape and further notes. A set appears all at once, by a rename. Each set has a lock,
which the system releases when its holder dies: the second of two equal commands waits for the first, and sets left
half-written by dead processes can be told from those still being written.
"""

import errno
import json
import logging
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import platformdirs
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from selfsort.errors import UserError
from selfsort.files import bytes_in, remove

FORMAT = 2  # increase it whenever pictures are decoded differently
VARIABLE = "SELFSORT_CACHE"

_log = logging.getLogger(__name__)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Writer(Protocol):
    """Where decoded pictures go, block by block."""

    def append(self, block: NDArray[np.uint8]) -> None:
        """Append (n, H, W, C) pictures."""


Notes = dict[str, Any]
Build = Callable[[Writer], Notes]


class Usage(NamedTuple):
    """What the cache holds."""

    path: Path
    sets: int
    bytes: int


class Unavailable(Exception):
    """The cache cannot be written."""


def root() -> Path:
    """Return the folder of everything that is kept for later; it need not exist."""
    return Path(os.environ.get(VARIABLE) or platformdirs.user_cache_dir("selfsort")).expanduser()


@dataclass(frozen=True)
class KeptFiles:
    """Files of one kind, recognised by their `suffix`, in a `folder` of the cache; they are made again when needed."""

    folder: str
    suffix: str

    def location(self) -> Path:
        """Return the folder; it need not exist."""
        return root() / self.folder

    def usage(self) -> tuple[int, int]:
        """Count the files and their bytes."""
        files = self._files()
        return len(files), sum(path.stat().st_size for path in files)

    def clear(self) -> int:
        """Delete the files and return the number of bytes freed."""
        freed = self.usage()[1]
        for path in self._files():
            remove(path)
        return freed

    def _files(self) -> list[Path]:
        return sorted(self.location().glob(f"*{self.suffix}"))


def location() -> Path:
    """Return the cache's folder; it need not exist."""
    return root() / f"images-{FORMAT}"


def usage() -> Usage:
    """Count the sets in the cache and the bytes they take."""
    sets = [path for path in _children() if path.is_dir()]
    return Usage(location(), sum(not path.name.startswith(".") for path in sets), sum(map(bytes_in, sets)))


def clear() -> int:
    """Delete every set in the cache, except those being written, and return the number of bytes freed.

    Arrays that are mapped into a running process stay valid on POSIX systems.
    """
    freed = 0
    for path in _children():
        if path.is_dir() and not path.name.startswith("."):
            freed += bytes_in(path)
            remove(path)
    return freed + _sweep()


def load(key: str, build: Build) -> tuple[NDArray[np.uint8], Notes]:
    """Return the pictures and notes kept under `key`, a file name, calling `build` first if there are none.

    The pictures are a read-only memory map. Raises `Unavailable` if the cache cannot be written, and `UserError` if the
    disk is full; nothing is left behind then, nor if `build` fails.
    """
    if (found := _find(key)) is not None:
        return found
    with _writing():
        location().mkdir(parents=True, exist_ok=True)
        _sweep()
    with _locked(key):
        if (found := _find(key)) is None:
            _make(key, build)
            found = _find(key)
    if found is None:
        raise Unavailable(f"{location() / key} was damaged as soon as it was written")
    return found


def _make(key: str, build: Build) -> None:
    folder = location() / key
    with _writing():
        partial = Path(tempfile.mkdtemp(prefix=f".{key}.", dir=folder.parent))
    try:
        with _FileWriter(partial / "pixels") as writer:
            notes = build(writer)
        with _writing():
            (partial / "index.json").write_text(json.dumps({"shape": writer.shape, "notes": notes}), encoding="ascii")
            remove(folder)  # it is damaged, or it would have been found
            os.replace(partial, folder)
    finally:
        remove(partial)


def _find(key: str) -> tuple[NDArray[np.uint8], Notes] | None:
    folder = location() / key
    try:
        index = json.loads((folder / "index.json").read_bytes())
        shape, notes = tuple(index["shape"]), index["notes"]
        if (folder / "pixels").stat().st_size != math.prod(shape):
            return None
        return np.memmap(folder / "pixels", np.uint8, mode="r", shape=shape), notes
    except (OSError, ValueError, KeyError, TypeError):
        return None


class _FileWriter:
    """Appends pictures to a new file; they are safely on disk when the `with` block ends."""

    def __init__(self, path: Path) -> None:
        with _writing():
            self._file = open(path, "wb")
        self.shape: tuple[int, ...] = (0,)

    def append(self, block: NDArray[np.uint8]) -> None:
        """Append (n, H, W, C) pictures."""
        with _writing():
            self._file.write(np.ascontiguousarray(block).data)
        self.shape = (self.shape[0] + len(block), *block.shape[1:])

    def __enter__(self) -> "_FileWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with _writing(), self._file as file:
            if kind is None:
                file.flush()
                os.fsync(file.fileno())  # otherwise a power failure could leave a file with holes under the new name


@contextmanager
def writing(folder: Path, what: str) -> Iterator[None]:
    """Raise `UserError` if the disk is too full to keep `what`, and `Unavailable` if nothing can be written."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise UserError(
                f"The disk is too full to keep the {what} in {str(folder)!r}; free some space, clear the "
                f"cache, set {VARIABLE} to another folder, or load with cache=False."
            ) from error
        raise Unavailable(str(error)) from error
    except NotImplementedError as error:  # a file system without locks
        raise Unavailable(str(error)) from error


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Lock a file for one block, logging `what` its present holder does; the system frees the lock of a dead one."""
    lock = FileLock(path)
    with writing(path.parent, "lock"):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            _log.warning("Another process is %s; waiting for it to finish.", what)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _writing() -> AbstractContextManager[None]:
    return writing(location(), "decoded pictures")


def _locked(key: str) -> AbstractContextManager[None]:
    return locked(location() / f".{key}.lock", "reading the same pictures")


def _sweep() -> int:
    """Delete sets left half-written by dead processes and return the number of bytes freed."""
    freed = 0
    for path in _children():
        if path.is_dir() and path.name.startswith("."):
            lock = FileLock(path.parent / f".{path.name.split('.')[1]}.lock")
            with suppress(Timeout, OSError), lock.acquire(timeout=0):
                freed += bytes_in(path)
                remove(path)
    return freed


def _children() -> list[Path]:
    try:
        return list(location().iterdir())
    except OSError:
        return []
