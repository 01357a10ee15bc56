"""Clusters of very many points: processor time, memory and quality, as the number of points grows.

The points are those of `linkage.py`, 128 features like those of photographs, in a memory map. Memory is what the work
adds to the process beyond the page cache (needs Linux). Every measurement is a separate process.

    python benchmarks/scale.py [kmeans] [duplicates] [neighbours] [--json FILE]

kmeans: 100 clusters of 100,000 to 1,000,000 points, of which a sample of 100,000 is fitted; and how much looser the
clusters of 400,000 points are (inertia) than if all were fitted.

duplicates: 1,000 copies of points, turned by noise up to a cosine of 0.95, planted among 5,000 to 200,000; how many of
the pairs are found (recall), how many pairs have both points in one cluster, and the time of comparing all pairs.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from linkage import FEATURES, embedding_like
from measuring import machine, write_json
from selfsort.clustering.neighbours import nearest_others

BLOCK = 50_000
SIZES = (100_000, 400_000, 1_000_000)
FITTED_WHOLE = 400_000
COUNTS = (10, 100, 1_000)
RESTARTS, STEPS = 1, 30
AMONG = (5_000, 50_000, 200_000)
PLANTED, DISTANCE = 1_000, 0.05
NEIGHBOURS, FARTHEST = 5, 0.3
GIB = 1 << 30

Points = NDArray[np.float32]
Figures = dict[str, float]


def mapped_points(folder: Path, count: int) -> Points:
    """Write points in blocks and return a read-only memory map of them."""
    with open(folder / "points", "wb") as file:
        for start in range(0, count, BLOCK):
            file.write(embedding_like(min(BLOCK, count - start), 1 + start // BLOCK).data)
    return np.memmap(folder / "points", np.float32, "r", shape=(count, FEATURES))


def private_bytes() -> int:
    """Return the memory of this process that is not the page cache's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


@contextmanager
def measured(figures: Figures) -> Iterator[None]:
    """Add the processor time, in seconds, and the memory that the block takes at most, in GiB."""
    done, before, peak = threading.Event(), private_bytes(), [0]

    def watch() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], private_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.process_time()
    try:
        yield
    finally:
        figures["seconds"] = time.process_time() - began
        done.set()
        watcher.join()
        figures["added_gib"] = max(peak[0] - before, 0) / GIB


def kmeans_at(points: Points, n_clusters: int, whole: bool) -> Figures:
    """Return the cost of k-means and its inertia; with `whole`, all points are fitted."""
    module, figures = import_module("selfsort.clustering.kmeans"), Figures()
    module.kmeans(embedding_like(1_000), 20)  # loads what is needed
    if whole:
        module._MOST_FITTED = len(points)
    with measured(figures):
        figures["inertia"] = module.kmeans(points, n_clusters, restarts=RESTARTS, iterations=STEPS).inertia
    return figures


def apart(task: str, count: int, *words: int) -> Figures:
    """Do a task in a process of its own."""
    command = [sys.executable, __file__, "--apart", json.dumps([task, count, *words])]
    found: Figures = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    print(task, f"{count:,}", *words, {name: round(value, 4) for name, value in found.items()}, flush=True)
    return found


def kmeans_figures() -> Figures:
    """Measure how k-means grows, and what fitting a sample costs in tightness."""
    figures = Figures()
    for count in SIZES:
        for name, value in apart("kmeans", count, 100, 0).items():
            figures[f"kmeans_{name}_{count}"] = value
    for n_clusters in COUNTS:
        sampled, whole = (apart("kmeans", FITTED_WHOLE, n_clusters, each) for each in (0, 1))
        figures[f"kmeans_looser_{n_clusters}"] = sampled["inertia"] / whole["inertia"] - 1
        figures[f"kmeans_faster_{n_clusters}"] = whole["seconds"] / sampled["seconds"]
    return figures


def duplicates_at(points: Points, all_pairs: bool) -> Figures:
    """Return the recall of planted copies and its cost; with `all_pairs`, all points are compared."""
    module, figures = import_module("selfsort.clustering.near_duplicates"), Figures()
    embedding = np.array(points)
    originals, copies = plant(embedding, DISTANCE)
    module.near_duplicates(embedding_like(100))  # loads and compiles what is needed
    if all_pairs:
        module._ALL_COMPARED = len(embedding)
    with measured(figures):
        pairs = module.near_duplicates(embedding, DISTANCE)
    found = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    planted = [(min(pair), max(pair)) for pair in zip(originals, copies, strict=True)]
    figures["recall"] = sum(pair in found for pair in planted) / PLANTED
    if len(embedding) > module._ALL_COMPARED:
        home = module.cells_of(embedding, module.rough_centers(embedding, 0), DISTANCE).home
        figures["one_cluster"] = float((home[originals] == home[copies]).mean())
    return figures


def plant(embedding: Points, farthest: float) -> tuple[list[int], list[int]]:
    """Replace points by noisy copies of others, up to a cosine distance; return the rows of both."""
    rng = np.random.default_rng(0)
    originals, copies = rng.permutation(len(embedding))[: 2 * PLANTED].reshape(2, PLANTED)
    unit = embedding[originals] / np.linalg.norm(embedding[originals], axis=1, keepdims=True)
    noise = rng.normal(size=unit.shape)
    noise -= (noise * unit).sum(1, keepdims=True) * unit
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    cosine = 1 - rng.uniform(0, 0.999 * farthest, (PLANTED, 1))
    embedding[copies] = cosine * unit + np.sqrt(1 - cosine**2) * noise
    return originals.tolist(), copies.tolist()


def duplicates_figures() -> Figures:
    """Measure recall and cost among ever more points."""
    figures = Figures()
    for count in AMONG:
        for name, value in apart("duplicates", count, 0).items():
            figures[f"duplicates_{name}_{count}"] = value
    for count in AMONG[1:]:
        figures[f"duplicates_all_pairs_seconds_{count}"] = apart("duplicates", count, 1)["seconds"]
    return figures


def neighbours_at(points: Points, exactly: bool) -> Figures:
    """Return the recall of planted copies among nearest neighbours, and its cost."""
    module, figures = import_module("selfsort.clustering.near_duplicates"), Figures()
    embedding = np.array(points)
    originals, copies = plant(embedding, FARTHEST)
    embedding = module.unit_rows(embedding)
    module.kmeans(embedding_like(1_000), 20)  # loads what is needed
    with measured(figures):
        find = nearest_others if exactly else module.nearest_in_clusters
        _, near = find(embedding, NEIGHBOURS)
    found = [two in near[one] or one in near[two] for one, two in zip(originals, copies, strict=True)]
    figures["recall"] = sum(found) / PLANTED
    return figures


def neighbours_figures() -> Figures:
    """Measure how many near neighbours are found, and how fast, among ever more points."""
    figures = Figures()
    for count in AMONG:
        for exactly in (0, 1) if count < AMONG[-1] else (0,):
            for name, value in apart("neighbours", count, exactly).items():
                figures[f"neighbours_{name}_{count}" + "_exact" * exactly] = value
    return figures


TASKS: dict[str, Callable[..., Figures]] = {
    "kmeans": lambda points, n_clusters, whole: kmeans_at(points, n_clusters, bool(whole)),
    "duplicates": lambda points, all_pairs: duplicates_at(points, bool(all_pairs)),
    "neighbours": lambda points, exactly: neighbours_at(points, bool(exactly)),
}
PARTS: dict[str, Callable[[], Figures]] = {
    "kmeans": kmeans_figures,
    "duplicates": duplicates_figures,
    "neighbours": neighbours_figures,
}


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (default: all)")
    parser.add_argument("--json", metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--apart", type=json.loads, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if unknown := set(chosen.parts).difference(PARTS):
        parser.error(f"{min(unknown)!r} is not one of {', '.join(PARTS)}")
    if chosen.apart:
        task, count, *words = chosen.apart
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(TASKS[task](mapped_points(Path(folder), count), *words)))
        return
    figures = Figures()
    for part in chosen.parts or PARTS:
        figures |= PARTS[part]()
    print(machine())
    write_json(chosen.json, figures)


if __name__ == "__main__":
    main()
