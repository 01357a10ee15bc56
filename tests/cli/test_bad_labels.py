"""How `evaluate` and `report` respond to missing labels and to pictures that moved or changed."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands import Cli
from refusals import KMEANS, Refused, save, save_classes
from samples import pictures


def test_evaluation_without_labels(cli: Cli, refused: Refused, desk: Path) -> None:
    answer = cli("evaluate", "kmeans", "photos", "--json")
    found = json.loads(answer.out)
    assert answer.code == 0 and found["clustering"] is None and found["silhouette"] > 0
    assert "no labels" in cli("evaluate", "kmeans", "photos").out
    for probe in ("linear", "svm", "knn", "centroid"):
        refused("evaluate", "kmeans", "photos", "--probe", probe, "--json", naming=("labels", "one folder per class"))


def test_probes_that_cannot_be_trained(refused: Refused, desk: Path) -> None:
    save(desk / "one-class/only", 4)
    save(desk / "lonely/first", 4)
    save(desk / "lonely/second", 1)
    save_classes(desk / "labelled")
    refused("evaluate", "kmeans", "one-class", "--probe", "linear", "--json", naming="no labels")
    alone = ("one-class", "--classes-from", "parent", "--probe", "linear", "--json")
    refused("evaluate", "kmeans", *alone, naming="two classes")
    refused("evaluate", "kmeans", "lonely", "--probe", "knn", "--json", naming=("lass", "one labelled picture"))
    other = ("--probe", "svm", "--probe-train", "one-class", "--json")
    refused("evaluate", "kmeans", "labelled", *other, naming="labels")


def test_probe_training_pictures_without_a_probe(refused: Refused, desk: Path) -> None:
    save_classes(desk / "labelled")
    refused("evaluate", "kmeans", "labelled", "--probe-train", "labelled", "--json", naming="--probe")
    refused("evaluate", "kmeans", "labelled", "--probe", "svm", "--folds", "5", "--json", naming="--folds needs")
    many = ("--probe", "svm", "--probe-train", "labelled", "--folds", "500", "--json")
    refused("evaluate", "kmeans", "labelled", *many, naming="fewer than the 500 folds")


def test_report_of_pictures_that_moved(refused: Refused, cli: Cli, desk: Path) -> None:
    assert cli("fit", "photos", "--out", "new", *KMEANS, "--json").code == 0
    (desk / "photos").rename(desk / "elsewhere")
    refused("report", "new", "--json", naming=(str(desk / "photos"), "--images"))
    assert cli("report", "new", "--images", "elsewhere", "--json").code == 0


def test_report_of_an_array_that_moved(cli: Cli, desk: Path) -> None:
    np.save(desk / "array.npy", pictures(12))
    assert cli("fit", "array.npy", "--out", "new", *KMEANS, "--json").code == 0
    (desk / "array.npy").rename(desk / "renamed.npy")
    assert cli("report", "new", "--images", "renamed.npy", "--json").code == 0


@pytest.mark.parametrize("change", ["gone", "changed", "added"])
def test_report_of_pictures_that_changed(refused: Refused, cli: Cli, desk: Path, change: str) -> None:
    assert cli("fit", "photos", "--out", "new", *KMEANS, "--json").code == 0
    if change == "gone":
        (desk / "photos/00.png").unlink()
    else:
        name = "00.png" if change == "changed" else "99.png"
        Image.new("RGB", (16, 16), "red").save(desk / "photos" / name)
    refused("report", "new", "--json", naming=("pictures have changed", "--images"))
