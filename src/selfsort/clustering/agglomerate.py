"""Complete linkage on a sparse graph of close pairs."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfsort.clustering.close_pairs import Pairs
from selfsort.clustering.compiled import compiled

_GONE = np.iinfo(np.int32).max  # rank of an edge to a cluster that can no longer be merged
BYTES_PER_PAIR = 48  # per close pair, at peak (measured)


class Merges(NamedTuple):
    """Pairs of points whose clusters are merged, and the heights, all (M,), in the order of merging."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    heights: NDArray[np.float64]


def complete_linkage(pairs: Pairs, n_points: int) -> Merges:
    """Repeatedly merge the two closest clusters, as long as all pairs of points between two clusters are in `pairs`.

    The distance of two clusters is that of the last of their pairs in the order of distances; pairs at equal distance
    keep the order in which they were given, so there are no ties between clusters.
    """
    order = np.argsort(pairs.distances)  # a stable sort takes four times as long
    distances = pairs.distances[order]
    compiled(restore_order)(distances, order)
    ranks = np.empty(len(order), np.int32)
    ranks[order] = np.arange(len(order), dtype=np.int32)
    del order
    degrees = np.bincount(pairs.first, minlength=n_points) + np.bincount(pairs.second, minlength=n_points)
    starts = np.zeros(n_points + 1, np.int64)
    np.cumsum(degrees, out=starts[1:])
    neighbours, edges = np.empty(starts[-1], np.int32), np.empty(starts[-1], np.int32)
    compiled(fill_graph)(pairs.first, pairs.second, ranks, starts[:-1].copy(), neighbours, edges)
    del ranks
    merges = np.empty((max(0, n_points - 1), 3), np.int64)
    count = compiled(chain)(starts[:-1], np.diff(starts), neighbours, edges, merges)
    first, second, rank = merges[:count][np.argsort(merges[:count, 2])].T
    return Merges(first, second, distances[rank])


def restore_order(distances: NDArray[np.float64], order: NDArray[np.int64]) -> None:
    """Sort those of equal distance, which are adjacent, in ascending order."""
    start = 0
    for end in range(1, len(order) + 1):
        if end == len(order) or distances[end] != distances[start]:
            if end - start > 1:
                order[start:end].sort()
            start = end


def fill_graph(
    first: NDArray[np.int32],
    second: NDArray[np.int32],
    ranks: NDArray[np.int32],
    ends: NDArray[np.int64],
    neighbours: NDArray[np.int32],
    edges: NDArray[np.int32],
) -> None:
    """Enter every pair under both its points; the neighbours of each point come out in the order of the pairs."""
    for pair in range(len(first)):
        for here, there in ((first[pair], second[pair]), (second[pair], first[pair])):
            neighbours[ends[here]] = there
            edges[ends[here]] = ranks[pair]
            ends[here] += 1


def chain(
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    neighbours: NDArray[np.int32],
    edges: NDArray[np.int32],
    merges: NDArray[np.int64],
) -> int:
    """Write (point, point, rank) of each merge, found by the nearest-neighbour chain; return the number of merges.

    The neighbours of point p and the ranks of its edges are the `lengths[p]` entries from `starts[p]` on; both arrays
    are overwritten. A merged cluster is represented by the first of its points. Since a merge leaves at most the
    shorter of two lists, all merges together take time of the order of edges times the logarithm of a list's length.

    Murtagh (1983): from any cluster go on to its nearest neighbour until two are each other's nearest, and merge those.
    Since merging brings nothing closer, this yields the merges of "closest first", in another order.
    """

    def find(point: Any, wanted: Any) -> Any:
        """Return the place of a neighbour in a point's list."""
        low, high = starts[point], starts[point] + lengths[point]
        while low < high:
            middle = (low + high) // 2
            if neighbours[middle] < wanted:
                low = middle + 1
            else:
                high = middle
        return low

    count = 0
    path = np.empty(len(starts), np.int64)
    alive = np.ones(len(starts), np.bool_)
    for beginning in range(len(starts)):
        path[0], depth = beginning, 1
        while depth:
            here = path[depth - 1]
            # Find the nearest neighbour, dropping those that are gone on the way.
            least, nearest, end = _GONE, -1, starts[here]
            for place in range(starts[here], starts[here] + lengths[here]):
                if edges[place] != _GONE and alive[neighbours[place]]:
                    neighbours[end], edges[end] = neighbours[place], edges[place]
                    if edges[end] < least:
                        least, nearest = edges[end], neighbours[end]
                    end += 1
            lengths[here] = end - starts[here]
            if nearest < 0:
                depth -= 1
                continue
            if depth < 2 or path[depth - 2] != nearest:
                path[depth] = nearest
                depth += 1
                continue
            depth -= 2
            kept, lost = min(here, nearest), max(here, nearest)
            merges[count, 0], merges[count, 1], merges[count, 2] = kept, lost, least
            count += 1
            alive[lost] = False
            # Walk both lists in parallel: only neighbours of both remain, at the larger rank.
            two, stop, end = starts[lost], starts[lost] + lengths[lost], starts[kept]
            for one in range(starts[kept], starts[kept] + lengths[kept]):
                other = neighbours[one]
                if edges[one] == _GONE or not alive[other]:
                    continue
                while two < stop and neighbours[two] < other:
                    two += 1
                rank = _GONE
                if two < stop and neighbours[two] == other and edges[two] != _GONE:
                    rank = max(edges[one], edges[two])
                edges[find(other, kept)] = rank
                if rank != _GONE:
                    neighbours[end], edges[end] = other, rank
                    end += 1
            lengths[kept], lengths[lost] = end - starts[kept], 0
            if not depth:
                path[0], depth = kept, 1
    return count


def dendrogram(
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    heights: NDArray[np.float64],
    rows: NDArray[np.float64],
    clusters: NDArray[np.int64],
) -> None:
    """Write the merges as SciPy's rows (cluster, cluster, height, size), and the final cluster (N,) of each point."""
    n_points = len(clusters)
    parents = np.arange(n_points + len(first))
    sizes = np.ones(n_points + len(first))
    for merge in range(len(first)):
        new = n_points + merge
        ends = (first[merge], second[merge])
        low, high = -1, -1
        for point in ends:
            root = point
            while parents[root] != root:
                parents[root] = parents[parents[root]]
                root = parents[root]
            low, high = min(root, high), max(root, high)
        # Ordered like this, `low` is -1 after the first point and the smaller one after the second.
        parents[low], parents[high] = new, new
        sizes[new] = sizes[low] + sizes[high]
        rows[merge, 0], rows[merge, 1], rows[merge, 2], rows[merge, 3] = low, high, heights[merge], sizes[new]
    for point in range(n_points):
        root = point
        while parents[root] != root:
            parents[root] = parents[parents[root]]
            root = parents[root]
        clusters[point] = root
