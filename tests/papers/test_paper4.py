"""Paper 4's protocol on the bundled digits, its figures on the command line, and the real data if available."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from commands import Cli
from papers import experiment, paper4
from papers.runner import Scale, Where, measure
from selfsort import load_images

HERE = Where("cpu")


@pytest.fixture(autouse=True)
def digits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Use the bundled digits in place of MNIST."""
    monkeypatch.setattr(paper4, "DATASET", "digits")
    monkeypatch.setattr(paper4, "load_images", partial(load_images, size=16))
    kept = paper4.pictures_of
    kept.cache_clear()
    yield
    kept.cache_clear()


def test_the_parts_are_stratified_disjoint_and_depend_on_the_seed() -> None:
    data = paper4.pictures_of(None, None, 0)
    assert (len(data.train), len(data.validation), len(data.test)) == (1437 - 128, 128, 360)
    assert not set(data.train.ids) & set(data.validation.ids)
    shares = [np.bincount(part.labels, minlength=10) / len(part) for part in (data.train, data.validation)]
    np.testing.assert_allclose(*shares, atol=0.01)
    assert paper4.pictures_of(None, None, 1).validation.ids != data.validation.ids
    assert len(paper4.pictures_of(None, 300, 0).train) == 172


@pytest.mark.slow
def test_the_protocol_asks_no_more_than_it_may_and_learns_from_the_answers() -> None:
    found = paper4.semi_supervised(HERE, seed=0, epochs=3, subset=None, z_dim=10, gamma=150.0, answers=16)
    assert len(found["epochs"]) == len(found["answers"]) == len(found["centres"]) == 3
    assert max(found["answers"]) <= 16 and found["labels_used"] == sum(found["answers"][:2])
    assert found["epochs"][-1]["acc"] > max(0.4, found["epochs"][0]["acc"])
    for sheet in found["centres"]:
        assert np.array(sheet["pictures"]).shape == (len(sheet["names"]), 16, 16, 1)
        assert set(sheet["names"]) <= {*"0123456789", "mixed", "not asked"}
    json.dumps(found)


def test_the_same_trial_gives_the_same_figures() -> None:
    settings: dict[str, Any] = {"seed": 1, "epochs": 2, "subset": 600, "z_dim": 3}
    first = paper4.unsupervised(HERE, **settings)
    assert paper4.unsupervised(HERE, **settings) == first
    assert first["epochs"][1]["reconstruction"] != first["epochs"][0]["reconstruction"]
    assert paper4.unsupervised(HERE, **{**settings, "epochs": 1})["epochs"] == first["epochs"][:1]


def test_figures_share_their_trials() -> None:
    trials = {each.number: {trial.file(Path()) for trial in each.trials(Scale())} for each in paper4.PAPER.experiments}
    assert trials[2] == trials[3] == trials[4] and len(trials[4]) == 3
    assert len(trials[5]) == 18 and trials[6] < trials[4] | trials[5]


@pytest.mark.slow
@pytest.mark.parametrize(("figures", "n_records"), [((2, 3, 4, 6), 1 + 1 + 2 + 12)])
def test_every_figure_on_the_command_line(
    figures: tuple[int, ...],
    n_records: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    cli: Cli,
) -> None:
    numbers = [word for number in figures for word in ("--figure", number)]
    words = ["reproduce", "paper4", *numbers, "--epochs", 2, "--seeds", 2, "--device", "cpu"]
    words += ["--out", tmp_path / "out", "--results", tmp_path / "results.json"]
    assert cli.run(*words, "--json") == 0
    (line,) = capsys.readouterr().out.splitlines()
    answer = json.loads(line)
    kept = json.loads((tmp_path / "results.json").read_text())
    assert answer["records"] == kept and len(kept) == n_records
    assert len(list((tmp_path / "out/trials").iterdir())) == 4
    for number in figures:
        with Image.open(tmp_path / f"out/figure-{number}.png") as picture:
            assert picture.format == "PNG" and min(picture.size) > 100
    (accuracy,) = [each for each in kept if each["metric"] == "acc"]
    assert accuracy["published"] == 75.0 and accuracy["experiment"] == "paper4-figure4-2-epochs"
    assert accuracy["labels_used"] > 0 and len(accuracy["seeds"]) == 2

    def fails(*arguments: object, **settings: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(paper4, "pictures_of", fails)
    assert cli.run(*words) == 0
    assert capsys.readouterr().out.count("measured before") == 3 * 2 + 4


def test_reconstruction_by_size_of_z(tmp_path: Path) -> None:
    figure = experiment(paper4.PAPER, "figure", 5)
    trials = [each for each in figure.trials(Scale(epochs=1, subset=300, seeds=1)) if each.settings["z_dim"] in (2, 10)]
    drawing = figure.draw(measure(trials, HERE, tmp_path, lambda line: None))
    assert [row.name for row in drawing.rows] == ["z2", "z2", "z10", "z10"]
    assert all(50 < row.last()[0] <= 100 for row in drawing.rows)


def test_the_list(capsys: pytest.CaptureFixture[str], cli: Cli) -> None:
    assert cli.run("reproduce", "--json") == 0
    experiments = json.loads(capsys.readouterr().out)["experiments"]
    assert [each["what"] for each in experiments if "paper4" in each["what"]] == [
        f"paper4 --figure {number}" for number in range(2, 7)
    ]
    assert all(each["minutes"] > 0 and each["data"] and each["shows"] for each in experiments)
    assert cli.run("reproduce", "paper4") == 0
    assert "paper4 --figure 6" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["papr4", "--figure", "2"], "Unknown paper 'papr4': did you mean 'paper4'?"),
        (["paper4", "--figure", "1"], "There is no figure 1 of paper4 to reproduce: it has --figure 2, 3, 4, 5, 6."),
        (["paper4", "--table", "1"], "There is no table 1 of paper4 to reproduce: it has none;"),
        (["--figure", "4"], "--figure and --table need a paper"),
        (["paper4", "--figure", "4", "--subset", "9999"], "--subset 9999 must be from 256 to 1,437"),
        (["paper4", "--figure", "4", "--device", "tpu"], "device='tpu' is not valid"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    words: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    cli: Cli,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run("reproduce", *words) == 1
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_missing_data_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cli: Cli
) -> None:
    monkeypatch.setattr(paper4, "DATASET", "mnist")
    words = ["reproduce", "paper4", "--figure", "4", "--data-root", tmp_path / "none", "--out", tmp_path / "out"]
    assert cli.run(*words) == 1
    error = capsys.readouterr().err
    assert "'mnist' cannot be read" in error and "--data-root" in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_real_data(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper4, "DATASET", "mnist")
    monkeypatch.setattr(paper4, "load_images", load_images)
    where = Where("cpu", data_root / "torchvision")
    found = paper4.semi_supervised(where, seed=0, epochs=2, subset=6000, z_dim=10, gamma=150.0, answers=16)
    assert found["epochs"][-1]["acc"] > 0.2  # a tenth of the pictures, two epochs of five
    assert found["epochs"][-1]["reconstruction"] > 0.88
