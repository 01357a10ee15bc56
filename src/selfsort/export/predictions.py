"""Tables of predictions, in the format given by the file's suffix."""

import os
import pkgutil
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfsort.errors import UserError
from selfsort.export import tables
from selfsort.export.table import Predictions


@cache
def formats() -> dict[str, ModuleType]:
    """Return the modules that write a table, by the suffix of its file."""
    found = [import_module(f"{tables.__name__}.{each.name}") for each in pkgutil.iter_modules(tables.__path__)]
    return {module.SUFFIX: module for module in found}


def check_table(path: str | Path) -> None:
    """Raise `UserError` if `path` is a folder or has a suffix that `write_predictions` cannot write."""
    suffix = Path(path).suffix.lower()
    if suffix not in formats():
        known = " or ".join(formats())
        raise UserError(f"Cannot tell the format of {str(path)!r} from its name: end it in {known}.")
    library = getattr(formats()[suffix], "LIBRARY", None)
    if library and find_spec(library) is None:
        way = f"pip install 'selfsort[{formats()[suffix].EXTRA}]', or write a .csv file"
        raise UserError(f"{str(path)!r} needs the library {library!r}: {way}.")
    if os.path.isdir(path):
        raise UserError(f"{str(path)!r} is a folder: choose the name of a file.")


def write_predictions(
    path: str | Path,
    ids: Sequence[str],
    probabilities: NDArray[np.floating[Any]],
    names: Sequence[str] = (),
    *,
    bom: bool = False,
) -> None:
    """Write id, cluster, confidence and p0 … p{K-1} for probabilities (N, K), in the format of the suffix.

    With the `names` (K,) of the clusters, there is a column `name` after `cluster`. With a `bom`, Excel reads a CSV
    file as UTF-8. `selfsort.tables.read_table` restores ids and names exactly.

    Raises
    ------
    UserError
        For an unknown suffix, a missing library, or a path that cannot be written.

    """
    path = Path(path)
    check_table(path)
    if len(ids) != len(probabilities):
        raise ValueError(f"{len(ids)} ids do not match {len(probabilities)} rows of probabilities.")
    formats()[path.suffix.lower()].write(path, Predictions(ids, probabilities, names, bom))
