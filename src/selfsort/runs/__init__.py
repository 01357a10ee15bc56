"""Run folders, written by `fit` and read by every later command: their files, manifest and locks; no training."""

from selfsort.runs.contents import (
    is_finite,
    map_array,
    read_array,
    read_facts,
    read_kept,
    read_metrics,
    read_rows,
    read_run,
    read_skipped,
    read_tensors,
    read_training_arrays,
    seal,
    tensor_names,
    write_array,
    write_facts,
    write_kept,
    write_model,
)
from selfsort.runs.folder import RunFolder
from selfsort.runs.locks import is_locked, run_lock
from selfsort.runs.manifest import FORMAT, describe, essentials
from selfsort.runs.opening import check_startable, new_folder, open_run

__all__ = [
    "FORMAT",
    "RunFolder",
    "check_startable",
    "describe",
    "essentials",
    "is_finite",
    "is_locked",
    "map_array",
    "new_folder",
    "open_run",
    "read_array",
    "read_facts",
    "read_kept",
    "read_metrics",
    "read_rows",
    "read_run",
    "read_skipped",
    "read_tensors",
    "read_training_arrays",
    "run_lock",
    "seal",
    "tensor_names",
    "write_array",
    "write_facts",
    "write_kept",
    "write_model",
]
