"""Detect whether SQLite's write-ahead log, to which answers go first, was damaged before SQLite read it.

When the store is next opened, SQLite recovers what a killed process left in the log, up to the first frame with a wrong
checksum, and silently drops the rest. The frame headers (https://sqlite.org/fileformat2.html#walformat) tell how much
had been written, a checkpoint how much SQLite recovered.
"""

import os
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PAGES = 32  # most pages in the log before they are moved to the store's own file: about ten answers
_HEAD, _FRAME_HEAD = struct.Struct(">8I"), struct.Struct(">6I")
_PAGE = 4096  # SQLite's default page size, which the store uses
_LITTLE_ENDIAN = 0x377F0682


class WriteAheadLog(NamedTuple):
    """The content of the log before it was opened, and the number of committed frames, including damaged ones."""

    content: bytes
    committed: int

    @property
    def head(self) -> bytes:
        """Return the header, which differs for every generation of the log."""
        return self.content[: _HEAD.size]


def path_of(store: Path) -> Path:
    """Return the path of the log that SQLite keeps for a file."""
    return store.with_name(f"{store.name}-wal")


def read_log(store: Path) -> WriteAheadLog:
    """Return the log of a file that SQLite has not opened yet in this process; it is empty if there is none."""
    try:
        content = path_of(store).read_bytes()  # safe, as closing the log drops no locks
    except OSError:
        content = b""
    return WriteAheadLog(content, max(_committed(content), default=0))


def _committed(content: bytes) -> Iterator[int]:
    """Yield the numbers of the frames of the log's generation that end a transaction."""
    if len(content) < _HEAD.size + _FRAME_HEAD.size:
        return
    magic, _, page, _, *salts, sum_1, sum_2 = _HEAD.unpack_from(content)
    if (sum_1, sum_2) != _checksum(content[: _HEAD.size - 8], "<" if magic == _LITTLE_ENDIAN else ">"):
        page, salts = _PAGE, list(_FRAME_HEAD.unpack_from(content, _HEAD.size)[2:4])
    step = _FRAME_HEAD.size + page
    for number, place in enumerate(range(_HEAD.size, len(content) - step + 1, step), 1):
        _, size_after, *own = _FRAME_HEAD.unpack_from(content, place)[:4]
        if own == salts and size_after:
            yield number


def _checksum(data: bytes, order: str) -> tuple[int, int]:
    first = second = 0
    for one, other in struct.iter_unpack(f"{order}2I", data):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return first, second


def was_cut(database: sqlite3.Connection, store: Path, before: WriteAheadLog) -> bool:
    """Tell whether SQLite has dropped something that was committed, and move the rest to the store's own file."""
    if _taken(database) >= before.committed:
        return False
    # Another process may still have been writing what was read; if so, wait for its lock.
    database.execute("BEGIN IMMEDIATE")
    database.execute("ROLLBACK")
    same = read_log(store).head == before.head  # else that process has restarted the log meanwhile
    return same and _taken(database) < before.committed


def _taken(database: sqlite3.Connection) -> int:
    """Return how many frames of the log SQLite recovered."""
    busy, frames, _ = database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return int(frames) if not busy else 1 << 62


def write(path: Path, log: WriteAheadLog) -> bool:
    """Write a log to a new file that only its owner can read; return whether that succeeded."""
    try:
        with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(log.content)
    except OSError:
        return False
    return True
