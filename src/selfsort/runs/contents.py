"""What a run folder holds: the fitted model, arrays and tables; writing them, and reading them back checked."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfsort.errors import UserError
from selfsort.files import atomic_path, write_json
from selfsort.runs.folder import RunFolder
from selfsort.tables import read_table, write_table

_LONGEST_HEADER = 100_000_000  # bytes, as the format says


def read_run(path: str | Path) -> dict[str, Any]:
    """Return the manifest of a finished run.

    Raises
    ------
    UserError
        When there is no run, or it is unfinished, damaged or of a newer format.

    """
    folder = RunFolder(path)
    if not folder.manifest.is_file():
        raise UserError(
            f"{str(folder.path)!r} is not a run folder (it has no {folder.manifest.name}): give one that "
            "`selfsort fit` made."
        )
    run = folder.read_manifest()
    if run["status"] != "complete":
        raise UserError(f"{str(folder.path)!r} holds an unfinished run: finish it with resume=True first.")
    return run


def write_model(
    path: Path,
    tensors: Mapping[str, Any],
    embedding: NDArray[np.float32],
    probabilities: NDArray[np.float32],
    ids: tuple[str, ...],
    run: Mapping[str, Any],
) -> None:
    """Write a fitted model; the manifest comes last and declares the folder complete."""
    from safetensors.torch import save

    folder = RunFolder(path)
    with atomic_path(folder.model) as partial:
        # Not save_file, which hides its files from everybody but their owner.
        partial.write_bytes(save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}))
    for target, array in ((folder.embedding, embedding), (folder.probabilities, probabilities)):
        with atomic_path(target) as partial, open(partial, "wb") as file:
            np.save(file, array)
    rows = zip(ids, probabilities.argmax(1), probabilities.max(1), strict=True)
    write_table(folder.assignments, ["id", "cluster", "confidence"], [(i, c, f"{p:.6g}") for i, c, p in rows])
    write_json(folder.manifest, {**run, "status": "complete"})


def read_tensors(path: Path) -> dict[str, Any]:
    """Return the tensors of a safetensors file in a run folder."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return dict(load(path.read_bytes()))  # by bytes: the library takes no path that is not UTF-8
    except (OSError, SafetensorError) as error:
        raise _damaged(path, "is missing or damaged") from error


def tensor_names(path: Path) -> list[str]:
    """Return the names of a run's weights, without importing torch."""
    model = RunFolder(path).model
    try:
        with open(model, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            return list(json.loads(file.read(min(length, _LONGEST_HEADER))))
    except (OSError, ValueError) as error:
        raise _damaged(model, "is missing or damaged") from error


def read_training_arrays(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float32], tuple[str, ...]]:
    """Return the (N, D) embedding, the (N, K) probabilities and the N ids of the training pictures."""
    folder = RunFolder(path)
    try:
        arrays = [np.load(each, allow_pickle=False) for each in (folder.embedding, folder.probabilities)]
        ids = tuple(row["id"] for row in read_table(folder.assignments))
        if {len(array) for array in arrays} != {len(ids)}:
            raise ValueError("the files are of different runs")
    except (OSError, EOFError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(f"Run folder {str(path)!r} is incomplete or damaged: {folder.way_out()}.") from error
    return arrays[0], arrays[1], ids


def read_skipped(path: Path) -> list[tuple[str, str]]:
    """Return the id and the reason of each picture that a run skipped."""
    return [(row["id"], row["reason"]) for row in read_rows(RunFolder(path).skipped, ("id", "reason"))]


def read_rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Return the rows of a table in a run folder that has these columns; none where there is no such file."""
    try:
        return [{column: row[column] for column in columns} for row in _rows(path)]
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise _damaged(path) from error


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Return the figures of each epoch of a run; none for a method that does not learn."""
    metrics = RunFolder(path).metrics
    try:
        return [{name: float(value) for name, value in row.items()} for row in _rows(metrics)]
    except (OSError, ValueError, TypeError, AttributeError, csv.Error) as error:
        raise _damaged(metrics) from error


def _rows(path: Path) -> list[dict[str, str]]:
    return list(read_table(path)) if path.exists() else []


def _damaged(path: Path, problem: str = "is damaged") -> UserError:
    return UserError(f"{str(path)!r} {problem}: {RunFolder(path.parent).way_out()}.")
