"""Where pictures come from: one file for each kind of source, discovered automatically.

A module here offers `ORDER`, in which the kinds are asked, the lowest first; `claims(given)`, whether it knows what the
caller of `load_images` gave; and `list_source(given, request)`, which returns a `Listing` of the pictures without
decoding one. It may also say what it takes, for the error that tells the user what could have been given: `TAKES`, such
as "a folder", or `NAMES`, of data sets. `FILES` is True where every picture is a file of its own.
"""

import os
from pathlib import Path
from typing import Any


def path_of(given: Any) -> Path | None:
    """Return the absolute path that a text or a path means, None for anything else."""
    return Path(given).expanduser().absolute() if isinstance(given, (str, Path)) and str(given) else None


def is_file(path: Path) -> bool:
    """Tell whether there is something that is no folder; not where the system does not say."""
    # Not by pathlib, which raises what keeps it from looking.
    return os.path.exists(path) and not os.path.isdir(path)
