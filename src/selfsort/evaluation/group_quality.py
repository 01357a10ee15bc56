"""Judge without labels whether groups of pictures mean anything.

Two questions are asked: do a picture's nearest neighbours belong to its group, and does clustering half of the pictures
find the groups again? The answers are compared with those for groups that k-means makes of data without groups: first,
the same features with each column shuffled separately; second, a single Gaussian cloud with the features' covariance
(as in SigClust, Liu et al. 2008). The second is harder to beat: even noise passed through a network gives features that
vary in few directions, which k-means cuts into groups that look tidy and are found again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from selfsort.errors import UserError
from selfsort.schema import checked
from selfsort.threads import one_thread

Floats = NDArray[np.float64]
Points = NDArray[np.float32]
Rows = NDArray[np.int64]
Verdict = Literal["clear", "weak", "none"]

_SAMPLE = 3_000
_COMPONENTS = 50
_MOST_NEIGHBORS = 15
_FEWEST_IMAGES = 30
_LARGEST = 1e15  # the squares of larger values approach the limit of float32
_HALVES = 4
_CLOUDS = 2
_CLEAR = 0.4  # leads over data without groups: pre-trained features with the true number of classes reached 0.44-0.86,
_WEAK = 0.25  # untrained networks 0.08 to 0.31 on photographs, noise and shuffled features 0.06 at most
_PIXEL_SHARE = 1 / 3  # of the agreement in features that is also found in pixels without groups of their own
_DEAD = 0.05  # of an even share of the pictures
_SWOLLEN = 1.8  # even shares, and more than half of the pictures


@dataclass(frozen=True)
class Comparison:
    """One figure of the groups, compared with groups in data without groups; 0 is chance, 1 is best.

    features : for the given groups
    shuffled, cloud : for k-means on features with shuffled columns, and on a Gaussian with the features' covariance
    pixels : for the given groups, in plain pixels; None if there are no pixels to compare with
    """

    features: float
    shuffled: float
    cloud: float
    pixels: float | None = None

    @property
    def null(self) -> float:
        """Return the better figure of the two kinds of data without groups."""
        return max(self.shuffled, self.cloud)

    @property
    def lead(self) -> float:
        """Return the share of the possible gain over `null` that is reached: at most 1, below 0 if `null` is better."""
        return (self.features - self.null) / max(1 - self.null, 1e-9)


@dataclass(frozen=True)
class GroupQuality:
    """What can be said about groups without labels.

    verdict : "clear", "weak" or "none"
    reason : one sentence for the user
    neighbors : how much more often than by chance a neighbour is in the same group (assortativity, Newman 2003)
    stability : adjusted Rand index (Hubert and Arabie 1985) with the clusters of random halves of the pictures
    components : the number of directions in which the features vary (participation ratio), near 1 after a collapse
    dead : groups with less than a twentieth of an even share of the pictures
    swollen : the group, if any, with more than half of the pictures and 1.8 even shares
    sizes : pictures in each group
    """

    verdict: Verdict
    reason: str
    neighbors: Comparison
    stability: Comparison
    components: float
    dead: tuple[int, ...]
    swollen: tuple[int, ...]
    sizes: tuple[int, ...]

    def sentences(self, names: Sequence[str] = ()) -> list[str]:
        """Return sentences that describe the result; groups are called by `names` if given, else by number."""
        return [self.reason, *_sentence_about(self.dead, "hardly any pictures", names), *_swelling(self.swollen, names)]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Undo `to_json`."""
        return checked(cls, values)


def _sentence_about(groups: Sequence[int], what: str, names: Sequence[str]) -> list[str]:
    if not groups:
        return []
    called = [names[group] if names else str(group) for group in groups]
    words = called[0] if len(called) == 1 else f"{', '.join(called[:-1])} and {called[-1]}"
    return [f"{'Group' if len(called) == 1 else 'Groups'} {words} {'holds' if len(called) == 1 else 'hold'} {what}."]


def _swelling(groups: Sequence[int], names: Sequence[str]) -> list[str]:
    return _sentence_about(groups, "more than half of all pictures, so it may mix several kinds", names)


def judge_groups(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    pixels: ArrayLike | Callable[[Rows], ArrayLike] | None = None,
    n_classes: int | None = None,
    random_state: int = 0,
) -> GroupQuality:
    """Judge the groups `labels` (N,), counted from 0, of pictures with features (N, D) and, if given, pixels (N, P).

    If there are more than 3,000 pictures, a random sample is judged, but all are counted. `pixels` may be a function
    that returns the pixels of given rows. `n_classes` is the number of groups there should be; the default is the
    largest label plus one. The verdict does not depend on the order of the rows or the numbering of the groups.

    Raises UserError for arrays of other shapes, values that are not finite, or labels below 0 or not below n_classes.
    """
    array = _checked(features, "features")
    members = _checked_labels(labels, len(array), n_classes)
    sizes = np.bincount(members, minlength=n_classes or 0)
    rows = _sampled(array, random_state)
    shown = _pixels_of(rows, pixels, len(array))
    with one_thread():  # small work: on a busy machine, several threads would only wait for one another
        return _judged(array[rows], members[rows], sizes, shown, random_state)


def _judged(features: Points, members: Rows, sizes: Rows, pixels: Points | None, random_state: int) -> GroupQuality:
    """Judge the groups of a sample; `sizes` are the group sizes over all pictures."""
    points = _components(features, random_state)
    groups = np.unique(members, return_inverse=True)[1].astype(np.int64)
    n_groups = int(groups.max()) + 1
    trivial = _trivial(len(points), n_groups, points)
    if trivial:
        nothing = Comparison(0.0, 0.0, 0.0)
        return _quality(trivial, nothing, nothing, points, sizes)
    neighbors, stability = _comparisons(features, points, groups, random_state)
    pixels_lead = 0.0
    if pixels is not None:
        shown = _components(pixels, random_state)
        neighbors, stability, pixels_lead = _with_pixels(neighbors, stability, shown, groups, random_state)
    verdict = _verdict(neighbors, stability, _n_directions(points), n_groups, pixels_lead)
    return _quality(verdict, neighbors, stability, points, sizes)


def _pixels_of(rows: Rows, pixels: ArrayLike | Callable[[Rows], ArrayLike] | None, count: int) -> Points | None:
    """Return the pixels of some rows, if there are any."""
    if pixels is None:
        return None
    if callable(pixels):
        return _checked(pixels(rows), "pixels")
    plain = _checked(pixels, "pixels")
    if len(plain) != count:
        raise UserError(f"pixels has {len(plain)} rows but features has {count}: give one row per picture in both.")
    return plain[rows]


def _checked(values: ArrayLike, name: str) -> Points:
    array = np.ascontiguousarray(values, dtype=np.float32)
    if array.ndim != 2 or not array.size:
        raise UserError(f"The {name} must be an array of shape (pictures, values), not {array.shape}.")
    if not (array.min() > -_LARGEST and array.max() < _LARGEST):
        raise UserError(f"The {name} contain NaN, infinity or values beyond {_LARGEST:g}.")
    return array


def _checked_labels(labels: ArrayLike, n: int, n_classes: int | None) -> Rows:
    given = np.asarray(labels)
    members = given.astype(np.int64)
    if members.shape != (n,) or not np.array_equal(members, given):
        raise UserError(f"Labels must be {n} whole numbers, one per picture, not an array of shape {given.shape}.")
    if members.min() < 0 or (n_classes is not None and members.max() >= n_classes):
        raise UserError(
            f"Labels are from {members.min()} to {members.max()}: they must be from 0 to below {n_classes}."
        )
    return members


def _sampled(array: Points, random_state: int) -> Rows:
    """Return the rows to judge, in an order that depends only on their values."""
    as_bytes = array.view(np.dtype((np.void, array.itemsize * array.shape[1]))).ravel()
    order: Rows = np.argsort(as_bytes, kind="stable")
    if len(order) <= _SAMPLE:
        return order
    return order[np.sort(np.random.default_rng(random_state).choice(len(order), _SAMPLE, replace=False))]


def _components(array: Points, random_state: int) -> Points:
    """Return the principal components (N, d) of rows scaled to unit length, all 0 if the rows are equal."""
    from sklearn.decomposition import PCA

    unit = array / np.maximum(np.linalg.norm(array, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    if np.ptp(unit, axis=0).max() < 1e-6:
        return np.zeros((len(unit), 1), np.float32)
    reduced = PCA(min(_COMPONENTS, *unit.shape), random_state=random_state).fit_transform(unit)
    return np.ascontiguousarray(reduced, dtype=np.float32)


def _n_directions(points: Points) -> float:
    """Return the participation ratio of the variances, 0 for points that are all equal."""
    variances = points.var(axis=0, dtype=np.float64)
    return float(variances.sum() ** 2 / (variances**2).sum()) if variances.any() else 0.0


def _trivial(n: int, n_groups: int, points: Points) -> tuple[Verdict, str] | None:
    """Return the verdict if nothing needs to be computed."""
    if not points.any():
        return "none", "All pictures look the same to the network, so the groups mean nothing."
    if n_groups < 2:
        return "none", "All pictures are in one group, so nothing was sorted."
    if n < _FEWEST_IMAGES or n_groups > n // 2:
        return "weak", f"{n} pictures in {n_groups} groups are too few to say whether the groups mean anything."
    return None


def _comparisons(array: Points, points: Points, groups: Rows, random_state: int) -> tuple[Comparison, Comparison]:
    """Return the comparisons of neighbour agreement and of stability with data without groups."""
    rng = np.random.default_rng(random_state)
    n_groups = int(groups.max()) + 1
    shuffled = _components(rng.permuted(array, axis=0), random_state)
    spread = points.std(axis=0, dtype=np.float64)  # principal components are uncorrelated
    clouds = [(rng.normal(size=points.shape) * spread).astype(np.float32) for _ in range(_CLOUDS)]
    of_shuffled = _of_kmeans(shuffled, n_groups, random_state)
    of_clouds = np.mean([_of_kmeans(cloud, n_groups, random_state) for cloud in clouds], axis=0)
    own = neighbor_agreement(points, groups), resampling_stability(points, groups, random_state=random_state)
    return (
        Comparison(own[0], of_shuffled[0], float(of_clouds[0])),
        Comparison(own[1], of_shuffled[1], float(of_clouds[1])),
    )


def _of_kmeans(points: Points, n_groups: int, random_state: int) -> tuple[float, float]:
    groups = _kmeans(points, points, n_groups, random_state)
    return neighbor_agreement(points, groups), resampling_stability(points, groups, random_state=random_state)


def _with_pixels(
    neighbors: Comparison, stability: Comparison, pixels: Points, groups: Rows, random_state: int
) -> tuple[Comparison, Comparison, float]:
    """Return the comparisons, completed by the groups' figures in pixels, and the lead of the pixels' own groups."""
    n_groups = int(groups.max()) + 1
    agreement = neighbor_agreement(pixels, groups)
    found_again = resampling_stability(pixels, groups, random_state=random_state)
    spread = pixels.std(axis=0, dtype=np.float64)
    cloud = (np.random.default_rng((random_state, 1)).normal(size=pixels.shape) * spread).astype(np.float32)
    cut = [_kmeans(space, space, n_groups, random_state) for space in (pixels, cloud)]
    own = Comparison(neighbor_agreement(pixels, cut[0]), 0.0, neighbor_agreement(cloud, cut[1]))
    return (
        Comparison(neighbors.features, neighbors.shuffled, neighbors.cloud, agreement),
        Comparison(stability.features, stability.shuffled, stability.cloud, found_again),
        own.lead,
    )


def neighbor_agreement(points: Points, groups: Rows) -> float:
    """Return the assortativity (Newman 2003) of groups (N,) among the nearest neighbours of points (N, D).

    This is (s - c) / (1 - c), where s is the share of neighbours in the same group and c the share expected by chance:
    1 if no neighbours are in different groups, 0 for random groups. A single group gives 0.
    """
    import faiss

    k = int(np.clip(round(np.sqrt(len(points)) / 3), 3, _MOST_NEIGHBORS))
    indices = faiss.knn(points, points, k + 1)[1]
    own = indices == np.arange(len(points))[:, None]
    own[~own.any(axis=1), -1] = True  # a point with many equal ones may not be among its own neighbours
    neighbors = indices[~own].reshape(len(points), k)
    chance = float(((np.bincount(groups) / len(groups)) ** 2).sum())
    return (float((groups[neighbors] == groups[:, None]).mean()) - chance) / (1 - chance) if chance < 1 else 0.0


def resampling_stability(points: Points, groups: Rows, *, random_state: int = 0) -> float:
    """Return the mean adjusted Rand index between groups (N,) and k-means on random halves of points (N, D)."""
    from sklearn.metrics import adjusted_rand_score

    rng = np.random.default_rng((random_state, 2))
    n_groups = int(groups.max()) + 1
    found = []
    for seed in range(_HALVES):
        half = np.sort(rng.choice(len(points), len(points) // 2, replace=False))
        found.append(adjusted_rand_score(groups, _kmeans(points[half], points, n_groups, seed)))
    return float(np.mean(found))


def _kmeans(points: Points, asked: Points, n_groups: int, seed: int) -> Rows:
    """Return the clusters (M,) of the points `asked`, by centres that k-means finds in `points`."""
    import warnings

    from sklearn.cluster import KMeans

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # with fewer distinct points than clusters, some are empty
        labels = KMeans(n_groups, n_init=2, max_iter=50, random_state=seed).fit(points).predict(asked)
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)


def _verdict(
    neighbors: Comparison, stability: Comparison, directions: float, n_groups: int, pixels_lead: float
) -> tuple[Verdict, str]:
    """Return the verdict and a sentence that explains it."""
    figures = f"{neighbors.features:.2f} (chance 0, best 1; {neighbors.null:.2f} in data without groups)"
    if directions < n_groups / 4:
        return "none", f"The network distinguishes pictures in only {directions:.1f} ways: it has collapsed."
    if neighbors.lead < _WEAK:
        return "none", f"The groups mean no more than chance: neighbour agreement is {figures}."
    # Groups with a clear lead may follow colour too, as materials and flowers do: there, pixels decide nothing.
    by_pixels = pixels_lead < _WEAK and (neighbors.pixels or 0.0) > _PIXEL_SHARE * neighbors.features
    if by_pixels and neighbors.lead < _CLEAR:
        found = f"{neighbors.features:.2f}, and still {neighbors.pixels:.2f} in plain pixels, which have no groups"
        return "none", f"The groups mostly follow colour and brightness: neighbour agreement is {found}."
    if neighbors.lead < _CLEAR or stability.features < stability.null:
        return (
            "weak",
            f"The groups mean something, but many pictures lie between them: neighbour agreement is {figures}.",
        )
    return "clear", f"The groups are clear: neighbour agreement is {figures}."


def _quality(
    verdict: tuple[Verdict, str], neighbors: Comparison, stability: Comparison, points: Points, sizes: Rows
) -> GroupQuality:
    even = sizes.sum() / len(sizes)
    dead = np.flatnonzero(sizes < _DEAD * even)
    swollen = np.flatnonzero((sizes > _SWOLLEN * even) & (sizes > sizes.sum() / 2))
    return GroupQuality(
        verdict=verdict[0],
        reason=verdict[1],
        neighbors=neighbors,
        stability=stability,
        components=_n_directions(points),
        dead=tuple(dead.tolist()),
        swollen=tuple(swollen.tolist()),
        sizes=tuple(sizes.tolist()),
    )
