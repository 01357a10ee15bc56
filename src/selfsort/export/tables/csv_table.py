"""Predictions as CSV: numbers with six significant digits, ids and names as `selfsort.tables` writes text."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selfsort.export.table import Predictions
from selfsort.tables import write_table

SUFFIX = ".csv"


def write(path: Path, predictions: Predictions) -> None:
    """Write the table."""
    write_table(path, predictions.columns(), _rows(predictions), bom=predictions.bom)


def _rows(predictions: Predictions) -> Iterator[list[Any]]:
    names = predictions.names
    for image_id, row in zip(predictions.ids, predictions.probabilities, strict=True):
        best = int(row.argmax())
        values = [float(f"{value:.6g}") for value in row.tolist()]
        yield [image_id, best, *([names[best]] if names else []), values[best], *values]
