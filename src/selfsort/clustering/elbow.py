"""The number of clusters at the elbow of k-means' inertia."""

import numpy as np
from numpy.typing import ArrayLike

from selfsort.clustering.kmeans import kmeans
from selfsort.clustering.neighbours import as_points

_SAMPLE = 5_000  # sampled points, which show the elbow as well as all do
_TRIED = 24


def elbow(points: ArrayLike, *, most: int = 16, random_state: int = 0) -> int:
    """Return the number of clusters, from 2 to `most`, beyond which the inertia of k-means falls only slowly.

    The knee of the curve is found by Kneedle (Satopaa et al. 2011); a curve without one gives `most`. The curve covers
    all numbers up to 24 and, for a larger `most`, 24 evenly spaced ones.
    """
    from kneed import KneeLocator

    array = as_points(points)
    if len(array) > _SAMPLE:
        array = array[np.sort(np.random.default_rng(random_state).choice(len(array), _SAMPLE, replace=False))]
    most = min(most, len(array))
    counts: list[int] = np.unique(np.linspace(1, most, min(most, _TRIED)).round().astype(int)).tolist()
    if len(counts) < 4:
        return counts[-1]
    inertia = [float(((array - array.mean(0)) ** 2).sum())]
    inertia += [kmeans(array, k, restarts=2, iterations=20, random_state=random_state).inertia for k in counts[1:]]
    knee = KneeLocator(counts, inertia, curve="convex", direction="decreasing", online=True).knee
    return counts[-1] if knee is None else max(2, int(knee))
