"""Every command on real pictures, its `--json`, and how quickly the command line starts."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import selfsort
from commands import Cli, run_here
from samples import kinds, pictures
from torchvision_files import make_stl10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of pictures, with one file that is not a picture."""
    root = tmp_path_factory.mktemp("photos")
    for index, (pixels, kind) in enumerate(zip(pictures(30, 24), kinds(30), strict=True)):
        (root / f"kind-{kind}").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(root / f"kind-{kind}" / f"{index:02d}.png")
    (root / "notes.txt").write_text("not a picture")
    return root


QUICK = ["--epochs", "2", "--batch-size", "8", "--device", "cpu", "--classes", "3", "--size", "16", "--seed", "1"]


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELFSORT_CACHE", str(out.parent / "cache"))
        assert run_here("fit", folder, "--out", out, "--method", "simclr", *QUICK) == 0
    return out


def test_fit_writes_a_complete_run(run: Path) -> None:
    model = selfsort.load(run)
    assert model.method == "simclr" and model.random_state == 1 and model.image_shape_ == (16, 16, 3)
    with open(run / "skipped.csv", newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == ["notes.txt"]
    with open(run / "assignments.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["cluster"]) for row in rows] == model.labels_.tolist()
    assert rows[0]["id"] == "kind-0/00.png"


def test_fit_says_what_it_did(folder: Path, tmp_path: Path, cli: Cli) -> None:
    words = ["fit", folder, "--out", tmp_path / "run", "--method", "self-classifier", *QUICK, "--set", "head_classes=5"]
    found = cli.json(*words)
    assert found["pictures"] == 30 and sum(found["clusters"]) == 30 and found["status"] == "complete"
    assert [row["id"] for row in found["skipped"]] == ["notes.txt"]
    assert selfsort.load(tmp_path / "run").head_classes == (5,)
    again = cli.json(*words, "--resume")
    assert again == {"format": 1, "command": "fit", "run": str(tmp_path / "run"), "status": "complete"}


def test_predict_csv_and_parquet(run: Path, folder: Path, tmp_path: Path, cli: Cli) -> None:
    import pyarrow.parquet

    found = cli.json("predict", run, folder, "--out", tmp_path / "p.csv")
    assert found["pictures"] == 30 and len(found["clusters"]) == 3
    cli.json("predict", run, folder, "--out", tmp_path / "p.parquet")
    with open(tmp_path / "p.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    table = pyarrow.parquet.read_table(tmp_path / "p.parquet").to_pylist()
    expected = selfsort.load(run).predict_proba(selfsort.load_images(folder, size=16, channels=3))
    for row, other, probabilities in zip(rows, table, expected, strict=True):
        assert row["id"] == other["id"] and int(row["cluster"]) == other["cluster"] == probabilities.argmax()
        assert [float(row[f"p{k}"]) for k in range(3)] == pytest.approx(probabilities.tolist(), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("mode", ["link", "copy"])
def test_sort(mode: str, run: Path, folder: Path, tmp_path: Path, cli: Cli) -> None:
    found = cli.json("sort", run, folder, "--out", tmp_path / "sorted", f"--{mode}")
    placed = [path for path in (tmp_path / "sorted").rglob("*.png")]
    assert len(placed) == sum(found["folders"].values()) == 30
    assert all(path.is_symlink() == (mode == "link") for path in placed)
    assert len(list(folder.rglob("*.png"))) == 30, "nothing was moved"


def test_evaluate_and_report(run: Path, folder: Path, tmp_path: Path, cli: Cli) -> None:
    for kind in ("linear", "svm", "knn", "centroid"):
        found = cli.json("evaluate", run, folder, "--probe", kind)
        assert found["probe"]["kind"] == kind and found["probe"]["n_train"] == 24
        assert 0 <= found["clustering"]["accuracy"] <= 1 and found["clustering"]["n"] == 30
    assert [(each["shots"], each["draws"]) for each in found["probe"]["few_shot"]] == [(1, 20), (5, 20)]
    stored = json.loads((run / "evaluation.json").read_text())
    assert stored["clustering"] == found["clustering"]
    cli.json("report", run, "--out", tmp_path / "r.html", "--sheet", tmp_path / "s.png", "--map", "pca")
    page = (tmp_path / "r.html").read_text()
    assert "notes.txt" in page and "Cluster 2" in page and "kind-1" in page
    with Image.open(tmp_path / "s.png") as sheet:
        assert np.asarray(sheet).std() > 20


def test_evaluate_says_whose_pictures_and_why_there_are_two_accuracies(
    run: Path, folder: Path, tmp_path: Path, cli: Cli
) -> None:
    assert cli.json("evaluate", run, folder)["of_training"]
    moved = shutil.copytree(folder, tmp_path / "labelled")  # the same pictures under other paths and labels
    for number, path in enumerate(sorted(moved.rglob("*.png"))):
        place = moved / f"half-{number % 2}" / path.name
        place.parent.mkdir(exist_ok=True)
        path.rename(place)
    again = cli("evaluate", run, moved).out
    assert "30 labelled pictures (the run's own)" in again and "more clusters than labels, so 1 of them" in again
    kept = json.loads((run / "evaluation-training.json").read_text())
    for path in sorted(moved.rglob("*.png"))[::2]:
        path.unlink()
    assert "not those that the run was trained on" in cli("evaluate", run, moved).out
    assert json.loads((run / "evaluation-training.json").read_text()) == kept
    assert not json.loads((run / "evaluation.json").read_text())["of_training"]
    assert "the names given count" not in again
    cli("label", run, "--simulate", folder, "--answers", 2, "--groups", 6)
    assert "names given count only after `selfsort refine" in cli("evaluate", run, folder).out


def test_evaluate_with_separate_pictures_for_the_probe(run: Path, folder: Path, cli: Cli) -> None:
    found = cli.json("evaluate", run, folder, "--probe", "knn", "--probe-train", folder)
    assert found["probe"]["n_train"] == found["probe"]["n_test"] == 30


def test_evaluate_in_folds(run: Path, folder: Path, cli: Cli) -> None:
    words = ("evaluate", run, folder, "--probe", "svm", "--probe-train", folder, "--folds", 5)
    found = cli.json(*words)["probe"]
    assert len(found["folds"]) == 5 and (found["n_train"], found["n_test"]) == (6, 30)
    assert found["accuracy"] == pytest.approx(np.mean(found["folds"]))
    assert "over 5 folds (trained on 6, tested on 30)" in " ".join(cli(*words).out.split())


def test_evaluate_in_the_folds_of_stl10(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    make_stl10(tmp_path, monkeypatch)
    (tmp_path / "stl10_binary" / "train_y.bin").write_bytes(bytes([*range(1, 11), *range(10, 0, -1)]))
    (tmp_path / "stl10_binary" / "test_y.bin").write_bytes(bytes([1, 2, 3]))
    words = ("evaluate", run, "stl10", "--split", "test", "--probe", "svm", "--probe-train", "stl10", "--folds", 10)
    found = cli.json(*words, "--data-root", tmp_path)["probe"]
    assert len(found["folds"]) == 10 and (found["n_train"], found["n_test"]) == (2, 3)


def test_methods(capsys: pytest.CaptureFixture[str], cli: Cli) -> None:
    listed = cli.json("methods")["methods"]
    assert {row["method"] for row in listed} >= {"kmeans", "simclr", "self-classifier", "conv-autoencoder"}
    rows = cli.json("methods", "simclr")["parameters"]
    assert {"parameter": "temperature", "default": 0.5} in [
        {k: row[k] for k in ("parameter", "default")} for row in rows
    ]
    assert cli.run("methods") == 0
    assert "paper 5" in capsys.readouterr().out


def test_views(folder: Path, tmp_path: Path, cli: Cli) -> None:
    assert cli.run("views", folder, "--out", tmp_path / "views.png", "--count", 3, "--views", "cells") == 0
    with Image.open(tmp_path / "views.png") as drawn:
        assert np.asarray(drawn).std() > 20


def test_cache(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], cli: Cli) -> None:
    cli.run("views", folder, "--out", tmp_path / "views.png", "--size", 16)
    capsys.readouterr()
    assert cli.json("cache")["sets"] == 1
    assert cli.json("cache", "--clear")["freed"] > 30 * 16 * 16 * 3
    assert cli.json("cache")["sets"] == 0


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["fit", "--help"]])
def test_help_needs_no_torch(words: list[str]) -> None:
    program = (
        "import sys; sys.argv = ['selfsort', *sys.argv[1:]]\n"
        "from selfsort.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'sklearn', 'matplotlib', 'lightning'} & sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "selfsort" in done.stdout or "0.1.0" in done.stdout


@pytest.mark.slow
def test_predict_needs_no_lightning(run: Path, folder: Path, tmp_path: Path) -> None:
    """The libraries for training take seconds to import, so prediction must not import them."""
    program = (
        "import sys; sys.argv = ['selfsort', *sys.argv[1:]]\n"
        "from selfsort.__main__ import main\n"
        "try: main()\n"
        "except SystemExit as leaving: assert not leaving.code\n"
        "heavy = {'lightning', 'umap', 'matplotlib', 'tensorboard', 'timm'} & sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    words = ["predict", str(run), str(folder), "--out", str(tmp_path / "p.csv")]
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
