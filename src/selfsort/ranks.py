"""Several processes that train one model: which one this is, and what they tell each other.

As long as `training.processes` has started no group, there is one process, and everything here does nothing. No torch
is imported here: without it there is no group.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, TypeVar, cast

from selfsort.errors import UserError

T = TypeVar("T")


class Elsewhere(UserError):
    """Another process met the error, and its message says which."""


def _group() -> Any:
    """Return torch.distributed while a group exists, else None."""
    torch = sys.modules.get("torch.distributed")
    return torch if torch is not None and torch.is_available() and torch.is_initialized() else None


def rank() -> int:
    """Return the number of this process, from 0."""
    group = _group()
    return 0 if group is None else int(group.get_rank())


def size() -> int:
    """Return the number of processes."""
    group = _group()
    return 1 if group is None else int(group.get_world_size())


def is_first() -> bool:
    """Tell whether this process is the one that writes files and speaks."""
    return rank() == 0


def all_values(value: T) -> list[T]:
    """Return the value that each process has, in the order of the processes."""
    if size() == 1:
        return [value]
    found: list[Any] = [None] * size()
    _group().all_gather_object(found, value)
    return cast(list[T], found)


def from_first(compute: Callable[[], T]) -> T:
    """Return in all processes what the first one has computed; the others wait.

    Raises
    ------
    Elsewhere
        In the other processes, if the computation fails.

    """
    if size() == 1:
        return compute()
    if not is_first():
        return cast(T, _told())
    try:
        found = compute()
    except BaseException:
        _tell(False, None)
        raise
    _tell(True, found)
    return found


@contextmanager
def first_ahead() -> Iterator[None]:
    """Let the first process do the block before the others, which then find what it has put into the cache.

    A mistake of the user is therefore reported once.
    """
    if size() == 1:
        yield
    elif is_first():
        done = False
        try:
            yield
            done = True
        finally:
            _tell(done, None)
    else:
        _told()
        yield


@contextmanager
def first_enters(context: AbstractContextManager[T], otherwise: T) -> Iterator[T]:
    """Enter a context in the first process only; in the others, wait until it has, and yield another value."""
    with ExitStack() as entered:
        found: list[T] = []
        from_first(lambda: found.append(entered.enter_context(context)))
        yield found[0] if found else otherwise


def _tell(done: bool, value: object) -> None:
    _group().broadcast_object_list([done, value], src=0)


def _told() -> object:
    message: list[Any] = [None, None]
    _group().broadcast_object_list(message, src=0)
    done, value = message
    if not done:
        raise Elsewhere("The first process has stopped: its own message says why.")
    return value
