"""How much memory there is, and what the C library does with memory that is not needed for the moment."""

import ctypes
import functools
import sys
from contextlib import suppress
from pathlib import Path

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_… of malloc.h
_LARGEST = 128 * 2**20  # bytes of an array whose memory is kept
_KEPT = 2**30  # bytes


@functools.cache
def keep_freed_memory() -> None:
    """Have the memory of freed arrays used again: up to 1 GiB of it, of arrays up to 128 MiB, from now on.

    Else the GNU C library hands most of it back to the system, which clears every page that the next batch asks for:
    up to two thirds of the time of what is made of many arrays of some megabytes, on a processor. Where there is
    another C library, nothing happens.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST)
        mallopt(_TRIM_THRESHOLD, _KEPT)


def available_bytes() -> int | None:
    """Return how much memory new arrays may take before the system runs out of it, or None where it does not say."""
    with suppress(OSError, ValueError, KeyError):
        lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
        free = {words[0]: int(words[1]) for words in lines}["MemAvailable:"] * 1024
        return min(free, _container_bytes() or free)
    return None


def _container_bytes() -> int | None:
    """Return what a container may still take, or None where it has no limit."""
    group = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError):
        return int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
    return None
