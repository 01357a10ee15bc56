"""Write the folder of an audit, read which pictures it leaves out, and save what a person decides."""

import codecs
import csv
import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from selfsort.audit.result import Audit, columns
from selfsort.data.account import COLUMNS
from selfsort.errors import UserError
from selfsort.files import atomic_path, is_there, write_json
from selfsort.tables import read_table, write_table

FORMAT = 1
_BY_HAND = "by hand"
_FACTS, _TABLE, _ACCOUNT = "audit.json", "pictures.csv", "account.csv"


def write_audit(
    audit: Audit, out: str | Path, write_page: Callable[[Path], object] | None = None, *, bom: bool = False
) -> None:
    """Write an audit into a new folder: `audit.json`, `pictures.csv`, and `account.csv` with all files.

    `write_page` adds a page to the folder that it is given; with a `bom`, Excel reads the tables as UTF-8. The folder
    appears complete or not at all. Raises UserError if it exists and is not empty, or cannot be written.
    """
    out = Path(out).absolute()
    if is_there(out) and not (out.is_dir() and next(out.iterdir(), None) is None):
        raise UserError(f"{str(out)!r} exists and is not an empty folder: choose a new one, as nothing is overwritten.")
    with atomic_path(out) as partial:
        partial.mkdir()
        names = columns()
        write_table(partial / _TABLE, names, ([row[name] for name in names] for row in audit.rows()), bom=bom)
        write_table(partial / _ACCOUNT, COLUMNS, audit.account(), bom=bom)
        if write_page:
            write_page(partial)
        made_of = {"source": audit.source, "options": audit.images.options}
        write_json(partial / _FACTS, {"format": FORMAT} | made_of | audit.summary())


def read_rejected(folder: str | Path) -> tuple[str, ...]:
    """Return the ids of the pictures that an audit leaves out.

    Raises UserError if the folder holds no audit, or one that is damaged or of a newer format.
    """
    read_facts(folder)
    return tuple(row["id"] for row in _read_rows(Path(folder)) if not _is_kept(row))


def read_facts(folder: str | Path) -> dict[str, Any]:
    """Return what `audit.json` holds; raise UserError as `read_rejected` does."""
    folder = Path(folder)
    if not is_there(folder / _FACTS):
        raise UserError(f"{str(folder)!r} is not an audit (it has no {_FACTS}): give one made by `selfsort audit`.")
    try:
        facts: dict[str, Any] = json.loads((folder / _FACTS).read_bytes())
        newer = facts["format"] > FORMAT
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder) from error
    if newer:
        raise UserError(f"{str(folder)!r} was written by a newer selfsort: upgrade selfsort, or audit again.")
    return facts


class Choices:
    """Which pictures of an audit are kept, according to `pictures.csv`; each decision is written there at once.

    A picture's number is its position among the sorted ids, as on the audit's page, whatever the order of the table.
    Any thread may call the methods. All raise UserError if the table is damaged, lacks lines or cannot be written.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.facts = read_facts(folder)
        self._lock = threading.Lock()
        self.ids = sorted(row["id"] for row in _read_rows(self.folder))
        if len(set(self.ids)) != self.facts.get("pictures"):
            raise self._changed()

    def left_out(self) -> list[int]:
        """Return the numbers of the pictures that are left out."""
        kept = {row["id"]: _is_kept(row) for row in self._rows()}
        return [number for number, name in enumerate(self.ids) if not kept[name]]

    def choose(self, number: int, kept: bool) -> None:
        """Keep a picture, or leave it out; if the audit had no reason for that, the reason is "by hand"."""
        with self._lock:
            rows = self._rows()
            (row,) = (row for row in rows if row["id"] == self.ids[number])
            row["kept"] = "yes" if kept else "no"
            if row["reason"] in ("", _BY_HAND):
                row["reason"] = "" if kept else _BY_HAND
            table = self.folder / _TABLE
            bom = table.read_bytes()[: len(codecs.BOM_UTF8)] == codecs.BOM_UTF8
            write_table(table, list(row), [list(each.values()) for each in rows], bom=bom)

    def _rows(self) -> list[dict[str, str]]:
        rows = _read_rows(self.folder)
        if sorted(row["id"] for row in rows) != self.ids:
            raise self._changed()
        return rows

    def _changed(self) -> UserError:
        return UserError(f"{str(self.folder / _TABLE)!r} no longer has a line for each picture: audit again.")


def _read_rows(folder: Path) -> list[dict[str, str]]:
    try:
        rows = list(read_table(folder / _TABLE))
        for row in rows:
            _is_kept(row)
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise _damaged(folder) from error
    return rows


def _is_kept(row: Mapping[str, str]) -> bool:
    return {"yes": True, "no": False}[row["kept"].strip().lower()]


def _damaged(folder: Path) -> UserError:
    return UserError(f"The audit in {str(folder)!r} is damaged: audit again.")
