"""Why a picture cannot be read, in the few words that the user is shown."""


class Unreadable(Exception):
    """A picture cannot be read; the message is the reason that the user is shown."""


def explain(error: Exception) -> str:
    """Say in a few words, details in brackets, why a picture could not be opened or decoded."""
    if isinstance(error, Unreadable):
        return str(error)
    if isinstance(error, MemoryError):
        return "too large for the memory"
    if isinstance(error, OSError) and error.errno is not None:
        return f"not readable ({error.strerror})"
    message = " ".join(str(error).split()) or type(error).__name__
    return "truncated" if "truncated" in message.lower() else f"damaged ({message})"


def no_page(page: int, pages: int) -> Unreadable:
    """Say that a file has no such page."""
    return Unreadable(f"no such page (it has {pages:,}, the first being 0, and not {page:,})")


def no_channel(channel: int, channels: int) -> Unreadable:
    """Say that a picture has no such channel."""
    return Unreadable(f"no such channel (it has {channels:,}, the first being 0, and not {channel:,})")
