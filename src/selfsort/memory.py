"""How much memory is available, and what becomes of freed memory."""

import ctypes
import functools
import mmap
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # M_… in malloc.h
_LARGEST = 128 * 2**20  # bytes; memory of larger arrays is not kept
_KEPT = 2**30  # bytes
_RETURNED = 4 * 2**20  # bytes; memory of larger arrays is returned at once
_ARENAS = 2  # pools of memory that all threads share


@functools.cache
def keep_freed_memory() -> None:
    """Make the C library reuse the memory of freed arrays from now on: up to 1 GiB, of arrays up to 128 MiB.

    Otherwise the GNU C library returns most of it to the system, which clears every page when the next batch asks for
    it: on a CPU this costs up to two thirds of the time of work with many arrays of a few megabytes. With another C
    library nothing happens.
    """
    _set(_MMAP_THRESHOLD, _LARGEST)
    _set(_TRIM_THRESHOLD, _KEPT)


@functools.cache
def return_freed_memory() -> None:
    """Make the C library return the memory of freed arrays of 4 MiB or more to the system from now on.

    Otherwise the GNU C library soon keeps that of arrays up to 32 MiB, for each of many threads apart: a server whose
    threads take turns with many such arrays grows by gigabytes. With another C library nothing happens.
    """
    _set(_MMAP_THRESHOLD, _RETURNED)
    _set(_ARENA_MAX, _ARENAS)


def drop_pages(array: NDArray[Any]) -> None:
    """Let the system take back the memory of a mapped array, which it reads again if needed; do nothing to others."""
    mapped = getattr(array, "_mmap", None)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def _set(option: int, value: int) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(option, value)


def available_bytes() -> int | None:
    """Return the bytes that new arrays may take before the system runs out of memory, or None if unknown."""
    with suppress(OSError, ValueError, KeyError):
        lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
        free = {words[0]: int(words[1]) for words in lines}["MemAvailable:"] * 1024
        return min(free, _container_bytes() or free)
    return None


def _container_bytes() -> int | None:
    """Return the bytes that a container may still take, or None if it has no limit."""
    group = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError):
        return int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
    return None
