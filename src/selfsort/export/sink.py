"""A file in memory whose content is handed on while it is being written."""

import io


class Sink(io.RawIOBase):
    """A file without seeking that hands on what is written to it."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        """Tell that the file can be written to."""
        return True

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self._size

    def write(self, data: object) -> int:
        """Keep what is written until it is taken."""
        self._parts.append(bytes(data))  # type: ignore[call-overload]
        self._size += len(self._parts[-1])
        return len(self._parts[-1])

    def taken(self) -> bytes:
        """Return what was written since the last call."""
        parts, self._parts = self._parts, []
        return b"".join(parts)
