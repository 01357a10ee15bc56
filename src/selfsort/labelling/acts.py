"""What people did, in order, and what was taken back: the history behind Undo and Redo."""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from selfsort.labelling.core.answers import Event


class Circled(NamedTuple):
    """A group made from pictures circled on the map."""

    group: int


@dataclass(frozen=True)
class Round:
    """A refinement: its number, from 1, the last answer that it learnt from, and the names that it learnt."""

    round: int
    after_seq: int
    names: tuple[str, ...]


class SecondOpinion(NamedTuple):
    """What a second person said about a group; it changes no name."""

    event: Event


@dataclass(frozen=True)
class Described:
    """A change of a name's description, note or colour: before and after, in the form of `About.to_json`."""

    name: str
    before: dict[str, str]
    after: dict[str, str]


Did = Event | Circled | Round | SecondOpinion | Described


@dataclass
class Act:
    """Something that somebody did.

    Attributes
    ----------
    seq : number of its line in the log
    client : the window in which it was done
    did : an answer, a circle on the map, a refinement, a second opinion or the description of a name
    at : the time, in UTC
    taken_back : the line that takes it back, if any
    taken_back_by : the client that took it back
    repeats : whether it does again something that was taken back
    repeated : whether it was done again after being taken back

    """

    seq: int
    client: str
    did: Did
    at: str
    taken_back: int | None = None
    taken_back_by: str = ""
    repeats: bool = False
    repeated: bool = False


IMPORTED = "imported"  # the client recorded for names that were imported


def person_of(client: str) -> str:
    """Return the person behind a client: the part before the first "-", which all windows of a browser share."""
    return client.partition("-")[0]


class ActHistory:
    """All acts in order, and which of them a client may take back or do again."""

    def __init__(self) -> None:
        self._acts: dict[int, Act] = {}

    def __iter__(self) -> Iterator[Act]:
        return iter(self._acts.values())

    def __len__(self) -> int:
        return len(self._acts)

    def add(self, act: Act) -> None:
        """Add an act that is later than all others."""
        self._acts[act.seq] = act

    def take_back(self, seq: int, line: int, client: str) -> None:
        """Record that a client's line takes back an act; ignore an act that is unknown because it was damaged."""
        if (act := self._acts.get(seq)) is not None:
            act.taken_back, act.taken_back_by = line, client

    def repeat(self, line: int, seq: int) -> None:
        """Record that what a line had taken back was done again by the act `seq`."""
        for act in self:
            if act.taken_back == line:
                act.repeated = True
        if seq in self._acts:
            self._acts[seq].repeats = True

    def last(self, client: str, is_alone: Callable[[], bool]) -> Act | None:
        """Return the act that a client's Undo would take back: its last act in force.

        Imported names belong to everybody. A window that has done nothing continues with what the same person did in
        other windows, and then, if nobody else is working, with the last act of all, done perhaps in another browser a
        week ago.
        """
        in_force = [act for act in self if act.taken_back is None]
        own = _newest(act for act in in_force if act.client in (client, IMPORTED))
        own = own or _newest(act for act in in_force if person_of(act.client) == person_of(client))
        return own or (_newest(in_force) if in_force and is_alone() else None)

    def last_taken_back(self, client: str) -> Act | None:
        """Return the act that a client's Redo would repeat: the last taken back, unless it did something else since."""
        person = person_of(client)
        since = max((act.seq for act in self if person_of(act.client) == person and not act.repeats), default=0)
        waiting = [act for act in self if act.taken_back is not None and not act.repeated]
        waiting = [act for act in waiting if person_of(act.taken_back_by) == person and (act.taken_back or 0) > since]
        return max(waiting, key=lambda act: act.taken_back or 0, default=None)

    def skips(self, groups: Collection[int]) -> dict[int, Act]:
        """Return the answers in force that skipped any of the groups, in order, by group."""
        events = ((act, act.did) for act in self if act.taken_back is None and isinstance(act.did, Event))
        skips = {event.group: act for act, event in events if event.kind == "skip" and event.group is not None}
        return {group: act for group, act in skips.items() if group in groups}

    def withdrawn(self) -> set[int]:
        """Return the circled groups whose acts were all taken back."""
        circled = [(act.did.group, act.taken_back is None) for act in self if isinstance(act.did, Circled)]
        return {group for group, _ in circled} - {group for group, in_force in circled if in_force}


def _newest(acts: Iterable[Act]) -> Act | None:
    return max(acts, key=lambda act: act.seq, default=None)
