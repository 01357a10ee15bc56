"""Accuracy by number of answers when names spread live, as on the page; writes docs/results.json.

    python benchmarks/naming.py DATA/trash [--seeds 3] [--results docs/results.json]
    python benchmarks/naming.py DATA/cifar10/train --test DATA/cifar10/test --name cifar10

The pictures are fitted with `frozen`, and the page's own service asks the simulated annotator, who sees what the page
shows. It answers in two ways: with names only, and also throwing out the pictures it sees that have another name. For
comparison: the same head on as many single pictures drawn at random. Labels enter only through answers and in scoring.
With --test, pictures that were not named are scored: what `refine --frozen` would learn from the answers predicts them.
"""

import argparse
import copy
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from papers.records import hardware, keep, mean_and_std
from selfsort import Frozen, LabelSession, list_images
from selfsort.data.image_set import ImageSet
from selfsort.labelling.core.head import HeadSpace
from selfsort.labelling.core.session import Targets
from selfsort.labelling.core.simulated import SimulatedAnnotator
from selfsort.labelling.server.service import LabelService
from selfsort.models.pretrained import DEFAULT

ANSWERS = (20, 40, 70, 100)
COMPARED_ON = {"trash", "flowers", "tiny_imagenet"}  # data sets on which settings were tried
COMPARED = "the head's penalty and the groups' order were compared on waste, flowers and Tiny-ImageNet"


def by_page(
    run: Path, model: Frozen, images: ImageSet, test: ImageSet | None, seed: int, throws_out: bool
) -> Iterator[float]:
    """Yield the share of pictures with their true name after each number of answers."""
    labels, names = labels_of(images), images.label_names
    annotator = SimulatedAnnotator(labels, names, throws_out=throws_out, random_state=seed)
    given = 0
    with closing(LabelService(run, images, random_state=seed)) as service:
        for most in ANSWERS:
            given += service.answer_all(annotator.answer, most - given)
            if test is not None:
                labelling = LabelSession(model, images, session=copy.deepcopy(service.session), random_state=seed)
                named = labelling.refine(frozen=True, n_groups=0).predict(test)
                yield float((named == np.array(test.label_names)[labels_of(test)]).mean())
                continue
            found = service.session.labels()
            places = np.array([*(names.index(name) for name in found.names), -1])
            yield float((places[found.name_of] == labels).mean())


def by_pictures(model: Frozen, images: ImageSet, test: ImageSet | None, seed: int) -> Iterator[float]:
    """Yield the same for a head on the labels of single pictures drawn at random."""
    labels = labels_of(images)
    scored = labels if test is None else labels_of(test)
    asked = model.embedding_ if test is None else model.transform(test)
    space, order = HeadSpace(model.embedding_), np.random.default_rng((seed, 7)).permutation(len(labels))
    for most in ANSWERS:
        soft = np.zeros((len(labels), len(images.label_names)), np.float32)
        soft[order[:most], labels[order[:most]]] = 1
        head = space.fit(Targets(images.label_names, soft, soft.max(1)))
        scores = (asked - space.mean) / space.scale @ head.weight.T + head.bias
        yield float((scores.argmax(1) == scored).mean())


def labels_of(images: ImageSet) -> NDArray[np.int64]:
    """Return the labels (N,) of pictures that have some."""
    assert images.labels is not None
    return images.labels


def measure(listed: ImageSet, test: ImageSet | None, seed: int) -> dict[str, list[float]]:
    """Run everything for one seed; return fractions, and minutes."""
    found = {}
    started = time.monotonic()
    for way, throws_out in (("names", False), ("names-and-throws-out", True)):
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            model = Frozen(random_state=seed).fit(listed, run_dir=run)
            read = listed.without([(i, "") for i, name in enumerate(listed.ids) if name not in set(model.ids_)])
            assert read.ids == model.ids_
            found[way] = list(by_page(run, model, read, test, seed, throws_out))
    found["single-pictures"] = list(by_pictures(model, read, test, seed))
    print(f"seed {seed}: {found}", flush=True)
    return found | {"minutes": [(time.monotonic() - started) / 60]}


def records(
    source: str, listed: ImageSet, test: ImageSet | None, seeds: list[dict[str, list[float]]]
) -> list[dict[str, Any]]:
    """Return a record for each way and number of answers."""
    scored = "" if test is None else f", scored on {len(test):,} others"
    shared = {
        "dataset": Path(source).name,
        "method": "frozen",
        "metric": "acc",
        "seeds": list(range(len(seeds))),
        "epochs": 0,
        "split": f"all {len(listed):,}, named by the annotator{scored}",
        "minutes": round(statistics.mean(seed["minutes"][0] for seed in seeds), 2),
        "hardware": hardware(),
        "command": " ".join(["python", *sys.argv]),
        "weights": DEFAULT,
        "published": None,
        "chosen_on_test": COMPARED if Path(source).name in COMPARED_ON else None,
    }
    return [
        shared
        | {"experiment": f"naming-{way}-{most}", "labels_used": most, "note": f"{most} answers"}
        | dict(zip(("value", "std"), mean_and_std([100 * seed[way][place] for seed in seeds]), strict=True))
        for way in seeds[0]
        if way != "minutes"
        for place, most in enumerate(ANSWERS)
    ]


def main() -> None:
    """Run the requested measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="labelled pictures: what list_images takes")
    parser.add_argument("--name", help="name of the data set in the records; by default that of the source")
    parser.add_argument("--test", metavar="SOURCE", help="labelled pictures to score on, instead of those named")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=Path("docs/results.json"))
    arguments = parser.parse_args()
    listed = list_images(arguments.source)
    test = list_images(arguments.test) if arguments.test else None
    found = [measure(listed, test, seed) for seed in range(arguments.seeds)]
    keep(arguments.results, records(arguments.name or arguments.source, listed, test, found))


if __name__ == "__main__":
    main()
