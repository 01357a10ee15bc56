"""Accuracy and time of every head on the features of one pre-trained network; writes the records of docs/results.json.

    python benchmarks/heads.py DATA/flowers [--only NAME ...] [--seeds 3] [--backbone efficientnet-lite0]
    python benchmarks/heads.py DATA/cifar10/train --test DATA/cifar10/test --name cifar10

The true number of classes is given; no head reads a label, which is used only for scoring: on the pictures themselves,
or on those of --test, to which no head was fitted. The heads' settings and how pictures are fitted to the network's
square were compared by these scores on some of the sets; their records say so. Pictures are squeezed to that square.
Minutes are CPU time of one core, without the features: OMP_NUM_THREADS=1.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from papers.records import hardware, keep, mean_and_std
from selfsort import embed, heads, list_images
from selfsort.clustering.kmeans import kmeans
from selfsort.clustering.neighbours import nearest
from selfsort.evaluation.metrics import clustering_scores
from selfsort.models.pretrained import DEFAULT, find

PLAIN = "none"  # k-means on the raw features, the baseline for every head
NAMES = {PLAIN: "features-kmeans", "kmeans": "umap-kmeans"}
COMPARED_ON = {"trash", "flowers", "tiny_imagenet", "digits"}  # data sets on which settings were tried
COMPARED = "the resize and the heads' settings were compared on waste, flowers, Tiny-ImageNet and digits"

Rows = NDArray[np.float32]


class Labelled(NamedTuple):
    """Features (N, D) of pictures and their labels (N,)."""

    features: Rows
    labels: NDArray[np.int64]


def groups(name: str) -> Callable[[Rows, Rows, int, int], NDArray[np.int64]]:
    """Return a function that finds groups in features and assigns others to them, from the name of a head."""
    if name == PLAIN:
        return lambda rows, asked, n_classes, seed: nearest(
            asked, kmeans(rows, n_classes, random_state=seed).centers, 1
        )[1][:, 0]
    head = heads.find(name)
    return lambda rows, asked, n_classes, seed: (
        head.fit(rows, n_classes, random_state=seed).predict_proba(asked).argmax(1)
    )


def measure(name: str, trained: Labelled, scored: Labelled, seed: int) -> dict[str, float]:
    """Find groups with one seed and return the scores in percent, and the minutes."""
    began = time.process_time()
    found = groups(name)(trained.features, scored.features, len(np.unique(scored.labels)), seed)
    minutes = (time.process_time() - began) / 60
    scores = clustering_scores(scored.labels, found)
    return {"acc": 100 * scores.accuracy, "nmi": 100 * scores.nmi, "ari": 100 * scores.ari, "minutes": minutes}


def records(name: str, data: str, trained: Labelled, scored: Labelled, arguments: Any) -> list[dict[str, Any]]:
    """Run one head over the seeds and return a record for each metric."""
    few = trained.features[:200]
    groups(name)(few, few, 2, 0)  # compile now what is compiled on first use, so that it is not timed
    runs = [measure(name, trained, scored, seed) for seed in range(arguments.seeds)]
    everything = f"all {len(trained.labels):,}, trained on without labels"
    apart = f"trained on {len(trained.labels):,} without labels, scored on {len(scored.labels):,} others"
    called = NAMES.get(name, name)
    shared = {
        "experiment": f"heads-{called}",
        "dataset": data,
        "method": "frozen",
        "seeds": list(range(arguments.seeds)),
        "epochs": 0,
        "labels_used": 0,
        "minutes": round(statistics.mean(run["minutes"] for run in runs), 2),
        "hardware": hardware(),
        "command": " ".join(["python", *sys.argv]),
        "weights": arguments.backbone,
        "split": everything if scored is trained else apart,
        "published": None,
        "note": "the number of classes was given; minutes are processor time without the features",
        **({"chosen_on_test": COMPARED} if data in COMPARED_ON else {}),
    }
    metrics = [(metric, mean_and_std([run[metric] for run in runs])) for metric in ("acc", "nmi", "ari")]
    print(data, called, metrics, shared["minutes"], flush=True)
    return [shared | {"metric": metric, "value": value, "std": std} for metric, (value, std) in metrics]


def labelled(source: str, backbone: str) -> Labelled:
    """Return the features of a source's pictures, squeezed to the network's square, and their labels."""
    images = list_images(source)
    features = embed(images, backbone, input_spec=replace(find(backbone).input, resize="squash"))
    places = {name: place for place, name in enumerate(images.ids)}
    assert images.labels is not None
    return Labelled(features.values, images.labels[[places[name] for name in features.ids]])


def main() -> None:
    """Run the requested heads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="labelled pictures: digits, or what list_images takes")
    parser.add_argument("--name", help="name of the data set, if not that of the folder")
    parser.add_argument("--test", metavar="SOURCE", help="labelled pictures to score on, instead of those grouped")
    parser.add_argument("--backbone", default=DEFAULT)
    parser.add_argument("--only", nargs="+", choices=[PLAIN, *heads.names()], default=[PLAIN, *heads.names()])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=Path("docs/results.json"))
    arguments = parser.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":
        parser.error("set OMP_NUM_THREADS=1: waiting threads count as CPU time")
    trained = labelled(arguments.source, arguments.backbone)
    scored = labelled(arguments.test, arguments.backbone) if arguments.test else trained
    for name in arguments.only:
        found = records(name, arguments.name or Path(arguments.source).name, trained, scored, arguments)
        keep(arguments.results, found)


if __name__ == "__main__":
    main()
