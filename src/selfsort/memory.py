"""What the C library does with memory that is not needed for the moment."""

import ctypes
import functools
import sys

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
