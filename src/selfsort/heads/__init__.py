"""Heads on stored features: each finds groups in (N, D) features and assigns new ones to a group; one file per head.

A file holds a dataclass that follows `selfsort.heads.base.Head`; the name of the file is the name of the head. Nothing
else has to be changed: the method `frozen` and the command line find it.
"""

import difflib
import pkgutil
from importlib import import_module
from typing import cast

from selfsort.errors import UserError
from selfsort.heads.base import Head

_SHARED = ("base", "learning")  # code that heads share


def names() -> list[str]:
    """Return the names of all heads."""
    return sorted({module.name for module in pkgutil.iter_modules(__path__)}.difference(_SHARED))


def find(name: str) -> type[Head]:
    """Return the class of a head.

    Raises
    ------
    UserError
        If the name is unknown; the message suggests the nearest one.

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
    """Return the line that describes a head."""
    return (find(name).__doc__ or "").strip().partition("\n")[0]
