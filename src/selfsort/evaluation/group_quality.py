"""Whether groups of pictures mean anything, said without labels.

Two questions are asked of the groups, and of groups that k-means makes of features which have none: do a picture's
nearest neighbours belong to its group, and does clustering half of the pictures find the groups again? What has no
groups is, first, the same features with every column shuffled by itself and, second, a single Gaussian cloud with the
features' covariance (as in SigClust, Liu et al. 2008). The second is the harder one to beat: even noise sent through a
network gives features that vary in few directions, which k-means cuts into pieces that look tidy and come back.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from selfsort.errors import UserError
from selfsort.schema import checked

Floats = NDArray[np.float64]
Points = NDArray[np.float32]
Rows = NDArray[np.int64]
Verdict = Literal["clear", "weak", "none"]

_SAMPLE = 3_000
_COMPONENTS = 50
_MOST_NEIGHBORS = 15
_FEWEST_IMAGES = 30
_LARGEST = 1e15  # the squares of larger values come near the end of float32
_HALVES = 4
_CLOUDS = 2
_CLEAR = 0.4  # leads over nothing: pretrained features reached 0.44 to 0.86 with their true number of classes,
_WEAK = 0.25  # untrained networks 0.08 to 0.31 on photographs, noise and shuffled features 0.06 at most
_PIXEL_SHARE = 1 / 3  # of the agreement among features, that is found again among pixels that have no groups
_DEAD = 0.05  # of an even share of the pictures
_SWOLLEN = 1.8  # even shares, and more than half of the pictures


@dataclass(frozen=True)
class Comparison:
    """One figure of the groups beside that of groups made of nothing; each is 0 by chance and 1 at best.

    features : the groups that were given
    shuffled, cloud : k-means on the features with shuffled columns, and on a Gaussian with the features' covariance
    pixels : the groups that were given, among plain pixels; None when there are no pixels to compare with
    """

    features: float
    shuffled: float
    cloud: float
    pixels: float | None = None

    @property
    def nothing(self) -> float:
        """Return the better figure of the two kinds of groups made of nothing."""
        return max(self.shuffled, self.cloud)

    @property
    def lead(self) -> float:
        """Return how much of what these leave to gain is gained, at most 1 and below 0 when they do better."""
        return (self.features - self.nothing) / max(1 - self.nothing, 1e-9)


@dataclass(frozen=True)
class GroupQuality:
    """What can be said of groups without labels.

    verdict : "clear", "weak" or "none"
    reason : one sentence for the user
    neighbors : how much oftener than by chance a neighbour is of the same group (assortativity, Newman 2003)
    stability : adjusted Rand index (Hubert and Arabie 1985) with the clusters of random halves of the pictures
    components : the number of directions in which the features vary (participation ratio), near 1 when collapsed
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
        """Say in words what was found, of groups that have `names`, else numbers."""
        return [self.reason, *_said_of(self.dead, "hardly any pictures", names), *_swelling(self.swollen, names)]

    def to_json(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Undo `to_json`."""
        return checked(cls, values)


def _said_of(groups: Sequence[int], what: str, names: Sequence[str]) -> list[str]:
    if not groups:
        return []
    called = [names[group] if names else str(group) for group in groups]
    words = called[0] if len(called) == 1 else f"{', '.join(called[:-1])} and {called[-1]}"
    return [f"{'Group' if len(called) == 1 else 'Groups'} {words} {'holds' if len(called) == 1 else 'hold'} {what}."]


def _swelling(groups: Sequence[int], names: Sequence[str]) -> list[str]:
    return _said_of(groups, "more than half of all pictures: several kinds may be mixed in it", names)


def judge_groups(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    pixels: ArrayLike | Callable[[Rows], ArrayLike] | None = None,
    n_classes: int | None = None,
    random_state: int = 0,
) -> GroupQuality:
    """Judge the groups `labels` (N,), counted from 0, of pictures with features (N, D) and, if given, pixels (N, P).

    Of more than 3,000 pictures a seeded sample is judged, and all are counted. `pixels` may be a function that gives
    those of some rows. `n_classes` is the number of groups there should be, the largest label and one when not given.
    The verdict does not depend on the order of the rows or on how groups are numbered.

    Raises UserError for arrays of other shapes, values that are not finite, or labels below 0 or not below n_classes.
    """
    from threadpoolctl import threadpool_limits

    array = _checked(features, "features")
    members = _checked_labels(labels, len(array), n_classes)
    sizes = np.bincount(members, minlength=n_classes or 0)
    rows = _sampled(array, random_state)
    shown = _pixels_of(rows, pixels, len(array))
    with threadpool_limits(1):  # the work is small: more threads wait for one another on a busy machine
        return _judged(array[rows], members[rows], sizes, shown, random_state)


def _judged(features: Points, members: Rows, sizes: Rows, pixels: Points | None, random_state: int) -> GroupQuality:
    """Judge the groups of a sample; `sizes` are those of all pictures."""
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
    """Return the pixels of some rows, where there are any."""
    if pixels is None:
        return None
    if callable(pixels):
        return _checked(pixels(rows), "pixels")
    plain = _checked(pixels, "pixels")
    if len(plain) != count:
        raise UserError(f"{len(plain)} rows of pixels cannot be compared with {count} of features.")
    return plain[rows]


def _checked(values: ArrayLike, name: str) -> Points:
    array = np.ascontiguousarray(values, dtype=np.float32)
    if array.ndim != 2 or not array.size:
        raise UserError(f"The {name} must form an array (pictures, values), not one of shape {array.shape}.")
    if not (array.min() > -_LARGEST and array.max() < _LARGEST):
        raise UserError(f"The {name} hold NaN, infinity or values beyond {_LARGEST:g}.")
    return array


def _checked_labels(labels: ArrayLike, n: int, n_classes: int | None) -> Rows:
    given = np.asarray(labels)
    members = given.astype(np.int64)
    if members.shape != (n,) or not np.array_equal(members, given):
        raise UserError(f"Labels must be {n} whole numbers, one per picture, not an array of shape {given.shape}.")
    if members.min() < 0 or (n_classes is not None and members.max() >= n_classes):
        raise UserError(f"Labels from {members.min()} to {members.max()} do not count from 0 to below {n_classes}.")
    return members


def _sampled(array: Points, random_state: int) -> Rows:
    """Return the rows to judge, in an order that depends on their values alone."""
    as_bytes = array.view(np.dtype((np.void, array.itemsize * array.shape[1]))).ravel()
    order: Rows = np.argsort(as_bytes, kind="stable")
    if len(order) <= _SAMPLE:
        return order
    return order[np.sort(np.random.default_rng(random_state).choice(len(order), _SAMPLE, replace=False))]


def _components(array: Points, random_state: int) -> Points:
    """Return the principal components (N, d) of rows scaled to unit length, all 0 where the rows are equal."""
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
    """Return the verdict where nothing needs to be computed."""
    if not points.any():
        return "none", "All pictures look the same to the network, so the groups mean nothing."
    if n_groups < 2:
        return "none", "All pictures are in one group, so nothing was sorted."
    if n < _FEWEST_IMAGES or n_groups > n // 2:
        return "weak", f"{n} pictures in {n_groups} groups are too few to say whether the groups mean anything."
    return None


def _comparisons(array: Points, points: Points, groups: Rows, random_state: int) -> tuple[Comparison, Comparison]:
    """Return the agreement of neighbours and the stability of the groups and of those made of nothing."""
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
    """Return the comparisons with the groups' figures among pixels, and the lead of the pixels' own groups."""
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

    That is the share of neighbours in the same group, less the share expected by chance, over 1 less that share: 1
    when groups share no neighbour, 0 for groups drawn by lot. One group alone gives 0.
    """
    import faiss

    k = int(np.clip(round(np.sqrt(len(points)) / 3), 3, _MOST_NEIGHBORS))
    indices = faiss.knn(points, points, k + 1)[1]
    own = indices == np.arange(len(points))[:, None]
    own[~own.any(axis=1), -1] = True  # among equal points, a point need not be found among its own neighbours
    neighbors = indices[~own].reshape(len(points), k)
    chance = float(((np.bincount(groups) / len(groups)) ** 2).sum())
    return (float((groups[neighbors] == groups[:, None]).mean()) - chance) / (1 - chance) if chance < 1 else 0.0


def resampling_stability(points: Points, groups: Rows, *, random_state: int = 0) -> float:
    """Return the mean adjusted Rand index of groups (N,) with k-means on random halves of points (N, D)."""
    from sklearn.metrics import adjusted_rand_score

    rng = np.random.default_rng((random_state, 2))
    n_groups = int(groups.max()) + 1
    found = []
    for seed in range(_HALVES):
        half = np.sort(rng.choice(len(points), len(points) // 2, replace=False))
        found.append(adjusted_rand_score(groups, _kmeans(points[half], points, n_groups, seed)))
    return float(np.mean(found))


def _kmeans(points: Points, asked: Points, n_groups: int, seed: int) -> Rows:
    """Return the clusters of the points `asked` (M,), of centres that k-means finds among `points`."""
    import warnings

    from sklearn.cluster import KMeans

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer different points than clusters leave some of them empty
        labels = KMeans(n_groups, n_init=2, max_iter=50, random_state=seed).fit(points).predict(asked)
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)


def _verdict(
    neighbors: Comparison, stability: Comparison, directions: float, n_groups: int, pixels_lead: float
) -> tuple[Verdict, str]:
    """Return the verdict and the sentence that goes with it."""
    figures = f"{neighbors.features:.2f} of 1 where groups made of nothing have {neighbors.nothing:.2f}"
    if directions < n_groups / 4:
        return "none", f"The network tells pictures apart in {directions:.1f} ways only: it has collapsed."
    if neighbors.lead < _WEAK:
        return "none", f"The groups mean no more than chance: neighbours agree by {figures}."
    # Groups with a clear lead may follow colour too, as materials and flowers do: there, pixels decide nothing.
    by_pixels = pixels_lead < _WEAK and (neighbors.pixels or 0.0) > _PIXEL_SHARE * neighbors.features
    if by_pixels and neighbors.lead < _CLEAR:
        found = f"{neighbors.pixels:.2f} of their {neighbors.features:.2f} among plain pixels, which have no groups"
        return "none", f"The groups mostly follow colour and brightness: neighbours agree by {found}."
    if neighbors.lead < _CLEAR or stability.features < stability.nothing:
        return "weak", f"The groups mean something, but many pictures lie between them: neighbours agree by {figures}."
    return "clear", f"The groups are clear: neighbours agree by {figures}."


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
