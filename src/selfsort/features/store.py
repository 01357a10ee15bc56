"""Features on disk: an append-only file of float32 rows, and a journal of which picture each row belongs to.

There is one entry for each network and source. The journal's line for a chunk is written after its rows and holds their
checksum, so rows left incomplete by an interruption, or damaged later, are detected and computed again. Arrays mapped
into a running process stay valid on POSIX systems when an entry is deleted.
"""

import hashlib
import json
import logging
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from selfsort.data import cache
from selfsort.data.reading import Facts
from selfsort.files import atomic_path, bytes_in, remove

FORMAT = 2  # increase it whenever features are computed or kept differently

_WHAT = "features"
_BLOCK = 4096
_log = logging.getLogger(__name__)
Rows = NDArray[np.float32]


class Chunk(NamedTuple):
    """Rows of features (n, D), the stamp and content hash of each picture, and what else is known by stamp.

    `failures` are (stamp, reason) of pictures that could not be read, `facts` are (stamp, facts) of those that have
    any.
    """

    rows: Rows
    stamps: Sequence[str]
    hashes: Sequence[str]
    failures: Sequence[tuple[str, str]] = ()
    facts: Sequence[tuple[str, Facts]] = ()


def location() -> Path:
    """Return the folder of all features, it need not exist."""
    return cache.root() / f"features-{FORMAT}"


def usage() -> tuple[int, int]:
    """Count the entries and their bytes."""
    entries = _entries()
    return len(entries), sum(map(bytes_in, entries))


def clear() -> int:
    """Delete all features except those being computed, and return the number of bytes freed."""
    freed = 0
    for entry in _entries():
        with suppress(Timeout, OSError), FileLock(_lock_of(entry)).acquire(timeout=0):
            freed += bytes_in(entry)
            remove(entry)
    return freed


class Entry:
    """The features kept for one network and one source.

    Parameters
    ----------
    folder : of the entry
    width : number of features per picture

    Attributes
    ----------
    by_stamp : row of each stamp
    by_hash : row of each content hash
    failures : reason for each stamp of a picture that could not be read
    facts : facts for each stamp of a picture whose file was changed or not shown in full

    """

    def __init__(self, folder: Path, width: int):
        self.folder, self.width = folder, width
        self.by_stamp: dict[str, int] = {}
        self.by_hash: dict[str, int] = {}
        self.failures: dict[str, str] = {}
        self.facts: dict[str, Facts] = {}
        self.count = 0
        if self._read():
            _log.warning("Some of the features kept in %s are damaged and will be computed again.", folder)

    def append(self, chunk: Chunk) -> None:
        """Keep more features; if the process is killed meanwhile, earlier ones are not affected."""
        data = np.ascontiguousarray(chunk.rows, np.float32)
        line: dict[str, Any] = {
            "first": self.count,
            "count": len(data),
            "stamps": list(chunk.stamps),
            "hashes": list(chunk.hashes),
        }
        line["failures"] = [list(failure) for failure in chunk.failures]
        line["facts"] = [[stamp, facts._asdict()] for stamp, facts in chunk.facts]
        line["crc"] = _checksum(line, data.data)
        with cache.writing(self.folder, _WHAT):
            with open(self._rows, "r+b" if self._rows.exists() else "w+b") as file:
                file.seek(self.count * 4 * self.width)
                file.write(data.data)
            with open(self._journal, "a", encoding="ascii") as file:
                file.write(json.dumps(line) + "\n")
        self._note(line)

    def row(self, place: int) -> Rows:
        """Return one row (D,)."""
        return np.fromfile(self._rows, np.float32, self.width, offset=place * 4 * self.width)

    def rows(self, wanted: NDArray[np.int64]) -> Rows:
        """Return the rows at some places as a read-only memory map, without a copy if they are consecutive."""
        shape = (self.count, self.width)
        kept = np.memmap(self._rows, np.float32, mode="r", shape=shape)
        if np.array_equal(wanted, np.arange(wanted[0], wanted[0] + len(wanted))):
            return kept[wanted[0] : wanted[0] + len(wanted)]
        return self._view(kept, wanted)

    def _view(self, kept: Rows, wanted: NDArray[np.int64]) -> Rows:
        """Return rows in another order, as a separate file; only the last such file is kept."""
        name = hashlib.blake2b(wanted.tobytes() + str(self.folder).encode(), digest_size=16).hexdigest()
        path = self.folder / f"view-{name}"
        with cache.writing(self.folder, _WHAT):
            for old in self.folder.glob("view-*"):
                remove(old)
            with open(path, "wb") as file:
                for start in range(0, len(wanted), _BLOCK):
                    file.write(np.ascontiguousarray(kept[wanted[start : start + _BLOCK]]).data)
        return np.memmap(path, np.float32, mode="r", shape=(len(wanted), self.width))

    @property
    def _rows(self) -> Path:
        return self.folder / "rows"

    @property
    def _journal(self) -> Path:
        return self.folder / "journal"

    def _read(self) -> bool:
        """Load what is kept, and tell whether any of it is damaged."""
        texts = self._texts()
        lines = [line for line in map(_parsed, texts[:-1]) if line is not None]
        good = list(filter(self._is_whole, lines))
        for line in good:
            self._note(line)
        if len(good) < len(texts) - 1 or texts[-1]:  # the last line may have been cut off while being written
            self._rewrite(good)
        return len(good) < len(texts) - 1

    def _texts(self) -> list[bytes]:
        try:
            return self._journal.read_bytes().split(b"\n")
        except OSError:
            return [b""]

    def _is_whole(self, line: Mapping[str, Any]) -> bool:
        """Tell whether the rows that a journal line describes are still as they were written."""
        size = 4 * self.width
        with suppress(OSError), open(self._rows, "rb") as file:
            file.seek(line["first"] * size)
            content = file.read(line["count"] * size)
            return len(content) == line["count"] * size and bool(_checksum(line, content) == line["crc"])
        return False

    def _rewrite(self, lines: Sequence[Mapping[str, Any]]) -> None:
        with cache.writing(self.folder, _WHAT), atomic_path(self._journal) as partial:
            partial.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="ascii")

    def _note(self, line: Mapping[str, Any]) -> None:
        places = range(line["first"], line["first"] + line["count"])
        self.by_stamp.update(zip(line["stamps"], places, strict=True))
        self.by_hash.update(zip(line["hashes"], places, strict=True))
        self.failures.update({stamp: reason for stamp, reason in line["failures"]})
        self.facts.update({stamp: Facts(**known | {"used": tuple(known["used"])}) for stamp, known in line["facts"]})
        self.count = max(self.count, places.stop)


def _checksum(line: Mapping[str, Any], rows: bytes | memoryview) -> int:
    """Return a checksum of rows and of what their journal line says."""
    said = [line[name] for name in ("first", "count", "stamps", "hashes", "failures", "facts")]
    return zlib.crc32(rows, zlib.crc32(json.dumps(said).encode("ascii")))


def _parsed(text: bytes) -> dict[str, Any] | None:
    """Return a line of the journal, or None if it is damaged."""
    with suppress(ValueError, KeyError, TypeError):
        line: dict[str, Any] = json.loads(text)
        fits = len(line["stamps"]) == len(line["hashes"]) == line["count"] and line["first"] >= 0
        failures = all(isinstance(stamp, str) and isinstance(reason, str) for stamp, reason in line["failures"])
        facts = all(isinstance(stamp, str) and set(known) == set(Facts._fields) for stamp, known in line["facts"])
        return line if fits and failures and facts and isinstance(line["crc"], int) else None
    return None


@contextmanager
def opened(key: str, width: int) -> Iterator[Entry]:
    """Open the entry for a key, a file name, exclusively: another process that wants it waits.

    Raises
    ------
    Unavailable
        If nothing can be kept.

    """
    folder = location() / key
    with cache.writing(folder, _WHAT):
        folder.mkdir(parents=True, exist_ok=True)
    with cache.locked(_lock_of(folder), "computing the same features"):
        with cache.writing(folder, _WHAT):
            folder.mkdir(exist_ok=True)  # it may have been deleted meanwhile
        yield Entry(folder, width)


def _lock_of(entry: Path) -> Path:
    return entry.with_name(f".{entry.name}.lock")


def _entries() -> list[Path]:
    with suppress(OSError):
        return [path for path in location().iterdir() if path.is_dir()]
    return []
