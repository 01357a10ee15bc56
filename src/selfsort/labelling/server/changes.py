"""What tells a page that something has changed since it last asked."""

import threading
import time


class Changes:
    """A version that grows with every change, also over restarts of the server, and that of the newest names.

    Attributes
    ----------
    version : of everything: names, groups, the map, and how far a refinement is
    generation : the version in which names or groups last changed; coverage, counts, the map's colours and the next
        group follow from them

    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.version = self.generation = 0

    def touch(self) -> None:
        """Let pages notice a change that leaves names and groups alone."""
        with self._lock:
            self._advance()

    def touch_names(self) -> None:
        """Let pages notice that names or groups have changed."""
        with self._lock:
            self.generation = self._advance()

    def _advance(self) -> int:
        self.version = max(self.version + 1, int(time.time() * 1000))
        return self.version
