"""Predictions as Parquet, whose strings must be valid text: bytes of an id that are not UTF-8 are escaped as in CSV."""

from pathlib import Path
from typing import Any

import numpy as np

from selfsort.export.table import Predictions
from selfsort.files import atomic_path
from selfsort.tables import utf8_text

SUFFIX = ".parquet"
LIBRARY, EXTRA = "pyarrow", "parquet"


def write(path: Path, predictions: Predictions) -> None:
    """Write the table."""
    import pyarrow.parquet as pq

    # An open file, as pyarrow does not accept paths that are not UTF-8.
    with atomic_path(path) as partial, open(partial, "wb") as file:
        pq.write_table(table_of(predictions), file)


def table_of(predictions: Predictions) -> Any:
    """Return the predictions as a pyarrow table."""
    import pyarrow as pa

    best, names = predictions.probabilities.argmax(axis=1), predictions.names
    columns: list[Any] = [
        pa.array([utf8_text(name) for name in predictions.ids], pa.string()),
        pa.array(best, pa.int64()),
        *([pa.array([names[cluster] for cluster in best], pa.string())] if names else []),
        pa.array(predictions.probabilities.max(axis=1)),
        *(pa.array(column) for column in np.ascontiguousarray(predictions.probabilities.T)),
    ]
    return pa.table(dict(zip(predictions.columns(), columns, strict=True)))
