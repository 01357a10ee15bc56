"""Code shared by the benchmarks: the table, the file of figures, and the memory of a process and its workers."""

import json
import os
import platform
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table


def ratios_table(title: str, rows: Iterable[tuple[str, str, float, float]], *, less_is_better: bool = False) -> None:
    """Print (what, peer, the peer's figure, ours) and their ratio; above 1, selfsort is faster or smaller."""
    table = Table("what", "peer", "peer's", "selfsort", "ratio", title=title, box=box.SIMPLE)
    for what, peer, theirs, ours in rows:
        ratio = theirs / ours if less_is_better else ours / theirs
        table.add_row(what, peer, f"{theirs:,.0f}", f"{ours:,.0f}", f"{ratio:.2f}")
    console = Console()
    console.print(table)
    console.print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", highlight=False)


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


def write_json(path: str | None, figures: Mapping[str, float]) -> None:
    """Write the figures as one flat JSON object, if a file is wanted."""
    if path:
        Path(path).write_text(json.dumps(figures, indent=2) + "\n")
