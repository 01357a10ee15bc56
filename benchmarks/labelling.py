"""Accuracy by number of answers: naming groups compared with labelling single pictures; writes docs/results.json.

    python benchmarks/labelling.py digits|mnist|fashion-mnist [--data-root DIR] [--seeds 3] [--runs DIR] [--figure PNG]

The annotator is simulated: it sees the pictures that the page shows of a group, and true labels enter only through its
answers and in scoring. Each seed has its own SimCLR, kept in --runs. The curves use a head on the frozen embedding, the
same for every strategy; selfsort's final figures come after fine-tuning with all answers. "random" labels single
pictures drawn at random; "typical" those of highest density, one from each of as many k-means clusters as there are
labels (TypiClust: Hacohen, Dekel and Weinshall 2022).
"""

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from papers.records import hardware, keep, mean_and_std
from selfsort import LabelSession, load, load_images, methods
from selfsort.clustering import kmeans
from selfsort.clustering.neighbours import nearest
from selfsort.data.image_set import ImageSet
from selfsort.labelling.core.session import Targets
from selfsort.labelling.core.simulated import SimulatedAnnotator
from selfsort.labelling.learning.refine import refine
from selfsort.methods.base import Estimator
from selfsort.reporting.figures import Line, line_chart, save_png


@dataclass(frozen=True)
class Plan:
    """How a data set is labelled: the number of groups at first, and the answers after which to refine."""

    size: int | None
    views: str
    fit_epochs: int
    groups: int
    answers: tuple[int, ...]
    published: float | None
    note: str


PLANS = {
    "digits": Plan(16, "digits", 60, 20, (10, 20, 30, 40), 96.0, "the target"),
    "mnist": Plan(None, "digits", 8, 30, (10, 20, 30, 45, 60, 80), 98.4, "ladder network, 50 labelled pictures"),
    "fashion-mnist": Plan(None, "digits:horizontal_flip=0.5", 8, 60, (20, 40, 60, 75, 90, 120), 80.0, "the target"),
}


@dataclass(frozen=True)
class Data:
    """Pictures to name, and others to score on; for the digits, they are the same."""

    name: str
    train: ImageSet
    test: ImageSet

    def score(self, model: Estimator) -> float:
        """Return the share of test pictures, in percent, that get their true name."""
        assert self.test.labels is not None
        names = np.array(self.test.label_names)[self.test.labels]
        return 100 * float((model.predict(self.test) == names).mean())


def load_data(name: str, root: str | None) -> Data:
    """Load the training and the test part."""
    if name == "digits":
        digits = load_images("digits", size=PLANS[name].size)
        return Data(name, digits, digits)
    return Data(name, *(load_images(name, data_root=root, split=split) for split in ("train", "test")))


def fitted(data: Data, seed: int, runs: Path) -> Estimator:
    """Return the SimCLR of a seed, from its run folder if it exists."""
    plan, folder = PLANS[data.name], runs / f"{data.name}-{seed}"
    settings = {"views": plan.views, "epochs": str(plan.fit_epochs), "random_state": str(seed)}
    if not (folder / "model.safetensors").exists():
        methods.make("simclr", settings).fit(data.train, run_dir=folder, resume=True)
    model = load(folder)
    assert model.views == plan.views and model.epochs == plan.fit_epochs and model.random_state == seed
    return model


def by_groups(
    data: Data, model: Estimator, seed: int, errors: float, tune: bool = True
) -> Iterator[tuple[int, str, float]]:
    """Yield answers given, stage ("frozen" or "tuned") and test accuracy, naming groups."""
    plan = PLANS[data.name]
    labelling = LabelSession(model, data.train, n_groups=plan.groups, random_state=seed)
    annotator = SimulatedAnnotator(data.train.labels, data.train.label_names, error_rate=errors, random_state=seed)
    given = 0
    for step, limit in enumerate(plan.answers):
        while given < limit and (group := labelling.next()) is not None:
            labelling.apply(annotator.answer(group))
            given += 1
        if given < plan.groups:
            # Not all of the first groups are named yet: measure on the side and continue asking.
            model = refine(labelling.model, data.train, labelling.session.targets(), frozen=True)
        else:
            ahead = plan.answers[min(step + 1, len(plan.answers) - 1)] - limit
            model = labelling.refine(frozen=True, n_groups=max(1, ahead))
        yield given, "frozen", data.score(model)
    if tune:
        yield given, "tuned", data.score(labelling.refine(n_groups=0))


def by_pictures(data: Data, model: Estimator, seed: int, strategy: str) -> Iterator[tuple[int, float]]:
    """Yield labels used and test accuracy of a head on the frozen embedding, labelling single pictures."""
    for count in PLANS[data.name].answers:
        yield count, data.score(refine(model, data.train, single(data, model, seed, strategy, count), frozen=True))


def single(data: Data, model: Estimator, seed: int, strategy: str, count: int) -> Targets:
    """Return the targets of `count` single pictures and their true labels."""
    labels, names = data.train.labels, data.train.label_names
    assert labels is not None
    chosen = (random_pictures if strategy == "random" else typical_pictures)(model.embedding_, count, seed)
    soft = np.zeros((len(labels), len(names)), np.float32)
    soft[chosen, labels[chosen]] = 1
    return Targets(names, soft, soft.max(1))


def random_pictures(embedding: NDArray[np.float32], count: int, seed: int) -> NDArray[np.int64]:
    """Draw pictures at random."""
    return np.random.default_rng((seed, 7)).choice(len(embedding), count, replace=False)


def typical_pictures(embedding: NDArray[np.float32], count: int, seed: int) -> NDArray[np.int64]:
    """Choose the picture with the nearest 20 neighbours in each of `count` clusters, from at most 10,000 pictures."""
    pool = np.random.default_rng((seed, 8)).permutation(len(embedding))[:10_000]
    points = np.ascontiguousarray(embedding[pool])
    clusters = kmeans(points, count, restarts=3, iterations=25, random_state=seed).labels
    distance = np.sqrt(nearest(points, points, 21)[0][:, 1:]).mean(1)
    best = [np.flatnonzero(clusters == k)[distance[clusters == k].argmin()] for k in range(count)]
    return pool[best]


def measure(data: Data, seed: int, runs: Path, tune: str) -> dict[str, Any]:
    """Run everything for one seed."""
    model = fitted(data, seed, runs)
    started = time.monotonic()
    found: dict[str, Any] = {"clean": list(by_groups(data, model, seed, 0.0, tune != "none"))}
    found["minutes"] = model.run_["training"]["minutes"] + (time.monotonic() - started) / 60
    print(f"seed {seed}: {found['clean']}, {found['minutes']:.1f} min", flush=True)
    found["noisy"] = list(by_groups(data, model, seed, 0.1, tune == "both"))
    print(f"  10 % wrong: {found['noisy']}", flush=True)
    for strategy in ("random", "typical"):
        found[strategy] = list(by_pictures(data, model, seed, strategy))
        print(f"  {strategy}: {found[strategy]}", flush=True)
    return found


def curves(seeds: list[dict[str, Any]]) -> dict[str, list[tuple[int, list[float]]]]:
    """Collect, for each strategy, the accuracy of all seeds by number of answers, before any fine-tuning."""
    found: dict[str, dict[int, list[float]]] = {"groups": {}, "typical": {}, "random": {}}
    for seed in seeds:
        for given, stage, score in seed["clean"]:
            if stage == "frozen":
                found["groups"].setdefault(given, []).append(score)
        for strategy in ("typical", "random"):
            for given, score in seed[strategy]:
                found[strategy].setdefault(given, []).append(score)
    return {name: sorted(points.items()) for name, points in found.items()}


def records(data: Data, seeds: list[dict[str, Any]], tune: str) -> list[dict[str, Any]]:
    """Return the records of all seeds: final figures, and those of every strategy at the last number of answers."""
    plan = PLANS[data.name]
    finals = {}
    for name, key, tuned in (
        ("labelling", "clean", tune != "none"),
        ("labelling-10-percent-wrong", "noisy", tune == "both"),
    ):
        last = [seed[key][-1] for seed in seeds]
        finals[name if tuned else f"{name}-frozen"] = [score for *_, score in last], [given for given, *_ in last]
    for name, points in curves(seeds).items():
        for given, scores in points:
            if len(scores) == len(seeds):
                finals[f"labelling-curve-{name}-{given}"] = scores, [given]
    shared = {
        "dataset": data.name,
        "method": "simclr + LabelSession",
        "metric": "acc",
        "seeds": list(range(len(seeds))),
        "epochs": plan.fit_epochs,
        "split": f"test ({len(data.test):,})" if data.test is not data.train else f"all {len(data.train):,}",
        "minutes": round(statistics.mean(seed["minutes"] for seed in seeds), 2),
        "hardware": hardware(),
        "command": " ".join(["python", *sys.argv]),
        "weights": "none",
    }
    return [
        shared
        | dict(zip(("value", "std"), mean_and_std(scores), strict=True))
        | {"experiment": name, "labels_used": max(used)}
        | {
            "published": plan.published if name in ("labelling", "labelling-frozen") else None,
            "note": plan.note if name in ("labelling", "labelling-frozen") else "",
        }
        for name, (scores, used) in finals.items()
    ]


def main() -> None:
    """Run the requested measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", choices=PLANS)
    parser.add_argument("--data-root")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", type=Path, default=Path("runs/labelling"))
    parser.add_argument(
        "--tune",
        choices=("both", "clean", "none"),
        default="both",
        help="what to fine-tune: also after 10 %% wrong answers",
    )
    parser.add_argument("--results", type=Path, default=Path("docs/results.json"))
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    data = load_data(arguments.dataset, arguments.data_root)
    figure = arguments.figure or Path(f"docs/images/labelling-{arguments.dataset}.png")
    seeds: list[dict[str, Any]] = []
    for seed in range(arguments.seeds):
        seeds.append(measure(data, seed, arguments.runs, arguments.tune))
        # Saved after each seed, which takes many minutes, so that no measurement is lost.
        keep(arguments.results, records(data, seeds, arguments.tune))
        save_png(draw(curves(seeds)), figure)
    print(f"Wrote {arguments.results} and {figure}")


def draw(points: dict[str, list[tuple[int, list[float]]]]) -> bytes:
    """Draw accuracy by number of answers."""
    names = {"groups": "groups named", "typical": "single pictures, typical", "random": "single pictures, random"}
    lines = []
    for name, curve in points.items():
        means, spreads = zip(*((mean_and_std(scores)) for _, scores in curve), strict=True)
        lines.append(
            Line(names[name], [given for given, _ in curve], list(means), [spread or 0.0 for spread in spreads])
        )
    return line_chart(lines, "answers", "test accuracy (%), head on the frozen embedding")


if __name__ == "__main__":
    main()
