"""How many of a model's names are right: checked pictures, and a guarantee that holds whatever the model.

The argument, for a model that names N pictures, of which n are drawn and checked:

- *Classes.* The pictures lie in a row, class by class. The row is cut into n equal slices, and one point is drawn in
  each, independently and uniformly. The number of points in class c is n_c.
- *Within a class* the N_c pictures lie in the order of their confidence. Their row is cut anew into n_c equal slices,
  and the picture at one uniform point of each slice is drawn. One that lies in two slices can be drawn twice; it is
  checked once and counts twice. So n_c draws are spread over the range of confidence.
- *Per class*, the number right is a sum of n_c independent yes-or-no variables. Each picture takes up the same share of
  the row, so their mean probability is the precision exactly. Such a sum is below the mean by more than one, or above
  it by more than one, no more often than the binomial variable of the same mean (Hoeffding 1956, theorem 4), and the
  interval of Clopper and Pearson (1934) errs only that far out. Hence it holds here, too.
- *Overall*, were the draws within a class independent, each of the n points would be right with a probability of its
  own, independently of the others, and the mean of these is the accuracy exactly: the same argument. Slicing the
  classes makes the number right smaller still in the convex order (Hoeffding 1956, theorem 3). The tests show by
  simulation that the interval keeps its promise.
- *Rejection.* Thresholds are quantiles of confidence, fixed before anybody looks. The pictures that are above one and
  wrong are counted among all n draws in the same way, and their share of all pictures, divided by the known share above
  the threshold, is the error above it. Thresholds are tested from the highest down until one fails; each test has a 5 %
  risk, and so has the whole sequence, since the first wrong acceptance ends it (fixed-sequence testing: Maurer, Hothorn
  and Lehmacher 1995; for thresholds: Angelopoulos et al. 2021, arXiv:2110.01052).

References: Clopper and Pearson, Biometrika 26 (1934); Hoeffding, On the distribution of the number of successes in
independent trials, Annals of Mathematical Statistics 27 (1956); Hoeffding, Probability inequalities for sums of bounded
random variables, JASA 58 (1963).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv

from selfsort.errors import UserError
from selfsort.schema import checked

CONFIDENCE = 0.95
_LEVELS = 20  # thresholds to choose from: the most confident 5 %, 10 %, … of the pictures
_SLACK = 0.25
_TILTS = 40  # exponents tried by `stratified_interval`
_HALVINGS = 40


def binomial_interval(right: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the Clopper-Pearson interval of a probability after `right` successes in `n` trials; (0, 1) after none.

    >>> low, high = binomial_interval(95, 100)
    >>> round(low, 4), round(high, 4)
    (0.8872, 0.9836)
    """
    if not 0 <= right <= n:
        raise ValueError(f"{right} of {n} cannot be right.")
    tail = (1 - confidence) / 2
    low = float(betaincinv(right, n - right + 1, tail)) if right else 0.0
    high = float(betaincinv(right + 1, n - right, 1 - tail)) if right < n else 1.0
    return low, high


def stratified_interval(
    right: ArrayLike, looked_at: ArrayLike, sizes: ArrayLike, confidence: float = CONFIDENCE
) -> tuple[float, float, float]:
    """Estimate the share of right pictures among groups of `sizes` (H,) from a fair sample of each; with an interval.

    `right` (H,) of `looked_at` (H,) pictures were right. The estimate is the mean of the groups' shares, weighted by
    size. The interval is Chernoff's bound on that mean for the least favourable shares, so it holds for any number of
    pictures looked at in a group, also without replacement (Hoeffding 1963, section 6); where all are right and all
    groups alike, it equals Clopper and Pearson's. A group looked at as a whole is known exactly; one not looked at may
    be all right or all wrong, and takes the mean of the others in the estimate.

    >>> [round(value, 3) for value in stratified_interval([9, 8], [9, 9], [300, 100])]
    [0.972, 0.679, 1.0]
    """
    hits, seen, members = (np.atleast_1d(np.asarray(column, dtype=np.float64)) for column in (right, looked_at, sizes))
    if not len(hits) == len(seen) == len(members) or (hits < 0).any() or (hits > seen).any():
        raise ValueError("Every group needs a size, and as many pictures looked at as are right or more.")
    if not seen[members > 0].any():
        return math.nan, 0.0, 1.0
    weights = members / members.sum()
    known, whole = seen > 0, (seen >= members) & (seen > 0)
    shares = np.divide(hits, seen, out=np.zeros_like(hits), where=known)
    some = known & ~whole & (members > 0)
    tail = (1 - confidence) / 2
    fixed = float(weights[whole] @ shares[whole])
    low = fixed + _least_mean(shares[some], seen[some], weights[some], tail)
    lost = float(weights[whole].sum()) - fixed + _least_mean(1 - shares[some], seen[some], weights[some], tail)
    estimate = min(1.0, float(weights[known] @ shares[known] / weights[known].sum()))
    return estimate, low, 1.0 - lost


def _least_mean(
    shares: NDArray[np.float64], seen: NDArray[np.float64], weights: NDArray[np.float64], tail: float
) -> float:
    """Return a bound below sum(W p) that fails with a probability of at most `tail`.

    For every tilt t > 0, P(sum(W share) >= x) <= exp(-t x) prod(1 + p (exp(t W / n) - 1)) ** n. A mean m is refuted
    where that is below `tail` for all p with sum(W p) = m. Its logarithm is concave in p, and the worst p for a
    multiplier u is p = n / (u W) - 1 / (exp(t W / n) - 1), cut to [0, 1]; a larger u gives a smaller m.
    """
    if not len(shares):
        return 0.0
    each = weights / seen
    tilts = np.geomspace(0.02, 60, _TILTS)[:, None] / math.sqrt(float(weights @ each) * float(each.max()))
    with np.errstate(over="ignore"):
        odds = np.expm1(np.minimum(tilts * each, 700.0))  # (tilts, H)
    goal = math.log(tail) + tilts[:, 0] * float(weights @ shares)

    def worst(multiplier: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.clip(1 / (multiplier[:, None] * each) - 1 / odds, 0, 1)

    # Where u is so small that all p are 1, and so large that all are 0.
    least = (odds / (1 + odds) / each).min(axis=1) / 2
    most = (odds / each).max(axis=1) * 2
    for _ in range(_HALVINGS):
        middle = np.sqrt(least * most)
        likely = (seen * np.log1p(worst(middle) * odds)).sum(axis=1) >= goal
        least, most = np.where(likely, middle, least), np.where(likely, most, middle)
    return float(max(0.0, (worst(most) @ weights).max()))


@dataclass(frozen=True, eq=False)
class Sample:
    """The pictures to check, drawn before anybody looks.

    Attributes
    ----------
    pictures : (n,) positions of the pictures, in the order of asking; one that was drawn twice is there twice
    classes : (n,) predicted class of each
    confidence : (n,) of each prediction
    sizes : (K,) pictures predicted to be of each class, of all N
    thresholds : on confidence, from the highest down, that a rejection may choose
    kept : pictures at or above each threshold

    """

    pictures: NDArray[np.int64]
    classes: NDArray[np.int64]
    confidence: NDArray[np.float64]
    sizes: NDArray[np.int64]
    thresholds: NDArray[np.float64]
    kept: NDArray[np.int64]

    @property
    def n_images(self) -> int:
        """Return the number of all pictures."""
        return int(self.sizes.sum())

    @property
    def is_everything(self) -> bool:
        """Tell whether all pictures are in the sample."""
        return len(np.unique(self.pictures)) == self.n_images

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {name: column.tolist() for name, column in vars(self).items()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Undo `to_json`."""
        real = ("confidence", "thresholds")
        columns: dict[str, Any] = {
            name: np.array(values, dtype=np.float64 if name in real else np.int64) for name, values in content.items()
        }
        return cls(**columns)


def draw_sample(
    predicted: ArrayLike, confidence: ArrayLike, budget: int, random_state: int = 0, *, n_classes: int = 0
) -> Sample:
    """Draw `budget` of N pictures to check, spread over the `predicted` classes (N,) and over `confidence` (N,).

    Every picture has the same chance. A budget of N or more takes each picture once. Raises `UserError` for a budget
    below 1.
    """
    classes, sure = np.asarray(predicted, dtype=np.int64), np.asarray(confidence, dtype=np.float64)
    if budget < 1:
        raise UserError(f"A budget of {budget} checks nothing: use at least 1.")
    sizes = np.bincount(classes, minlength=n_classes)
    rng = np.random.default_rng((random_state, 3))
    in_order = np.lexsort((sure, classes))
    chosen = in_order if budget >= len(classes) else in_order[_places(sizes, budget, rng)]
    rng.shuffle(chosen)
    ranked = np.sort(sure)[::-1]
    wanted = np.ceil(np.arange(1, _LEVELS + 1) / _LEVELS * len(sure)).astype(np.int64) - 1
    thresholds = np.unique(ranked[wanted])[::-1]
    kept = np.searchsorted(-ranked, -thresholds, side="right")
    return Sample(chosen, classes[chosen], sure[chosen], sizes, thresholds, kept)


def _places(sizes: NDArray[np.int64], n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw n places in a row that holds classes of these sizes one after the other; see the top of this file."""
    ends = np.cumsum(sizes)
    points = (np.arange(n) + rng.random(n)) * (ends[-1] / n)
    # A sum of floats may be rounded up to the end of the row, where no class is.
    classes = np.searchsorted(ends, np.minimum(points, ends[-1] - 0.5), side="right")
    counts = np.bincount(classes, minlength=len(sizes))
    within = np.arange(n) - (np.cumsum(counts) - counts)[classes]  # number of the slice in its class
    share = (within + rng.random(n)) / counts[classes]
    offsets = np.minimum((share * sizes[classes]).astype(np.int64), sizes[classes] - 1)
    places: NDArray[np.int64] = (ends - sizes)[classes] + offsets
    return places


@dataclass(frozen=True)
class Share:
    """A share of right names: estimate (None if nothing was checked), 95 % interval, and draws that tell."""

    estimate: float | None
    low: float
    high: float
    n: int

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high <= 1 or not 0 <= (self.estimate or 0) <= 1 or self.n < 0:
            raise ValueError(f"{self.estimate} between {self.low} and {self.high} of {self.n} is no share")


@dataclass(frozen=True)
class ClassShare(Share):
    """The precision of one name: the share of right ones among all `pictures` that were given it."""

    name: str
    pictures: int


@dataclass(frozen=True)
class Rejection:
    """Which pictures to name so that a share `target` of the names is right, and which to leave aside.

    Attributes
    ----------
    target : share of right names that is asked for
    threshold : least confidence of the pictures to name; None when nothing could be shown
    kept : share of all pictures that are at or above the threshold, 0 when there is none
    low : one-sided 95 % lower bound of the share of right names among them, None when there is none
    sentence : all that for people

    """

    target: float
    threshold: float | None
    kept: float
    low: float | None
    sentence: str


@dataclass(frozen=True)
class Certificate:
    """What the checked pictures say about all.

    Attributes
    ----------
    accuracy : share of right names
    per_class : precision of each name
    rejection : a threshold on confidence, if one was asked for
    pictures : number of all pictures
    checked : number of different pictures checked

    """

    accuracy: Share
    per_class: tuple[ClassShare, ...]
    rejection: Rejection | None
    pictures: int
    checked: int

    @property
    def sentence(self) -> str:
        """Return the accuracy for people."""
        share = self.accuracy
        if self.checked == self.pictures:
            return f"All {self.pictures:,} pictures were checked: {percent(share.estimate)} of the names are right."
        between = f"{percent(share.low, down=True)} and {percent(share.high, up=True)}"
        return (
            f"Of {self.pictures:,} pictures, between {between} have the right name (95 % sure); {self.checked:,} were "
            f"drawn at random and checked, and {percent(share.estimate)} of these names were right."
        )

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold; shares are fractions from 0 to 1."""
        return asdict(self) | {"sentence": self.sentence, "confidence": CONFIDENCE}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Undo `to_json`; raises `Invalid` for what it cannot have returned."""
        return checked(cls, dict(content))


def certify(sample: Sample, right: ArrayLike, names: Sequence[str], *, target: float | None = None) -> Certificate:
    """Say what a checked sample shows: `right` (n,) tells which of its names are right.

    Each interval holds with 95 % by itself, not all of them at once. `target` asks for a rejection threshold.
    """
    hits = np.asarray(right, dtype=bool)
    if len(hits) != len(sample.pictures) or len(names) != len(sample.sizes):
        raise ValueError(f"{len(hits)} answers and {len(names)} names do not fit the sample.")
    rows = [np.flatnonzero(sample.classes == number) for number in range(len(names))]
    per_class = [
        ClassShare(*_share(sample.pictures[own], hits[own], int(size)), name, int(size))
        for own, name, size in zip(rows, names, sample.sizes, strict=True)
    ]
    return Certificate(
        Share(*_share(sample.pictures, hits, sample.n_images)),
        tuple(per_class),
        None if target is None else rejection_threshold(sample, hits, target),
        sample.n_images,
        len(np.unique(sample.pictures)),
    )


def _share(pictures: NDArray[np.int64], right: NDArray[np.bool_], size: int) -> tuple[float | None, float, float, int]:
    if not len(pictures):
        return None, 0.0, 1.0, 0
    different, first = np.unique(pictures, return_index=True)
    if len(different) == size:  # nothing is left to chance
        exact = float(right[first].mean())
        return exact, exact, exact, len(different)
    return float(right.mean()), *binomial_interval(int(right.sum()), len(right)), len(right)


def rejection_threshold(sample: Sample, right: ArrayLike, target: float) -> Rejection:
    """Find the lowest threshold on confidence at which a share `target` of the names is shown to be right.

    The risk that it is not is at most 5 %. Raises `UserError` for a target that is not between 0 and 1.
    """
    if not 0 < target < 1:
        raise UserError(f"A target of {target} cannot be shown: choose one between 0 and 1, such as 0.99.")
    hits = np.asarray(right, dtype=bool)
    wrong = (~hits & (sample.confidence >= sample.thresholds[:, None])).sum(axis=1)
    bounds = _bounds(sample, wrong)
    first = _first_candidate(sample, target)
    if first is None:
        return Rejection(target, None, 0.0, None, _too_few(sample, target))
    shown = bounds >= target
    if not sample.is_everything:
        shown[:first] = False
        shown[first:] = np.logical_and.accumulate(shown[first:])
    if not shown.any():
        sentence = f"No threshold was shown to make {percent(target)} of the names right: check more, or ask for less."
        return Rejection(target, None, 0.0, None, sentence)
    best = int(np.flatnonzero(shown)[-1])
    threshold, kept = float(sample.thresholds[best]), int(sample.kept[best])
    sentence = (
        f"Of the {kept:,} pictures ({percent(kept / sample.n_images)}) with a confidence of at least {threshold:.4g}, "
        f"at least {percent(target)} have the right name (95 % sure); leave the others aside."
    )
    return Rejection(target, threshold, kept / sample.n_images, float(bounds[best]), sentence)


def _bounds(sample: Sample, wrong: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the lower bound of the accuracy above each threshold, where (T,) draws above it were `wrong`."""
    if sample.is_everything:
        return 1 - wrong / sample.kept
    n = len(sample.pictures)
    most = np.where(wrong < n, betaincinv(wrong + 1, np.maximum(n - wrong, 1), CONFIDENCE), 1.0)
    bounds: NDArray[np.float64] = 1 - most * sample.n_images / sample.kept
    return bounds


def _first_candidate(sample: Sample, target: float) -> int | None:
    """Return where to begin, which must not depend on the answers; None where not even perfect answers show anything.

    That is where some errors may be seen without failing, a quarter of those that the target allows: one error among
    few draws would end the sequence at once. Where that is nowhere, no error may be seen.
    """
    allowed = np.ceil(len(sample.pictures) * sample.kept / sample.n_images * (1 - target) * _SLACK).astype(np.int64)
    for errors in (allowed, np.zeros_like(allowed)):
        possible = np.flatnonzero(_bounds(sample, errors) >= target)
        if len(possible):
            return int(possible[0])
    return None


def _too_few(sample: Sample, target: float) -> str:
    needed = min(math.ceil(math.log(1 - CONFIDENCE) / math.log(target)), sample.n_images)
    return (
        f"{len(sample.pictures):,} checked pictures cannot show that {percent(target)} are right, not even without "
        f"an error: it takes at least {needed:,}."
    )


def percent(share: float | None, *, down: bool = False, up: bool = False) -> str:
    """Write a share in per cent, rounded down or up where a bound must not be promised too tightly.

    >>> percent(0.97891), percent(0.97891, down=True), percent(0.99999), percent(1.0), percent(0.995)
    ('97.9 %', '97.8 %', '99.9 %', '100.0 %', '99.5 %')
    """
    assert share is not None
    tenths = 1000 * round(share, 12)
    whole = math.floor(tenths) if down else math.ceil(tenths) if up else round(tenths)
    if 0 < share < 1 and not (down or up):
        whole = min(max(whole, 1), 999)
    return f"{whole / 10:.1f} %"
