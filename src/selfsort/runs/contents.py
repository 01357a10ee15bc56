"""Write the contents of a run folder (the fitted model, arrays and tables), and read them back with checks."""

import csv
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any
from zipfile import ZIP_STORED, ZipFile

import numpy as np
from numpy.typing import NDArray

from selfsort.errors import UserError
from selfsort.files import atomic_path, is_there
from selfsort.runs.folder import RunFolder
from selfsort.runs.seal import digest_of, read_sealed, write_sealed
from selfsort.schema import Invalid, check_arrays, checked, parsed
from selfsort.spelling import counted
from selfsort.tables import rows_of, write_table

_LONGEST_HEADER = 100_000_000  # bytes, by the safetensors format
_BLOCK = 2**18  # numbers read at a time, which stay in the processor's cache until they are checked


def read_run(path: str | Path) -> dict[str, Any]:
    """Return the manifest of a finished run.

    Raises
    ------
    UserError
        If there is no run, or it is unfinished, damaged or of a newer format.

    """
    folder = RunFolder(path)
    if not is_there(folder.manifest):
        raise UserError(
            f"{str(folder.path)!r} is not a run folder (it has no {folder.manifest.name}): give one made by "
            "`selfsort fit`."
        )
    run = folder.read_manifest()
    if run["status"] != "complete":
        raise UserError(f"{str(folder.path)!r} holds an unfinished run: first finish it with resume=True.")
    return run


def write_model(
    path: Path,
    tensors: Mapping[str, Any],
    embedding: NDArray[np.float32],
    probabilities: NDArray[np.float32],
    ids: tuple[str, ...],
    run: Mapping[str, Any],
) -> None:
    """Write a fitted model, and last the manifest, with the digests of all files and the status "complete".

    Raises
    ------
    UserError
        If a number is not finite, or something cannot be written.

    """
    from safetensors.torch import save

    arrays = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    for name, array in {**arrays, "embedding": embedding, "probabilities": probabilities}.items():
        if not is_finite(np.asarray(array)):
            raise UserError(f"The model's {name!r} is not finite: lower the learning rate or use precision='32'.")
    folder = RunFolder(path)
    with atomic_path(folder.model) as partial:
        # Not save_file, whose files only their owner can read.
        partial.write_bytes(save(arrays))
    write_array(folder.embedding, embedding)
    write_array(folder.probabilities, probabilities)
    rows = zip(ids, probabilities.argmax(1), probabilities.max(1), strict=True)
    write_table(folder.assignments, ["id", "cluster", "confidence"], [(i, c, f"{p:.6g}") for i, c, p in rows])
    write_sealed(folder.manifest, {**run, "status": "complete", "files": _digests(folder)})


def seal(path: Path) -> None:
    """Update the digests in the manifest of a finished run after files were added."""
    folder = RunFolder(path)
    write_sealed(folder.manifest, {**folder.read_manifest(), "files": _digests(folder)})


def _digests(folder: RunFolder) -> dict[str, str]:
    return {file.name: digest_of(file) for file in folder.sealed_files if file.exists()}


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array for `read_array`."""
    with atomic_path(path) as partial, open(partial, "wb") as file:
        np.save(file, np.ascontiguousarray(array))


def is_finite(array: NDArray[Any]) -> bool:
    """Tell whether an array holds only finite numbers, without copying it."""
    if array.dtype.kind != "f" or not array.size:
        return array.dtype.kind in "fbiu"
    return bool(array.min() > -np.inf and array.max() < np.inf)  # both propagate NaN


def read_array(
    path: Path, shape: Sequence[int | None], way_out: str = "", *, mapped: bool = False
) -> NDArray[np.float32]:
    """Return the float32 array in a file of a run, of a known `shape`; None stands for any length.

    The file is read in one pass, which also computes its digest. No more memory is allocated than the file's size.
    `way_out` says what to do if the file is damaged; by default, it is the advice for the whole folder. With `mapped`,
    the array is mapped into memory once the file is checked.

    Raises
    ------
    UserError
        If the file is missing, was changed, or holds anything but finite numbers of that shape.

    """
    digest = hashlib.sha256()
    with _reading(path, way_out):
        with open(path, "rb") as file:
            found, in_columns = _read_header(file, path.stat().st_size)
            if len(found) != len(shape) or any(n not in (None, m) for n, m in zip(shape, found, strict=True)):
                wanted = " x ".join("any" if n is None else str(n) for n in shape)
                raise Invalid(f"it is {' x '.join(map(str, found))}, not {wanted}")
            mapped = mapped and math.prod(found) > 0  # nothing cannot be mapped
            start = file.tell()
            file.seek(0)
            digest.update(file.read(start))
            array: NDArray[np.float32] = np.empty(0 if mapped else found[::-1] if in_columns else found, "<f4")
            finite = _check_rest(file, digest, math.prod(found), None if mapped else array.reshape(-1))
        _check_digest(path, digest.hexdigest())
        if not finite:
            raise Invalid("it holds numbers that are not finite")
    if mapped:
        return map_array(path)
    return array.T if in_columns else array


def map_array(path: Path) -> NDArray[np.float32]:
    """Map a float32 array in a file of a run into memory; only its header is read.

    Raises
    ------
    UserError
        If there is no such file, or it is not an array of the length it declares.

    """
    with _reading(path), open(path, "rb") as file:
        shape, in_columns = _read_header(file, path.stat().st_size)
        start = file.tell()
    return np.memmap(path, "<f4", "r", start, shape, "F" if in_columns else "C")


def _read_header(file: IO[bytes], size: int) -> tuple[tuple[int, ...], bool]:
    """Return the shape of the array in an open file, and whether it is stored in Fortran order."""
    try:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, in_columns, kind = read(file)
    except Exception as error:  # NumPy reads it with Python's parser, which can fail in many ways
        raise Invalid("it is not an array") from error
    if kind != np.dtype("<f4"):
        raise Invalid(f"it holds {kind}, not float32")
    if math.prod(shape) * kind.itemsize != size - file.tell() or any(type(n) is not int or n < 0 for n in shape):
        raise Invalid("its length differs from the declared one")
    return shape, in_columns


def _check_rest(file: IO[bytes], digest: Any, count: int, array: NDArray[np.float32] | None) -> bool:
    """Read the other `count` numbers of a file, into an array (n,) if given; tell whether all are finite.

    The digest is updated.
    """
    finite, passing = True, np.empty(0 if array is not None else min(count, _BLOCK), "<f4")
    for start in range(0, count, _BLOCK):
        block = passing[: count - start] if array is None else array[start : start + _BLOCK]
        if file.readinto(block.view(np.uint8).data) != block.nbytes:  # type: ignore[attr-defined]
            raise Invalid("it is shorter than declared")
        digest.update(block.data)
        finite = finite and is_finite(block)
    return finite


def read_tensors(path: Path) -> dict[str, Any]:
    """Return the tensors in a run's file of weights; raise `UserError` if it is not as it was written."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    with _reading(path):
        data = _bytes(path)
        try:
            tensors = dict(load(data))  # from bytes, as the library accepts only UTF-8 paths
        except SafetensorError as error:
            raise Invalid("it is not a file of weights") from error
        broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
        if broken:
            raise Invalid(f"{broken[0]!r} holds numbers that are not finite")
    return tensors


def tensor_names(path: Path) -> list[str]:
    """Return the names of a run's weights, without importing torch."""
    model = RunFolder(path).model
    with _reading(model), open(model, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return list(checked(dict[str, Any], parsed(file.read(min(length, _LONGEST_HEADER)))))


def read_training_arrays(
    path: Path, *, mapped: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.float32], tuple[str, ...]]:
    """Return the (N, D) embedding, `mapped` or read, the (N, K) probabilities and the N ids of the training pictures.

    Everything is checked in either case.
    """
    folder, run = RunFolder(path), read_run(path)
    ids = tuple(row["id"] for row in read_rows(folder.assignments, ("id", "cluster")))
    n_images = int(run["data"]["n_images"])
    if len(ids) != n_images:
        raise folder.damaged(folder.assignments, f"it lists {counted(len(ids), 'picture')}, not {n_images:,}")
    embedding = read_array(folder.embedding, (n_images, None), mapped=mapped)
    probabilities = read_array(folder.probabilities, (n_images, len(run.get("names", ())) or None))
    if not probabilities.size or probabilities.min() < 0 or not np.allclose(probabilities.sum(1), 1, atol=1e-3):
        raise folder.damaged(folder.probabilities, "its rows do not sum to 1")
    return embedding, probabilities, ids


def read_skipped(path: Path) -> list[tuple[str, str]]:
    """Return the id of each picture that a run skipped, and the reason."""
    return [(row["id"], row["reason"]) for row in read_rows(RunFolder(path).skipped, ("id", "reason"), optional=True)]


def read_rows(path: Path, columns: Iterable[str], *, optional: bool = False) -> list[dict[str, str]]:
    """Return the rows of a table in a run folder, which must have these columns; none if `optional` and missing."""
    if optional and not path.exists():
        return []
    with _reading(path):
        data = _bytes(path)
        try:
            rows = list(rows_of(data))
        except (ValueError, csv.Error) as error:
            raise Invalid(str(error)) from error
        if rows and not rows[0].keys() >= set(columns):
            raise Invalid(f"it lacks the column {min(set(columns) - rows[0].keys())!r}")
    return rows


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Return the metrics of each epoch of a run; none for a method that does not learn."""
    metrics = RunFolder(path).metrics
    rows = read_rows(metrics, ("epoch", "loss"), optional=True)
    with _reading(metrics):
        return [{name: _number(value) for name, value in row.items()} for row in rows]


def _number(text: str) -> float:
    try:
        if math.isfinite(number := float(text)):
            return number
    except ValueError:
        pass
    raise Invalid(f"{text!r} is not a finite number")


def read_facts(path: Path) -> dict[str, Any] | None:
    """Return a JSON object written by `write_facts`, or None if there is none.

    Raises
    ------
    Invalid
        If it cannot be read, or was changed after it was written.

    """
    try:
        return read_sealed(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Invalid(error.strerror or "it cannot be read") from error


def write_facts(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object, such as an evaluation, into a run folder beside the model."""
    write_sealed(path, content)


def read_kept(path: Path, stamp: str, shapes: Mapping[str, str]) -> dict[str, NDArray[Any]] | None:
    """Return the arrays that `write_kept` stored under a `stamp`, with `shapes` as in `check_arrays`.

    Return None if there are none or anything is wrong with them: they can be computed again.
    """
    try:
        with ZipFile(path) as members:
            # They are written uncompressed; compressed ones could expand beyond the memory.
            if any(member.compress_type != ZIP_STORED for member in members.infolist()):
                return None
        with np.load(path, allow_pickle=False) as kept:
            if str(kept["stamp"]) != stamp:
                return None
            found = {name: kept[name] for name in shapes}
        check_arrays(found, shapes)
    except Exception:  # NumPy, the zip and Python's parser each fail in their own ways
        return None
    return found


def write_kept(path: Path, stamp: str, **arrays: NDArray[Any]) -> None:
    """Store arrays that took long to compute, under a `stamp` of what they were computed from."""
    kept: dict[str, Any] = {"stamp": stamp, **arrays}
    with atomic_path(path) as partial, open(partial, "wb") as file:
        np.savez(file, **kept)


def _bytes(path: Path) -> bytes:
    """Return the contents of a file of a run, after checking that they are what was written."""
    data = path.read_bytes()
    _check_digest(path, hashlib.sha256(data).hexdigest())
    return data


def _check_digest(path: Path, digest: str) -> None:
    """Raise `Invalid` if the run's manifest holds another digest; manifests of earlier versions hold none."""
    folder = RunFolder(path.parent)
    run = folder.read_manifest() if folder.manifest.exists() else {}
    known = run.get("files", {})
    if known and run["status"] == "complete" and known.get(path.name) != digest:
        raise Invalid("it was changed after it was written" if path.name in known else "it does not belong to this run")


def _reading(path: Path, way_out: str = "") -> AbstractContextManager[None]:
    return RunFolder(path.parent).reading(path, way_out)
