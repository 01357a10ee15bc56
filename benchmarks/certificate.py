"""Number of checks until a certificate shows that 90 % of the names are right, and the coverage of its intervals.

There are 5,000 pictures, 95, 96 or 98 % of them correctly named. The model's doubt about a picture is a logit-normal
probability of being wrong; the errors are drawn from it (calibrated: it separates right from wrong with an area under
the curve of 0.90), or the doubt is then made much smaller (overconfident) or larger (underconfident), or assigned in
reverse order, so that the errors are where none is expected (adversarial). Each of many runs draws and looks after
every check. The program prints

- the share of runs whose interval contains the truth at all looks;
- the number of checks until the interval begins at 90 %, on average and such that four runs in five need no more, and
  the size for which Clopper and Pearson's interval, looked at once, begins there in four cases of five (in 95 of 100);
- the mean width of the interval after 200 checks, and that of Clopper and Pearson's.

At 95 % also for peers, each looked at once, at the size just mentioned; their intervals are normal approximations.
ssepy (`pip install --no-deps ssepy`: stratified, Neyman's allocation, the difference estimator) and PPI++ (`pip install
--no-deps ppi-python`) if they are installed; StratPPI, which has no package (November 2026), from its paper (Fisch et
al. 2024, arXiv 2406.04291): ten strata of equal size by doubt, each with a weight of its own for the model's
predictions, allocated in proportion to the standard deviations that the doubt implies.

    python benchmarks/certificate.py [--runs 2000] [--peers] [--json FILE]
"""

import argparse
import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table
from scipy.special import expit, logit
from scipy.stats import beta, binom

from measuring import write_json
from selfsort.evaluation.draw import most_doubtful, turns
from selfsort.evaluation.sequence import Counts, guesses, log_wealth, wrong_range

PICTURES = 5000
GOAL = 0.9
MOST = 600  # checks per run
TURN = np.arange(MOST) % 3 == 2
LIMIT = math.log(20)
ACCURACIES = (0.95, 0.96, 0.98)
STRATA = 10
SPREAD = 2.0  # standard deviation of the log odds of being wrong
KINDS = ("calibrated", "overconfident", "underconfident", "adversarial")

Flags = NDArray[np.bool_]
Real = NDArray[np.float64]


class Measured(NamedTuple):
    """Results of many runs on one population."""

    coverage: float
    mean: float
    four_in_five: float
    width: float


def population(kind: str, accuracy: float) -> tuple[Flags, Real]:
    """Return which pictures are wrong, and the model's doubt about each."""
    random = np.random.default_rng(1)
    spread = random.normal(0, SPREAD, PICTURES)
    low, high = -15.0, 5.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if expit(spread + middle).mean() > 1 - accuracy else (middle, high)
    chance = expit(spread + low)
    # Exactly as many errors as the accuracy implies, each picture weighted by its odds.
    keys = np.log(-np.log(random.random(PICTURES))) - logit(chance)
    wrong = np.zeros(PICTURES, np.bool_)
    wrong[np.argsort(keys)[: round((1 - accuracy) * PICTURES)]] = True
    ranked = np.argsort(chance)
    turned = np.empty(PICTURES)
    turned[ranked] = chance[ranked[::-1]]
    doubts = {
        "calibrated": chance,
        "overconfident": expit(2 * logit(chance)) / 2,
        "underconfident": expit(logit(chance) / 2 + 0.5),
        "adversarial": turned,
    }
    return wrong, doubts[kind]


def samples(wrong: Flags, doubtful: Flags, runs: int) -> NDArray[np.int64]:
    """Return the wrong pictures that many runs have seen after each check: (R, T, 2)."""
    random = np.random.default_rng(2)
    seen = np.zeros((runs, MOST, 2), np.int16)
    for stratum in (0, 1):
        members, places = np.flatnonzero(doubtful == stratum), np.flatnonzero(TURN == stratum)
        for run in range(runs):
            seen[run, places, stratum] = wrong[random.permutation(members)[: len(places)]]
    return seen.cumsum(1, dtype=np.int64)


def measure(kind: str, accuracy: float, runs: int) -> Measured:
    """Simulate many runs on one population."""
    wrong, doubt = population(kind, accuracy)
    doubtful = most_doubtful(doubt)
    weights = guesses(np.array([doubt[doubtful == stratum].mean() for stratum in (0, 1)]))
    refused = np.int64(math.floor((1 - GOAL) * PICTURES) + 1)  # the smallest number of errors that misses the goal
    seen = samples(wrong, doubtful, runs)
    # Many runs pass through the same states, so each is evaluated only once.
    sizes = np.array([(~doubtful).sum(), doubtful.sum()])
    after = np.broadcast_to(np.arange(1, MOST + 1), seen.shape[:2])
    keys, place = np.unique((after * MOST + seen[..., 0]) * MOST + seen[..., 1], return_inverse=True)
    state = np.stack([keys // MOST % MOST, keys % MOST], -1)
    counts = Counts(state, turns(keys // MOST**2), np.broadcast_to(sizes, state.shape))
    holds = log_wealth(counts, weights, np.int64(wrong.sum())) < LIMIT
    low, high = wrong_range(counts, weights, LIMIT)
    held, shown = holds[place].all(axis=1), (high < refused)[place]
    checks = np.where(shown.any(axis=1), shown.argmax(axis=1) + 1, MOST)
    width = ((high - low) / PICTURES)[place[:, 199]].mean()
    return Measured(float(held.mean()), float(checks.mean()), float(np.quantile(checks, 0.8)), float(width))


@lru_cache
def planned(accuracy: float, power: float = 0.8) -> int:
    """Return the size from which Clopper and Pearson's interval begins at the goal with the given power."""
    short = 0
    for n in range(20, 1500):
        errors = np.arange(n // 5 + 1)
        enough = np.flatnonzero(beta.ppf(0.025, n - errors, errors + 1) >= GOAL)
        if not len(enough) or binom.cdf(enough[-1], n, 1 - accuracy) < power:
            short = n
    return short + 1


def clopper_pearson_width(accuracy: float, n: int = 200) -> float:
    """Return the mean width of Clopper and Pearson's interval."""
    errors = np.arange(n + 1)
    low = np.nan_to_num(beta.ppf(0.025, n - errors, errors + 1))
    high = np.nan_to_num(beta.ppf(0.975, n - errors + 1, errors), nan=1.0)
    return float((high - low) @ binom.pmf(errors, n, 1 - accuracy))


def peers() -> dict[str, Callable[[Flags, Real, int, np.random.Generator], tuple[float, float]]]:
    """Return the peers at hand: each draws, looks once, and returns its interval for the accuracy."""
    found: dict[str, Callable[[Flags, Real, int, np.random.Generator], tuple[float, float]]] = {"StratPPI": strat_ppi}
    try:
        import random as python_random

        from sklearn.cluster import KMeans
        from ssepy import ModelPerformanceEvaluator
    except ImportError:
        pass
    else:
        strata: dict[int, KMeans] = {}

        def ssepy(wrong: Flags, doubt: Real, n: int, random: np.random.Generator) -> tuple[float, float]:
            python_random.seed(int(random.integers(2**31)))
            np.random.seed(int(random.integers(2**31)))
            evaluator = ModelPerformanceEvaluator(Yh=1 - doubt, budget=n)
            evaluator.stratify_data(_once(strata, doubt), X=1 - doubt)
            evaluator.allocate_budget(allocation_type="neyman")
            drawn = evaluator.sample(sampling_method="ssrs")
            right = (~wrong[drawn]).astype(float)
            mean, variance = evaluator.compute_estimate(right, estimator="df")
            return _normal(float(mean[0]), float(variance[0]))

        found["ssepy"] = ssepy
    try:
        from ppi_py import ppi_mean_ci
    except ImportError:
        pass
    else:

        def ppi(wrong: Flags, doubt: Real, n: int, random: np.random.Generator) -> tuple[float, float]:
            drawn = random.choice(len(wrong), n, replace=False)
            rest = np.setdiff1d(np.arange(len(wrong)), drawn)
            ends = ppi_mean_ci((~wrong[drawn]).astype(float), 1 - doubt[drawn], 1 - doubt[rest], alpha=0.05)
            return float(ends[0][0]), float(ends[1][0])

        found["PPI++"] = ppi
    return found


def strat_ppi(wrong: Flags, doubt: Real, n: int, random: np.random.Generator) -> tuple[float, float]:
    """Return StratPPI's interval for the accuracy, from `n` checks that are drawn stratum by stratum."""
    strata = np.array_split(np.argsort(doubt, kind="stable"), STRATA)
    implied = np.array([math.sqrt((doubt[members] * (1 - doubt[members])).mean()) for members in strata])
    # Two of each at least, for a variance; the rest in proportion to what a stratum is expected to add to the total's.
    sizes = 2 + np.diff(np.rint(np.cumsum(implied) / implied.sum() * (n - 2 * STRATA)), prepend=0).astype(int)
    mean, variance = 0.0, 0.0
    for members, size in zip(strata, sizes, strict=True):
        order = random.permutation(members)
        drawn, rest = order[:size], order[size:]
        right, said, others = (~wrong[drawn]).astype(float), 1 - doubt[drawn], 1 - doubt[rest]
        spread = (1 + size / len(rest)) * float(np.var(1 - doubt[members]))
        weight = float(np.clip(np.cov(right, said)[0, 1] / spread, 0, 1)) if spread else 0.0
        share = len(members) / len(wrong)
        mean += share * float(weight * others.mean() + (right - weight * said).mean())
        errors = np.var(right - weight * said, ddof=1) / size
        variance += share**2 * float(errors + weight**2 * np.var(others) / len(rest))
    return _normal(mean, variance)


class _Fitted:
    """A pre-fitted clustering: ssepy would fit it for every sample, with the same result."""

    def __init__(self, model, labels):  # type: ignore[no-untyped-def]
        self.cluster_centers_, self._labels = model.cluster_centers_, labels

    def fit(self, _points):  # type: ignore[no-untyped-def]
        return self

    def predict(self, _points):  # type: ignore[no-untyped-def]
        return self._labels


def _once(known, doubt: Real):  # type: ignore[no-untyped-def]
    from sklearn.cluster import KMeans

    if id(doubt) not in known:
        points = (1 - doubt).reshape(-1, 1)
        model = KMeans(n_clusters=5, random_state=0, n_init="auto").fit(points)
        known[id(doubt)] = _Fitted(model, model.predict(points))
    return known[id(doubt)]


def _normal(mean: float, variance: float) -> tuple[float, float]:
    half = 1.96 * math.sqrt(variance)
    return mean - half, mean + half


def compare(runs: int, figures: dict[str, float]) -> None:
    """Print how often each peer's interval, looked at once, contains the truth and begins at the goal."""
    accuracy = 0.95
    n = planned(accuracy)
    table = Table("model", "peer", "holds the truth", "begins at 90 %", "width", box=box.SIMPLE)
    table.title = f"Looked at once, after {n} checks, {accuracy:.0%} right"
    for kind in KINDS:
        wrong, doubt = population(kind, accuracy)
        for name, interval in peers().items():
            random = np.random.default_rng(4)
            ends = np.array([interval(wrong, doubt, n, random) for _ in range(runs)])
            holds = float(((ends[:, 0] <= accuracy) & (accuracy <= ends[:, 1])).mean())
            begins, width = float((ends[:, 0] >= GOAL).mean()), float((ends[:, 1] - ends[:, 0]).mean())
            table.add_row(kind, name, f"{holds:.1%}", f"{begins:.1%}", f"{100 * width:.1f}")
            figures |= {f"{kind} {name} holds": holds, f"{kind} {name} begins": begins}
    Console().print(table)


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--peers", action="store_true", help="also the peers, at 95 %%")
    parser.add_argument("--json")
    options = parser.parse_args()
    table = Table("model", "right", "holds", "mean", "4 in 5", "planned", "saved", "width", "theirs", box=box.SIMPLE)
    figures: dict[str, float] = {}
    for kind in KINDS:
        for accuracy in ACCURACIES:
            found, plan = measure(kind, accuracy, options.runs), planned(accuracy)
            saved, theirs, safer = 1 - found.mean / plan, clopper_pearson_width(accuracy), planned(accuracy, 0.95)
            cells = (
                f"{found.coverage:.1%}",
                f"{found.mean:.0f}",
                f"{found.four_in_five:.0f}",
                f"{plan} ({safer})",
                f"{saved:.0%} ({1 - found.mean / safer:.0%})",
            )
            widths = (f"{100 * found.width:.1f}", f"{100 * theirs:.1f}")
            table.add_row(kind, f"{accuracy:.0%}", *cells, *widths)
            figures |= {f"{kind} {accuracy} {name}": value for name, value in found._asdict().items()}
            figures |= {f"{kind} {accuracy} planned": plan, f"{kind} {accuracy} planned for 95 %": safer}
    Console().print(table)
    if options.peers:
        compare(options.runs, figures)
    write_json(options.json, figures)


if __name__ == "__main__":
    main()
