"""The folder that an audit leaves, and what is made of it."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

from selfsort.audit.result import Audit, columns
from selfsort.data.account import COLUMNS
from selfsort.errors import UserError
from selfsort.files import atomic_path, is_there, write_json
from selfsort.tables import read_table, write_table

FORMAT = 1
_FACTS, _TABLE, _ACCOUNT = "audit.json", "pictures.csv", "account.csv"


def write_audit(
    audit: Audit, out: str | Path, write_page: Callable[[Path], object] | None = None, *, bom: bool = False
) -> None:
    """Write what an audit found as `audit.json` and `pictures.csv`, and `account.csv` of all files, into a new folder.

    `write_page` adds its page to the folder that it is given; a `bom` lets Excel know the table for UTF-8. The folder
    appears whole or not at all. Raises UserError when there is something already, or it cannot be written.
    """
    out = Path(out).absolute()
    if is_there(out) and not (out.is_dir() and next(out.iterdir(), None) is None):
        raise UserError(f"{str(out)!r} exists and is not an empty folder: choose a new one, nothing is overwritten.")
    with atomic_path(out) as partial:
        partial.mkdir()
        names = columns()
        write_table(partial / _TABLE, names, ([row[name] for name in names] for row in audit.rows()), bom=bom)
        write_table(partial / _ACCOUNT, COLUMNS, audit.account(), bom=bom)
        if write_page:
            write_page(partial)
        write_json(partial / _FACTS, {"format": FORMAT, "source": audit.source} | audit.summary())


def read_rejected(folder: str | Path) -> tuple[str, ...]:
    """Return the ids of the pictures that an audit leaves out.

    Raises UserError when the folder holds no audit, or one that is damaged or of a newer format.
    """
    folder = Path(folder)
    if not is_there(folder / _FACTS):
        raise UserError(f"{str(folder)!r} is not an audit (it has no {_FACTS}): give one that `selfsort audit` made.")
    try:
        if json.loads((folder / _FACTS).read_bytes())["format"] > FORMAT:
            raise UserError(f"{str(folder)!r} was written by a newer selfsort: upgrade, or audit again.")
        rows = read_table(folder / _TABLE)
        return tuple(row["id"] for row in rows if {"yes": False, "no": True}[row["kept"].strip().lower()])
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(f"The audit in {str(folder)!r} is damaged: audit again.") from error
