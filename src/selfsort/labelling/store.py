"""The store: all answers in one SQLite file, which are on the disk before they are confirmed, and never deleted.

`log` only grows: taking back an answer adds a line that refers to it. Every line has a key chosen by its sender, so
that sending it twice changes nothing. Every line has a digest: lines that are not as they were written are reported
and ignored, the others count.
"""

import json
import logging
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from selfsort import runs
from selfsort.errors import UserError
from selfsort.labelling import lines
from selfsort.labelling.acts import IMPORTED, Act, ActHistory, Circled, Described, Did, Round, SecondOpinion
from selfsort.labelling.core.answers import Event, Group
from selfsort.labelling.core.session import Session
from selfsort.labelling.lines import LogLine
from selfsort.labelling.store_file import Repair, Unwritable, in_a_sentence, open_file, transaction
from selfsort.schema import Invalid, checked, parsed

__all__ = [
    "IMPORTED",
    "Checked",
    "Checker",
    "ModelPredictions",
    "Round",
    "Store",
    "Stored",
    "Unwritable",
    "load_session",
    "newest_model",
    "read_predictions",
]

_ROUNDS, _REPAIRS = "rounds", "repairs"
_COPY = "restore a copy of the file to get everything back."

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stored:
    """An answer in the store: its place in the order of all, its key, and the client that sent it."""

    seq: int
    key: str
    client: str
    event: Event


class Checked(NamedTuple):
    """A check of a picture: its place in the order of all answers, the right name, and the name `given` by the model.

    `given` is None for checks of earlier versions.
    """

    seq: int
    picture: int
    name: str
    given: str | None = None


Checker = Literal["check", "second"]
_CHECK = tuple[int, str, str | None] | tuple[int, str]


class Store:
    """Groups and answers in a SQLite file, which is created if it does not exist.

    Several threads and processes may use it at once. Only its owner can read it. A damaged line is reported in a
    warning and does not count. If pages are damaged, a file with all intact lines replaces the damaged one, which is
    kept beside it.

    Raises
    ------
    UserError
        If the file is damaged throughout, of another version, not a store, or cannot be written. All methods may raise
        it.

    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self._lock = threading.RLock()
        self._n_images: int | None = None
        self._told: set[str] = set()
        self._set_aside: set[tuple[str, object]] = set()
        repairs: list[Repair] = []
        self._db = open_file(self.path, repairs.append)
        for repair in repairs:
            self._warn(repair.sentence)
            with suppress(Unwritable):
                self.put(_REPAIRS, [asdict(each) for each in (*self._repairs(), repair)])

    @classmethod
    def open(cls, run: Path, *, create: bool = True) -> Self:
        """Return the store in a run folder.

        Raises
        ------
        UserError
            Also if there is none and `create` is false, or it was made for other pictures.

        """
        data = runs.read_run(run)["data"]
        path = runs.RunFolder(run).labels
        if not create and not path.exists():
            raise UserError(f"{str(run)!r} has no answers yet: name its groups with `selfsort label {run}`.")
        store = cls(path)
        try:
            store._check_run({name: data[name] for name in ("n_images", "fingerprint")})
            store._n_images = int(data["n_images"])
        except BaseException:
            store.close()
            raise
        return store

    def close(self) -> None:
        """Close the file, which already holds everything."""
        with self._lock:
            self._db.close()

    def groups(self) -> list[Group]:
        """Return all intact groups, oldest first."""
        found, damaged = [], []
        for row in self._read(f"SELECT {lines.GROUPS} FROM groups ORDER BY id"):
            try:
                group = lines.group_of(row)
                if self._are_foreign(group.members):
                    raise Invalid("it holds other pictures")
            except Invalid:
                damaged.append(row[0])
            else:
                found.append(group)
        self._tell("group", damaged, "with the answers about it")
        # A part of a lost group becomes a group without a parent.
        known = {group.id for group in found}
        return [group if group.parent in known else replace(group, parent=None) for group in found]

    def add_groups(self, groups: Iterable[Group], *, key: str | None = None, client: str = "") -> list[Group]:
        """Add groups, all or none, and return them as added.

        If another process has taken one of their numbers meanwhile, all get later numbers. With a `key` that was used
        before, nothing is added, and the groups added then are returned.
        """
        groups = list(groups)
        with self._transaction() as db:
            if key is not None and self.knows(key):
                before = self._lines("WHERE key = ? AND kind = 'groups'", (key,))
                numbers = _content(before[0], list[int]) if before else []
                known = {group.id: group for group in self.groups()}
                return [known[number] for number in numbers or [] if number in known]
            (last,) = db.execute("SELECT coalesce(max(id), -1) FROM groups").fetchone()
            groups = _renumbered(groups, last + 1)
            rows = map(lines.columns_of, groups)
            db.executemany(f"INSERT INTO groups ({lines.GROUPS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
            if key is not None:
                self._add("groups", key, client, [group.id for group in groups])
        return groups

    def events(self) -> list[Stored]:
        """Return the answers in force, oldest first, except those about lost groups."""
        known = {group.id for group in self.groups()}
        found, damaged = [], []
        for line in self._in_force("answer"):
            event = self._event(line)
            if event is None or not (event.group is None or event.group in known):
                damaged.append(line.seq)
            else:
                found.append(Stored(line.seq, line.key, line.client, event))
        self._tell("answer", damaged)
        return found

    def add_event(self, key: str, client: str, event: Event) -> int:
        """Store an answer and return its place in the order of all; for a key used before, change nothing, return 0."""
        with self._transaction():
            return self._add("answer", key, client, event.to_json())

    def add_refinement(self, key: str, client: str, this: Round) -> int:
        """Store a client's refinement and return its place in the order of all, 0 for a key used before."""
        with self._transaction():
            return self._add("refine", key, client, asdict(this))

    def add_opinion(self, key: str, client: str, event: Event) -> int:
        """Store what a second person says about a group; return its place in the log, 0 for a key used before."""
        with self._transaction():
            return self._add("opinion", key, client, event.to_json())

    def add_description(self, key: str, client: str, this: Described) -> int:
        """Store that a name was described; return its place in the log, 0 for a key used before."""
        with self._transaction():
            return self._add("about", key, client, asdict(this))

    def opinions(self) -> list[Stored]:
        """Return what second people said about groups, oldest first."""
        found = [(line, self._event(line)) for line in self._in_force("opinion")]
        return [Stored(line.seq, line.key, line.client, event) for line, event in found if event is not None]

    def undo(self, key: str, seq: int, client: str | None = None) -> int:
        """Take back an act, for a client or else the one that did it; return the number of the line that does so.

        If the key was used before or the act was taken back already, nothing changes and the result is 0.
        """
        with self._transaction() as db:
            wanted = (
                "SELECT client FROM log WHERE seq = ? AND kind IN ('answer', 'groups', 'refine', 'opinion', 'about')"
            )
            found = db.execute(wanted, (seq,)).fetchone()
            return 0 if found is None else self._add("undo", key, client or found[0], None, seq)

    def redo(self, key: str, client: str, act: Act) -> int:
        """Do again an act that was taken back; return its new place in the order of all.

        If the key was used before or the act was done again already, nothing changes and the result is 0.
        """
        with self._transaction():
            before = self._lines("WHERE seq = ?", (act.seq,))
            done = self._lines("WHERE kind = 'redo' AND undoes = ?", (act.taken_back,))
            if not before or act.taken_back is None or done:
                return 0
            again = self._add(before[0].kind, key, client, parsed(before[0].content))
            # Keys from clients contain no slash.
            if again:
                self._add("redo", f"{key}/redo", client, again, act.taken_back)
            return again

    def taken_back_by(self, key: str) -> int | None:
        """Return the act that was taken back with a key, if any."""
        found = self._lines("WHERE key = ? AND kind = 'undo'", (key,))
        return found[0].undoes if found else None

    def history(self) -> ActHistory:
        """Return everything that was done and what was taken back, except the checks of a certificate."""
        history = ActHistory()
        times = dict(self._read("SELECT seq, at FROM log"))
        for line in self._lines():
            if line.kind == "undo" and line.undoes is not None:
                history.take_back(line.undoes, line.seq, line.client)
            elif line.kind == "redo" and line.undoes is not None:
                history.repeat(line.undoes, _content(line, int) or 0)
            elif (did := self._did(line)) is not None:
                history.add(Act(line.seq, line.client, did, str(times[line.seq])))
        return history

    def _did(self, line: LogLine) -> Did | None:
        if line.kind == "answer":
            return self._event(line)
        if line.kind == "opinion":
            event = self._event(line)
            return None if event is None else SecondOpinion(event)
        if line.kind in ("refine", "about"):
            found: Round | Described | None = _content(line, Round if line.kind == "refine" else Described)
            return found
        numbers = _content(line, list[int]) if line.kind == "groups" else None
        return Circled(numbers[0]) if numbers else None

    def knows(self, key: str) -> bool:
        """Tell whether a key was used before."""
        return bool(self._read("SELECT 1 FROM log WHERE key = ?", (key,)))

    def checks(self, by: Checker = "check") -> list[Checked]:
        """Return the checks in force, in order, by the first or second person."""
        found = [(line.seq, _content(line, _CHECK)) for line in self._in_force(by)]
        return [Checked(seq, *check) for seq, check in found if check and not self._are_foreign(check[:1])]

    def add_check(
        self, key: str, client: str, picture: int, name: str, given: str | None = None, *, by: Checker = "check"
    ) -> bool:
        """Store a check of a picture; for a key used before, change nothing and return False."""
        with self._transaction():
            return bool(self._add(by, key, client, [picture, name, given]))

    def undo_check(self, key: str, by: Checker = "check") -> bool:
        """Take back the last check; return False if there is none or the key was used before."""
        with self._transaction():
            last = max((line.seq for line in self._in_force(by)), default=0)
            return last > 0 and bool(self._add("undo", key, "", None, last))

    def rounds(self) -> list[Round]:
        """Return the refinements so far."""
        return self.get(_ROUNDS, list[Round]) or []

    def add_round(self, this: Round) -> None:
        """Record that a refinement is done."""
        self.put(_ROUNDS, [asdict(each) for each in (*self.rounds(), this)])

    def take_back_round(self) -> None:
        """Remove the last refinement from those in force."""
        self.put(_ROUNDS, [asdict(each) for each in self.rounds()[:-1]])

    def get(self, name: str, kind: Any = Any) -> Any | None:
        """Return a stored fact of a `kind` (see `schema.checked`); None if there is none or it is damaged."""
        for row in self._read(f"SELECT {lines.FACTS} FROM facts WHERE name = ?", (name,)):
            try:
                return lines.fact_of(row, kind)
            except Invalid:
                self._set_aside.add(("fact", name))
                self._warn(f"The entry {name!r} in {str(self.path)!r} is damaged and does not count: {_COPY}")
        return None

    def put(self, name: str, value: Any) -> None:
        """Store a fact that JSON can represent, replacing one of the same name."""
        with self._transaction() as db:
            columns = (name, json.dumps(value))
            row = (*columns, lines.digest_of(*columns))
            db.execute(f"INSERT OR REPLACE INTO facts ({lines.FACTS}) VALUES (?, ?, ?)", row)

    @property
    def set_aside(self) -> int:
        """Return how many groups, answers and facts have been found damaged so far and do not count."""
        return len(self._set_aside)

    def repairs(self) -> list[Repair]:
        """Return what was repaired in this file; a repair counts as long as the damaged file is beside it."""
        return [each for each in self._repairs() if each.kept and self.path.with_name(each.kept).exists()]

    def _repairs(self) -> list[Repair]:
        return self.get(_REPAIRS, list[Repair]) or []

    def foreign_changes(self) -> int:
        """Return a number that changes when another process, or another `Store`, has changed the file."""
        return int(self._read("PRAGMA data_version")[0][0])

    def _check_run(self, run: dict[str, Any]) -> None:
        known = self.get("run", dict[str, Any])
        if known is None:
            self.put("run", run)
        elif known != run:
            raise UserError(f"{str(self.path)!r} belongs to a run with other pictures: move it back to that run.")

    def _add(self, kind: str, key: str, client: str, content: Any, undoes: int | None = None) -> int:
        """Add a line and return its number, or 0 if the key was used or the line was already taken back."""
        columns = (key, client, kind, json.dumps(content), undoes)
        added = self._db.execute(
            "INSERT OR IGNORE INTO log (key, client, kind, content, undoes) VALUES (?, ?, ?, ?, ?)", columns
        )
        if added.rowcount != 1 or added.lastrowid is None:
            return 0
        digest = lines.digest_of(added.lastrowid, *columns)
        self._db.execute("UPDATE log SET digest = ? WHERE seq = ?", (digest, added.lastrowid))
        return added.lastrowid

    def _lines(self, where: str = "", values: Sequence[Any] = ()) -> list[LogLine]:
        """Return the intact lines of the log, in order."""
        found, damaged = [], []
        for row in self._read(f"SELECT {lines.LOG} FROM log {where} ORDER BY seq", values):
            try:
                found.append(lines.line_of(row))
            except Invalid:
                damaged.append(row[0])
        self._tell("answer", damaged)
        return found

    def _in_force(self, kind: str) -> list[LogLine]:
        """Return the lines of a kind that were not taken back, in order."""
        found = self._lines()
        taken_back = {line.undoes for line in found}
        return [line for line in found if line.kind == kind and line.seq not in taken_back]

    def _event(self, line: LogLine) -> Event | None:
        """Return the answer in a line, None if it holds none."""
        try:
            event = lines.event_of(line)
        except Invalid:
            return None
        return None if self._are_foreign(event.pictures) else event

    def _are_foreign(self, pictures: Sequence[int] | NDArray[np.int64]) -> bool:
        """Tell whether any are not positions of pictures of the run."""
        numbers = np.asarray(pictures, dtype=object if isinstance(pictures, tuple) else None)
        if not numbers.size:
            return False
        return bool(numbers.min() < 0 or (self._n_images is not None and numbers.max() >= self._n_images))

    def _tell(self, what: str, numbers: Sequence[object], more: str = "") -> None:
        """Warn once about lines that do not count."""
        if numbers:
            self._set_aside.update((what, number) for number in numbers)
            some = ", ".join(map(str, numbers[:5])) + (" …" if len(numbers) > 5 else "")
            what, those = (what, "it does") if len(numbers) == 1 else (f"{what}s", "they do")
            self._warn(
                f"{len(numbers)} {what} in {str(self.path)!r} ({some}) cannot be read as written: "
                f"{those} not count{f', {more}' if more else ''}, but all others do; {_COPY}"
            )

    def _warn(self, sentence: str) -> None:
        if sentence not in self._told:
            self._told.add(sentence)
            _log.warning("%s", sentence)

    def _read(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._errors():
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Let the block write, all or nothing; its changes are on the disk when this ends."""
        with self._errors(), transaction(self._db):
            yield self._db

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Hold the lock, and turn SQLite's errors into sentences."""
        with self._lock, in_a_sentence(self.path):
            yield


def _renumbered(groups: list[Group], free: int) -> list[Group]:
    """Shift the numbers of groups so that none is below `free`."""
    shift = max(0, free - min((group.id for group in groups), default=free))
    return [replace(group, id=group.id + shift) for group in groups] if shift else groups


def _content(line: LogLine, kind: Any) -> Any | None:
    try:
        return checked(kind, parsed(line.content))
    except Invalid:
        return None


def newest_model(store: Store, run: Path) -> Path:
    """Return the folder of a run's newest model: the refined one, once there is one."""
    return runs.RunFolder(run).newest().path if store.rounds() else Path(run)


class ModelPredictions(NamedTuple):
    """Predictions of a refined model: its names, (N, K) probabilities, and the chance (N,) that its name is wrong."""

    names: tuple[str, ...]
    probabilities: NDArray[np.float32]
    error_probability: NDArray[np.float32] | None = None


def read_predictions(folder: Path, probabilities: NDArray[np.float32] | None = None) -> ModelPredictions:
    """Return the predictions of the model in a run folder; probabilities that are not given are read from it."""
    names = tuple(runs.read_run(folder).get("names", ()))
    if probabilities is None:
        probabilities = runs.read_training_arrays(folder)[1]
    return ModelPredictions(names, probabilities, _error_probability_of(folder, len(probabilities)))


def _error_probability_of(folder: Path, n_images: int) -> NDArray[np.float32] | None:
    path = runs.RunFolder(folder).error_probability
    if not path.exists():
        return None
    return runs.read_array(path, (n_images,), "delete it, as the next refinement makes a new one")


def load_session(store: Store, run: Path, predictions: ModelPredictions | None = None) -> Session:
    """Return the session of a run: its groups and answers, and the newest model's `predictions`, read if not given.

    Raises
    ------
    UserError
        If the store or the refined model is damaged.

    """
    stored = store.events()
    session = Session(int(runs.read_run(run)["data"]["n_images"]))
    # Not through `apply`: each was checked when it was given, and an earlier one may have been taken back since.
    session.events.extend(item.event for item in stored)
    session.add(store.groups())
    session.checked.update((check.picture, check.name) for check in store.checks())
    rounds = store.rounds()
    if not rounds:
        return session
    names, probabilities, error_probability = predictions or read_predictions(newest_model(store, run))
    if names:
        session.learn(names, probabilities, sum(item.seq <= rounds[-1].after_seq for item in stored), error_probability)
    session.round = rounds[-1].round  # even if the refined model was deleted: answers and groups stay
    return session
