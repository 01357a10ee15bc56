"""Numeric loops, compiled when first needed and kept on disk."""

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar, cast

Loop = TypeVar("Loop", bound=Callable[..., Any])


@cache
def compiled(loop: Loop) -> Loop:
    """Compile a function of numbers and arrays to machine code that releases the interpreter's lock."""
    from numba import njit

    try:
        return cast(Loop, njit(nogil=True, cache=True)(loop))
    except RuntimeError:  # it cannot be kept: compile it again in every process
        return cast(Loop, njit(nogil=True)(loop))
