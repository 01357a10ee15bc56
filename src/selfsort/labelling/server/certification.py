"""Checking a drawn sample for a certificate, one picture after the other."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from selfsort.labelling.server.journal import Conflict
from selfsort.labelling.server.payloads import Json, check_payload
from selfsort.labelling.store import Store

if TYPE_CHECKING:
    from selfsort.labelling.checks import Checks


class Certification:
    """A sample that is being checked by several clients.

    Parameters
    ----------
    checks : the sample and what was said of it
    store : where each check is kept before it counts
    changed : called after every change
    certified : called when the last picture of the sample has been checked, and when that is taken back

    """

    def __init__(
        self, checks: "Checks", store: Store, changed: Callable[[], None], certified: Callable[[], None] | None = None
    ):
        self.checks, self._store, self._changed, self._certified = checks, store, changed, certified or (lambda: None)
        self._lock = threading.RLock()

    def next(self) -> Json:
        """Return the next picture to check with the name that the model gives it, and at the end the certificate."""
        with self._lock:
            return check_payload(self.checks)

    def add(self, key: str, client: str, index: int, name: str) -> Json:
        """Take what a picture really shows; return what `next` returns."""
        checks = self.checks
        with self._lock:
            name = checks.settle(name)
            if not self._store.knows(key):
                if index != checks.next():
                    raise Conflict(f"Picture {index} is not the one to check now: load the page again.")
                if self._store.add_check(key, client, index, name):
                    checks.record(index, name)
                    self._changed()
                    if checks.next() is None:
                        self._certified()
            return self.next()

    def undo(self, key: str) -> Json:
        """Take the last check back; return what `next` returns."""
        checks = self.checks
        with self._lock:
            if not self._store.knows(key):
                # The store also keeps the checks of earlier samples.
                if not checks.done or not self._store.undo_check(key):
                    raise Conflict("There is no check to take back.")
                was_complete = checks.next() is None
                checks.undo()
                self._changed()
                if was_complete:
                    self._certified()
            return self.next()
