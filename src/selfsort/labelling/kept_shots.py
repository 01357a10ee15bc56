"""When, where and with what the pictures of a run were taken: read once, and kept in its folder."""

import csv
import logging
from collections.abc import Sequence
from pathlib import Path

from selfsort.data.image_set import ImageSet
from selfsort.data.shots import COLUMNS, Shots
from selfsort.errors import UserError
from selfsort.runs import RunFolder
from selfsort.tables import read_table, write_table

_log = logging.getLogger(__name__)


def kept_shots(run: Path, ids: Sequence[str]) -> Shots | None:
    """Return the shots of the pictures with these ids that are kept in a run; None if they are missing or damaged."""
    try:
        shots = Shots.from_rows(list(read_table(RunFolder(run).shots)))
    except (OSError, ValueError, KeyError, csv.Error):
        return None
    return shots if tuple(shots.ids) == tuple(ids) else None


def shots_of(run: Path, images: ImageSet) -> Shots:
    """Return the shots of a run's pictures; they are read from the files unless they are kept, and kept then."""
    shots = kept_shots(run, images.ids)
    if shots is None:
        shots = Shots.read(images)
        try:
            write_table(RunFolder(run).shots, COLUMNS, shots.rows())
        except UserError as error:  # the run may be read-only
            _log.warning("%s", error)
    return shots
