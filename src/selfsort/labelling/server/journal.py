"""The session and its store in step: whatever counts in the one is on the disk in the other first."""

from collections.abc import Callable, Iterable
from pathlib import Path

from selfsort.errors import UserError
from selfsort.labelling.core.answers import Event, Group
from selfsort.labelling.store import Opinion, Store, Stored, load_session


class Conflict(UserError):
    """It cannot be done now, though it is not wrong in itself."""


class Journal:
    """What was answered about a run, by whom, and what follows from it.

    It is not safe between threads by itself: its owner holds a lock.

    Raises
    ------
    UserError
        When the store is damaged, of another version, cannot be written or belongs to other pictures.

    """

    def __init__(self, run: Path):
        self.run = run
        self.store = Store.open(run)
        self._seen = self.store.foreign_changes()

    def load(self, opinion: Opinion) -> None:
        """Read the session from the store, with the `opinion` of the newest model."""
        self.session = load_session(self.store, self.run, opinion)
        self._stored = self.store.events()

    def changed_by_others(self) -> bool:
        """Tell whether another process has written to the store since this was last asked."""
        before, self._seen = self._seen, self.store.foreign_changes()
        return before != self._seen

    def add(self, groups: Iterable[Group]) -> list[Group]:
        """Add groups to ask about, and return them as added."""
        added = self.store.add_groups(groups)
        self.session.add(added)
        return added

    def add_once(self, group: Group, key: str, client: str) -> tuple[Group, bool]:
        """Add a group that a client made, and tell whether it is new; with a `key` used before, return that group.

        Raises
        ------
        Conflict
            When the key was used for something else.

        """
        added = self.store.add_groups([group], key=key, client=client)
        if not added:
            raise Conflict("This key was used for something else before: send a new one.")
        is_new = added[0].id not in self.session.groups
        if is_new:
            self.session.add(added)
        return added[0], is_new

    def answer(self, key: str, client: str, event: Event) -> bool:
        """Let an answer count; return False, and change nothing, when its key was used before.

        Raises
        ------
        UserError
            See `Session.check`.

        """
        if self.store.knows(key):
            return False
        self.session.check(event)
        number = self.store.add_event(key, client, event)
        if number:
            self._stored.append(Stored(number, key, client, event))
            self.session.apply(event)
        return bool(number)

    def undo(self, key: str, client: str, is_alone: Callable[[], bool]) -> bool:
        """Take back the last answer of a client; return False, and change nothing, when the key was used before.

        A client that has given none may take back the last of all where it `is_alone`: in a new tab, perhaps next
        week, nobody else can have answered.

        Raises
        ------
        Conflict
            When there is nothing that this client may take back.

        """
        if self.store.knows(key):
            return False
        own = [place for place, item in enumerate(self._stored) if item.client == client]
        if not own and is_alone():
            own = list(range(len(self._stored)))
        if not own:
            raise Conflict("There is no answer of yours to take back.")
        undone = self.store.undo(key, self._stored[own[-1]].seq)
        if undone:
            self.session.undo(own[-1])
            del self._stored[own[-1]]
        return undone

    def undone_group(self, key: str) -> Group | None:
        """Return the group whose answer was taken back under a key, if it was about one."""
        event = self.store.undone_by(key)
        return None if event is None or event.group is None else self.session.groups.get(event.group)

    def close(self) -> None:
        """Close the store; everything is in it already."""
        self.store.close()
