"""What the benchmarks share: the table and the file of figures."""

import json
import os
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table


def ratios_table(title: str, rows: Iterable[tuple[str, str, float, float]]) -> None:
    """Print (what, peer, the peer's figure, ours) and their ratio; above 1 selfsort is the faster."""
    table = Table("what", "peer", "peer's", "selfsort", "ratio", title=title, box=box.SIMPLE)
    for what, peer, theirs, ours in rows:
        table.add_row(what, peer, f"{theirs:,.0f}", f"{ours:,.0f}", f"{ours / theirs:.2f}")
    console = Console()
    console.print(table)
    console.print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", highlight=False)


def write_json(path: str | None, figures: Mapping[str, float]) -> None:
    """Write the figures as one flat JSON object, if a file is wanted."""
    if path:
        Path(path).write_text(json.dumps(figures, indent=2) + "\n")
