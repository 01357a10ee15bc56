"""Check a drawn sample for a certificate, one picture after another."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from selfsort.labelling.server.journal import Conflict
from selfsort.labelling.server.payloads import Json, check_payload
from selfsort.labelling.store import Store

if TYPE_CHECKING:
    from selfsort.labelling.checks import Asking


class Certification:
    """A sample that several clients are checking.

    Parameters
    ----------
    checks : the sample and the checks so far
    store : where each check is stored before it counts
    changed : called after every change
    certified : called after every check, and after one is taken back

    """

    def __init__(
        self, checks: "Asking", store: Store, changed: Callable[[], None], certified: Callable[[], None] | None = None
    ):
        self.checks, self._store, self._changed, self._certified = checks, store, changed, certified or (lambda: None)
        self._lock = threading.RLock()
        self._extended: set[str] = set()

    def next(self) -> Json:
        """Return the next picture to check with the name that the model gives it, and the certificate so far."""
        with self._lock:
            return check_payload(self.checks)

    def add(self, key: str, client: str, index: int, name: str) -> Json:
        """Record what a picture really shows; return what `next` returns, and how sure the model was of its name."""
        checks = self.checks
        with self._lock:
            name = checks.settle(name)
            if not self._store.knows(key):
                if index != checks.next():
                    sentence = f"Picture {index} is not the one to check now: load the page again."
                    raise Conflict(sentence, code="check-passed")
                if self._store.add_check(key, client, index, name, checks.given(index), by=checks.by):
                    checks.record(index, name)
                    self._changed()
                    self._certified()
            return self.next() | {"was_sure": round(checks.confidence_of(index), 4)}

    def undo(self, key: str) -> Json:
        """Take back the last check; return what `next` returns."""
        checks = self.checks
        with self._lock:
            if not self._store.knows(key):
                # The store also keeps the checks of earlier samples.
                if not checks.done or not self._store.undo_check(key, checks.by):
                    raise Conflict("There is no check to take back.", code="no-check")
                checks.undo()
                self._changed()
                self._certified()
            return self.next()

    def extend(self, key: str, more: int) -> Json:
        """Ask about this many more pictures; return what `next` returns."""
        with self._lock:
            if key not in self._extended:
                self.checks.extend(more)
                self._extended.add(key)
                self._changed()
            return self.next()
