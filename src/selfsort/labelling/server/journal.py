"""Keep the session and its store in step: whatever counts in the session is first on the disk in the store."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from selfsort.errors import UserError
from selfsort.labelling.about import About, read_about, write_about
from selfsort.labelling.acts import Act, Circled, Described, Did, SecondOpinion
from selfsort.labelling.core.answers import Event, Group
from selfsort.labelling.store import ModelPredictions, Store, Stored, load_session

Heard = Callable[[Event, bool], None]  # called with an answer that counts or, with True, was taken back


class Conflict(UserError):
    """A valid request that cannot be fulfilled now."""


class Journal:
    """What was answered about a run, by whom, and what follows from it.

    It is not thread-safe: its owner must hold a lock.

    Raises
    ------
    UserError
        If the store is damaged, of another version, cannot be written or belongs to other pictures.

    """

    def __init__(self, run: Path):
        self.run = run
        self.heard: Heard = lambda event, taken_back: None
        self.store = Store.open(run)
        self._seen = self.store.foreign_changes()

    def load(self, predictions: ModelPredictions) -> None:
        """Read the session from the store, with the newest model's `predictions`."""
        self.session = load_session(self.store, self.run, predictions)
        self._stored = self.store.events()
        self.history = self.store.history()
        self.session.withdraw(self.history.withdrawn())

    def changed_by_others(self) -> bool:
        """Tell whether another process has written to the store since the last call."""
        before, self._seen = self._seen, self.store.foreign_changes()
        return before != self._seen

    def add(self, groups: Iterable[Group]) -> list[Group]:
        """Add groups to ask about, and return them as added."""
        added = self.store.add_groups(groups)
        self.session.add(added)
        return added

    def add_once(self, group: Group, key: str, client: str) -> tuple[Group, bool]:
        """Add a group made by a client, and tell whether it is new; for a `key` used before, return the earlier group.

        Raises
        ------
        Conflict
            If the key was used for something else.

        """
        added = self.store.add_groups([group], key=key, client=client)
        if not added:
            raise Conflict("This key was used for something else before: send a new key.")
        is_new = added[0].id not in self.session.groups
        if is_new:
            self.session.add(added)
            self.history = self.store.history()
        return added[0], is_new

    def answer(self, key: str, client: str, event: Event) -> bool:
        """Store and apply an answer; for a key used before, change nothing and return False.

        Raises
        ------
        UserError
            As in `Session.check`.

        """
        if self.store.knows(key):
            return False
        self.session.check(event)
        number = self.store.add_event(key, client, event)
        if number:
            self._stored.append(Stored(number, key, client, event))
            self._note(number, client, event)
            self.session.apply(event)
            self.heard(event, False)
        return bool(number)

    def opinion(self, key: str, client: str, event: Event) -> None:
        """Store what a second person says about a group; a key used before changes nothing."""
        line = self.store.add_opinion(key, client, event)
        if line:
            self._note(line, client, SecondOpinion(event))

    def describe(self, key: str, client: str, name: str, about: About) -> None:
        """Store a name's description, note and colour; for a key used before, or if they are the same, do nothing."""
        before = read_about(self.store).get(name, About())
        described = Described(name, before.to_json(), about.to_json())
        line = 0 if about == before else self.store.add_description(key, client, described)
        if line:
            write_about(self.store, name, about)
            self._note(line, client, described)

    def to_take_back(self, client: str, is_alone: Callable[[], bool]) -> Act:
        """Return the act that a client's Undo would take back; see `ActHistory.last`.

        Raises
        ------
        Conflict
            If there is nothing that this client may take back, or somebody has answered about a group that it circled.

        """
        act = self.history.last(client, is_alone)
        if act is None:
            raise Conflict("There is nothing of yours to take back.", code="nothing-to-undo")
        if isinstance(act.did, Circled) and act.did.group in self.session.answered():
            raise Conflict(
                "Somebody has answered about the group that you circled, so it stays.", code="circle-answered"
            )
        return act

    def take_back(self, key: str, client: str, act: Act) -> None:
        """Take back an act; if others have taken it back, or the key was used before, nothing changes."""
        line = self.store.undo(key, act.seq, client)
        if not line:
            return
        self.history.take_back(act.seq, line, client)
        if isinstance(act.did, Event):
            place = next(place for place, item in enumerate(self._stored) if item.seq == act.seq)
            del self._stored[place]
            self.heard(self.session.undo(place), True)
        elif isinstance(act.did, Circled):
            self.session.withdraw(self.history.withdrawn())
        elif isinstance(act.did, Described):
            write_about(self.store, act.did.name, About(**act.did.before))

    def to_do_again(self, client: str) -> Act:
        """Return the act that a client's Redo would repeat; see `ActHistory.last_taken_back`.

        Raises
        ------
        Conflict
            If there is none.
        UserError
            If it can no longer be done; see `Session.check`.

        """
        act = self.history.last_taken_back(client)
        if act is None:
            raise Conflict("There is nothing to redo.", code="nothing-to-redo")
        if isinstance(act.did, Event):
            self.session.check(act.did)
        return act

    def do_again(self, key: str, client: str, act: Act) -> Act:
        """Do again an act that was taken back, and return it as the newest act; a key used before changes nothing."""
        line = self.store.redo(key, client, act)
        if not line or act.taken_back is None:
            return act
        again = self._note(line, client, act.did)
        self.history.repeat(act.taken_back, line)
        if isinstance(act.did, Event):
            self._stored.append(Stored(line, key, client, act.did))
            self.session.apply(act.did)
            self.heard(act.did, False)
        elif isinstance(act.did, Circled):
            self.session.withdraw(self.history.withdrawn())
        elif isinstance(act.did, Described):
            write_about(self.store, act.did.name, About(**act.did.after))
        return again

    def refined(self, key: str, client: str) -> None:
        """Record that a client requested the last refinement."""
        rounds = self.store.rounds()
        line = self.store.add_refinement(key, client, rounds[-1]) if rounds else 0
        if line:
            self._note(line, client, rounds[-1])

    def taken_back_by(self, key: str) -> Act | None:
        """Return the act that was taken back with a key, if any."""
        seq = self.store.taken_back_by(key)
        return next((act for act in self.history if act.seq == seq), None)

    def _note(self, line: int, client: str, did: Did) -> Act:
        act = Act(line, client, did, time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()))
        self.history.add(act)
        return act

    def close(self) -> None:
        """Close the store, which already holds everything."""
        self.store.close()
