"""Predictions as CSV: numbers of six significant digits, bytes of an id that are no UTF-8 as they are."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selfsort.export.table import Predictions
from selfsort.files import cell_text, write_table

SUFFIX = ".csv"


def write(path: Path, predictions: Predictions) -> None:
    """Write the table; a name that a spreadsheet would compute begins with an apostrophe."""
    write_table(path, predictions.columns(), _rows(predictions))


def _rows(predictions: Predictions) -> Iterator[list[Any]]:
    names = predictions.names
    for image_id, row in zip(predictions.ids, predictions.probabilities, strict=True):
        best = int(row.argmax())
        values = [float(f"{value:.6g}") for value in row.tolist()]
        yield [image_id, best, *([cell_text(names[best])] if names else []), values[best], *values]
