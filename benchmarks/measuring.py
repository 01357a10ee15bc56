"""Code shared by the benchmarks: ratios, the file of figures, and the memory of a process and its workers."""

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

Figures = float | Sequence[float]  # one, or one for each round


class Ratio(NamedTuple):
    """How many times faster or smaller selfsort is: of the medians, and the lowest and highest of the rounds."""

    name: str
    peer: str
    ratio: float
    low: float
    high: float


def ratios_table(
    title: str, rows: Iterable[tuple[str, str, Figures, Figures]], *, less_is_better: bool = False
) -> list[Ratio]:
    """Print (what, peer, the peer's figures, ours) and their ratio, and return the ratios.

    Above 1, selfsort is faster or smaller.
    """
    table = Table("what", "peer", "peer's", "selfsort", "ratio", title=title, box=box.SIMPLE)
    found = []
    for what, peer, *sides in rows:
        theirs, ours = ([float(side)] if isinstance(side, float | int) else list(side) for side in sides)
        worse, better = (ours, theirs) if less_is_better else (theirs, ours)
        each = [one / other for one, other in zip(better, worse, strict=True)]
        ratio = statistics.median(better) / statistics.median(worse)
        found.append(Ratio(f"{title}: {what}", peer, ratio, min(ratio, *each), max(ratio, *each)))
        table.add_row(what, peer, *(f"{statistics.median(side):,.0f}" for side in (theirs, ours)), f"{ratio:.2f}")
    console = Console()
    console.print(table)
    console.print(machine(), highlight=False)
    return found


def machine() -> str:
    """Describe the machine."""
    return f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"


def peak_bytes(process: subprocess.Popen[Any]) -> int:
    """Wait for a process; return the largest sum of resident memory of it and its workers (needs Linux)."""
    peak = 0
    while process.poll() is None:
        peak = max(peak, sum(map(resident_bytes, _family(process.pid))))
        time.sleep(0.02)
    return peak


def _family(pid: int) -> list[int]:
    """Return a process and its children, whichever thread started them."""
    children = Path(f"/proc/{pid}/task").glob("*/children")
    try:
        return [pid, *(int(child) for path in children for child in path.read_text().split())]
    except OSError:  # it has just ended
        return []


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process, 0 if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def write_json(path: str | None, figures: Mapping[str, float], ratios: Iterable[Ratio] = ()) -> None:
    """Write the figures as one JSON object, with the ratios as a list under "ratios", if a file is wanted."""
    if path:
        listed = [ratio._asdict() for ratio in ratios]
        Path(path).write_text(json.dumps({**figures, **({"ratios": listed} if listed else {})}, indent=2) + "\n")
