"""Why a picture cannot be read, in the few words shown to the user."""

from collections.abc import Iterable

from selfsort.data.workers import TookTooLong, WorkerDied
from selfsort.errors import UserError

CRASHED = "damaged (it made the decoder crash)"
_NOT_REACHABLE = "not reachable"


class Unreadable(Exception):
    """A picture cannot be read; the message is the reason shown to the user."""


class Unreachable(Unreadable):
    """The store of a picture does not answer, which says nothing about the picture; the argument says why."""

    def __str__(self) -> str:
        return f"{_NOT_REACHABLE} ({super().__str__()})"


def explain(error: Exception) -> str:
    """Say in a few words, with details in brackets, why a picture could not be opened or decoded."""
    if isinstance(error, Unreadable):
        return str(error)
    if isinstance(error, WorkerDied):
        return f"took too long ({error})" if isinstance(error, TookTooLong) else CRASHED
    if isinstance(error, MemoryError):
        return "too large for the memory"
    if isinstance(error, OSError) and error.errno is not None:
        return f"not readable ({error.strerror})"
    message = " ".join(str(error).split()) or type(error).__name__
    return "truncated" if "truncated" in message.lower() else f"damaged ({message})"


def require_reached(reasons: Iterable[str]) -> None:
    """Raise `UserError` if one of the reasons is a store that does not answer: no picture is left out for that."""
    if found := next((reason for reason in reasons if reason.startswith(_NOT_REACHABLE)), None):
        raise UserError(f"The store of the pictures is {found}; check the network, and run the same command again.")


def no_page(page: int, pages: int) -> Unreadable:
    """Return the error for a page that a file does not have."""
    return Unreadable(f"no such page (it has {pages:,}, counted from 0, so not {page:,})")


def no_channel(channel: int, channels: int) -> Unreadable:
    """Return the error for a channel that a picture does not have."""
    return Unreadable(f"no such channel (it has {channels:,}, counted from 0, so not {channel:,})")
