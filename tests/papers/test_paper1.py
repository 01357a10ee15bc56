"""Paper 1's tables and figures on the bundled digits, on the command line, and resumed after a stop."""

import io
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch.nn import BatchNorm2d

from commands import Cli
from papers import data, experiment, paper1
from papers.runner import Outcome, Scale, Where, kept_epochs, reproduce
from selfsort import load_images
from selfsort.errors import UserError
from selfsort.training.callbacks import History

SMALL = {"perceptual_network": "squeezenet1_1", "perceptual_layer": "2", "perceptual_weights": "random"}
SETTINGS = [word for name, value in SMALL.items() for word in ("--set", f"{name}={value}")]
TABLES = {
    name: experiment(paper1.PAPER, "table", number) for number, name in enumerate(("mnist", "cifar10", "svhn"), 2)
}
SCALE = ("--epochs", 2, "--subset", 200, "--seeds", 1, "--embedding-size", 20)


@pytest.fixture(autouse=True)
def digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the bundled digits in place of every data set."""
    kept = partial(load_images, "digits", size=16)
    monkeypatch.setattr(data, "load_images", lambda name, split, data_root=None, fold=None: kept(split=split))
    data.train_and_test.cache_clear()


def width(path: Path) -> int:
    with Image.open(path) as picture:
        return picture.width


@pytest.mark.slow
def test_table_and_figures_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], cli: Cli) -> None:
    wanted = ("--table", 2, "--figure", 14, "--figure", 15, "--table", 5, "--dataset", "mnist")
    words = ("reproduce", "paper1", *wanted, *SCALE, *SETTINGS, "--out", tmp_path / "out")
    assert cli.run(*words, "--results", tmp_path / "results.json") == 0
    assert "5/5 supervised cnn" in capsys.readouterr().out
    records = json.loads((tmp_path / "results.json").read_text())
    by_name = {(record["experiment"], record["metric"]): record for record in records}
    pl = by_name["paper1-table2-PL-AE-20-2-epochs", "linear_probe_last"]
    assert (pl["epochs"], pl["seeds"], pl["labels_used"]) == (2, [0], 0)
    assert pl["dataset"] == "mnist (200 pictures)" and pl["weights"] == "squeezenet1_1 features[:2], random"
    for short in ("B-AE", "PL-AE"):
        for name in ("table2", "figure14"):
            by_svm = by_name[f"paper1-{name}-{short}-20-2-epochs", "svm_probe_last"]
            assert by_svm["epochs"] == 2 and 20 < by_svm["value"] <= 100, "guessing has 10 %"
            assert by_svm["note"].startswith("LIBLINEAR") and by_svm["published"] is None, "paper 1 has no size of 20"
    assert "svm_probe_last" not in {metric for name, metric in by_name if "CNN" in name}
    cnn = by_name["paper1-table2-CNN-20-2-epochs", "acc"]
    assert cnn["labels_used"] == 200 and cnn["weights"] == "none"
    assert {name for name, _ in by_name} >= {f"paper1-figure14-{short}-20-2-epochs" for short in paper1.SHORT.values()}
    assert by_name["paper1-table5-PL-AE-best-2-epochs", "linear_probe_best"]["published"] == 99.3
    for name in ("table-2", "figure-14", "figure-15", "table-5"):
        assert width(tmp_path / "out" / f"{name}.png") > 300
        assert "PL-AE" in (tmp_path / "out" / f"{name}.md").read_text()
    assert cli.run(*words) == 0
    assert "measured before" in capsys.readouterr().out
    assert not [path for path in (tmp_path / "out" / "trials").iterdir() if path.is_dir()], "no scratch folders"


@pytest.mark.slow
def test_the_search_draws_a_heat_map_and_writes_ten_usable_as_views(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cli: Cli
) -> None:
    grid = [word for name in ("rotation", "crop", "cutout") for word in ("--transformation", name)]
    words = ("search-augmentations", "MNIST", *grid, "--epochs", 1, "--subset", 200, *SETTINGS, "--out", tmp_path)
    assert cli.run(*words) == 0
    assert width(tmp_path / "heat-map.png") > 300
    assert (tmp_path / "heat-map.md").read_text().partition("\n")[0].endswith(": heat map")
    found = json.loads((tmp_path / "top-ten-mnist.json").read_text())
    assert sorted(found["choices"]) == sorted(
        ["rotation", "crop", "cutout", "rotation+crop", "rotation+cutout", "crop+cutout"]
    )
    scores = [found["accuracy"][choice] for choice in found["choices"]]
    assert scores == sorted(scores, reverse=True)
    assert f"--views transformations:{tmp_path / 'top-ten-mnist.json'}" in " ".join(capsys.readouterr().out.split())
    views = ("views", "digits", "--views", f"transformations:{tmp_path / 'top-ten-mnist.json'}")
    assert cli.run(*views, "--out", tmp_path / "views.png") == 0


def test_the_whole_grid_is_every_transformation_and_pair_of_table_1() -> None:
    for dataset, count in (("mnist", 15), ("cifar10", 45), ("svhn", 28)):
        choices = [trial.settings["choice"] for trial in paper1.search(dataset).trials(Scale(seeds=1))]
        assert len(choices) == len(set(choices)) == count


def test_validation_pictures_are_neither_from_training_nor_test() -> None:
    settings: dict[str, Any] = {"dataset": "mnist", "embedding_size": 10, "seed": 0, "epochs": 1, "subset": 300}
    found = paper1.searched(Where("cpu"), choice="crop", settings=SMALL, **settings)
    assert set(found["epochs"][0]) == {"validation", "linear_probe_last"} and found["trained_epochs"] == 1
    # A share of 30 pictures is a multiple of a thirtieth.
    assert found["epochs"][0]["validation"] * 30 == pytest.approx(round(found["epochs"][0]["validation"] * 30))


def test_trials_are_those_of_the_tables_and_shared_with_the_figures() -> None:
    trials = {each.name: {trial.file(Path()) for trial in each.trials(Scale())} for each in paper1.PAPER.experiments}
    assert len(trials["table-2"]) == 5 * 3 * 3 and len(trials["figure-14"]) == 5 * 3
    assert trials["figure-14"] < trials["table-2"] and trials["figure-15"] < trials["figure-14"]
    assert trials["table-5"] == trials["table-2"] | trials["table-3"] | trials["table-4"]


def test_settings_reach_only_the_methods_that_have_them() -> None:
    scale = Scale(seeds=1, embedding_sizes=(10,), settings=SMALL | {"views": "transformations:crop"})
    trials = {trial.settings.get("method", paper1.CNN): trial.settings for trial in TABLES["mnist"].trials(scale)}
    assert trials["basic-ae"]["settings"] == {} and trials["perceptual-ae"]["settings"] == SMALL
    assert trials["pseudo-label-ae"]["settings"] == SMALL | {"views": "transformations:crop"}
    assert trials[paper1.CNN]["settings"] == {"views": "transformations:crop"}


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (Scale(methods=("simclr",)), "Paper 1 does not compare 'simclr': choose among basic-ae"),
        (Scale(settings={"perceptual_netwrok": "vgg11"}), "no parameter 'perceptual_netwrok': did you mean"),
        (Scale(datasets=("stl10",)), "Table 5 of paper 1 does not name 'stl10'"),
    ],
)
def test_what_cannot_be_compared_is_refused_at_once(scale: Scale, message: str) -> None:
    (table,) = [experiment for experiment in paper1.PAPER.experiments if experiment.name == "table-5"]
    with pytest.raises(UserError, match=message):
        table.trials(scale)


def test_a_transformation_that_does_not_fit_the_data_set_is_refused(
    capsys: pytest.CaptureFixture[str], cli: Cli
) -> None:
    assert cli.run("search-augmentations", "mnist", "--transformation", "vertical-flip") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "'vertical-flip' is not meant for mnist" in said and "Traceback" not in said


@pytest.mark.slow
def test_a_stopped_measurement_resumes_to_the_same_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scale = Scale(epochs=3, subset=200, seeds=1, embedding_sizes=(20,), methods=("basic-ae", paper1.CNN))
    (figure,) = [experiment for experiment in paper1.PAPER.experiments if experiment.name == "figure-14"]

    def made(out: Path) -> list[dict[str, Any]]:
        return reproduce(paper1.PAPER, figure, scale, Where("cpu"), out, "", lambda line: None)

    whole = made(tmp_path / "whole")
    calls: list[int] = []

    def stopping(where: Where, scores: Any) -> Any:
        rows, follow = kept_epochs(where, scores)

        def follow_and_stop(history: History) -> None:
            follow(history)
            calls.append(len(rows))
            if len(calls) in (2, 6):
                raise KeyboardInterrupt

        return rows, follow_and_stop

    monkeypatch.setattr(paper1, "kept_epochs", stopping)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            made(tmp_path / "stopped")
    again = made(tmp_path / "stopped")
    assert calls == [1, 2, 2, 3, 1, 2, 2, 3], "an epoch that was not saved is repeated, a saved one is not"
    for one, other in zip(whole, again, strict=True):
        assert one["value"] == other["value"] and one["experiment"] == other["experiment"]


def test_the_heat_map_is_symmetrical_with_single_ones_on_the_diagonal() -> None:
    heat_map = paper1.search("mnist", ("crop", "cutout"))
    scores = {"crop": 0.5, "cutout": 0.6, "crop+cutout": 0.7}
    outcomes = [
        Outcome(trial, {"epochs": [{"validation": scores[c], "linear_probe_last": 0}], "weights": "none"}, 1.0, "here")
        for trial in heat_map.trials(Scale(seeds=1))
        for c in [trial.settings["choice"]]
    ]
    drawing = heat_map.draw(outcomes)
    (content,) = drawing.files.values()
    assert content["choices"] == ["crop+cutout", "cutout", "crop"]  # type: ignore[index]
    assert np.asarray(Image.open(io.BytesIO(drawing.png))).std() > 0


def trials_of(scale: Scale, dataset: str = "mnist") -> dict[str, dict[str, str]]:
    """Return the settings of each method's trial."""
    trials = TABLES[dataset].trials(scale)
    return {trial.settings.get("method", paper1.CNN): trial.settings["settings"] for trial in trials}


def test_cifar_and_svhn_use_the_ten_best_of_an_earlier_search(tmp_path: Path) -> None:
    scale = Scale(seeds=1, embedding_sizes=(10,), out=tmp_path)
    assert trials_of(scale, "cifar10")["pseudo-label-ae"] == {}
    for dataset in ("cifar10", "mnist"):
        content = {"choices": ["crop", "crop+cutout"], "epochs": 30, "subset": None}
        (tmp_path / f"top-ten-{dataset}.json").write_text(json.dumps(content))
    best = {"views": "transformations:crop,crop+cutout"}
    trials = trials_of(scale, "cifar10")
    assert trials["pseudo-label-ae"] == trials["augmented-ae"] == trials[paper1.CNN] == best
    assert trials["basic-ae"] == trials["perceptual-ae"] == trials_of(scale, "mnist")["pseudo-label-ae"] == {}
    other = replace(scale, settings={"views": "transformations:noise"})
    assert trials_of(other, "cifar10")["pseudo-label-ae"] == {"views": "transformations:noise"}
    outcome = Outcome(
        paper1.Trial(paper1.autoencoder, {"settings": best}), {"epochs": [{"linear_probe_last": 0.5}]}, 1.0, ""
    )
    assert "changed by those under settings" in paper1.row_of(("cifar10", "pseudo-label-ae", 300), [outcome]).note
    everything = replace(outcome, trial=paper1.Trial(paper1.autoencoder, {"settings": {}}))
    assert "changed by all" in paper1.row_of(("cifar10", "pseudo-label-ae", 300), [everything]).note
    assert "changed" not in paper1.row_of(("cifar10", "basic-ae", 300), [everything]).note


@pytest.mark.parametrize(
    ("searched", "scale", "taken"),
    [
        ({"epochs": 30, "subset": None}, Scale(), True),
        ({"epochs": 2, "subset": None}, Scale(), False),
        ({"epochs": 2, "subset": None}, Scale(epochs=2), True),
        ({"epochs": 30, "subset": 500}, Scale(), False),
        ({"epochs": 30, "subset": 500}, Scale(subset=500), True),
        ({"epochs": 30, "subset": None}, Scale(subset=500), True),
        ({}, Scale(), False),
    ],
)
def test_a_small_search_does_not_decide_the_views_of_a_whole_table(
    searched: dict[str, Any], scale: Scale, taken: bool, tmp_path: Path
) -> None:
    (tmp_path / "top-ten-cifar10.json").write_text(json.dumps({"choices": ["crop"]} | searched))
    own = trials_of(replace(scale, seeds=1, embedding_sizes=(10,), out=tmp_path), "cifar10")["pseudo-label-ae"]
    assert own == ({"views": "transformations:crop"} if taken else {})


def test_views_are_compared_by_meaning_not_spelling(tmp_path: Path) -> None:
    file = tmp_path / "best.json"

    def views(text: str) -> dict[str, str]:
        scale = Scale(seeds=1, embedding_sizes=(10,), settings={"views": text})
        return trials_of(scale)["pseudo-label-ae"]

    file.write_text('{"choices": ["crop"]}')
    assert views(f"transformations:{file}") == views("transformations:crop") == {"views": "transformations:crop"}
    file.write_text('{"choices": ["noise"]}')
    assert views(f"transformations:{file}") == {"views": "transformations:noise"}
    assert views("transformations:mnist") == {}, "the paper's"


def test_settings_are_compared_by_meaning_not_spelling() -> None:
    def own(**settings: str) -> dict[str, str]:
        return trials_of(Scale(seeds=1, embedding_sizes=(10,), settings=settings))["basic-ae"]

    assert own(batch_norm="True", learning_rate="1e-2") == own(batch_norm="true", learning_rate="0.010")
    assert own(batch_norm="false", schedule="constant", batch_size="100", learning_rate="1e-3") == {}


def test_table_5_quotes_the_papers_own_values() -> None:
    trial = paper1.Trial(
        paper1.autoencoder,
        {"dataset": "cifar10", "method": "perceptual-ae", "embedding_size": 300, "seed": 0, "settings": {}},
    )
    drawing = experiment(paper1.PAPER, "table", 5).draw(
        [Outcome(trial, {"epochs": [{"linear_probe_last": 0.5}]}, 1.0, "")]
    )
    assert [row.published for row in drawing.rows] == [57.46], "against 56.46 in table 3"


def test_values_given_twice_count_once(tmp_path: Path, cli: Cli) -> None:
    words = ["--table", 5, "--dataset", "mnist", "--dataset", "MNIST", "--method", "basic-ae", "--method", "basic-ae"]
    words += [*SCALE, "--embedding-size", 20, *SETTINGS, "--out", tmp_path / "out"]
    assert cli.run("reproduce", "paper1", *words, "--results", tmp_path / "results.json") == 0
    assert {tuple(record["seeds"]) for record in json.loads((tmp_path / "results.json").read_text())} == {(0,)}
    assert len(list((tmp_path / "out/trials").iterdir())) == 1


def test_pictures_without_labels_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [each.unlabelled() for each in data.train_and_test("mnist", None, 50, 0)]
    monkeypatch.setattr(paper1, "train_and_test", lambda *args: data.Parts(*parts))
    table = TABLES["mnist"]
    assert table.check is not None
    with pytest.raises(UserError, match="has no labels to probe with"):
        table.check(table.trials(Scale(subset=50, seeds=1)), Where("cpu"))


def test_the_reference_is_trained_as_the_others_are() -> None:
    settings = {"schedule": "cosine", "batch_norm": "true", "learning_rate": "0.01", **SMALL}
    own = trials_of(Scale(seeds=1, embedding_sizes=(10,), settings=settings))[paper1.CNN]
    assert own == {name: settings[name] for name in ("schedule", "batch_norm", "learning_rate")}
    images = data.train_and_test("mnist", None, 100, 0).train
    model = paper1.model_of(paper1.CNN, "mnist", own, images, 10, 0, 1, Where("cpu"))
    assert model.recipe().schedule == "cosine" and model.recipe().learning_rate == 0.01
    assert any(isinstance(layer, BatchNorm2d) for layer in paper1.Encoder(model).modules())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("search-augmentations", "MNIST", "--transformation", "vertical-flip"), "not meant for mnist"),
        (("search-augmentations", "mnist", "--transformation", "crop+cutout"), "takes single ones, not 'crop+cutout'"),
        (("search-augmentations", "mnist", "--set", "views=none"), "tries all transformations and pairs"),
        (("reproduce", "paper1", "--table", 2, "--set", "views=transformations:grayscale"), "not meant for mnist"),
        (("reproduce", "paper1", "--table", 2, "--dataset", "svhn"), "--dataset changes nothing about table 2"),
        (("reproduce", "paper1", "--figure", 15, "--method", "basic-ae"), "--method changes nothing about figure 15"),
        (("reproduce", "paper1", "--figure", 11, "--embedding-size", 8, "--embedding-size", 9), "one size"),
        (("reproduce", "paper1", "--table", 2, "--set", "embedding_size=8"), "it is --embedding-size, where"),
        (("reproduce", "paper1", "--table", 2, "--set", "learning_rate=-1", *SETTINGS), "learning_rate=-1 must be"),
        (("reproduce", "paper1", "--figure", 14, "--figure", 15, "--set", "n_classes=3"), "that of the labels"),
    ],
)
def test_mistakes_are_reported_before_anything_is_measured(
    words: tuple[object, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], cli: Cli
) -> None:
    assert cli.run(*words, "--out", tmp_path / "out") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert message in said and "Traceback" not in said and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_failure_loses_no_earlier_record(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cli: Cli) -> None:
    def failing(outcomes: object) -> paper1.Drawing:
        raise UserError("cannot be drawn")

    found = [replace(each, draw=failing) if each.name == "figure-15" else each for each in paper1.PAPER.experiments]
    monkeypatch.setattr(paper1, "PAPER", replace(paper1.PAPER, experiments=tuple(found)))
    small = ("--epochs", 1, "--subset", 50, "--seeds", 1, "--embedding-size", 10)
    words = ("reproduce", "paper1", "--figure", 14, "--figure", 15, *small, *SETTINGS, "--out", tmp_path / "out")
    assert cli.run(*words, "--results", tmp_path / "results.json") == 1
    kept = json.loads((tmp_path / "results.json").read_text())
    assert {record["experiment"].split("-")[1] for record in kept} == {"figure14"}
