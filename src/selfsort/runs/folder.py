"""The run folder: what `fit` writes, `load` reads and every later command starts from.

`run.json` (settings, data, versions, state), `model.safetensors`, `embedding.npy`, `probabilities.npy`,
`assignments.csv`, `metrics.csv`, `skipped.csv`, `checkpoints/` and `tensorboard/`.
"""

import csv
import json
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from selfsort.data.image_set import ImageSet
from selfsort.data.input_spec import InputSpec
from selfsort.errors import UserError
from selfsort.files import atomic_path, new_parents, recover_folder, remove, write_error, write_json, write_table

FORMAT = 1
_LIBRARIES = ("selfsort", "torch", "torchvision", "lightning", "numpy", "scikit-learn", "faiss-cpu", "umap-learn")
_NAMED = "named"  # the folder of the model that knows names, in that of the run
_LONGEST_HEADER = 100_000_000  # bytes, as the format says
# Where a run is computed may change between two sittings; what is computed may not.
_MAY_DIFFER = ("device", "checkpoint_minutes")


def describe(
    method: str, params: Mapping[str, Any], images: ImageSet, own_input: InputSpec | None = None
) -> dict[str, Any]:
    """Return what is known of a run before it starts.

    A method whose network has an `own_input` needs no pixels at the pictures' own size: they are told by their content.
    """
    spec = own_input or images.input_spec
    data = {
        "source": images.source,
        "options": images.options,
        "n_images": len(images),
        "image_shape": list(spec.image_shape),
        "fingerprint": images.content_fingerprint() if own_input else images.fingerprint(),
        "n_skipped": len(images.skipped),
    }
    return {
        "format": FORMAT,
        "status": "training",
        "method": method,
        "params": dict(params),
        "data": data,
        "input": spec.to_json(),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in _LIBRARIES},
        "hardware": f"{platform.machine()}, {platform.processor() or platform.system()}",
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


@contextmanager
def open_run(path: str | Path, facts: Mapping[str, Any], images: ImageSet, resume: bool) -> Iterator[Path]:
    """Yield the folder of a run to be trained, held against other processes.

    A folder that is new and holds no checkpoint when training fails is removed again.

    Raises
    ------
    UserError
        When the folder is in use, holds something else, or holds a run that cannot be resumed with these settings.

    """
    folder = Path(path)
    check_startable(folder, resume)
    with new_parents(folder), held(folder):
        # Looked at again now that no other process can change it.
        before = _checked_folder(folder)
        if before is not None:
            _check_resumable(folder, before, facts, resume)
        try:
            write_json(folder / "run.json", facts)
            write_table(folder / "skipped.csv", ["id", "reason"], images.skipped)
            yield folder
        except BaseException:
            if before is None and not any(folder.glob("**/checkpoints/*.safetensors")):
                for entry in folder.iterdir():
                    remove(entry)
            raise


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder against other processes; make it, and take it away again if it is left empty."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"{str(folder)!r} is open in another process: wait for it or choose another folder.") from None
    except OSError as error:
        raise write_error(folder, error) from error
    try:
        yield
    finally:
        if not any(entry.name != ".lock" for entry in folder.iterdir()):
            remove(folder)
        lock.release()


def check_startable(path: str | Path, resume: bool) -> None:
    """Raise `UserError` if a run cannot be started, or resumed, in a folder."""
    folder = Path(path)
    before = _checked_folder(folder)
    if before is None:
        return
    if before["status"] == "complete":
        raise UserError(f"{str(folder)!r} already holds a finished run: choose another folder.")
    if not resume and not _is_held(folder):
        raise UserError(f"{str(folder)!r} holds an unfinished run: go on with --resume or choose another folder.")


def _is_held(folder: Path) -> bool:
    lock = FileLock(folder / ".lock")
    try:
        with lock.acquire(timeout=0):
            return False
    except (Timeout, OSError):
        return True


def _checked_folder(folder: Path) -> dict[str, Any] | None:
    """Return the run in a folder, or None when the folder is new or empty."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{str(folder)!r} is a file: choose a folder for the run.")
    if (folder / "run.json").exists():
        return _read_json(folder)
    if folder.exists() and any(entry.name != ".lock" for entry in folder.iterdir()):
        if _is_held(folder):  # whoever holds it has not written run.json yet
            raise UserError(f"{str(folder)!r} is open in another process: wait for it or choose another folder.")
        raise UserError(f"{str(folder)!r} exists and is not a run folder: choose another.")
    return None


def _check_resumable(folder: Path, before: Mapping[str, Any], facts: Mapping[str, Any], resume: bool) -> None:
    check_startable(folder, resume)
    old = {"method": before["method"], "pictures": before["data"]["fingerprint"]} | before["params"]
    new = {"method": facts["method"], "pictures": facts["data"]["fingerprint"]} | facts["params"]
    for name in new:
        if name not in _MAY_DIFFER and json.dumps(old.get(name)) != json.dumps(new[name]):
            change = "the pictures" if name == "pictures" else f"{name} ({old.get(name)} then, {new[name]} now)"
            raise UserError(f"Cannot resume {str(folder)!r}: {change} changed; use the same or choose another folder.")


def _read_json(folder: Path) -> dict[str, Any]:
    try:
        run: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        found = run["format"]
        if not isinstance(found, int) or run["status"] not in ("training", "complete"):
            raise ValueError("format and status are not what was written")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{str(folder / 'run.json')!r} is damaged: {_way_out(folder)}.") from error
    if found > FORMAT:
        raise UserError(
            f"{str(folder)!r} was written by a newer selfsort (format {found}; this one reads {FORMAT}): upgrade."
        )
    return run


def _way_out(folder: Path) -> str:
    if folder.name == _NAMED and (folder.parent / "run.json").exists():
        return f"delete the folder {str(folder)!r} and learn the names again with `selfsort refine {folder.parent}`"
    return "train again into another folder"


def read_run(path: str | Path) -> dict[str, Any]:
    """Return the facts of a finished run.

    Raises
    ------
    UserError
        When there is no run, or it is unfinished, damaged or of a newer format.

    """
    folder = Path(path)
    if not (folder / "run.json").is_file():
        raise UserError(f"{str(folder)!r} is not a run folder (it has no run.json): give one that `selfsort fit` made.")
    run = _read_json(folder)
    if run["status"] != "complete":
        raise UserError(f"{str(folder)!r} holds an unfinished run: finish it with `selfsort fit ... --resume` first.")
    return run


def is_complete(path: str | Path) -> bool:
    """Tell whether a folder holds a finished run."""
    folder = Path(path)
    return (folder / "run.json").is_file() and _read_json(folder)["status"] == "complete"


def named(path: str | Path) -> Path:
    """Return the folder of a run's model that knows names, where there is one, else the run's own."""
    refined = Path(path) / _NAMED
    recover_folder(refined)
    return refined if is_complete(refined) else Path(path)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a folder that becomes `path` when the block succeeds."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"{str(path)!r} exists and is not empty: choose another folder.")
    with atomic_path(path) as partial:
        partial.mkdir()
        yield partial


def write_model(
    folder: Path,
    tensors: Mapping[str, Any],
    embedding: NDArray[np.float32],
    probabilities: NDArray[np.float32],
    ids: tuple[str, ...],
    run: Mapping[str, Any],
) -> None:
    """Write a fitted model; `run.json` comes last and declares the folder complete."""
    from safetensors.torch import save

    with atomic_path(folder / "model.safetensors") as path:
        # Not save_file, which hides its files from everybody but their owner.
        path.write_bytes(save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}))
    for name, array in (("embedding", embedding), ("probabilities", probabilities)):
        with atomic_path(folder / f"{name}.npy") as path, open(path, "wb") as file:
            np.save(file, array)
    rows = zip(ids, probabilities.argmax(1), probabilities.max(1), strict=True)
    write_table(folder / "assignments.csv", ["id", "cluster", "confidence"], [(i, c, f"{p:.6g}") for i, c, p in rows])
    write_json(folder / "run.json", {**run, "status": "complete"})


def read_tensors(path: Path) -> dict[str, Any]:
    """Return the tensors of a safetensors file."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return dict(load(path.read_bytes()))  # by bytes: the library takes no path that is not UTF-8
    except (OSError, SafetensorError) as error:
        raise UserError(f"{str(path)!r} is missing or damaged: {_way_out(path.parent)}.") from error


def tensor_names(folder: Path) -> list[str]:
    """Return the names of a run's weights, without importing torch."""
    path = folder / "model.safetensors"
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            return list(json.loads(file.read(min(length, _LONGEST_HEADER))))
    except (OSError, ValueError) as error:
        raise UserError(f"{str(path)!r} is missing or damaged: {_way_out(path.parent)}.") from error


def read_training_arrays(folder: Path) -> tuple[NDArray[np.float32], NDArray[np.float32], tuple[str, ...]]:
    """Return the embedding, the probabilities and the ids of the training pictures."""
    try:
        arrays = [np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("embedding", "probabilities")]
        with open(folder / "assignments.csv", newline="", encoding="utf-8", errors="surrogateescape") as file:
            ids = tuple(row["id"] for row in csv.DictReader(file))
        if {len(array) for array in arrays} != {len(ids)}:
            raise ValueError("the files are of different runs")
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"Run folder {str(folder)!r} is incomplete or damaged: {_way_out(folder)}.") from error
    return arrays[0], arrays[1], ids


def read_skipped(folder: Path) -> list[tuple[str, str]]:
    """Return the id and the reason of each picture that a run skipped."""
    return [(row["id"], row["reason"]) for row in read_rows(folder / "skipped.csv", ("id", "reason"))]


def read_rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Return the rows of a table in a run folder that has these columns; none where there is no such file."""
    try:
        return [{column: row[column] for column in columns} for row in _rows(path)]
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise UserError(f"{str(path)!r} is damaged: {_way_out(path.parent)}.") from error


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """Return the figures of each epoch of a run; none for a method that does not learn."""
    path = folder / "metrics.csv"
    try:
        return [{name: float(value) for name, value in row.items()} for row in _rows(path)]
    except (OSError, ValueError, TypeError, AttributeError, csv.Error) as error:
        raise UserError(f"{str(path)!r} is damaged: {_way_out(folder)}.") from error


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file, strict=True))
