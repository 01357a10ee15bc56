"""How the command line responds to settings that do not fit."""

from pathlib import Path

import numpy as np
import pytest

from commands import Cli
from refusals import KMEANS, SIMCLR, Refused, save, save_classes, snapshot


@pytest.mark.parametrize("classes", ["1", "0", "-3", "13"])
def test_class_counts(refused: Refused, classes: str) -> None:
    for method in ("kmeans", "simclr"):
        options = ("--method", method, "--classes", classes, "--json")
        refused("fit", "photos", "--out", "new", *options, naming=(f"--classes {classes}", "12"))


def test_one_picture(refused: Refused, desk: Path) -> None:
    save(desk / "one", 1)
    refused("fit", "one", "--out", "new", *KMEANS, "--json", naming=("1 picture", "as many as classes"))


@pytest.mark.parametrize(
    ("options", "naming"),
    [
        (("--method", "simclrx"), "did you mean 'simclr'?"),
        (("--method", "nonsense"), "'nonsense'"),
        (("--set", "tempratur=1"), "did you mean 'temperature'?"),
        (("--set", "nonsense=1"), "'nonsense'"),
        (("--set", "temperature"), "--set 'temperature'"),
        (("--set", ""), "--set ''"),
        (("--set", "temperature="), "temperature="),
        (("--set", "temperature=hot"), "temperature=hot"),
        (("--set", "temperature=0"), "temperature=0"),
        (("--set", "learning_rate=nan"), "learning_rate=nan"),
        (("--set", "weight_decay=inf"), "weight_decay=inf"),
        (("--set", "optimizer=magic"), "optimizer=magic"),
        (("--set", "backbone=nonsense"), "'nonsense'"),
        (("--set", "projection_dim=0"), "projection_dim=0"),
        (("--set", "projection_dim=-1"), "projection_dim=-1"),
        (("--set", "cluster_space=moon"), "cluster_space=moon"),
        (("--method", "self-classifier", "--set", "head_classes=1"), "head_classes"),
        (("--views", "nonsense"), "'nonsense'"),
        (("--views", "none:nonsense=1"), "'nonsense'"),
        (("--views", "none:rotation=wide"), "rotation=wide"),
        (("--views", "none:rotation=inf"), "rotation"),
        (("--views", "natural:crop_scale=2..3"), "crop_scale"),
        (("--size", "0"), "--size 0"),
        (("--size", "100000"), "--size 100000"),
        (("--epochs", "0"), "--epochs 0"),
        (("--batch-size", "1"), "--batch-size 1"),
        (("--seed", "-1"), "--seed -1"),
        (("--seed", "99999999999999999999"), "--seed 99999999999999999999"),
        (("--device", "abacus"), "--device abacus"),
        (("--precision", "8"), "--precision 8"),
        (("--split", "nonsense"), "'nonsense'"),
        (("--fold", "3"), "fold=3"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_settings(refused: Refused, options: tuple[str, ...], naming: str) -> None:
    refused("fit", "photos", "--out", "new", *SIMCLR, *options, "--json", naming=naming)


@pytest.mark.parametrize("encoder", ["nonsense", "photos"])
def test_bad_encoder(refused: Refused, encoder: str) -> None:
    options = ("--set", f"encoder={encoder}", "--json")
    refused("fit", "photos", "--out", "new", *KMEANS, *options, naming=repr(encoder))


def test_parameter_of_another_method(refused: Refused) -> None:
    refused("fit", "photos", "--out", "new", *KMEANS, "--epochs", "3", "--json", naming=("'kmeans'", "'epochs'"))


@pytest.mark.parametrize("method", ["simclr", "self-classifier", "conv-autoencoder"])
def test_diverging_training(refused: Refused, method: str) -> None:
    options = ("--method", method, "--set", "learning_rate=1e30", "--json")
    refused("fit", "photos", "--out", "new", *SIMCLR, *options, naming="learning_rate")


def test_all_pictures_alike(refused: Refused, desk: Path) -> None:
    np.save(desk / "alike.npy", np.zeros((12, 16, 16), np.uint8))
    refused("fit", "alike.npy", "--out", "new", *KMEANS, "--json", naming="fewer than 3 different")


@pytest.mark.parametrize(
    ("arguments", "naming"),
    [
        (("fit",), "source"),
        (("fit", "photos"), "--out"),
        (("fit", "photos", "--out", "new", "--classes", "many"), "--classes"),
        (("fit", "photos", "--out", "new", "--size", "large"), "--size"),
        (("fit", "photos", "--out", "new", "--resize", "bend"), "--resize"),
        (("fit", "photos", "--out", "x\0y"), "--out"),
        (("evaluate", "kmeans", "photos", "--probe", "tree"), "--probe"),
        (("views", "photos", "--count", "0"), "--count"),
        (("nonsense",), "nonsense"),
        (("predict", "kmeans", "photos"), "--out"),
    ],
)
def test_wrong_usage(cli: Cli, desk: Path, arguments: tuple[str, ...], naming: str) -> None:
    before = snapshot(desk)
    answer = cli(*arguments)
    assert answer.code == 2 and naming in answer.err and "Traceback" not in answer.err
    assert snapshot(desk) == before


@pytest.mark.parametrize("seed", ["-1", "99999999999999999999"])
def test_bad_seeds_of_other_commands(refused: Refused, desk: Path, cli: Cli, seed: str) -> None:
    save_classes(desk / "labelled")
    cli("views", "photos", "--out", "warm.png")  # so that no progress bar is drawn below
    refused("evaluate", "kmeans", "labelled", "--probe", "linear", "--seed", seed, "--json", naming=seed)
    refused("views", "photos", "--out", "views.png", "--seed", seed, naming=seed)


def test_bad_views(refused: Refused, cli: Cli) -> None:
    cli("views", "photos", "--out", "warm.png")
    refused("views", "photos", "--views", "nonsense", "--out", "views.png", naming="'nonsense'")
    refused("views", "photos", "--out", "views.jpg", naming="views.jpg")
    refused("views", "photos", "--out", "photos", naming="photos")
