"""Accuracy of the methods over several seeds; writes the records of docs/results.json and docs/results.md.

    python benchmarks/accuracy.py digits [--seeds 3] [--only NAME ...] [--results docs/results.json]
    python benchmarks/accuracy.py DATA/flowers --only frozen features-kmeans ...

Labels are read only after training, for scoring; nothing is chosen by them. The clusters of the last epoch count.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from papers.records import hardware, keep, mean_and_std
from selfsort import embed, list_images, load_images, methods
from selfsort.data.image_set import ImageSet
from selfsort.evaluation.metrics import clustering_scores
from selfsort.evaluation.protocol import Labelled, evaluate_probe
from selfsort.models.pretrained import DEFAULT


@dataclass(frozen=True)
class Experiment:
    """A method, its settings, and what a published or earlier figure says."""

    method: str
    settings: Mapping[str, str]
    published: float | None = None
    note: str = ""
    chosen_on_test: str = ""


_TRIALS = "views and epochs were picked in trials on these digits"
# Settings shared by all seeds; those of `simclr` are the demo's.
EXPERIMENTS = {
    "kmeans-pixels": Experiment("kmeans", {}, 79.0, "before the first line was written: 79 %"),
    "kmeans-pixels-umap": Experiment(
        "kmeans", {"cluster_space": "umap"}, 88.0, "before the first line was written: 88 %"
    ),
    "conv-autoencoder": Experiment("conv-autoencoder", {"epochs": "60"}),
    "simclr": Experiment(
        "simclr",
        {"views": "digits", "epochs": "60"},
        90.0,
        "the target",
        _TRIALS,
    ),
    "simclr-umap": Experiment(
        "simclr", {"views": "digits", "epochs": "60", "cluster_space": "umap"}, chosen_on_test=_TRIALS
    ),
    "self-classifier": Experiment("self-classifier", {"views": "digits", "epochs": "60"}),
    # Pre-trained features; the first is what a user would do without selfsort, in 20 lines.
    "features-kmeans": Experiment("features-kmeans", {}, note="scikit-learn's k-means on the same features"),
    "frozen": Experiment("frozen", {}, note="the number of classes was given"),
    "frozen-auto": Experiment("frozen", {"n_classes": "auto"}, note="the number of classes was estimated"),
}
ON_FEATURES = ("features-kmeans", "frozen", "frozen-auto")


def measure(images: ImageSet, experiment: Experiment, seed: int) -> dict[str, float]:
    """Fit with one seed and return the scores as fractions, and the minutes."""
    started = time.monotonic()
    ids, embedding, clusters = fitted(images, experiment, seed)
    minutes = (time.monotonic() - started) / 60
    assert images.labels is not None
    places = {name: place for place, name in enumerate(images.ids)}
    labels = images.labels[[places[name] for name in ids]]
    scores = clustering_scores(labels, clusters, label_names=images.label_names)
    probe = evaluate_probe("linear", Labelled(embedding, labels, images.label_names), None, random_state=seed)
    figures = {"acc": scores.accuracy, "nmi": scores.nmi, "ari": scores.ari, "linear_probe_last": probe["accuracy"]}
    print(
        f"  seed {seed}: " + ", ".join(f"{k} {100 * v:.1f}" for k, v in figures.items()) + f", {minutes:.2f} min",
        flush=True,
    )
    return figures | {"minutes": minutes}


def fitted(images: ImageSet, experiment: Experiment, seed: int) -> tuple[tuple[str, ...], Any, Any]:
    """Return the ids, the embedding and the clusters of the pictures that could be read."""
    settings = {"n_classes": str(len(images.label_names)), **experiment.settings}
    if experiment.method == "features-kmeans":
        from sklearn.cluster import KMeans

        features = embed(images)
        kmeans = KMeans(int(settings["n_classes"]), n_init=10, random_state=seed)
        return features.ids, features.values, kmeans.fit_predict(features.values)
    model = methods.make(experiment.method, settings | {"random_state": str(seed)}).fit(images)
    return model.ids_, model.embedding_, model.labels_


def records(name: str, source: str, images: ImageSet, seeds: int) -> list[dict[str, Any]]:
    """Run one experiment over its seeds and return a record for each metric."""
    experiment = EXPERIMENTS[name]
    print(name)
    runs = [measure(images, experiment, seed) for seed in range(seeds)]
    shared = {
        "experiment": name,
        "dataset": Path(source).name,
        "method": experiment.method,
        "seeds": list(range(seeds)),
        "epochs": int(experiment.settings.get("epochs", 0)),
        "labels_used": 0,
        "minutes": round(statistics.mean(run["minutes"] for run in runs), 2),
        "hardware": hardware(),
        "command": " ".join(["python", *sys.argv]),
        "weights": DEFAULT if name in ON_FEATURES else "none",
    }
    return [
        shared | record(metric, [run[metric] for run in runs], experiment, len(images))
        for metric in runs[0]
        if metric != "minutes"
    ]


def record(metric: str, values: list[float], experiment: Experiment, n_images: int) -> dict[str, Any]:
    """Return the fields specific to one metric, in percent."""
    value, std = mean_and_std([100 * value for value in values])
    probe = metric == "linear_probe_last"
    return {
        "metric": metric,
        "value": value,
        "std": std,
        "split": "a seeded, stratified 20 %" if probe else f"all {n_images:,}, trained on without labels",
        "labels_used": round(0.8 * n_images) if probe else 0,
        "published": experiment.published if metric == "acc" else None,
        "note": experiment.note if metric == "acc" else "",
        **({"chosen_on_test": experiment.chosen_on_test} if experiment.chosen_on_test else {}),
    }


def main() -> None:
    """Run the requested experiments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="labelled pictures: digits, or what load_images takes")
    parser.add_argument("--size", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=3)
    from_nothing = [name for name in EXPERIMENTS if name not in ON_FEATURES]
    parser.add_argument("--only", nargs="+", choices=EXPERIMENTS, default=from_nothing)
    parser.add_argument("--results", type=Path, default=Path("docs/results.json"))
    arguments = parser.parse_args()
    listed = list_images(arguments.source)
    for name in arguments.only:
        images = listed if name in ON_FEATURES else load_images(arguments.source, size=arguments.size)
        keep(arguments.results, records(name, arguments.source, images, arguments.seeds))


if __name__ == "__main__":
    main()
