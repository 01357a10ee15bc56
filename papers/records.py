"""Records of what was measured, as kept in `docs/results.json`, and the page made from all of them."""

import hashlib
import json
import os
import platform
import re
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from papers.results_page import page, told_by_name
from selfsort.errors import UserError
from selfsort.files import atomic_path

Record = dict[str, Any]
_WRITTEN = ("--out", "--runs", "--results", "--figure", "--json")
# An absolute path, including ones under a home folder or a drive letter, with the option before it.
_PATH = re.compile(
    r"(?P<option>--[\w-]+[ =])?(?<![\w./\\])"
    r"(?P<path>(?:~|[A-Za-z]:)?[/\\][^\s'\",;/\\]+(?:[/\\][^\s'\",;]*)*)"
)


def mean_and_std(values: Sequence[float], decimals: int = 2) -> tuple[float, float | None]:
    """Return the mean and the standard deviation over seeds, rounded; None for a single seed.

    >>> mean_and_std([74.0, 76.0]), mean_and_std([75.123])
    ((75.0, 1.41), (75.12, None))
    """
    spread = round(statistics.stdev(values), decimals) if len(values) > 1 else None
    return round(statistics.mean(values), decimals), spread


def hardware(device: Literal["auto", "cpu", "cuda"] = "auto") -> str:
    """Name the hardware used."""
    import torch

    if device != "cpu" and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cores = torch.get_num_threads()
    return f"{platform.machine()} CPU, {cores} core{'s' if cores > 1 else ''}"


def keep(path: Path, new: Sequence[Record]) -> None:
    """Replace the records of the same data set, experiment, metric and frozen network, and rewrite the page of all.

    Raises
    ------
    UserError
        If the file holds something else, or cannot be written.

    """
    with _alone(path):
        records = {_key(record): record for record in [*_read(path), *map(without_paths, new)]}
        # Not files.write_json: an indent of one space keeps the diffs of this long file small.
        _write(path, json.dumps(list(records.values()), indent=1) + "\n")
        _write(path.with_suffix(".md"), page(list(records.values())))


def _key(record: Mapping[str, Any]) -> tuple[str, str, str, str]:
    return record["dataset"], record["experiment"], record["metric"], record["weights"]


def frozen_network(record: Mapping[str, Any]) -> str:
    """Return the frozen network of a record, if any, for a table."""
    return "" if record["weights"] == "none" else str(record["weights"])


def changed(record: Mapping[str, Any]) -> str:
    """Return the differences from the paper's training, for a table; the frozen network has its own column."""
    return ", ".join(f"{name}={value}" for name, value in told_by_name(record.get("settings", {})))


def without_paths(value: Any) -> Any:
    """Return a value with every path of this machine replaced: by `DATA/…` for input, by `RUN/…` for output.

    >>> without_paths("python /x/benchmarks/accuracy.py --data-root /sets --out /a/b --set weights=/a/w.pth")
    'python benchmarks/accuracy.py --data-root DATA --out RUN/b --set weights=DATA/w.pth'
    """
    if isinstance(value, str):
        return _PATH.sub(_portable, value)
    if isinstance(value, dict):
        return {name: without_paths(each) for name, each in value.items()}
    return [without_paths(each) for each in value] if isinstance(value, list | tuple) else value


def _portable(found: re.Match[str]) -> str:
    option, path = found["option"] or "", found["path"]
    name = re.split(r"[/\\]", path.rstrip("/\\"))[-1]
    if name.endswith(".py"):
        return f"{option}benchmarks/{name}"
    if option.startswith("--data-root"):
        return f"{option}DATA"
    written = option.startswith(_WRITTEN) or name.endswith((".json", ".png", ".csv"))
    return f"{option}{'RUN' if written else 'DATA'}/{name}"


def _alone(path: Path) -> FileLock:
    """Return a lock against two programs adding to a file at once; it is kept elsewhere, not among documents."""
    # Each user has a separate lock: they could not open each other's.
    key = os.fsencode(Path.home()) + b"\0" + os.fsencode(path.resolve())
    return FileLock(Path(tempfile.gettempdir()) / f"selfsort-{hashlib.blake2b(key, digest_size=8).hexdigest()}.lock")


def _read(path: Path) -> list[Record]:
    try:
        records: list[Record] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        for record in records:
            _key(record)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{str(path)!r} holds no records of results: choose another file with --results.") from error
    return records


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")
