"""The store's SQLite file: create, open, upgrade it, and save its intact lines if pages are damaged."""

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from selfsort.errors import UserError
from selfsort.labelling import lines, write_ahead
from selfsort.schema import Invalid
from selfsort.spelling import counted

FORMAT = 2
_WITHOUT_DIGESTS = 1  # the previous format, which is upgraded
_APPLICATION = 0x73656C66  # "self": distinguishes this file from other programs' databases
_PATIENCE = 10.0  # seconds that another process may lock the file

_SCHEMA = (
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL, digest TEXT)",
    """CREATE TABLE groups (
        id INTEGER PRIMARY KEY, kind TEXT NOT NULL, round INTEGER NOT NULL, parent INTEGER REFERENCES groups (id),
        members BLOB NOT NULL, distances BLOB NOT NULL, centre BLOB, digest TEXT
    )""",
    """CREATE TABLE log (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, client TEXT NOT NULL, kind TEXT NOT NULL,
        content TEXT NOT NULL, undoes INTEGER UNIQUE REFERENCES log (seq), at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
        digest TEXT
    )""",
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {FORMAT}",
)
_TABLES = {"facts": (lines.FACTS, "rowid"), "groups": (lines.GROUPS, "id"), "log": (lines.LOG, "seq")}


class Unwritable(UserError):
    """The store cannot be written now: the disk is full, or the folder has become read-only."""


@dataclass(frozen=True)
class Repair:
    """What was done about a damaged file: intact lines of it were saved, or the end of its write-ahead log was lost.

    Attributes
    ----------
    what : the whole file, or the log
    answers : for the file, how many lines of answers are intact; for the log, the last line that is, 0 if none was read
    groups : for the file, how many groups are intact
    kept : the name of the damaged file, which is kept beside the store; "" if it could not be
    sentence : all of this in words

    """

    what: Literal["file", "log"]
    answers: int
    groups: int
    kept: str
    sentence: str


@contextmanager
def in_a_sentence(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into sentences."""
    try:
        yield
    # Its message about a damaged file may quote bytes of it that are not text.
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise _sentence(path, error) from error


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """Let the block write, all or nothing; its changes are on the disk when this ends."""
    try:
        database.execute("BEGIN IMMEDIATE")
        yield
        database.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            database.execute("ROLLBACK")
        raise


def open_file(path: Path, report: Callable[[Repair], None]) -> sqlite3.Connection:
    """Return a connection to the store's file, which is created if there is none; only its owner can read it.

    A file of the previous format gets digests. If pages are damaged, a file of the intact lines replaces it. This is
    passed to `report`, as is a damaged write-ahead log.

    Raises
    ------
    UserError
        If it is damaged throughout, of another version, not a store, or cannot be written.

    """
    with suppress(OSError):  # connecting reports the reason
        # SQLite's other files get the mode of this one. An existing file must not be opened except by SQLite: closing
        # it would drop the locks of this process's connections, and another process would delete the log they use.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    with in_a_sentence(path):
        log = write_ahead.read_log(path)
        # This code begins and ends transactions, not the sqlite3 module.
        database = sqlite3.connect(path, _PATIENCE, isolation_level=None, check_same_thread=False)
        database.text_factory = lines.text_of
        try:
            _prepare(database, path, report)
            if write_ahead.was_cut(database, path, log):
                report(_cut(database, path, log))
        except BaseException:
            database.close()
            raise
    return database


def _prepare(database: sqlite3.Connection, path: Path, report: Callable[[Repair], None]) -> None:
    # Tables before version: another process that is creating the file adds both at once.
    (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    version = _version(database)
    if tables:
        _check_format(database, path, version)
        if not _pages_are_whole(database):
            if version != FORMAT:
                raise sqlite3.DatabaseError("it is not consistent")
            report(_save_lines(database, path))
    _write_ahead(database)
    database.execute("PRAGMA foreign_keys = ON")
    database.execute("PRAGMA synchronous = FULL")
    database.execute(f"PRAGMA wal_autocheckpoint = {write_ahead.PAGES}")
    with transaction(database):
        # Checked again, now that no other process can have started to fill it.
        if not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            for statement in _SCHEMA:
                database.execute(statement)
        elif _version(database) == _WITHOUT_DIGESTS:
            _add_digests(database)
            with suppress(OSError):  # the file may belong to somebody else who shares it
                path.chmod(0o600)


def _cut(database: sqlite3.Connection, path: Path, before: write_ahead.WriteAheadLog) -> Repair:
    """Keep a damaged write-ahead log, and say up to which line answers are intact."""
    log = write_ahead.path_of(path)
    aside = _aside_of(log)
    kept = aside.name if write_ahead.write(aside, before) else ""
    where = f" The damaged file is kept as {str(aside)!r}." if kept else ""
    last = database.execute("SELECT seq, at FROM log ORDER BY seq DESC LIMIT 1").fetchone()
    lost = "the latest answers" if last is None else f"the answers after line {last[0]} ({last[1]} UTC)"
    sentence = f"{str(log)!r} was damaged after a page or command was killed: {lost} are lost; give them again.{where}"
    return Repair("log", 0 if last is None else last[0], 0, kept, sentence)


def _version(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def _check_format(database: sqlite3.Connection, path: Path, version: int) -> None:
    if database.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION:
        raise UserError(f"{str(path)!r} is another program's database: move it away.")
    if version not in (FORMAT, _WITHOUT_DIGESTS):
        age = "a newer" if version > FORMAT else "an older"
        raise UserError(
            f"{str(path)!r} was written by {age} selfsort (format {version}; this one reads {FORMAT}): "
            "use that version."
        )


def _write_ahead(database: sqlite3.Connection) -> None:
    """Let others read while one writes; wait, as SQLite does not here, for a process that is creating the file."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
        time.sleep(0.01)


def _add_digests(database: sqlite3.Connection) -> None:
    """Add digests to the lines of the previous format."""
    for table, (columns, key) in _TABLES.items():
        database.execute(f"ALTER TABLE {table} ADD COLUMN digest TEXT")
        for number, *row in database.execute(f"SELECT {key}, {columns} FROM {table}").fetchall():
            digest = lines.digest_of(*row[:-1])
            database.execute(f"UPDATE {table} SET digest = ? WHERE {key} = ?", (digest, number))
    database.execute(f"PRAGMA user_version = {FORMAT}")


def _pages_are_whole(database: sqlite3.Connection) -> bool:
    """Tell whether every line can be reached; the content of a line is checked when it is read."""
    try:
        problems = [problem for (problem,) in database.execute("PRAGMA quick_check")]
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CORRUPT:
            raise
        return False
    return all(problem == "ok" or problem.startswith("NULL value in") for problem in problems)


def _save_lines(database: sqlite3.Connection, path: Path) -> Repair:
    """Replace a file whose pages are damaged by one with all intact lines, and keep the damaged one beside it."""
    aside = _aside_of(path)
    with closing(_copy_of_whole_lines(database)) as copy:
        groups, log = (copy.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("groups", "log"))
        if not log:
            raise sqlite3.DatabaseError("none of its answers can be read")
        _copy_apart(path, aside)
        copy.backup(database)
    sentence = (
        f"{str(path)!r} was damaged: {counted(groups, 'group')} and {counted(log, 'line')} of answers are intact and "
        f"count, the rest is lost; the damaged file is kept as {str(aside)!r}."
    )
    return Repair("file", log, groups, aside.name, sentence)


def _aside_of(path: Path) -> Path:
    """Return a free name for a damaged file beside it."""
    names = (path.with_name(f"{path.name}.damaged{number or ''}") for number in range(1_000_000))
    return next(name for name in names if not name.exists())


def _copy_apart(path: Path, aside: Path) -> None:
    """Copy the file in another process, as closing it in this one would drop SQLite's locks."""
    copying = "import os, shutil, sys; shutil.copyfile(*sys.argv[1:]); os.chmod(sys.argv[2], 0o600)"
    done = subprocess.run([sys.executable, "-c", copying, path, aside], capture_output=True, check=False)
    if done.returncode:
        with suppress(OSError):
            aside.unlink()
        raise Unwritable(f"Cannot write {str(aside)!r}: make room there, or make the folder writable.")


def _copy_of_whole_lines(damaged: sqlite3.Connection) -> sqlite3.Connection:
    """Return a database in memory with all intact lines that can be read from one whose pages are damaged.

    Tables are read from both ends, as far as possible.
    """
    copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    for statement in _SCHEMA:
        copy.execute(statement)
    for table, (columns, order) in _TABLES.items():
        places = ", ".join("?" * len(columns.split(", ")))
        for direction in ("ASC", "DESC"):
            # The first unreadable row ends the reading in this direction.
            with suppress(sqlite3.Error, UnicodeDecodeError):
                for row in damaged.execute(f"SELECT {columns} FROM {table} NOT INDEXED ORDER BY {order} {direction}"):
                    if _is_whole(table, row):
                        copy.execute(f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({places})", row)
    _keep_numbers(damaged, copy)
    return copy


def _is_whole(table: str, row: Sequence[Any]) -> bool:
    try:
        {"facts": lambda row: lines.fact_of(row, Any), "groups": lines.group_of, "log": lines.line_of}[table](row)
    except Invalid:
        return False
    return True


def _keep_numbers(damaged: sqlite3.Connection, copy: sqlite3.Connection) -> None:
    """Keep new lines from getting the number of a lost one, as other lines may refer to it."""
    with suppress(sqlite3.Error, UnicodeDecodeError):
        for (last,) in damaged.execute("SELECT seq FROM sqlite_sequence WHERE name = 'log'"):
            if isinstance(last, int) and 0 < last < 2**53:
                copy.execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'log'", (last,))
    known = {number for (number,) in copy.execute("SELECT id FROM groups")}
    for row in copy.execute(f"SELECT {lines.LOG} FROM log WHERE kind = 'answer'").fetchall():
        with suppress(Invalid):
            about = lines.event_of(lines.line_of(row)).group
            if about is not None and about not in known:
                copy.execute("DELETE FROM log WHERE seq = ?", row[:1])


def _sentence(path: Path, error: Exception) -> UserError:
    # The lowest byte is the kind of error, the others are details.
    kind = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    name = repr(str(path))
    if kind in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return Unwritable(
            f"Cannot write {name}: the disk is full or failing; free some space, accepted answers are kept."
        )
    if kind in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return Unwritable(f"Cannot write {name}: the folder is read-only; make it writable or copy the run elsewhere.")
    if kind in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return UserError(f"{name} is locked by another process: stop that process and try again.")
    reason = str(error) if isinstance(error, sqlite3.Error) else "it holds bytes that are not text"
    return UserError(f"{name} is damaged ({reason}): move it away, or restore a copy of it.")
