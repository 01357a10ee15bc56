"""Heads on stored features: one file each finds groups in (N, D) features and gives new ones their group.

A file holds a dataclass that follows `selfsort.heads.base.Head`; the file's name is the head's name. Nothing else is
touched: the method `frozen` and the command line find it.
"""

import difflib
import pkgutil
from importlib import import_module
from typing import cast

from selfsort.errors import UserError
from selfsort.heads.base import Head

_SHARED = ("base", "learning")  # what heads have in common


def names() -> list[str]:
    """Return the names of all heads."""
    return sorted({module.name for module in pkgutil.iter_modules(__path__)}.difference(_SHARED))


def find(name: str) -> type[Head]:
    """Return the class of a head.

    Raises
    ------
    UserError
        For an unknown name, with the nearest one.

    """
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(names())}."
        raise UserError(f"Unknown head {name!r}: {hint}")
    module = import_module(f"{__name__}.{name}")
    return next(
        cast(type[Head], value)
        for value in vars(module).values()
        if isinstance(value, type) and value.__module__ == module.__name__ and hasattr(value, "from_state")
    )


def about(name: str) -> str:
    """Return the line that tells what a head is."""
    return (find(name).__doc__ or "").strip().partition("\n")[0]
