"""Estimate how many classes unlabelled pictures fall into, with a range and the curve that both are read from.

Pictures are split into many small groups, which are then merged two at a time wherever more nearest neighbours lead
across than chance would explain. Every step of the merging is scored by how rarely a neighbour belongs to another
group. Modularity (Newman and Girvan 2004), the share of neighbours inside groups minus the share expected by chance,
prefers many groups; the assortativity coefficient (Newman 2003), modularity divided by its largest possible value,
prefers few. The score is the geometric mean of the two. It needs no layout, costs a few seconds, and changes little
with the number of pictures, neighbours and components.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from selfsort.errors import UserError
from selfsort.schema import checked
from selfsort.threads import one_thread

Floats = NDArray[np.float64]
Points = NDArray[np.float32]
Rows = NDArray[np.int64]

_SAMPLE = 4_000  # sampled pictures, enough to represent the curve of all
_COMPONENTS = 50
_MOST_NEIGHBORS = 15
_FEWEST_IMAGES = 12
_LARGEST = 1e15  # the squares of larger values approach the limit of float32
_REPEATS = 6
_MOST_PARTS = 100
_TIE = 0.02  # a score this share below the best is equally good: covers 8 true numbers in 10, keeps high / low near 2
_APART = 0.97  # from this assortativity on, groups hardly share a neighbour
_STRUCTURE = 0.15  # smallest lead over a single Gaussian, as a share of the possible lead, that indicates groups
_WIDEST = 3.0  # a range whose ends differ by a larger factor is uninformative


@dataclass(frozen=True)
class ClassCount:
    """An estimated number of classes.

    estimate : the number with the best score, 1 if all pictures are equal
    low, high : the ends of the range, inclusive, in which the score is nearly as good
    curve : (number of groups, score) in ascending order, score from 0 to 1; empty if there are too few pictures
    told : whether the pictures reveal the number of classes; otherwise the estimate is only a convenience
    reason : one sentence for the user
    """

    estimate: int
    low: int
    high: int
    curve: list[tuple[int, float]]
    told: bool
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Undo `to_json`."""
        return checked(cls, values)


@dataclass(frozen=True, eq=False)
class _MergingCurve:
    """Scores and assortativities (K,) of merging down to `counts` (K,), and the parts (N,) of one of the mergings."""

    counts: Rows
    scores: Floats
    assortativity: Floats
    groups: dict[int, Rows]

    @property
    def best(self) -> int:
        return int(self.scores.argmax())


def estimate_class_count(features: ArrayLike, *, random_state: int = 0) -> ClassCount:
    """Estimate the number of classes from features (N, D), one row per picture.

    Rows are compared by direction, so neither their lengths nor their order matters. If there are more than 4,000, a
    seeded sample is used. The range holds every number whose score comes within 2 % of the best, and was right on about
    four of five labelled sets tried; classes that look alike are counted as one.

    Raises UserError for an array of other than two dimensions, without rows or columns, or with values that are not
    finite.
    """
    with one_thread():  # more threads gain nothing, and wait for each other on a busy machine
        return _estimate(_prepared(features, random_state), random_state)


def _estimate(points: Points, random_state: int) -> ClassCount:
    n_different = len(np.unique(points, axis=0))
    if n_different == 1:
        return ClassCount(1, 1, 1, [], False, "All pictures look the same to the network, so there is nothing to sort.")
    if len(points) < _FEWEST_IMAGES or n_different < _FEWEST_IMAGES:
        return _too_few(len(points), n_different)
    curve = _curve(points, random_state)
    # This comes first, because two groups, however far apart, cannot score much higher than a single cloud.
    apart = _plainly_apart(points, curve, random_state)
    if apart:
        near = np.append(_nearly_best(curve), apart)
        reason = f"The pictures fall into {apart} groups that lie far apart, and none of them splits into smaller ones."
        return ClassCount(apart, int(near.min()), int(near.max()), _pairs(curve), True, reason)
    if _lead(points, curve, random_state) < _STRUCTURE:
        return _without_groups(curve)
    return _read(curve)


def _prepared(features: ArrayLike, random_state: int) -> Points:
    """Return features as principal components of unit vectors: a sample of the rows, in a canonical order."""
    array = np.ascontiguousarray(features, dtype=np.float32)
    if array.ndim != 2 or not array.size:
        raise UserError(f"Features must form an array (pictures, features), not one of shape {array.shape}.")
    if not (array.min() > -_LARGEST and array.max() < _LARGEST):
        raise UserError(f"The features hold NaN, infinity or values beyond {_LARGEST:g}: check the network.")
    # Sorted by their bytes, the rows give the same sample and start of k-means whatever their original order.
    order = np.argsort(array.view(np.dtype((np.void, array.itemsize * array.shape[1]))).ravel(), kind="stable")
    if len(order) > _SAMPLE:
        order = order[np.sort(np.random.default_rng(random_state).choice(len(order), _SAMPLE, replace=False))]
    return _components(array[order], random_state)


def _components(array: Points, random_state: int) -> Points:
    from sklearn.decomposition import PCA

    unit = array / np.maximum(np.linalg.norm(array, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    if np.ptp(unit, axis=0).max() < 1e-6:
        return np.zeros((len(unit), 1), np.float32)
    reduced = PCA(min(_COMPONENTS, *unit.shape), random_state=random_state).fit_transform(unit)
    # Rounding errors must not distinguish identical pictures.
    return np.ascontiguousarray(np.round(reduced, 6), dtype=np.float32)


def _too_few(n: int, n_different: int) -> ClassCount:
    what = f"{n} pictures" if n_different == n else f"{n} pictures, {n_different} of them different,"
    reason = f"{what} are too few to tell how many classes there are: choose a number, or add pictures."
    return ClassCount(2, 1, n_different, [], False, reason)


def _without_groups(curve: _MergingCurve) -> ClassCount:
    high = int(_nearly_best(curve).max())
    reason = "The pictures form no clearer groups than a single spread-out cloud would, so any number is arbitrary."
    return ClassCount(int(curve.counts[curve.best]), 1, high, _pairs(curve), False, reason)


def _read(curve: _MergingCurve) -> ClassCount:
    """Return the best number and those nearly as good."""
    near = _nearly_best(curve)
    estimate, low, high = int(curve.counts[curve.best]), int(near.min()), int(near.max())
    told = high <= _WIDEST * low and high < int(curve.counts[-1])
    if told and low == high:
        reason = f"The pictures fall into {estimate} groups; no other number fits about as well."
    elif told:
        reason = f"The pictures fall into about {estimate} groups; {low} to {high} fit nearly as well."
    else:
        reason = f"The pictures do not reveal the number of classes: anything from {low} to {high} fits about as well."
    return ClassCount(estimate, low, high, _pairs(curve), told, reason)


def _nearly_best(curve: _MergingCurve) -> Rows:
    near: Rows = curve.counts[curve.scores >= (1 - _TIE) * curve.scores.max()]
    return near


def _pairs(curve: _MergingCurve) -> list[tuple[int, float]]:
    return [(int(k), float(score)) for k, score in zip(curve.counts, curve.scores, strict=True)]


def _curve(points: Points, random_state: int) -> _MergingCurve:
    """Return the scores of merging, averaged over several starts."""
    neighbors = _nearest_neighbors(points)
    n_parts = min(_MOST_PARTS, len(points) // 3)
    counts = np.arange(2, n_parts // 2 + 1)
    found = []
    for seed in np.random.default_rng(random_state).integers(2**31, size=_REPEATS):
        parts = _split(points, n_parts, int(seed))
        links = _links(parts, neighbors)
        inside, chance, groups = _merge(links, counts)
        found.append((inside, chance))
    inside, chance = np.transpose(found, (1, 0, 2))
    modularity = inside - chance
    # chance < 1 because at least two groups have members
    scores = (modularity / np.sqrt(1 - chance)).mean(axis=0)
    members = {int(k): of_part[parts] for k, of_part in zip(counts, groups, strict=True)}
    return _MergingCurve(counts, np.maximum(scores, 0.0), (modularity / (1 - chance)).mean(axis=0), members)


def _nearest_neighbors(points: Points) -> Rows:
    """Return the indices (N, k) of each point's nearest neighbours; fewer if there are few points."""
    import faiss

    k = int(np.clip(round(np.sqrt(len(points)) / 3), 3, _MOST_NEIGHBORS))
    indices = faiss.knn(points, points, k + 1)[1].astype(np.int64)
    # Among equal points, a point need not be its own first neighbour, so it is removed wherever it is.
    own = indices == np.arange(len(points))[:, None]
    own[~own.any(axis=1), -1] = True
    others: Rows = indices[~own].reshape(len(points), k)
    return others


def _split(points: Points, n_parts: int, seed: int) -> Rows:
    """Return the small groups (N,) from k-means, numbered without gaps."""
    import warnings

    from sklearn.cluster import KMeans

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer different points than parts rightly give fewer parts
        labels = KMeans(n_parts, n_init=1, max_iter=30, random_state=seed).fit_predict(points)
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)


def _links(parts: Rows, neighbors: Rows) -> Floats:
    """Return the share of all neighbour links that lead from one part to another, symmetric (M, M)."""
    n = int(parts.max()) + 1
    pairs = np.repeat(parts, neighbors.shape[1]) * n + parts[neighbors].ravel()
    counted = np.bincount(pairs, minlength=n * n).reshape(n, n).astype(np.float64)
    shares: Floats = (counted + counted.T) / (2 * counted.sum())
    return shares


def _merge(links: Floats, counts: Rows) -> tuple[Floats, Floats, list[Rows]]:
    """Repeatedly merge the two groups whose links exceed chance by the largest factor.

    Returns, for each of `counts` (K,), the share of links inside groups (K,), the share expected there by chance (K,),
    and the group of each part (M,). A factor, unlike a difference, leaves small isolated groups alone.
    """
    links, of_part = links.copy(), np.arange(len(links))
    inside, chance = np.zeros(len(counts)), np.ones(len(counts))
    groups: list[Rows] = [of_part] * len(counts)
    while len(links) >= 2:
        sizes = links.sum(axis=1)
        where = np.searchsorted(counts, len(links))
        if where < len(counts) and counts[where] == len(links):
            inside[where], chance[where], groups[where] = np.trace(links), (sizes**2).sum(), of_part.copy()
        factor = links / np.outer(sizes, sizes)
        np.fill_diagonal(factor, -1.0)
        kept, gone = sorted(np.unravel_index(factor.argmax(), factor.shape))
        links[kept] += links[gone]
        links[:, kept] += links[:, gone]
        links = np.delete(np.delete(links, gone, axis=0), gone, axis=1)
        of_part = np.where(of_part == gone, kept, of_part - (of_part > gone))
    # With fewer parts than requested, some counts are never reached: everything scores 0 there.
    chance[inside == 0] = 0.0
    return inside, chance, groups


def _lead(points: Points, curve: _MergingCurve, random_state: int) -> float:
    """Return by how much the best score exceeds that of one Gaussian with the same covariance, at most 1.

    The comparison is that of SigClust (Liu et al. 2008): groups found in a Gaussian are not real.
    """
    rng = np.random.default_rng((random_state, 1))
    spread = points.std(axis=0, dtype=np.float64)  # principal components are uncorrelated
    cloud = np.ascontiguousarray(rng.normal(size=points.shape) * spread, dtype=np.float32)
    by_chance = float(_curve(cloud, random_state).scores.max())
    return (float(curve.scores.max()) - by_chance) / max(1 - by_chance, 1e-9)


def _plainly_apart(points: Points, curve: _MergingCurve, random_state: int) -> int:
    """Return the largest number of groups that hardly share a neighbour and have no subgroups, 0 if there are none.

    The score alone would rather halve a large group than accept a small group beside it.
    """
    apart = np.flatnonzero(curve.assortativity >= _APART)
    if not apart.size:
        return 0
    n_groups = int(curve.counts[apart[-1]])
    for members in map(np.flatnonzero, curve.groups[n_groups] == np.arange(n_groups)[:, None]):
        own = points[members] - points[members].mean(axis=0)
        if len(np.unique(own, axis=0)) < 2 * _FEWEST_IMAGES:
            continue
        own = _rotated(own, random_state)
        if _lead(own, _curve(own, random_state), random_state) >= _STRUCTURE:
            return 0
    return n_groups


def _rotated(points: Points, random_state: int) -> Points:
    from sklearn.decomposition import PCA

    return np.ascontiguousarray(PCA(random_state=random_state).fit_transform(points), dtype=np.float32)
