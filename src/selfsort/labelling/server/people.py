"""Who answered what, how fast, and how far people agree when asked independently about the same groups."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np

from selfsort.errors import UserError
from selfsort.labelling.acts import person_of
from selfsort.labelling.core.agreement import agreements, pace
from selfsort.labelling.core.answers import Event, Group, cleaned, spelt
from selfsort.labelling.server.journal import Conflict, Journal
from selfsort.spelling import visible

Json = dict[str, Any]
_FACT = "people"
_ASKED = ("name", "junk", "mixed")  # answers on which there may be a second opinion


class People:
    """The people who name a run.

    Parameters
    ----------
    journal, lock : the service's journal and lock
    described : returns what is sent to the page about a group
    changed : called after every change

    """

    def __init__(
        self,
        journal: Journal,
        lock: threading.RLock,
        described: Callable[[Group], Json],
        changed: Callable[[], None],
    ):
        self._journal, self._lock, self._described, self._changed = journal, lock, described, changed

    def overview(self, client: str) -> Json:
        """Return everybody's answers, pictures, pace and time left, and how far pairs of people agree."""
        with self._lock:
            names = self._names()
            acts = [act for act in self._journal.history if isinstance(act.did, Event) and act.taken_back is None]
            owners, groups = self._journal.session.owners(), len(self._journal.session.open_groups())
            by_group = {act.did.group: person_of(act.client) for act in acts if isinstance(act.did, Event)}
            people = []
            clients = [*(act.client for act in acts), *(given.client for given in self._journal.store.opinions())]
            everybody = dict.fromkeys([*map(person_of, clients), person_of(client)])
            numbers = {person: number for number, person in enumerate(everybody, 1)}
            for person in everybody:
                own = [act for act in acts if person_of(act.client) == person]
                seconds = pace([_seconds(act.at) for act in own])
                named = [group for group, who in by_group.items() if who == person and group is not None]
                row = {
                    "number": numbers[person],
                    "name": names.get(person, ""),
                    "me": person == person_of(client),
                    "answers": len(own),
                }
                row |= {"pictures": int(np.isin(owners, named).sum()), "seconds": seconds}
                people.append(row | {"left": None if seconds is None else round(seconds * groups)})
            pairs = [each._asdict() for each in agreements(self._pairs(numbers))]
            return {"people": people, "agreement": pairs, "waiting": len(self._waiting(client))}

    def call(self, client: str, name: str) -> Json:
        """Give the person behind a client a name that others see; return the overview."""
        cleaned(name)  # it may be refused
        name = visible(name)  # also where it is a word for junk
        with self._lock:
            known = self._names()
            if name in (other for person, other in known.items() if person != person_of(client)):
                sentence = f"Somebody else is called {name!r} already: choose another name."
                raise UserError(sentence, code="name-taken", name=name)
            self._journal.store.put(_FACT, known | {person_of(client): name})
        self._changed()
        return self.overview(client)

    def next(self, client: str) -> Json:
        """Return a group that somebody else has answered, without that answer."""
        with self._lock:
            waiting = self._waiting(client)
            if not waiting:
                return {"group": None, "waiting": 0}
            group = self._described(self._journal.session.groups[waiting[0]])
            return {"group": group | {"suggestion": None, "about": []}, "waiting": len(waiting)}

    def opinion(self, key: str, client: str, event: Event) -> Json:
        """Store a second opinion on a group, which changes no picture's name. Return what `next` returns."""
        with self._lock:
            if not self._journal.store.knows(key):
                if event.group not in self._waiting(client):
                    sentence = f"No second opinion on group {event.group} is needed from you: continue."
                    raise Conflict(sentence, code="no-opinion-wanted")
                if event.kind == "name":
                    cleaned(event.name)
                self._journal.opinion(key, client, event)
        self._changed()
        return self.next(client)

    def _names(self) -> dict[str, str]:
        return self._journal.store.get(_FACT, dict[str, str]) or {}

    def _first(self) -> dict[int, tuple[str, Event]]:
        """Return who answered about each group, and what, in random order."""
        acts = (act for act in self._journal.history if isinstance(act.did, Event) and act.taken_back is None)
        found = {
            act.did.group: (person_of(act.client), act.did)
            for act in acts
            if isinstance(act.did, Event) and act.did.group is not None and act.did.kind in _ASKED
        }
        order = np.random.default_rng(11).permutation(max(found, default=0) + 1)
        return dict(sorted(found.items(), key=lambda item: int(order[item[0]])))

    def _waiting(self, client: str) -> list[int]:
        """Return the groups on which a client may be asked for a second opinion."""
        person = person_of(client)
        given = {stored.event.group for stored in self._journal.store.opinions() if person_of(stored.client) == person}
        groups = self._journal.session.groups
        first = self._first().items()
        return [number for number, (who, _) in first if who != person and number not in given and number in groups]

    def _pairs(self, numbers: dict[str, int]) -> list[tuple[int, str, int, str]]:
        first, merged = self._first(), self._merged()
        rows = []
        for stored in self._journal.store.opinions():
            if stored.event.group in first and stored.event.kind != "skip":
                who, event = first[stored.event.group]
                other = person_of(stored.client)
                rows.append((numbers[who], _said(event, merged), numbers[other], _said(stored.event, merged)))
        return rows

    def _merged(self) -> dict[str, str]:
        """Return what each merged name has become."""
        merged: dict[str, str] = {}
        for event in self._journal.session.events:
            if event.kind == "merge":
                stays = spelt(event.name)
                gone = set(map(spelt, event.names))
                merged = {name: stays if now in gone else now for name, now in merged.items()}
                merged |= dict.fromkeys(gone, stays)
        return merged


def _said(event: Event, merged: dict[str, str]) -> str:
    name = spelt(event.name)
    return merged.get(name, name) if event.kind == "name" else f"/{event.kind}"  # no name starts with a slash


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp()
