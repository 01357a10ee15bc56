"""Complete linkage below a distance: time and memory compared with SciPy's and fastcluster's, and how both grow.

The points resemble embeddings of photographs: 128 features of decreasing strength, groups of every density. The
threshold for each size leaves clusters of about 4 points. Every measurement is a separate process: the time is that of
the clustering alone, after a first clustering of a few points (selfsort keeps compiled code on disk). Memory is given
twice: the peak of the whole process, and what the clustering adds to a process that holds the points and has everything
imported (scikit-learn and numba alone take 0.3 GiB here). The ratios are of the latter (needs Linux).

    python benchmarks/linkage.py [--quick] [--json FILE]
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table

from measuring import ratios_table, write_json

THRESHOLDS = {5_000: 3.2, 10_000: 3.0, 20_000: 2.85, 50_000: 2.7, 100_000: 2.61}
PEERS_AT = 20_000
FEATURES = 128
GIB = 1 << 30


class Measured(NamedTuple):
    """The cost of one process."""

    seconds: float
    peak_gib: float
    added_gib: float
    clusters: int


def embedding_like(count: int, part: int = 0) -> NDArray[np.float32]:
    """Return (count, 128) points whose neighbourhoods are as uneven as those of embedded pictures.

    Other parts are further points around the same centres.
    """
    rng = np.random.default_rng(0)
    strength = np.arange(1, FEATURES + 1, dtype=np.float32) ** np.float32(-0.6)
    centres = 2 * rng.standard_normal((200, FEATURES), np.float32) * strength
    spread = rng.lognormal(0.0, 0.3, 200).astype(np.float32)
    if part:
        rng = np.random.default_rng(part)
    group = rng.integers(200, size=count)
    points = rng.standard_normal((count, FEATURES), np.float32)
    points *= strength
    points *= spread[group, None]
    points += centres[group]
    return points


def cluster(library: str, points: NDArray[np.float32], threshold: float) -> int:
    """Cluster with one of the libraries and return the number of clusters."""
    if library == "selfsort":
        from selfsort.clustering import CompleteLinkage

        return CompleteLinkage(distance_threshold=threshold).fit(points).n_clusters_
    from scipy.cluster.hierarchy import fcluster

    if library == "scipy":
        from scipy.cluster.hierarchy import linkage
    else:
        from fastcluster import linkage
    return int(fcluster(linkage(points, "complete"), threshold, "distance").max())


def child(library: str, count: int) -> None:
    """Measure in this process and print the figures."""
    points = embedding_like(count)
    cluster(library, points[:50], THRESHOLDS[count])
    Path("/proc/self/clear_refs").write_text("5")  # this resets the peak
    before = resident_gib("VmRSS")
    began = time.perf_counter()
    clusters = cluster(library, points, THRESHOLDS[count])
    seconds = time.perf_counter() - began
    peak = resident_gib("VmHWM")
    print(json.dumps([seconds, peak, peak - before, clusters]))


def resident_gib(kind: str) -> float:
    """Return this process's resident memory, now ("VmRSS") or at its peak ("VmHWM")."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) * 1024 / GIB


def measure(library: str, count: int) -> Measured:
    """Measure in a separate process."""
    command = [sys.executable, __file__, "--child", library, str(count)]
    return Measured(*json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout))


def median(measurements: list[Measured]) -> Measured:
    """Return the median costs of several processes."""
    return Measured(*(statistics.median(values) for values in zip(*measurements, strict=True)))


def main() -> None:
    """Measure, print the tables and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="measure once instead of three times")
    parser.add_argument("--json", metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--child", nargs=2, metavar=("LIBRARY", "COUNT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child[0], int(arguments.child[1]))
        return
    turns = range(1 if arguments.quick else 3)
    found = {count: [measure("selfsort", count) for _ in turns] for count in THRESHOLDS if count != PEERS_AT}
    beside = [{name: measure(name, PEERS_AT) for name in ("selfsort", "scipy", "fastcluster")} for _ in turns]
    found[PEERS_AT] = [each["selfsort"] for each in beside]
    ours = {count: median(found[count]) for count in THRESHOLDS}
    table = Table("points", "seconds", "peak GiB", "added GiB", "points per cluster", title="selfsort", box=box.SIMPLE)
    for count, took in ours.items():
        memory = f"{took.peak_gib:.2f}", f"{took.added_gib:.2f}"
        table.add_row(f"{count:,}", f"{took.seconds:.2f}", *memory, f"{count / took.clusters:.1f}")
    Console().print(table)
    exponent = float(np.polyfit(np.log(list(ours)), np.log([took.seconds for took in ours.values()]), 1)[0])
    print(f"time grows as N to the {exponent:.2f}")
    figures = {"peak_gib_100k": ours[100_000].peak_gib, "growth_exponent": exponent}
    rows = []
    for peer in ("scipy", "fastcluster"):
        theirs = median([each[peer] for each in beside])
        if theirs.clusters != ours[PEERS_AT].clusters:
            raise SystemExit(f"{peer} found {theirs.clusters} clusters, selfsort {ours[PEERS_AT].clusters}")
        sides = [[each[side] for each in beside] for side in (peer, "selfsort")]
        rows.append((f"milliseconds, {PEERS_AT:,} points", peer, *([1000 * x.seconds for x in side] for side in sides)))
        rows.append(("MiB added", peer, *([1024 * x.added_gib for x in side] for side in sides)))
        rows.append(("peak MiB of the process", peer, *([1024 * x.peak_gib for x in side] for side in sides)))
        figures[f"time_vs_{peer}_20k"] = theirs.seconds / ours[PEERS_AT].seconds
        figures[f"memory_vs_{peer}_20k"] = theirs.added_gib / ours[PEERS_AT].added_gib
        figures[f"process_memory_vs_{peer}_20k"] = theirs.peak_gib / ours[PEERS_AT].peak_gib
    ratios = ratios_table("complete linkage beside the matrix of all distances", rows, less_is_better=True)
    for count, took in ours.items():
        figures |= {f"seconds_{count // 1000}k": took.seconds, f"peak_gib_{count // 1000}k": took.peak_gib}
    write_json(arguments.json, figures, ratios)


if __name__ == "__main__":
    main()
