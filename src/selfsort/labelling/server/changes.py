"""Versions that tell a page whether anything has changed since it last asked."""

import threading
import time


class Changes:
    """A version that grows with every change, even across restarts of the server, and that of the latest names.

    Attributes
    ----------
    version : version of everything: names, groups, the map, and the progress of a refinement
    generation : the version in which names or groups last changed, on which coverage, counts, the map's colours and the
        next group depend

    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.version = self.generation = 0

    def touch(self) -> None:
        """Let pages notice a change that does not affect names and groups."""
        with self._lock:
            self._advance()

    def touch_names(self) -> None:
        """Let pages notice that names or groups have changed."""
        with self._lock:
            self.generation = self._advance()

    def _advance(self) -> int:
        self.version = max(self.version + 1, int(time.time() * 1000))
        return self.version
