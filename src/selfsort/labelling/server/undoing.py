"""Undo and redo what people did: answers, circles on the map, changed names and refinements."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from selfsort.labelling.acts import Act, Round
from selfsort.labelling.earlier_models import bring_back_refinement, take_back_refinement
from selfsort.labelling.server.journal import Journal
from selfsort.labelling.server.leases import Leases


class Following(NamedTuple):
    """What to call: `names` after an act, `model` if another model counts; `idle` raises during a refinement."""

    names: Callable[[], None]
    model: Callable[[], None]
    idle: Callable[[], None]


class Undoing:
    """Undo and redo for any client.

    Parameters
    ----------
    run : run folder
    journal, leases, lock : the service's journal, leases and lock
    following : called when something has changed: `names` within the lock, `model` outside it, as it takes seconds

    """

    def __init__(self, run: Path, journal: Journal, leases: Leases, lock: threading.RLock, following: Following):
        self._run, self._journal, self._leases, self._lock, self._following = run, journal, leases, lock, following

    def undo(self, key: str, client: str) -> Act | None:
        """Take back a client's last act, once for each key, and return it; see `Journal.to_take_back`."""
        with self._lock:
            if self._journal.store.knows(key):
                return self._journal.taken_back_by(key)
            act = self._journal.to_take_back(client, lambda: self._leases.is_alone(client))
            if isinstance(act.did, Round):
                self._following.idle()
                take_back_refinement(self._run, self._journal.store)
            self._journal.take_back(key, client, act)
            self._follow(act)
        return self._with_model(act)

    def redo(self, key: str, client: str) -> Act | None:
        """Do again a client's last act taken back, once for each key, and return it; see `Journal.to_do_again`."""
        with self._lock:
            if self._journal.store.knows(key):
                return self._journal.history.last(client, lambda: False)
            act = self._journal.to_do_again(client)
            if isinstance(act.did, Round):
                self._following.idle()
                bring_back_refinement(self._run, self._journal.store, act.did)
            act = self._journal.do_again(key, client, act)
            self._follow(act)
        return self._with_model(act)

    def _follow(self, act: Act) -> None:
        if not isinstance(act.did, Round):
            self._following.names()

    def _with_model(self, act: Act) -> Act:
        if isinstance(act.did, Round):
            self._following.model()
        return act
