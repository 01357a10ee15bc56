"""The answers of a labelling in one SQLite file: on the disk before anybody is told so, and never thrown away.

`log` only grows: taking an answer back adds a line that names the one taken back. Every line has the key that its
sender made up, so that sending it again changes nothing.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from selfsort import runs
from selfsort.errors import UserError
from selfsort.labelling.core.answers import Event, Group
from selfsort.labelling.core.session import Session

FORMAT = 1
_APPLICATION = 0x73656C66  # "self": tells this file from other programs' databases
_PATIENCE = 10.0  # seconds that another process may keep the file to itself

_SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE groups (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, round INTEGER NOT NULL, parent INTEGER REFERENCES groups (id),
    members BLOB NOT NULL, distances BLOB NOT NULL, centre BLOB
);
CREATE TABLE log (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, client TEXT NOT NULL, kind TEXT NOT NULL,
    content TEXT NOT NULL, undoes INTEGER UNIQUE REFERENCES log (seq), at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
);
"""
_IN_FORCE = "kind = ? AND seq NOT IN (SELECT undoes FROM log WHERE undoes IS NOT NULL)"


@dataclass(frozen=True)
class Stored:
    """An answer in the store: its place in the order of all, the key and the client that sent it."""

    seq: int
    key: str
    client: str
    event: Event


class Unwritable(UserError):
    """The store cannot be written now: the disk is full, or the folder has become read-only."""


class Store:
    """The groups and answers of a labelling in a SQLite file, which is made if it is not there.

    Several threads and several processes may use it at once.

    Raises
    ------
    UserError
        When the file is damaged, of another version, not one of ours, or cannot be written; so do all methods.

    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self._lock = threading.RLock()
        try:
            # Transactions are begun and ended here, not by the module.
            self._db = sqlite3.connect(self.path, _PATIENCE, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise _sentence(self.path, error) from error
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    @classmethod
    def open(cls, run: Path, *, create: bool = True) -> Self:
        """Return the store in a run folder.

        Raises
        ------
        UserError
            Also when there is none and `create` is false, or it was made for other pictures.

        """
        data = runs.read_run(run)["data"]
        path = runs.RunFolder(run).labels
        if not create and not path.exists():
            raise UserError(f"{str(run)!r} has no answers yet: name its groups with `selfsort label {run}`.")
        store = cls(path)
        try:
            store._check_run({name: data[name] for name in ("n_images", "fingerprint")})
        except BaseException:
            store.close()
            raise
        return store

    def close(self) -> None:
        """Close the file; everything is in it already."""
        with self._lock:
            self._db.close()

    def groups(self) -> list[Group]:
        """Return all groups, the oldest first."""
        columns = "id, kind, round, parent, members, distances, centre"
        return [_group(*row) for row in self._read(f"SELECT {columns} FROM groups ORDER BY id")]

    def add_groups(self, groups: Iterable[Group], *, key: str | None = None, client: str = "") -> list[Group]:
        """Add groups, all or none, and return them as added.

        Where a number has been taken by another process meanwhile, all get later ones. With a `key` that was used
        before, nothing is added and the groups added then are returned.
        """
        groups = list(groups)
        with self._transaction() as db:
            before = None if key is None else db.execute("SELECT content FROM log WHERE key = ?", (key,)).fetchone()
            if before is not None:
                known = {group.id: group for group in self.groups()}
                return [known[number] for number in _numbers(before[0]) if number in known]
            (last,) = db.execute("SELECT coalesce(max(id), -1) FROM groups").fetchone()
            groups = _renumbered(groups, last + 1)
            db.executemany("INSERT INTO groups VALUES (?, ?, ?, ?, ?, ?, ?)", map(_row, groups))
            if key is not None:
                self._log("groups", key, client, [group.id for group in groups])
        return groups

    def events(self) -> list[Stored]:
        """Return the answers in force, the oldest first."""
        rows = self._read(f"SELECT seq, key, client, content FROM log WHERE {_IN_FORCE} ORDER BY seq", ("answer",))
        return [Stored(seq, key, client, Event.from_json(json.loads(text))) for seq, key, client, text in rows]

    def add_event(self, key: str, client: str, event: Event) -> int:
        """Keep an answer and return its place in the order of all; 0, and nothing changes, for a key used before."""
        with self._transaction():
            return self._log("answer", key, client, event.to_json())

    def undo(self, key: str, seq: int) -> bool:
        """Take an answer back; return False when the key was used before, or the answer was taken back already."""
        with self._transaction() as db:
            found = db.execute("SELECT client FROM log WHERE seq = ? AND kind = 'answer'", (seq,)).fetchone()
            return found is not None and bool(self._log("undo", key, found[0], None, seq))

    def undone_by(self, key: str) -> Event | None:
        """Return the answer that was taken back under a key, if one was."""
        rows = self._read("SELECT content FROM log WHERE seq = (SELECT undoes FROM log WHERE key = ?)", (key,))
        return Event.from_json(json.loads(rows[0][0])) if rows else None

    def knows(self, key: str) -> bool:
        """Tell whether a key was used before."""
        return bool(self._read("SELECT 1 FROM log WHERE key = ?", (key,)))

    def checks(self) -> list[tuple[int, str]]:
        """Return the checked pictures in force, in order: their positions and their right names."""
        rows = self._read(f"SELECT content FROM log WHERE {_IN_FORCE} ORDER BY seq", ("check",))
        return [(int(picture), str(name)) for picture, name in (json.loads(text) for (text,) in rows)]

    def add_check(self, key: str, client: str, picture: int, name: str) -> bool:
        """Keep what a checked picture shows; return False, and change nothing, when the key was used before."""
        with self._transaction():
            return bool(self._log("check", key, client, [picture, name]))

    def undo_check(self, key: str) -> bool:
        """Take the last check back; return False when there is none or the key was used before."""
        with self._transaction() as db:
            last = db.execute(f"SELECT max(seq) FROM log WHERE {_IN_FORCE}", ("check",)).fetchone()[0]
            return last is not None and bool(self._log("undo", key, "", None, last))

    def get(self, name: str) -> Any | None:
        """Return a fact that was put here, or None."""
        rows = self._read("SELECT value FROM facts WHERE name = ?", (name,))
        return json.loads(rows[0][0]) if rows else None

    def put(self, name: str, value: Any) -> None:
        """Keep a fact that JSON can hold, in place of what had that name."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, json.dumps(value)))

    def foreign_changes(self) -> int:
        """Return a number that changes when another process, or another `Store`, has changed the file."""
        return int(self._read("PRAGMA data_version")[0][0])

    def _prepare(self) -> None:
        """Check that the file is one of ours and whole; fill a new one."""
        with self._errors():
            self._db.execute("PRAGMA foreign_keys = ON")
            # The tables come first: another process that is making the file adds both at once.
            (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if tables:
                self._check_format(version)
            self._write_ahead()
            self._db.execute("PRAGMA synchronous = FULL")
        with self._transaction() as db:
            # Looked at again now that no other process can have begun to fill it.
            if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                for statement in _SCHEMA.split(";\n"):
                    db.execute(statement)
                db.execute(f"PRAGMA application_id = {_APPLICATION}")
                db.execute(f"PRAGMA user_version = {FORMAT}")

    def _write_ahead(self) -> None:
        """Let others read while one writes; SQLite itself does not wait here for one that is just making the file."""
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                    raise
            time.sleep(0.01)

    def _check_format(self, version: int) -> None:
        if self._db.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION:
            raise UserError(f"{str(self.path)!r} is a database of another program: move it away.")
        if version != FORMAT:
            age = "a newer" if version > FORMAT else "an older"
            raise UserError(
                f"{str(self.path)!r} was written by {age} selfsort (format {version}; this one reads {FORMAT}): "
                "use that version."
            )
        if self._db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("it is not consistent")

    def _check_run(self, run: dict[str, Any]) -> None:
        known = self.get("run")
        if known is None:
            self.put("run", run)
        elif known != run:
            raise UserError(f"{str(self.path)!r} belongs to a run of other pictures: move it back to that one.")

    def _log(self, kind: str, key: str, client: str, content: Any, undoes: int | None = None) -> int:
        """Add a line and return its number, or 0 when the key was used or the line to undo was undone before."""
        added = self._db.execute(
            "INSERT OR IGNORE INTO log (key, client, kind, content, undoes) VALUES (?, ?, ?, ?, ?)",
            (key, client, kind, json.dumps(content), undoes),
        )
        return int(added.lastrowid or 0) if added.rowcount == 1 else 0

    def _read(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._errors():
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Let the block write, all of it or nothing; its end is on the disk when this returns."""
        with self._errors():
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Hold the lock, and turn what SQLite complains about into a sentence."""
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                raise _sentence(self.path, error) from error


def _sentence(path: Path, error: sqlite3.Error) -> UserError:
    # The lower byte is the kind of error, the upper ones are details.
    kind = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    name = repr(str(path))
    if kind in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return Unwritable(f"Cannot write {name}: the disk is full or failing; make room, what was accepted is kept.")
    if kind in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return Unwritable(f"Cannot write {name}: the folder is read-only; make it writable or copy the run elsewhere.")
    if kind in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return UserError(f"{name} is kept busy by another process: stop that one and try again.")
    return UserError(f"{name} is damaged ({error}): move it away, or bring back a copy of it.")


def _renumbered(groups: list[Group], free: int) -> list[Group]:
    """Move the numbers of groups up so that none is below `free`."""
    shift = max(0, free - min((group.id for group in groups), default=free))
    return [replace(group, id=group.id + shift) for group in groups] if shift else groups


def _row(group: Group) -> tuple[Any, ...]:
    centre = None if group.centre is None else group.centre.astype("<f4").tobytes()
    members, distances = group.members.astype("<i8").tobytes(), group.distances.astype("<f4").tobytes()
    return group.id, group.kind, group.round, group.parent, members, distances, centre


def _group(
    number: int, kind: Any, round: int, parent: int | None, members: bytes, distances: bytes, centre: bytes | None
) -> Group:
    return Group(
        number,
        np.frombuffer(members, "<i8").astype(np.int64),
        _floats(distances),
        None if centre is None else _floats(centre),
        kind,
        round,
        parent,
    )


def _floats(data: bytes) -> NDArray[np.float32]:
    return np.frombuffer(data, "<f4").astype(np.float32)


def _numbers(text: str) -> list[int]:
    content = json.loads(text)
    return content if isinstance(content, list) else []


def newest_model(store: Store, run: Path) -> Path:
    """Return the folder of a run's newest model: the refined one, once there is one."""
    return runs.RunFolder(run).newest().path if store.get("rounds") else Path(run)


class Opinion(NamedTuple):
    """What a refined model thinks: its names, (N, K) probabilities, and the chance (N,) that its name is wrong."""

    names: tuple[str, ...]
    probabilities: NDArray[np.float32]
    error_probability: NDArray[np.float32] | None = None


def opinion_of(folder: Path, probabilities: NDArray[np.float32] | None = None) -> Opinion:
    """Return the opinion of the model in a run folder, whose probabilities are read when they are not given."""
    names = tuple(runs.read_run(folder).get("names", ()))
    if probabilities is None:
        probabilities = runs.read_training_arrays(folder)[1]
    return Opinion(names, probabilities, _error_probability_of(folder, len(probabilities)))


def _error_probability_of(folder: Path, n_images: int) -> NDArray[np.float32] | None:
    path = runs.RunFolder(folder).error_probability
    if not path.exists():
        return None
    return runs.read_array(path, (n_images,), "delete it; the next refinement makes it anew")


def load_session(store: Store, run: Path, opinion: Opinion | None = None) -> Session:
    """Return the session of a run: its groups and answers, and the `opinion` of the newest model, read if not given.

    Raises
    ------
    UserError
        When the store or the refined model is damaged.

    """
    stored = store.events()
    session = Session(int(runs.read_run(run)["data"]["n_images"]))
    # Not applied one by one: each was checked when it was given, and an earlier one may have been taken back since.
    session.events.extend(item.event for item in stored)
    session.add(store.groups())
    rounds = store.get("rounds") or []
    if not rounds:
        return session
    names, probabilities, error_probability = opinion or opinion_of(newest_model(store, run))
    if names:
        session.learn(
            names, probabilities, sum(item.seq <= rounds[-1]["after_seq"] for item in stored), error_probability
        )
    session.round = len(rounds)  # also where the refined model was deleted: what was answered and proposed stays
    return session
