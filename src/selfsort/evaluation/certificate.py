"""Certificates: how many of a model's names are right, inferred from pictures checked at random.

The mathematics is in `sequence`, the draw in `draw`; docs/certificate.md explains both. In short: the pictures are in
two strata, those that the model doubts and the others, and are drawn without replacement. The intervals are valid at
any time, whenever checking stops. The figures of one name come from the pictures given that name (precision) and from
the others (recall), in the same strata. Pictures that were checked before the sample was drawn are "known": they count
as themselves, and the sample stands for the rest.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import takewhile
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from selfsort.errors import UserError
from selfsort.evaluation.draw import SampleDraw, turns
from selfsort.evaluation.sequence import Counts, guesses, least_log_wealth, wrong_range
from selfsort.schema import checked
from selfsort.spelling import JUNK, counted

CONFIDENCE = 0.95
_LIMIT = -math.log(1 - CONFIDENCE)  # of the logarithm of the wealth
_SPLITS = 24  # ways to split that limit between two numbers
_LEVELS = 20  # thresholds to choose from: the most confident 5 %, 10 %, … of the pictures
_STARTS = (0.5, 0.75, 1.0)  # shares of pictures whose thresholds each get a third of the risk
_MOST = 4096  # checks that `fewest_checks` considers


@dataclass(frozen=True)
class Share:
    """A share of right names: estimate (None if nothing was checked), 95 % interval, and relevant checked pictures."""

    estimate: float | None
    low: float
    high: float
    n: int

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high <= 1 or not 0 <= (self.estimate or 0) <= 1 or self.n < 0:
            raise ValueError(f"{self.estimate} between {self.low} and {self.high} of {self.n} is not a share")


@dataclass(frozen=True)
class ClassShare(Share):
    """The precision of one name (the share of right ones among all `pictures` given it) and its `recall`.

    The recall is the share of the pictures that really have the name that were also given it; older certificates have
    none.
    """

    name: str
    pictures: int
    recall: Share | None = None


@dataclass(frozen=True)
class Rejection:
    """A confidence threshold above which at least a share `target` of the names is right.

    Attributes
    ----------
    target : requested share of right names
    threshold : least confidence of the pictures to keep; None if nothing could be shown
    kept : share of all pictures at or above the threshold, 0 if there is none
    low : 95 % lower bound of the share of right names among them, None if there is no threshold
    sentence : a sentence for people

    """

    target: float
    threshold: float | None
    kept: float
    low: float | None
    sentence: str


@dataclass(frozen=True)
class Second:
    """What a second person said about some of the checked pictures.

    Attributes
    ----------
    checked : pictures that both people looked at
    disagreed : those to which they gave different names
    accuracy : share of names that both would call right, estimated from these pictures

    """

    checked: int
    disagreed: int
    accuracy: Share

    def __post_init__(self) -> None:
        if not 0 <= self.disagreed <= self.checked:
            raise ValueError(f"{self.disagreed} of {self.checked} cannot disagree")

    @property
    def sentence(self) -> str:
        """Return a sentence for people."""
        return (
            f"A second person looked at {self.checked:,} of the pictures and disagreed on {self.disagreed:,}: "
            f"by these pictures both would call {between(self.accuracy)} of all names right (95 % sure)."
        )


@dataclass(frozen=True)
class RoundOfChecks:
    """How many pictures were checked for the model after this number of `refinements`."""

    refinements: int
    checks: int


@dataclass(frozen=True)
class SampleFacts:
    """All that is needed to repeat a draw and its calculation; see `selfsort.evaluation.draw`.

    Attributes
    ----------
    seed : of the draw
    earlier : number of samples drawn before for this run
    rounds : checks of this sample, by the model for which they were made; the last model is the certified one
    strata_of : number of refinements of the model whose doubt defined the strata
    doubtful : which of all pictures are in the doubtful stratum, `packed`
    known : id and right name of each picture that was checked before the sample was drawn
    checks : id and right name of each picture of the sample, in the order of the draw
    second : id and name of each picture that a second person looked at, as given by that person

    """

    seed: int
    earlier: int
    rounds: tuple[RoundOfChecks, ...]
    strata_of: int
    doubtful: str
    known: tuple[tuple[str, str], ...] = ()
    checks: tuple[tuple[str, str], ...] = ()
    second: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Certificate:
    """What the checked pictures say about all pictures.

    Attributes
    ----------
    accuracy : share of right names
    per_class : precision and recall of each name, and of junk (what was thrown away); see `names` and `junk`
    rejection : a threshold on confidence, if one was requested
    pictures : number of all pictures
    checked : number of pictures checked, each counted once
    right : how many of the names drawn in the sample were right; None in older certificates
    known : how many of the checked pictures were checked before the sample was drawn
    second : what a second person said, if one looked
    sample : how the pictures were drawn; None in older certificates

    """

    accuracy: Share
    per_class: tuple[ClassShare, ...]
    rejection: Rejection | None
    pictures: int
    checked: int
    right: int | None = None
    known: int = 0
    second: Second | None = None
    sample: SampleFacts | None = None

    @property
    def sentence(self) -> str:
        """Return a sentence about the accuracy for people."""
        share = self.accuracy
        if self.checked == self.pictures:
            all_of_them = "The only picture was" if self.pictures == 1 else f"All {self.pictures:,} pictures were"
            return f"{all_of_them} checked: {percent(share.estimate)} of the names are right."
        drawn = self.checked - self.known
        seen = f"{percent(share.estimate)} of them" if self.right is None else f"{self.right:,}"
        before = f"; {self.known:,} more were known from earlier checks" if self.known else ""
        return (
            f"Of {counted(self.pictures, 'picture')}, between {percent(share.low, down=True)} and "
            f"{percent(share.high, up=True)} have the right name (95 % sure); of the {drawn:,} drawn at random and "
            f"checked, {seen} had it{before}."
        )

    @property
    def names(self) -> tuple[ClassShare, ...]:
        """Return the figures of every name."""
        return tuple(row for row in self.per_class if row.name != JUNK)

    @property
    def junk(self) -> ClassShare | None:
        """Return the figures of what was thrown away, which is not a name; None if nothing was."""
        return next((row for row in self.per_class if row.name == JUNK), None)

    @property
    def rows(self) -> tuple[ClassShare, ...]:
        """Return the rows of a table for people: the names, then what was thrown away, if anything was."""
        thrown = () if self.junk is None else (replace(self.junk, name=f"{JUNK} (thrown away)"),)
        return (*self.names, *thrown)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON; shares are fractions from 0 to 1."""
        return asdict(self) | {"sentence": self.sentence, "confidence": CONFIDENCE}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Undo `to_json`; raise `Invalid` for values that it cannot have returned."""
        return checked(cls, dict(content))


@dataclass(frozen=True, eq=False)
class NamedPredictions:
    """A model's predictions for N pictures: K `names`, positions `predicted` (N,) in them, and `confidence` (N,)."""

    names: tuple[str, ...]
    predicted: NDArray[np.int64]
    confidence: NDArray[np.float32]

    @property
    def doubt(self) -> NDArray[np.float32]:
        """Return (N,) the chance that each prediction is wrong, according to the model."""
        doubt: NDArray[np.float32] = 1 - self.confidence
        return doubt


def certify(
    predictions: NamedPredictions,
    draw: SampleDraw,
    truth: Mapping[int, str],
    *,
    target: float | None = None,
    second: Mapping[int, str] | None = None,
) -> Certificate:
    """Infer from checked pictures how many of all names are right.

    `truth` gives the right names of all `draw.known` pictures and of the first ones in `draw.order`. Each interval
    holds with 95 % on its own, not all of them at once. `target` requests a rejection threshold. `second` gives the
    names that a second person gave to some of the same pictures.

    Raises
    ------
    ValueError
        If `truth` is of other pictures.

    """
    population = Population(predictions, draw, truth)
    return Certificate(
        population.accuracy(),
        population.per_class(),
        None if target is None else rejection_threshold(population, target),
        len(draw.doubtful),
        len(truth),
        int(population.right[population.drawn].sum()),
        int(draw.known.sum()),
        _second(population, truth, second or {}),
    )


class Population:
    """All pictures, and the right names of the checked ones."""

    def __init__(self, predictions: NamedPredictions, draw: SampleDraw, truth: Mapping[int, str]):
        self.predictions, self.draw = predictions, draw
        n, n_known = len(draw.doubtful), int(draw.known.sum())
        self.drawn = draw.order[: len(truth) - n_known]
        places = np.concatenate([np.flatnonzero(draw.known), self.drawn])
        if len(predictions.predicted) != n or set(places.tolist()) != set(truth):
            raise ValueError(f"The right names of {counted(len(truth), 'picture')} do not fit the sample.")
        # The number of each checked picture's right name; names unknown to the model come after its own.
        number = {name: place for place, name in enumerate(predictions.names)}
        self.truth = np.full(n, -1)
        for place in places.tolist():
            self.truth[place] = number.setdefault(truth[place], len(number))
        self.checked = self.truth >= 0
        self.right = self.checked & (self.truth == predictions.predicted)
        self.stratum = np.where(draw.known, 2, draw.doubtful.astype(np.int64))
        parts = [predictions.doubt[draw.doubtful == stratum] for stratum in (False, True)]
        self.expected = np.array([part.mean(dtype=np.float64) if len(part) else 0.1 for part in parts])
        self.log_weights = guesses(self.expected)

    def accuracy(self) -> Share:
        """Return the share of right names among all pictures."""
        everything = np.zeros(len(self.right), np.int64)
        return self.shares(self.table(everything, self.checked & ~self.right, 1))[0]

    def per_class(self) -> tuple[ClassShare, ...]:
        """Return precision and recall of each name."""
        names = self.predictions.names
        table = self.table(self.predictions.predicted, self.checked & ~self.right, len(names))
        sizes = table[:, 2].sum(1).tolist()
        rows = zip(names, self.shares(table), sizes, self.recalls(table), strict=True)
        return tuple(
            ClassShare(share.estimate, share.low, share.high, share.n, name, size, recall)
            for name, share, size, recall in rows
        )

    def recalls(self, precision: NDArray[np.int64]) -> list[Share]:
        """Return the recall of each name, found / (found + missed), given the table of the precision.

        Each picture drawn bears on only one of the two numbers, so their wealths multiply; the possible recalls are
        those of all pairs of numbers whose joint wealth is below the limit. The limit is split between the two in
        steps: where one number takes up to a step, the other gets what the step before left.
        """
        others = precision.sum(0) - precision
        others[:, 0] = self.missed(len(precision))
        rates = guesses(self.expected / max(1, len(precision) - 1))
        lost, missed, known = _drawn(precision), _drawn(others), precision[:, 0, 2]
        least = least_log_wealth(lost, self.log_weights)
        most = _LIMIT - least_log_wealth(missed, rates)
        steps = least + np.linspace(0, 1, _SPLITS + 1)[:, None] * (most - least)
        few, many = wrong_range(_each(lost, _SPLITS), self.log_weights, steps[1:])
        none, some = wrong_range(_each(missed, _SPLITS), rates, _LIMIT - steps[:-1])
        sizes, more = precision[:, 2].sum(1), others[:, 0, 2]
        low = _ratio(sizes - known - many, more + some, 0.0).min(0)
        high = _ratio(sizes - known - few, more + none, 1.0).max(0)
        found = sizes * (1 - _rate(precision))
        estimate = _ratio(found, others[:, 2].sum(1) * _rate(others), 0.0).clip(low, high)
        n = np.bincount(self.truth[self.checked], minlength=len(precision))[: len(precision)]
        rows = zip(estimate.tolist(), low.tolist(), high.tolist(), n.tolist(), strict=True)
        return [Share(value if count else None, least, most, count) for value, least, most, count in rows]

    def missed(self, n_names: int) -> NDArray[np.int64]:
        """Return (K, 3): how many checked pictures of each stratum have each name without being given it."""
        missed = self.checked & ~self.right & (self.truth < n_names)
        cells = self.truth[missed] * 3 + self.stratum[missed]
        return np.bincount(cells, minlength=3 * n_names).reshape(n_names, 3)

    def table(self, part: NDArray[np.int64], wrong: NDArray[np.bool_], n_parts: int) -> NDArray[np.int64]:
        """Return (P, 3, 3): numbers of wrong, checked and all pictures of each `part` (N,), by stratum.

        The strata are sure, doubtful and known pictures.
        """
        cell = part * 3 + self.stratum
        counts = [
            np.bincount(cell[which], minlength=3 * n_parts).reshape(n_parts, 3)
            for which in (wrong, self.checked, np.ones_like(wrong))
        ]
        table: NDArray[np.int64] = np.stack(counts, 1).astype(np.int64)
        return table

    def shares(self, table: NDArray[np.int64]) -> list[Share]:
        """Return the share of right pictures in each part of a `table`."""
        seen, sizes = table[:, 1].sum(1), table[:, 2].sum(1)
        low, high = self.wrong_range(table)
        whole = np.maximum(sizes, 1)
        least, most = np.where(sizes, 1 - high / whole, 0.0), 1 - low / whole
        estimate = np.clip(1 - _rate(table), least, most)
        rows = zip(estimate.tolist(), least.tolist(), most.tolist(), seen.tolist(), strict=True)
        return [Share(value if n else None, low, high, n) for value, low, high, n in rows]

    def wrong_range(
        self, table: NDArray[np.int64], log_limit: float = _LIMIT
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the least and largest possible number of wrong pictures in each part of a `table`."""
        low, high = wrong_range(_drawn(table), self.log_weights, log_limit)
        return low + table[:, 0, 2], high + table[:, 0, 2]


def _drawn(table: NDArray[np.int64]) -> Counts:
    return Counts(*(table[:, row, :2] for row in range(3)))


def _each(counts: Counts, n: int) -> Counts:
    return Counts(*(np.broadcast_to(part, (n, *part.shape)) for part in counts))


def _rate(table: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the estimated share of wrong pictures in each part, weighting strata with any checks by their size."""
    wrong, seen, sizes = table[:, 0], table[:, 1], table[:, 2]
    rates = np.divide(wrong, seen, out=np.zeros(wrong.shape), where=seen > 0)
    weights = np.where(seen > 0, sizes, 0)
    found: NDArray[np.float64] = (rates * weights).sum(1) / np.maximum(weights.sum(1), 1)
    return found


def _ratio(part: NDArray[Any], rest: NDArray[Any], neither: float) -> NDArray[np.float64]:
    both = part + rest
    found: NDArray[np.float64] = np.divide(part, both, out=np.full(both.shape, neither), where=both > 0)
    return found


def _second(population: Population, truth: Mapping[int, str], second: Mapping[int, str]) -> Second | None:
    """Infer what both people agree on: the second follows the order of the draw, too, so both saw a shorter sample."""
    drawn = population.drawn.tolist()
    both = list(takewhile(second.__contains__, drawn))
    if not both:
        return None
    differ = [place for place in both if second[place] != truth[place]]
    left_out = set(drawn[len(both) :])
    # Where they differ, a name that no picture has, so that the prediction counts as wrong.
    agreed = {place: name for place, name in truth.items() if place not in left_out} | dict.fromkeys(differ, "")
    shorter = Population(population.predictions, population.draw, agreed)
    return Second(len(both), len(differ), shorter.accuracy())


def rejection_threshold(population: Population, target: float) -> Rejection:
    """Find the lowest threshold on confidence above which a share `target` of the names is shown to be right.

    The risk that it is not is at most 5 %, whenever checking stops. Thresholds are quantiles of confidence, fixed
    before anybody looks. The thresholds for the more confident half, for three quarters and for all pictures each
    start with a third of the risk, and one that is shown to be true passes its risk on to the next lower one. So the
    risks of those that are false never add up to more than the total (the fallback procedure: Wiens 2003; for
    thresholds, in a fixed sequence: Angelopoulos et al. 2021, arXiv:2110.01052). Raises `UserError` for a target that
    is not between 0 and 1.
    """
    if not 0 < target < 1:
        raise UserError(f"A target of {target} is not a share: choose one between 0 and 1, such as 0.99.")
    thresholds, table = _above(population)
    kept, n = table[:, 2].sum(1), len(population.right)
    own = np.bincount(np.searchsorted(kept, np.array(_STARTS) * n), minlength=len(kept)) / len(_STARTS)
    best, low, risk = None, 0.0, 0.0
    for place, part in enumerate(own):
        risk += part
        if risk == 0:
            continue
        row = table[place : place + 1]
        bound = float(1 - population.wrong_range(row, _LIMIT - math.log(risk))[1][0] / kept[place])
        if bound >= target:
            best, low = place, bound
        else:
            risk = 0.0
    if best is None:
        return Rejection(target, None, 0.0, None, _nothing_shown(population, target))
    threshold, count = float(thresholds[best]), int(kept[best])
    sentence = (
        f"Of the {counted(count, 'picture')} ({percent(count / n)}) with a confidence of at least {threshold:.4g}, "
        f"at least {percent(target)} have the right name (95 % sure); do not rely on the others."
    )
    return Rejection(target, threshold, count / n, low, sentence)


def _above(population: Population) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the thresholds, highest first, and the table of the pictures at or above each."""
    sure = population.predictions.confidence.astype(np.float64)
    ranked = np.sort(sure)[::-1]
    wanted = -(-np.arange(1, _LEVELS + 1) * len(sure) // _LEVELS) - 1
    thresholds = np.unique(ranked[wanted])[::-1]
    level = np.searchsorted(-thresholds, -sure, side="left")
    table = population.table(level, population.checked & ~population.right, len(thresholds))
    return thresholds, table.cumsum(0)


def _nothing_shown(population: Population, target: float) -> str:
    needed, n = fewest_checks(population, target), int(population.checked.sum())
    if n < needed:
        return (
            f"{n:,} checked pictures cannot show that {percent(target)} are right, even without an error: that takes "
            f"about {needed:,}."
        )
    return f"No threshold was shown to make {percent(target)} of the names right: check more, or ask for less."


def fewest_checks(population: Population, target: float) -> int:
    """Return how many checks without an error would show that a share `target` of all names is right."""
    doubtful = population.draw.doubtful
    sizes = np.array([(~doubtful).sum(), doubtful.sum()])
    n = np.arange(1, min(len(doubtful), _MOST))
    seen = np.minimum(turns(n), sizes)
    counts = Counts(np.zeros_like(seen), seen, np.broadcast_to(sizes, seen.shape))
    most = wrong_range(counts, population.log_weights, _LIMIT + math.log(len(_STARTS)))[1]
    enough = np.flatnonzero(1 - most / len(doubtful) >= target)
    return int(n[enough[0]]) if len(enough) else len(doubtful)


def percent(share: float | None, *, down: bool = False, up: bool = False) -> str:
    """Write a share in per cent; round bounds down or up, so that they do not claim too much.

    >>> percent(0.97891), percent(0.97891, down=True), percent(0.99999), percent(1.0), percent(0.995)
    ('97.9 %', '97.8 %', '99.9 %', '100.0 %', '99.5 %')
    """
    assert share is not None
    tenths = 1000 * round(share, 12)
    whole = math.floor(tenths) if down else math.ceil(tenths) if up else round(tenths)
    if 0 < share < 1 and not (down or up):
        whole = min(max(whole, 1), 999)
    return f"{whole / 10:.1f} %"


def between(share: Share) -> str:
    """Write the interval of a share for people; a share that is known exactly is one number."""
    if share.low == share.high:
        return percent(share.low)
    return f"{percent(share.low, down=True).removesuffix(' %')} to {percent(share.high, up=True)}"
