r"""CSV tables: the one place that writes and reads them, as UTF-8 that no spreadsheet takes for more than text.

A text that a spreadsheet would compute begins with an apostrophe, and a byte of a file name that is no UTF-8 stands as
`\xe9`; `cell_text` says how, and `cell_value` gives the text back. Numbers stay as they are.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import IO

from selfsort.files import atomic_path

_FORMULA = re.compile("'*(?:\\s*[=+@\uff1d\uff0b\uff0d\uff20-]|[\t\r\n])")  # some take full-width signs, too
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_SEPARATOR = re.compile("[;\t]")  # of columns, for some spreadsheets
_SURROGATE = re.compile(r"[\ud800-\udfff]|\\(?=x5c|x[89a-f][0-9a-f]|ud[89a-f][0-9a-f]{2})")
_ESCAPE = re.compile(r"\\x(5c|[89a-f][0-9a-f])|\\u(d[89a-f][0-9a-f]{2})")
_BOM = "\ufeff"


def utf8_text(name: str) -> str:
    r"""Return a name as text that is valid UTF-8: bytes that are none as `\xe9`.

    A backslash that would be taken for the beginning of one becomes `\x5c`.

    >>> print(utf8_text("caf\udce9.png"), utf8_text(r"a\b.png"), utf8_text(r"a\xe9.png"))
    caf\xe9.png a\b.png a\x5cxe9.png
    """
    return _SURROGATE.sub(lambda found: _escaped(ord(found[0])), name)


def _escaped(letter: int) -> str:
    return rf"\x{letter - 0xDC00:02x}" if 0xDC80 <= letter <= 0xDCFF else rf"\{'x' if letter < 256 else 'u'}{letter:x}"


def cell_text(text: str) -> str:
    """Return a text as a cell holds it: valid UTF-8, and with an apostrophe before what a spreadsheet would compute.

    >>> cell_text("rose"), cell_text("=1+1"), cell_text("-1"), cell_text("'=1+1"), cell_text("'rose")
    ('rose', "'=1+1", '-1', "''=1+1", "'rose")
    """
    text = utf8_text(text)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def cell_value(cell: str) -> str:
    """Return the text that a cell stands for, as `cell_text` made it.

    >>> [cell_value(cell_text(text)) for text in ("rose", "=1+1", "-1", "'=1+1", "'rose")]
    ['rose', '=1+1', '-1', "'=1+1", "'rose"]
    """
    text = cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
    return _ESCAPE.sub(lambda found: _unescaped(found[1] or found[2]), text)


def _unescaped(digits: str) -> str:
    letter = int(digits, 16)
    return chr(letter + 0xDC00 if 0x80 <= letter <= 0xFF else letter)


def write_table(
    path: str | Path, header: Sequence[str], rows: Iterable[Sequence[object]], *, bom: bool = False
) -> None:
    """Write a CSV file; with a `bom`, the mark by which Excel knows UTF-8.

    Raises `UserError` when it cannot be written.
    """
    with atomic_path(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        _write(file, header, rows, bom)


def table_bytes(header: Sequence[str], rows: Iterable[Sequence[object]], *, bom: bool = False) -> bytes:
    """Return the bytes of the file that `write_table` writes."""
    with io.StringIO(newline="") as file:
        _write(file, header, rows, bom)
        return file.getvalue().encode("utf-8")


def read_table(path: str | Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file by their columns, with the texts that `write_table` was given.

    Raises `OSError`, `ValueError` and `csv.Error` where it cannot be read.
    """
    # Tables of earlier versions hold bytes that are no UTF-8 as they are.
    with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        yield from _rows(file)


def rows_of(data: bytes) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file from its bytes, as `read_table` does."""
    return _rows(io.StringIO(data.decode("utf-8-sig", "surrogateescape"), newline=""))


def _rows(file: IO[str]) -> Iterator[dict[str, str]]:
    for row in csv.DictReader(file, strict=True):
        if None in row or None in row.values():
            raise ValueError("a line has more or fewer cells than the first")
        yield {name: cell_value(cell) for name, cell in row.items()}


def _write(file: IO[str], header: Sequence[str], rows: Iterable[Sequence[object]], bom: bool) -> None:
    plain, quoting = csv.writer(file), csv.writer(file, quoting=csv.QUOTE_ALL)
    file.write(_BOM if bom else "")
    for row in chain([header], rows):
        cells = [cell_text(cell) if isinstance(cell, str) else cell for cell in row]
        # What stands behind a semicolon would be a cell of its own where that separates columns.
        split = any(isinstance(cell, str) and _SEPARATOR.search(cell) for cell in cells)
        (quoting if split else plain).writerow(cells)
