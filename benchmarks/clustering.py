"""k-means compared with scikit-learn's and plain faiss's: time, and tightness of the clusters.

Every library gets the same points, restarts and largest number of steps. scikit-learn stops a run that has converged,
faiss starts each from points drawn at random; selfsort runs faiss from scikit-learn's k-means++ and leaves no cluster
empty. The sum of squared distances (inertia) is given as a ratio as well: above 1, selfsort's clusters are tighter.

    python benchmarks/clustering.py [--quick] [--json FILE]
"""

import argparse
import statistics
import time
from collections.abc import Callable

import faiss
import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from linkage import FEATURES, embedding_like
from measuring import ratios_table, write_json
from selfsort.clustering import FaissKMeans

SIZES = {"small": (1_797, 10), "large": (20_000, 10), "fine": (20_000, 100)}
QUICK = ("small",)
RESTARTS, STEPS = 10, 100

Points = NDArray[np.float32]


def by_selfsort(points: Points, n_clusters: int, seed: int) -> float:
    """Return selfsort's inertia."""
    return float(FaissKMeans(n_clusters, n_init=RESTARTS, max_iter=STEPS, random_state=seed).fit(points).inertia_)


def by_scikit_learn(points: Points, n_clusters: int, seed: int) -> float:
    """Return scikit-learn's inertia."""
    return float(KMeans(n_clusters, n_init=RESTARTS, max_iter=STEPS, random_state=seed).fit(points).inertia_)


def by_faiss(points: Points, n_clusters: int, seed: int) -> float:
    """Return the inertia of faiss's own k-means."""
    kmeans = faiss.Kmeans(
        FEATURES, n_clusters, nredo=RESTARTS, niter=STEPS, seed=seed, max_points_per_centroid=len(points)
    )
    kmeans.train(points)
    return float(kmeans.index.search(points, 1)[0].sum())


LIBRARIES: dict[str, Callable[[Points, int, int], float]] = {
    "selfsort": by_selfsort,
    "scikit_learn": by_scikit_learn,
    "faiss": by_faiss,
}


def measure(points: Points, n_clusters: int, turns: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return the milliseconds and the inertia of each library in each turn."""
    milliseconds: dict[str, list[float]] = {name: [] for name in LIBRARIES}
    inertia: dict[str, list[float]] = {name: [] for name in LIBRARIES}
    for turn in range(turns):
        for name, cluster in LIBRARIES.items():
            began = time.perf_counter()
            inertia[name].append(cluster(points, n_clusters, turn))
            milliseconds[name].append(1000 * (time.perf_counter() - began))
    return milliseconds, inertia


def medians_ratio(figures: dict[str, list[float]], peer: str) -> float:
    """Return a peer's median as a multiple of selfsort's."""
    return statistics.median(figures[peer]) / statistics.median(figures["selfsort"])


def main() -> None:
    """Measure, print the table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="measure only few points, three times")
    parser.add_argument("--json", metavar="FILE", help="write the figures to FILE")
    arguments = parser.parse_args()
    for cluster in LIBRARIES.values():  # the first call of each loads its library
        cluster(embedding_like(100), 2, 0)
    rows, figures = [], {}
    ratios: dict[str, list[float]] = {"scikit_learn": [], "faiss": []}
    for name in QUICK if arguments.quick else SIZES:
        count, n_clusters = SIZES[name]
        milliseconds, inertia = measure(embedding_like(count), n_clusters, 3 if arguments.quick else 5)
        for peer, found in ratios.items():
            found.append(medians_ratio(milliseconds, peer))
            figures[f"kmeans_{name}_vs_{peer}"] = found[-1]
            figures[f"inertia_{name}_vs_{peer}"] = medians_ratio(inertia, peer)
            what = f"{count:,} points, {n_clusters} clusters"
            rows.append((f"milliseconds, {what}", peer, milliseconds[peer], milliseconds["selfsort"]))
            rows.append((f"inertia, {what}", peer, inertia[peer], inertia["selfsort"]))
    listed = ratios_table(f"k-means, {FEATURES} features, {RESTARTS} restarts", rows, less_is_better=True)
    figures |= {f"kmeans_vs_{peer}": statistics.geometric_mean(found) for peer, found in ratios.items()}
    write_json(arguments.json, figures, listed)


if __name__ == "__main__":
    main()
