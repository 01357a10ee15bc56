"""Where pictures come from: one file for each kind of source, discovered automatically.

A module here offers `ORDER`, by which the kinds are asked, the lowest first; `claims(given)`, whether it recognises
what the caller of `load_images` gave; and `list_source(given, request)`, which returns a `Listing` of the pictures
without decoding any. It may also say what it takes, for the error that lists what the user could have given: `TAKES`,
such as "a folder", or `NAMES`, of data sets. `FILES` is True if every picture is a separate file.
"""

import os
from pathlib import Path
from typing import Any


def path_of(given: Any) -> Path | None:
    """Return the absolute path given as text or a path, None for anything else."""
    return Path(given).expanduser().absolute() if isinstance(given, (str, Path)) and str(given) else None


def is_file(path: Path) -> bool:
    """Tell whether something that is not a folder exists here; False if the system does not say."""
    # Not with pathlib, which raises when access is denied.
    return os.path.exists(path) and not os.path.isdir(path)
