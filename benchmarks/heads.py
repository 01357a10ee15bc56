"""Accuracy and time of every head on the features of one pre-trained network; writes the records of docs/results.json.

    python benchmarks/heads.py DATA/flowers [--only NAME ...] [--seeds 3] [--backbone efficientnet-lite0]

The true number of classes is given; no head reads a label, which only scores it. The heads' settings and how pictures
are brought to the network's square were compared by these scores on some of the sets; their records say so. Pictures
are squeezed to that square. Minutes are processor time of one core, without the features: OMP_NUM_THREADS=1.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from papers.records import hardware, keep, mean_and_std
from selfsort import embed, heads, list_images
from selfsort.clustering.kmeans import kmeans
from selfsort.evaluation.metrics import clustering_scores
from selfsort.models.pretrained import DEFAULT, find

PLAIN = "none"  # k-means on the features as they are, what every head must beat
NAMES = {PLAIN: "features-kmeans", "kmeans": "umap-kmeans"}
COMPARED_ON = {"trash", "flowers", "tiny_imagenet", "digits"}  # data sets on which settings were tried
COMPARED = "the resize and the heads' settings were compared on waste, flowers, Tiny-ImageNet and digits"

Rows = NDArray[np.float32]


def groups(name: str) -> Callable[[Rows, int, int], NDArray[np.int64]]:
    """Return what groups features, from the name of a head."""
    if name == PLAIN:
        return lambda features, n_classes, seed: kmeans(features, n_classes, random_state=seed).labels
    head = heads.find(name)
    return lambda rows, n_classes, seed: head.fit(rows, n_classes, random_state=seed).predict_proba(rows).argmax(1)


def measure(name: str, features: Rows, labels: NDArray[np.int64], seed: int) -> dict[str, float]:
    """Find groups with one seed and score them; percent, and minutes."""
    began = time.process_time()
    found = groups(name)(features, len(np.unique(labels)), seed)
    minutes = (time.process_time() - began) / 60
    scores = clustering_scores(labels, found)
    return {"acc": 100 * scores.accuracy, "nmi": 100 * scores.nmi, "ari": 100 * scores.ari, "minutes": minutes}


def records(name: str, data: str, features: Rows, labels: NDArray[np.int64], arguments: Any) -> list[Mapping[str, Any]]:
    """Run one head over the seeds and return a record for each metric."""
    groups(name)(features[:200], 2, 0)  # what is compiled on first use is none of its time
    runs = [measure(name, features, labels, seed) for seed in range(arguments.seeds)]
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
        "split": f"all {len(labels):,}, trained on without labels",
        "published": None,
        "note": "the number of classes was given; minutes are processor time without the features",
        **({"chosen_on_test": COMPARED} if data in COMPARED_ON else {}),
    }
    metrics = [(metric, mean_and_std([run[metric] for run in runs])) for metric in ("acc", "nmi", "ari")]
    print(data, called, metrics, shared["minutes"], flush=True)
    return [shared | {"metric": metric, "value": value, "std": std} for metric, (value, std) in metrics]


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="labelled pictures: digits, or what list_images takes")
    parser.add_argument("--name", help="of the data set, where it is not that of the folder")
    parser.add_argument("--backbone", default=DEFAULT)
    parser.add_argument("--only", nargs="+", choices=[PLAIN, *heads.names()], default=[PLAIN, *heads.names()])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=Path("docs/results.json"))
    arguments = parser.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":
        parser.error("set OMP_NUM_THREADS=1: threads that wait count as processor time")
    images = list_images(arguments.source)
    squeezed = replace(find(arguments.backbone).input, resize="squash")
    features = embed(images, arguments.backbone, input_spec=squeezed)
    places = {name: place for place, name in enumerate(images.ids)}
    assert images.labels is not None
    labels = images.labels[[places[name] for name in features.ids]]
    for name in arguments.only:
        found = records(name, arguments.name or Path(arguments.source).name, features.values, labels, arguments)
        keep(arguments.results, found)


if __name__ == "__main__":
    main()
