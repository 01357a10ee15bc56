"""Loops over numbers, compiled when they are first needed and kept on the disk."""

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar, cast

Loop = TypeVar("Loop", bound=Callable[..., Any])


@cache
def compiled(loop: Loop) -> Loop:
    """Return a function of numbers and arrays as machine code, which does not hold the interpreter's lock."""
    from numba import njit

    try:
        return cast(Loop, njit(nogil=True, cache=True)(loop))
    except RuntimeError:  # nowhere to keep it: compiled again in every process
        return cast(Loop, njit(nogil=True)(loop))
