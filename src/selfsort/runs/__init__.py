"""Run folders: what `fit` writes and every later command starts from."""

from selfsort.runs.folder import (
    FORMAT,
    check_startable,
    describe,
    held,
    is_complete,
    named,
    new_folder,
    open_run,
    read_metrics,
    read_rows,
    read_run,
    read_skipped,
    read_tensors,
    read_training_arrays,
    tensor_names,
    write_model,
)

__all__ = [
    "FORMAT",
    "check_startable",
    "describe",
    "held",
    "is_complete",
    "named",
    "new_folder",
    "open_run",
    "read_metrics",
    "read_rows",
    "read_run",
    "read_skipped",
    "read_tensors",
    "read_training_arrays",
    "tensor_names",
    "write_model",
]
