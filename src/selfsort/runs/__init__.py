"""Run folders, which `fit` writes and every later command starts from: their files, manifest and locks; no training."""

from selfsort.runs.contents import (
    read_metrics,
    read_rows,
    read_run,
    read_skipped,
    read_tensors,
    read_training_arrays,
    tensor_names,
    write_model,
)
from selfsort.runs.folder import RunFolder
from selfsort.runs.locks import is_locked, run_lock
from selfsort.runs.manifest import FORMAT, describe
from selfsort.runs.opening import check_startable, new_folder, open_run

__all__ = [
    "FORMAT",
    "RunFolder",
    "check_startable",
    "describe",
    "is_locked",
    "new_folder",
    "open_run",
    "read_metrics",
    "read_rows",
    "read_run",
    "read_skipped",
    "read_tensors",
    "read_training_arrays",
    "run_lock",
    "tensor_names",
    "write_model",
]
