r"""CSV tables: written and read only here, as UTF-8 that no spreadsheet takes for anything but text.

A text that a spreadsheet would evaluate is prefixed with an apostrophe, and a byte of a file name that is not UTF-8 is
written as `\xe9`; see `cell_text`, and `cell_value` for the way back. Numbers stay as they are.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import IO

from selfsort.files import atomic_path

_FORMULA = re.compile("'*(?:\\s*[=+@\uff1d\uff0b\uff0d\uff20-]|[\t\r\n])")  # some accept full-width signs as well
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_SEPARATOR = re.compile("[;\t]")  # separators of columns in some spreadsheets
_SURROGATE = re.compile(r"[\ud800-\udfff]|\\(?=x5c|x[89a-f][0-9a-f]|ud[89a-f][0-9a-f]{2})")
_ESCAPE = re.compile(r"\\x(5c|[89a-f][0-9a-f])|\\u(d[89a-f][0-9a-f]{2})")
_BOM = "\ufeff"


def utf8_text(name: str) -> str:
    r"""Return a name as text that is valid UTF-8: invalid bytes as `\xe9`.

    A backslash that could be mistaken for the start of such a byte becomes `\x5c`.

    >>> print(utf8_text("caf\udce9.png"), utf8_text(r"a\b.png"), utf8_text(r"a\xe9.png"))
    caf\xe9.png a\b.png a\x5cxe9.png
    """
    return _SURROGATE.sub(lambda found: _escaped(ord(found[0])), name)


def _escaped(letter: int) -> str:
    return rf"\x{letter - 0xDC00:02x}" if 0xDC80 <= letter <= 0xDCFF else rf"\{'x' if letter < 256 else 'u'}{letter:x}"


def cell_text(text: str) -> str:
    """Return a text for a cell: valid UTF-8, with an apostrophe before anything that a spreadsheet would evaluate.

    >>> cell_text("rose"), cell_text("=1+1"), cell_text("-1"), cell_text("'=1+1"), cell_text("'rose")
    ('rose', "'=1+1", '-1', "''=1+1", "'rose")
    """
    text = utf8_text(text)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def cell_value(cell: str) -> str:
    """Return the text from which `cell_text` made a cell.

    >>> [cell_value(cell_text(text)) for text in ("rose", "=1+1", "-1", "'=1+1", "'rose")]
    ['rose', '=1+1', '-1', "'=1+1", "'rose"]
    """
    text = cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
    if "\\" not in text:
        return text
    return _ESCAPE.sub(lambda found: _unescaped(found[1] or found[2]), text)


def _unescaped(digits: str) -> str:
    letter = int(digits, 16)
    return chr(letter + 0xDC00 if 0x80 <= letter <= 0xFF else letter)


def write_table(
    path: str | Path, header: Sequence[str], rows: Iterable[Sequence[object]], *, bom: bool = False
) -> None:
    """Write a CSV file; with a `bom`, the mark by which Excel recognises UTF-8.

    Raises `UserError` if it cannot be written.
    """
    with atomic_path(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        _write(file, header, rows, bom)


def table_bytes(header: Sequence[str], rows: Iterable[Sequence[object]], *, bom: bool = False) -> bytes:
    """Return the bytes of the file that `write_table` writes."""
    with io.StringIO(newline="") as file:
        _write(file, header, rows, bom)
        return file.getvalue().encode("utf-8")


def read_table(path: str | Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file by column name, with the texts that `write_table` was given.

    Raises `OSError`, `ValueError` and `csv.Error` if it cannot be read.
    """
    # Tables of earlier versions hold bytes that are not UTF-8 unchanged.
    with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        yield from _rows(file)


def rows_of(data: bytes) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file from its bytes, like `read_table`."""
    return _rows(io.StringIO(data.decode("utf-8-sig", "surrogateescape"), newline=""))


def _rows(file: IO[str]) -> Iterator[dict[str, str]]:
    lines = filter(None, csv.reader(file, strict=True))  # csv.DictReader takes twice as long
    header = next(lines, [])
    for cells in lines:
        if len(cells) != len(header):
            raise ValueError("a line has more or fewer cells than the first")
        yield dict(zip(header, map(cell_value, cells), strict=True))


def _write(file: IO[str], header: Sequence[str], rows: Iterable[Sequence[object]], bom: bool) -> None:
    plain, quoting = csv.writer(file), csv.writer(file, quoting=csv.QUOTE_ALL)
    file.write(_BOM if bom else "")
    for row in chain([header], rows):
        cells = [cell_text(cell) if isinstance(cell, str) else cell for cell in row]
        # Text after a semicolon would become another cell where that separates columns.
        split = any(isinstance(cell, str) and _SEPARATOR.search(cell) for cell in cells)
        (quoting if split else plain).writerow(cells)
