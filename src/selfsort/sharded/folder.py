"""A folder of finished shards, on a disk or in an object store: each is a Parquet file, written once.

Names that begin with "_" are not data for pyarrow, pandas and Spark, so the whole folder can be read as one table.
"""

import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, NamedTuple

from selfsort.data import object_store
from selfsort.data.unreadable import Unreachable
from selfsort.errors import UserError
from selfsort.files import atomic_path, is_there, new_parents
from selfsort.runs.locks import is_empty, run_lock
from selfsort.sharded.tasks import Computed
from selfsort.tables import table_bytes

FORMAT = 1
MANIFEST, SKIPPED = "_selfsort.json", "_skipped.csv"
_FACTS = b"selfsort"
_AT_ONCE = 16  # shards whose ends are read at the same time, since each may wait for a network


class FinishedShard(NamedTuple):
    """What is known of a finished shard: its rows, the position and reason of each failure, pictures per cluster."""

    number: int
    rows: int
    failures: Sequence[tuple[int, str]]
    counts: Sequence[int]


class ShardFolder:
    """The folder at a path or URL; it need not exist yet."""

    def __init__(self, where: str) -> None:
        self.where = where if object_store.is_url(where) else os.path.abspath(os.path.expanduser(where))
        self._remote = object_store.is_url(where)

    @contextmanager
    def opened(self, manifest: Mapping[str, Any]) -> Iterator[None]:
        """Reserve the folder for one block; raise `UserError` if it holds anything but shards of this manifest."""
        path = Path(self.where)
        if not self._remote and is_there(path) and not path.is_dir():
            raise UserError(f"{self.where!r} is a file: choose a folder for the shards.")
        with nullcontext() if self._remote else new_parents(path), nullcontext() if self._remote else run_lock(path):
            before = self._manifest()
            if before is None:
                if self._holds_something():
                    raise UserError(f"{self.where!r} is not empty, and no folder of shards: choose another folder.")
                self._write(MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())
            elif change := _first_change(before, manifest):
                raise UserError(f"{self.where!r} was begun with {change}: use the same, or choose another folder.")
            yield

    def write(self, number: int, found: Computed) -> FinishedShard:
        """Write a shard, complete or not at all; raise `UserError` if that is impossible."""
        import pyarrow.parquet as pq

        facts = {"failures": [list(each) for each in found.failures], "counts": list(found.counts)}
        table = found.table.replace_schema_metadata({_FACTS: json.dumps({"number": number, **facts})})
        data = io.BytesIO()
        pq.write_table(table, data)
        self._write(_name(number), data.getvalue())
        return FinishedShard(number, table.num_rows, list(found.failures), found.counts)

    def finished(self, count: int) -> list[FinishedShard]:
        """Return what is known of the shards below `count` that are finished and not damaged, in order."""
        there = self._names()
        numbers = [number for number in range(count) if _name(number) in there]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return [shard for shard in pool.map(self._shard, numbers) if shard is not None]

    def write_skipped(self, rows: Iterable[tuple[str, str]]) -> None:
        """Write which pictures could not be read, and why."""
        self._write(SKIPPED, table_bytes(["id", "reason"], rows))

    def _shard(self, number: int) -> FinishedShard | None:
        import pyarrow.parquet as pq

        try:
            with self._opened(_name(number)) as file, pq.ParquetFile(file) as table:
                facts = json.loads(table.schema_arrow.metadata[_FACTS])
                failures = [(int(position), str(reason)) for position, reason in facts["failures"]]
                return FinishedShard(number, table.metadata.num_rows, failures, facts["counts"])
        except Unreachable as error:
            raise UserError(f"{self.where!r} is {error}; check the network.") from error
        except Exception:  # damaged in whatever way: it is computed again
            return None

    def _opened(self, name: str) -> Any:
        if not self._remote:
            return open(os.path.join(self.where, name), "rb")
        return object_store.open_object(object_store.facts_of(f"{self.where}/{name}"))

    def _names(self) -> set[str]:
        if self._remote:
            root, found = object_store.objects_below(self.where)
            return {each.url[len(root) + 1 :] for each in found}
        with suppress(FileNotFoundError):
            return set(os.listdir(self.where))
        return set()

    def _holds_something(self) -> bool:
        return bool(self._names()) if self._remote else not is_empty(Path(self.where))

    def _manifest(self) -> dict[str, Any] | None:
        if MANIFEST not in self._names():
            return None
        try:
            with self._opened(MANIFEST) as file:
                found = json.loads(file.read())
            if found["format"] == FORMAT and isinstance(found["task"], dict):
                return dict(found)
        except (OSError, ValueError, KeyError, TypeError):
            pass
        raise UserError(f"{self.where!r} has a {MANIFEST} that this version cannot read: choose another folder.")

    def _write(self, name: str, data: bytes) -> None:
        if self._remote:
            object_store.write(f"{self.where}/{name}", data)
            return
        with atomic_path(Path(self.where, name)) as partial:
            partial.write_bytes(data)


def _name(number: int) -> str:
    return f"shard-{number:06d}.parquet"


def _first_change(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """Say what differs from the beginning of the work; None if it can be continued."""
    for name in ("command", "shard_size", "pictures"):
        if before.get(name) != now[name]:
            return f"{name} {before.get(name)}, not {now[name]}"
    for name, value in now["task"].items():
        if before["task"].get(name) != value:
            return f"another {name}"
    return "other pictures, or they have changed since" if before.get("stamp") != now["stamp"] else None
