"""Paper 5's table and figures on the bundled digits, on the command line and after a stop."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from commands import Cli
from papers import data, paper5
from papers.kept import unpacked
from papers.runner import Scale, Trial, Where, measure
from selfsort import load_images
from selfsort.errors import UserError

FACTS: dict[str, Any] = {"line": "resnet18-1hl", "seed": 0, "epochs": 2, "subset": 200, "settings": {}}
FIGURES = (3, 4, 5, 6, 7)


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the bundled digits in place of CIFAR-10, and a smaller network in place of both."""
    kept = partial(load_images, "digits")
    monkeypatch.setattr(data, "load_images", lambda name, split, data_root=None, fold=None: kept(split=split))
    small = {name: row._replace(backbone="small-conv") for name, row in paper5.TABLE.items()}
    monkeypatch.setattr(paper5, "TABLE", small)
    data.train_and_test.cache_clear()


@pytest.mark.slow
def test_table_and_figures_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], cli: Cli) -> None:
    wanted = ["--table", 1, *(word for number in FIGURES for word in ("--figure", number))]
    scale = ["--epochs", 1, "--subset", 150, "--seeds", 1, "--device", "cpu", "--set", "hidden_dim=16"]
    words = ["reproduce", "paper5", *wanted, *scale, "--out", tmp_path, "--results", tmp_path / "results.json"]
    assert cli.run(*words) == 0
    kept = {(each["experiment"], each["metric"]): each for each in json.loads((tmp_path / "results.json").read_text())}
    table = kept["paper5-table1-alexnet-2hl-twice-hidden_dim=16-1-epochs", "ami"]
    assert (table["published"], table["epochs"], table["labels_used"]) == (48.7, 2, 0)
    probe = kept["paper5-figure7-probe-hidden_dim=16-1-epochs", "acc"]
    assert (probe["published"], probe["labels_used"]) == (87.89, 150)
    assert {metric for name, metric in kept if "table1-resnet18-1hl" in name} == {"nmi", "ami", "ari", "acc"}
    for name in ("table-1", *(f"figure-{number}" for number in FIGURES)):
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert min(picture.size) > 100
    capsys.readouterr()
    assert cli.run(*words) == 0
    assert " minutes" not in capsys.readouterr().out, "nothing is measured again"


def test_the_figures_share_the_tables_trainings() -> None:
    trials = {each.name: {trial.file(Path()) for trial in each.trials(Scale())} for each in paper5.PAPER.experiments}
    assert set(trials) == {"table-1", *(f"figure-{number}" for number in FIGURES)}
    assert trials["figure-3"] == trials["figure-4"] < trials["figure-7"]
    assert trials["figure-5"] < trials["figure-6"] < trials["table-1"] and trials["figure-3"] < trials["table-1"]
    probed = Scale(settings={"probe_learning_rate": "0.1"})
    for each in paper5.PAPER.experiments:
        changed = {trial.file(Path()) for trial in each.trials(probed)}
        assert changed & trials[each.name], "settings of the probe leave the training as it is"
        assert (changed == trials[each.name]) == (each.name != "figure-7")


def test_the_scores_are_those_of_the_kept_network_and_the_pictures_are_of_its_classes(tmp_path: Path) -> None:
    (found,) = measure([Trial(paper5.clustering, FACTS)], Where("cpu"), tmp_path, lambda line: None)
    run = paper5.LineRun(Where("cpu"), **FACTS)
    net = run.untrained(run.model())
    net.load_state_dict(unpacked(found.result["weights"]))
    test = load_images("digits", split="test")
    with torch.no_grad():
        logits = net.eval()(torch.from_numpy(test.images).permute(0, 3, 1, 2) / 255).logits
    assert logits is not None
    classes = logits.argmax(1).numpy()
    best = max((classes == number).sum() for number in range(10))
    counts = [int(title.rpartition("(")[2].rstrip(")")) for title in found.result["titles"]]
    assert max(counts) == best and sum(counts) == len(test)
    shown = unpacked(found.result["pictures"])["pictures"].numpy()
    fullest = int(np.argmax(counts))
    assert np.array_equal(shown[fullest], test.images[np.flatnonzero(classes == fullest)[: paper5.SHOWN]])


def test_the_probe_learns_from_labels_on_the_frozen_network(tmp_path: Path) -> None:
    settings = {
        "probe_learning_rate": "0.05",
        "probe_optimizer": "adam",
        "probe_batch_size": "8",
        "probe_views": "none",
    }
    trials = [Trial(paper5.clustering, FACTS), Trial(paper5.probe, {**FACTS, "settings": settings})]
    clustered, probed = measure(trials, Where("cpu"), tmp_path, lambda line: None)
    last = probed.result["epochs"][-1]
    assert set(last) == {"acc", "train_acc", "loss", "validation_loss", "seconds", "scoring_seconds"}
    assert last["acc"] > 0.3 and last["validation_loss"] < np.log(10)
    assert probed.result["labels_used"] == 200 and "labels_used" not in clustered.result


def test_rows_and_settings_that_are_not_possible() -> None:
    table, figure = paper5.PAPER.experiments[:2]
    assert {trial.settings["line"] for trial in table.trials(Scale(methods=("alexnet-2hl",)))} == {"alexnet-2hl"}
    with pytest.raises(UserError, match="no row 'alexnet'"):
        table.trials(Scale(methods=("alexnet",)))
    with pytest.raises(UserError, match="backbone"):
        figure.trials(Scale(settings={"backbone": "small-conv"}))
