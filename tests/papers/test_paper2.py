"""Paper 2's table and figures, and its next steps, on the bundled digits: on the command line and after a stop."""

import csv
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from commands import Cli
from papers import data, experiment, paper2
from papers.kept import unpacked
from papers.runner import Outcome, Scale, Trial, Where, measure
from selfsort import load_images
from selfsort.training import loop

HERE = Where("cpu")
FACTS: dict[str, Any] = {"seed": 0, "epochs": 2, "subset": 300, "settings": {}}
SCALE = ("--epochs", 2, "--subset", 300, "--seeds", 1, "--device", "cpu")
FIGURES = (2, 3, 4, 5, 6, 7, 8, 9)


@pytest.fixture(autouse=True)
def digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the bundled digits in place of CIFAR-10."""
    kept = partial(load_images, "digits", size=16)
    monkeypatch.setattr(data, "load_images", lambda name, split, data_root=None, fold=None: kept(split=split))
    data.train_and_test.cache_clear()


def measured(trials: list[Trial], out: Path) -> list[Outcome]:
    return measure(trials, HERE, out, lambda line: None)


def figures(outcome: Outcome) -> list[dict[str, float]]:
    """Return the figures of each epoch, except the time."""
    return [{name: row[name] for name in row if not name.endswith("seconds")} for row in outcome.result["epochs"]]


@pytest.mark.slow
def test_every_figure_and_table_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cli: Cli
) -> None:
    wanted = [word for number in (1, 2, 3) for word in ("--table", number)]
    wanted += [word for number in FIGURES for word in ("--figure", number)]
    words = ["reproduce", "paper2", *wanted, *SCALE, "--out", tmp_path / "out", "--results", tmp_path / "results.json"]
    assert cli.run(*words) == 0
    capsys.readouterr()
    kept = json.loads((tmp_path / "results.json").read_text())
    by_name = {(record["experiment"], record["metric"]): record for record in kept}
    assert len(by_name) == len(kept) and not any("loss" in metric for _, metric in by_name)
    average = by_name["paper2-table1-pre-trained-2-epochs", "acc"]
    assert (average["published"], average["epochs"], average["labels_used"]) == (29.6, 2, 300)
    assert "minutes of pre-training" in average["note"]
    assert by_name["paper2-table3-local-aggregation-5-2-epochs", "acc"]["labels_used"] == 50
    assert by_name["paper2-table3-random-1-2-epochs", "acc"]["epochs"] == 0
    assert (
        by_name["paper2-figure8", "closeness"]["value"] < by_name["paper2-figure2-bce-2-epochs", "closeness"]["value"]
    )
    for name in ["table-1", "table-2", "table-3", *(f"figure-{number}" for number in FIGURES)]:
        with Image.open(tmp_path / f"out/{name}.png") as picture:
            assert min(picture.size) > 100
    lines = list(csv.DictReader((tmp_path / "out/table-1.csv").read_text().splitlines()))
    assert len(lines) == 3 * (1 + 10 + 1) + 1
    for name in ("random", "pre-trained", "end-to-end"):
        shares = {line["metric"]: float(line["last"]) for line in lines if line["row"] == name}
        counts = np.bincount(load_images("digits", split="test").labels, minlength=10)
        mean = sum(shares[f"acc_{label}"] * count for label, count in enumerate(counts)) / counts.sum()
        assert mean == pytest.approx(shares["acc"], abs=0.02)
    assert not [path for path in (tmp_path / "out/trials").iterdir() if path.is_dir()]
    assert cli.run(*words) == 0
    assert " minutes" not in capsys.readouterr().out, "nothing is measured again"


def test_trials_are_shared_and_each_pre_training_is_one() -> None:
    trials = {each.name: {trial.file(Path()) for trial in each.trials(Scale())} for each in paper2.PAPER.experiments}
    assert set(trials) == {f"table-{n}" for n in (1, 2, 3, 4)} | {f"figure-{n}" for n in FIGURES}
    assert trials["figure-5"] | trials["figure-6"] | trials["figure-7"] < trials["table-1"]
    assert trials["figure-9"] == trials["figure-7"] < trials["table-2"]
    everything = set.union(*trials.values())
    assert sum(path.name.startswith("autoencoder") for path in everything) == 4 * 3  # three losses and aggregation
    assert all(each.epochs == 100 and each.minutes > 0 for each in paper2.PAPER.experiments)


def test_a_frozen_encoder_is_the_pre_trained_one_or_the_untrained_one(tmp_path: Path) -> None:
    folder = Trial(paper2.frozen_classifier, {}).file(tmp_path).with_suffix("")
    run = paper2.Run(Where("cpu", folder=folder), **FACTS)
    (trained,) = measured([paper2.encoder_trial("bce", FACTS)], tmp_path)
    random, again, known = (run.encoder(name, "averaged").state_dict() for name in ("random", "random", "bce"))
    weights = unpacked(trained.result["weights"])
    for name, tensor in random.items():
        assert torch.equal(again[name], tensor) and torch.equal(known[name], weights[name])
        assert not torch.equal(tensor, known[name]), "training starts from the random encoder"


def test_what_is_learnt_from_labels_or_not(tmp_path: Path) -> None:
    autoencoder, aggregated, frozen, whole, joint = measured(
        [
            paper2.encoder_trial("bce", FACTS),
            paper2.encoder_trial("aggregation", FACTS),
            paper2.frozen_trial(FACTS, "random"),
            paper2.classifier_trial(FACTS),
            paper2.classifier_trial(FACTS, 1.0),
        ],
        tmp_path,
    )
    start = paper2.Run(HERE, **FACTS).untrained(paper2.ConvAutoencoder()).state_dict()

    def learnt(outcome: Outcome) -> set[str]:
        weights = unpacked(outcome.result["weights"])
        return {name.partition(".")[0] for name in weights if not torch.equal(weights[name], start[name])}

    assert learnt(autoencoder) == learnt(aggregated) == learnt(joint) == {"encoder", "decoder"}
    assert learnt(whole) == {"encoder"}, "the paper's decoder is not trained with the classifier (figure 9)"
    used = [outcome.result.get("labels_used", 0) for outcome in (autoencoder, aggregated, frozen, whole, joint)]
    assert used == [0, 0, 300, 300, 300]
    assert set(figures(autoencoder)[0]) == {"loss", "closeness"}
    assert {"loss", "acc", "acc_0", "acc_9"} <= set(figures(frozen)[0]) == set(figures(whole)[0]) - {"closeness"}


@pytest.mark.slow
def test_more_epochs_make_the_papers_order(tmp_path: Path) -> None:
    scale = Scale(epochs=5, subset=1400, seeds=1, settings={"batch_size": "16", "learning_rate": "0.003"})
    trials = [
        trial
        for trial in experiment(paper2.PAPER, "table", 1).trials(scale)
        if trial.settings.get("features") != "flattened"
    ]
    outcomes = measured(trials, tmp_path)
    last = {name: figures(paper2.outcomes_of(outcomes, name)[0])[-1]["acc"] for name in paper2.PUBLISHED}
    assert last["random"] < last["pre-trained"] < last["end-to-end"]


@pytest.mark.parametrize("which", ["autoencoder", "frozen", "joint", "standard"])
def test_a_killed_measurement_resumes_to_the_same_figures(
    which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = {
        "autoencoder": paper2.encoder_trial("aggregation", FACTS),
        "frozen": paper2.frozen_trial(FACTS, "bce"),
        "joint": paper2.classifier_trial(FACTS, 1.0),
        "standard": Trial(paper2.standard, FACTS | {"network": "small-conv", "training": "pre-trained"}),
    }
    (whole,) = measured([trials[which]], tmp_path / "whole")
    one_step, done = loop.Loop.one_step, []

    def dies(loop: Any) -> None:
        if len(done) == 6:  # in the second epoch of the first training
            raise SystemError("as if killed")
        done.append(one_step(loop))

    monkeypatch.setattr(loop.Loop, "one_step", dies)
    with pytest.raises(SystemError):
        measured([trials[which]], tmp_path / "out")
    monkeypatch.setattr(loop.Loop, "one_step", lambda loop: done.append(one_step(loop)))
    (resumed,) = measured([trials[which]], tmp_path / "out")
    assert figures(resumed) == figures(whole)
    assert resumed.result.get("weights") == whole.result.get("weights")
    trainings = 2 if which in ("frozen", "standard") else 1
    assert len(done) == 6 + trainings * 2 * 4 - 4, "the finished epoch is not repeated"


def test_standard_networks(tmp_path: Path, cli: Cli) -> None:
    words = ["reproduce", "paper2", "--table", 4, "--method", "small-conv", *SCALE, "--out", tmp_path]
    assert cli.run(*words) == 0
    records = json.loads((tmp_path / "table-4.json").read_text())
    assert {record["experiment"] for record in records} == {
        f"paper2-table4-small-conv-{training}-2-epochs" for training in ("random", "pre-trained", "end-to-end")
    }
    assert {record["method"] for record in records} == {"small-conv"}


def test_settings_reach_the_method_and_those_of_the_aggregation_only_its_row() -> None:
    settings = {"learning_rate": "0.01", "aggregation_neighbours": "7", "loss": "mse"}
    run = paper2.Run(HERE, **FACTS | {"settings": settings})
    plain, aggregated = run.model("l1"), run.model("aggregation")
    assert plain.learning_rate == aggregated.learning_rate == 0.01
    assert (plain.aggregation, plain.aggregation_neighbours, plain.loss) == (0.0, 512, "l1")
    assert (aggregated.aggregation, aggregated.aggregation_neighbours, aggregated.pooled) == (1.0, 7, True)


def test_settings_of_the_aggregation_do_not_measure_other_rows_again() -> None:
    experiments = {each.name: each for each in paper2.PAPER.experiments}

    def files(name: str, **settings: str) -> set[Path]:
        return {trial.file(Path()) for trial in experiments[name].trials(Scale(settings=settings))}

    assert files("table-1", aggregation="2") == files("table-1")
    same = files("table-2", aggregation_neighbours="7") & files("table-2")
    assert len(same) == len(files("table-2")) - 2 * 3, "one training and its classifier, of three seeds"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--table", 1, "--method", "small-conv"), "--method changes nothing about table 1"),
        (("--table", 1, "--dataset", "mnist"), "--dataset changes nothing about table 1"),
        (("--figure", 2, "--embedding-size", 10), "--embedding-size changes nothing about figure 2"),
        (("--table", 1, "--set", "loss=l1"), "loss=... would change nothing: the rows differ in it"),
        (("--table", 1, "--set", "batchsize=3"), "no parameter 'batchsize'"),
        (("--table", 2, "--set", "aggregation=-1"), "aggregation=-1"),
        (("--table", 4, "--set", "learning_rate=-1"), "learning_rate=-1"),
        (("--table", 4, "--set", "batch_size=0"), "batch_size=0"),
        (("--table", 4, "--method", "resnet1"), "resnet1"),
    ],
)
def test_mistakes_are_reported_before_anything_is_measured(
    words: tuple[object, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], cli: Cli
) -> None:
    assert cli.run("reproduce", "paper2", *words, *SCALE, "--out", tmp_path / "out") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert message in said and "Traceback" not in said and not (tmp_path / "out").exists()


def test_share_of_neighbours_of_the_same_class() -> None:
    points = np.array([[0, 0], [0, 1], [5, 0], [5, 0], [9, 9]], float)
    assert paper2.neighbour_alike(points, np.array([0, 0, 1, 2, 2])) == pytest.approx(2 / 5)


def test_published_averages_are_those_of_the_classes() -> None:
    for average, classes in paper2.PUBLISHED.values():
        assert np.mean(classes) == pytest.approx(average)


@pytest.mark.slow
def test_the_real_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path("~/.cache/selfsort-data").expanduser()
    if not (root / paper2.DATASET / "test").is_dir():
        pytest.skip(f"no CIFAR-10 in {root} (see ../shared/data/README.md)")
    monkeypatch.setattr(data, "load_images", load_images)
    facts = FACTS | {"epochs": 3, "subset": 3000}
    (outcome,) = measure([paper2.classifier_trial(facts)], Where("cpu", root), tmp_path, lambda line: None)
    rows = figures(outcome)
    assert rows[-1]["acc"] > 0.15 and {f"acc_{name}" for name in paper2.CLASSES} <= rows[-1].keys()
    assert rows[-1]["loss"] < rows[0]["loss"]
