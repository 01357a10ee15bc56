"""Encoded pictures in a column of a Parquet file, read forward through its row groups.

A row group is the least that can be found in the file without reading others, and it may hold a hundred pictures or all
of them. So it is read in pieces, of which the latest is kept: rows that are read in order, as decoding does, are read
once, and memory is taken for a piece and for the pages of the file that it touches, not for the row group.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from textwrap import shorten
from typing import Any

from selfsort.data.limits import MAX_BYTES, too_many_bytes
from selfsort.data.shards import Shard
from selfsort.data.unreadable import Unreadable
from selfsort.errors import UserError

_PIECE_BYTES, _PIECE_ROWS = 1 << 23, 64  # of pictures that are in memory at once
_BUFFER = 1 << 20  # bytes read from the file at once
_LONGEST_REASON = 120


@contextmanager
def opened_table(shard: Shard) -> Iterator[Any]:
    """Open a Parquet file as `pyarrow.parquet.ParquetFile` for one block, in which `Unreadable` is raised for damage.

    Also raises `Unreadable` if the file has changed since it was listed, and `OSError`.
    """
    table = _open(shard)
    try:
        yield table
    except UserError:
        raise
    except Exception as error:
        raise _damaged(error) from error
    finally:
        table.close(force=True)


def _open(shard: Shard) -> Any:
    import pyarrow.parquet as pq

    file = shard.open()  # pyarrow does not accept paths that are not UTF-8
    try:
        return pq.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False)
    except Exception as error:
        file.close()
        raise _damaged(error) from error


def _damaged(error: Exception) -> Exception:
    """Return the error to raise for what pyarrow raises on a damaged file, of whatever type that is."""
    if isinstance(error, Unreadable) or (isinstance(error, OSError) and error.errno is not None):
        return error
    if "magic bytes" in str(error) or "footer" in str(error):
        return Unreadable("truncated, or not a Parquet file (get or write it again)")
    return Unreadable(f"damaged ({shorten(str(error).rstrip('.'), _LONGEST_REASON)}; get or write it again)")


class _RowGroup:
    """One column of a row group, of which one piece is in memory."""

    def __init__(self, shard: Shard, column: str, group: int) -> None:
        self.key = (shard, column, group)
        self._table = _open(shard)
        self._rows = _rows_at_once(self._table.metadata.row_group(group))
        self._broken: tuple[int, Exception] | None = None  # the first piece that cannot be read
        self._restart()

    def close(self) -> None:
        """Close the file."""
        self._table.close(force=True)

    def value(self, row: int) -> bytes | None:
        """Return the bytes in a row, None if it is empty."""
        try:
            piece = self._piece(row // self._rows)
        except Unreadable:
            if self._rows == 1:
                raise
            self._rows, self._broken = 1, None  # the rows before the damage can be read one by one
            self._restart()
            return self.value(row)
        stored = piece[row % self._rows].as_py()
        value: bytes | None = stored["bytes"] if isinstance(stored, dict) else stored
        return value

    def _restart(self) -> None:
        _, column, group = self.key
        self._pieces = self._table.iter_batches(self._rows, row_groups=[group], columns=[column])
        self._number, self._latest = -1, None

    def _piece(self, wanted: int) -> Any:
        if self._broken is not None and wanted >= self._broken[0]:
            raise self._broken[1]
        if wanted < self._number:
            self._restart()
        while self._number < wanted:
            try:
                self._latest = next(self._pieces).column(0)
            except Exception as error:
                self._broken = self._number + 1, _damaged(error)
                raise self._broken[1] from error
            self._number += 1
        return self._latest


def _rows_at_once(facts: Any) -> int:
    """Return how many rows of a row group to read at once."""
    # The size of the column alone is not asked for: if it is damaged, that call of pyarrow ends the process.
    return int(max(1, min(_PIECE_ROWS, _PIECE_BYTES * facts.num_rows // max(facts.total_byte_size, 1))))


_lock = threading.Lock()  # any thread may open a picture, and reading one moves the piece that is kept
_kept: _RowGroup | None = None


def read_row(shard: Shard, column: str, group: int, row: int) -> bytes:
    """Return the encoded picture in a row of a row group; raise `Unreadable` if there is none.

    `column` is the path of a column of bytes, such as "image" or "image.bytes".
    """
    global _kept
    with _lock:
        if _kept is None or _kept.key != (shard, column, group):
            _forget()
            _kept = _RowGroup(shard, column, group)
        value = _kept.value(row)
    if value is None:
        raise Unreadable("no picture in this row")
    if len(value) > MAX_BYTES:
        raise too_many_bytes()
    return value


def forget() -> None:
    """Close the file that is kept open for the next picture."""
    with _lock:
        _forget()


def _forget() -> None:
    global _kept
    if _kept is not None:
        with suppress(Exception):
            _kept.close()
    _kept = None
