"""Paper 3's tables and figures on small pictures, on the command line, and resumed after a stop."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from commands import Cli
from papers import experiment, paper3
from papers.runner import Outcome, Scale, Trial, Where
from samples import pictures
from selfsort import methods
from selfsort.errors import UserError
from selfsort.training import loop

SMALL = {
    "patches": "4",
    "validation_patches": "1",
    "patch_size": "11",
    "network": "64-128-256",
    "learning_rate": "0.01",
}
SMALL |= {"learning_rate": "0.01", "surrogate_classes": "12", "batch_size": "16"}
RESNET = {"resnet_backbone": "small-conv", "resnet_epochs": "3", "resnet_views": "none"}
OWN = methods.canonical("exemplar-cnn", SMALL)
TABLE_2, TABLE_3 = (experiment(paper3.PAPER, "table", number) for number in (2, 3))
PART = {"seed": 0, "epochs": 1, "subset": None, "dataset": "tiny_imagenet"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make a data set like tiny_imagenet, of bars and blocks: 10 of each kind to learn from, 8 to test on."""
    folder = tmp_path / "data"
    for split, count, seed in (("train", 30, 0), ("test", 24, 1), ("unlabeled", 40, 2)):
        for number, pixels in enumerate(pictures(count, seed=seed)):
            kind = ("across", "down", "blocks")[number % 3] if split != "unlabeled" else ""
            path = folder / "tiny_imagenet" / split / kind / f"{number:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    for number, pixels in enumerate(pictures(20, size=24, seed=3)):
        path = folder / "flowers" / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    paper3.pictures_of.cache_clear()
    return folder


def settings(**changes: str) -> list[str]:
    return [word for name, value in (SMALL | changes).items() for word in ("--set", f"{name}={value}")]


@pytest.mark.slow
def test_tables_and_figures_on_the_command_line(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], cli: Cli
) -> None:
    wanted = ("--table", 2, "--table", 3, "--figure", 1, "--figure", 2, "--dataset", "tiny_imagenet", "--epochs", 2)
    words = ("reproduce", "paper3", *wanted, *settings(**RESNET, clustered_patches="2"), "--data-root", root)
    out = tmp_path / "out"
    assert cli.run(*words, "--out", out, "--results", tmp_path / "results.json") == 0
    capsys.readouterr()
    records = {record["experiment"]: record for record in json.loads((tmp_path / "results.json").read_text())}
    by_row = {re.sub("-set-[0-9a-f]{6}|-2-epochs", "", name): record for name, record in records.items()}
    table = {name: by_row[f"paper3-table2-{name}"] for name in paper3.METHODS}
    for name, record in table.items():
        assert record["metric"] in (("acc", "acc_best") if name == "semi-supervised" else ("svm_10_folds",))
        assert record["dataset"] == "tiny_imagenet" and record["published"] is None and 20 < record["value"] <= 100
    assert table["semi-supervised"]["epochs"] == 3 and table["semi-supervised"]["labels_used"] == 3
    assert table["clustered"]["epochs"] == 2 and table["clustered"]["labels_used"] == 0
    assert "deviate by" in table["exemplar-cnn"]["note"]
    assert table["semi-supervised"]["settings"] == OWN | RESNET | {"clustered_patches": "2"}
    assert table["clustered"]["settings"] == OWN | {"clustered_patches": "2"}
    assert table["exemplar-cnn"]["settings"] == OWN and table["raw-pixels"]["settings"] == {}
    assert table["random-network"]["settings"].keys() == {"network", "patch_size", "surrogate_classes"}
    assert {f"paper3-table3-{name}" for name in ("exemplar-cnn", "clustered")} <= by_row.keys()
    classes = json.loads((out / "clustered-classes-0.json").read_text())
    assert len(classes) == 12 and all(len(rows) > 1 for rows in classes)
    for name in ("table-2", "table-3", "figure-1", "figure-2"):
        page = (out / f"{name}.md").read_text()
        assert "stl10" not in page and ("| tiny_imagenet |" in page or name == "figure-1")
        with Image.open(out / f"{name}.png") as picture:
            assert min(picture.size) > 30
    assert records["paper3-figure2-black-borders"]["method"] == "audit"
    assert not [path for path in (out / "trials").iterdir() if path.is_dir()], "no scratch folders"
    assert cli.run(*words, "--out", out) == 0
    said = capsys.readouterr().out
    assert "minutes" not in said and "measured before" in said


def check(trials: list[Trial], root: Path) -> None:
    assert TABLE_2.check is not None
    TABLE_2.check(trials, Where("cpu", root))


def test_stl10_has_its_own_folds_and_the_published_values() -> None:
    trials = TABLE_2.trials(Scale())
    assert {trial.settings["dataset"] for trial in trials} == {"stl10"} and len(trials) == 4
    assert {trial.settings["epochs"] for trial in trials if trial.measure is paper3.exemplar} == {110}
    assert paper3.n_folds("stl10") == paper3.FOLDS


def test_stl10_as_a_folder_of_pictures_gets_seeded_folds(root: Path) -> None:
    (root / "tiny_imagenet").rename(root / "stl10")
    found = paper3.baselines(Where("cpu", root), dataset="stl10", seed=0, settings=SMALL)
    assert len(paper3.pictures_of("stl10", root, None, 0).folds) == 1
    assert len(found["scores"]["raw-pixels"]["folds"]) == 10


def test_methods_share_what_they_build_on() -> None:
    def trials(*wanted: str) -> list[tuple[str, bool]]:
        scale = Scale(methods=wanted, settings=RESNET)
        return [(c.measure.__name__, c.settings.get("clustered", False)) for c in TABLE_2.trials(scale)]

    assert trials("exemplar-cnn") == [("exemplar", False)]
    assert trials("exemplar-cnn", "clustered") == [("exemplar", True)]
    assert trials("random-network", "raw-pixels") == [("baselines", False)]
    base, semi = TABLE_2.trials(Scale(methods=("clustered", "semi-supervised")))
    assert semi.settings["base"] == base.settings


def test_clustered_settings_are_those_of_the_second_training_only(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bool, int, int]] = []
    original = paper3.fitted

    def spy(model: Any, *rest: Any) -> Any:
        seen.append((model.clustered, model.patches, model.surrogate_classes))
        return original(model, *rest)

    monkeypatch.setattr(paper3, "fitted", spy)
    changed = SMALL | {"clustered_patches": "2", "clustered_surrogate_classes": "10"}
    found = paper3.exemplar(Where("cpu", root), elsewhere=False, clustered=True, settings=changed, **PART)
    assert seen == [(False, 4, 12), (True, 2, 10)]
    assert len(found["classes"]) == 10 and len(found["labels"]) == 40
    assert set(found["scores"]) == {"exemplar-cnn", "clustered"}


def test_a_lowered_cluster_distance_is_in_the_note(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = "Too many pictures lie within cluster_distance=1.25 of each other: it is lowered to 0.9."
    original = paper3.fitted

    def fitted(model: Any, *rest: Any) -> Any:
        found = original(model, *rest)
        found.history_.warnings += ["Epoch 2: as if collapsed.", sentence] if model.clustered else []
        return found

    monkeypatch.setattr(paper3, "fitted", fitted)
    facts = PART | {"elsewhere": False, "clustered": True, "settings": SMALL}
    result = paper3.exemplar(Where("cpu", root), **facts)
    rows = TABLE_2.draw([Outcome(Trial(paper3.exemplar, facts), result, 1.0, "cpu")]).rows
    notes = {row.method: row.note for row in rows}
    assert notes["clustered"].endswith(sentence) and "collapsed" not in notes["clustered"]
    assert "lowered" not in notes["exemplar-cnn"]


@pytest.mark.slow
@pytest.mark.parametrize("dies_at", [2, 5])
def test_a_stopped_training_resumes(root: Path, dies_at: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    facts = PART | {"elsewhere": False, "clustered": True, "settings": SMALL | {"checkpoint_minutes": "0"}}
    whole = paper3.exemplar(Where("cpu", root), **facts)
    one_step, steps = loop.Loop.one_step, 0

    def counted(loop: Any) -> None:
        nonlocal steps
        if steps == dies_at:
            raise SystemError("as if killed")
        steps += 1
        one_step(loop)

    monkeypatch.setattr(loop.Loop, "one_step", counted)
    where = Where("cpu", root, tmp_path / "out" / "trials" / "one")
    with pytest.raises(SystemError):
        paper3.exemplar(where, **facts)
    monkeypatch.setattr(loop.Loop, "one_step", one_step)
    again = paper3.exemplar(where, **facts)
    assert again["scores"] == whole["scores"] and again["classes"] == whole["classes"]


def test_the_resnet_learns_only_from_the_surest_labels(root: Path, tmp_path: Path) -> None:
    base = PART | {"elsewhere": False, "clustered": False, "settings": SMALL}
    where = Where("cpu", root, tmp_path / "out" / "trials" / "one")
    found = paper3.semi_supervised(where, **PART | {"epochs": 2}, settings=RESNET | {"resnet_keep": "0.5"}, base=base)
    assert 18 <= found["kept"] <= 22 and len(found["epochs"]) == 2 and found["labels_used"] == 3


def test_pixels_are_scored_fold_by_fold(root: Path) -> None:
    found = paper3.baselines(Where("cpu", root), dataset="tiny_imagenet", seed=0, settings=SMALL)
    pixels = found["scores"]["raw-pixels"]
    assert len(pixels["folds"]) == 10 and pixels["n_train"] == 3
    assert pixels["accuracy"] == pytest.approx(np.mean(pixels["folds"])) and pixels["accuracy"] > 0.6


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (Scale(methods=("simclr",)), "does not compare 'simclr'"),
        (Scale(datasets=("mnist",)), "not of 'mnist'"),
        (Scale(datasets=paper3.DATASETS), "one data set"),
        (Scale(settings={"resnet_size": "9"}), "no setting 'resnet_size'"),
        (Scale(settings={"resnet_keep": "0"}), "resnet_keep=0 must be above 0"),
        (Scale(settings={"resnet_epochs": "0"}), "resnet_epochs=0"),
        (Scale(settings={"patch": "9"}), "no parameter 'patch'"),
        (Scale(settings={"clustered": "true"}), "would change nothing: give --method clustered"),
        (Scale(settings={"clustered_epochs": "9"}), "epochs=... would change nothing"),
        (Scale(settings={"clustered_patch": "9"}), "no parameter 'patch'"),
    ],
)
def test_bad_scales(scale: Scale, message: str) -> None:
    with pytest.raises(UserError, match=message):
        TABLE_2.trials(scale)


def test_missing_other_pictures(root: Path) -> None:
    (root / "flowers").rename(root / "weeds")
    with pytest.raises(UserError, match="'flowers', which is not in --data-root"):
        paper3.exemplar(Where("cpu", root), elsewhere=True, clustered=False, settings=SMALL, **PART)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resnet_backbone": "resnet19"}, "resnet19"),
        ({"clustered_surrogate_classes": "21"}, "surrogate_classes=21 must be from 2 to 20, half of the pictures"),
        ({"surrogate_classes": "41", "clustered_surrogate_classes": "12"}, "surrogate_classes=41 must be from 2 to 40"),
        ({"surrogate_classes": "21", "clustered_surrogate_classes": "12"}, "surrogate_classes=21 must be from 2 to 20"),
        ({"clustered_patch_size": "17"}, "smaller than a patch of 17x17"),
    ],
)
def test_what_would_stop_a_later_trial_is_found_first(root: Path, changes: dict[str, str], message: str) -> None:
    scale = Scale(datasets=("tiny_imagenet",), settings=SMALL | RESNET)
    check(TABLE_2.trials(scale), root)
    with pytest.raises(UserError, match=message):
        check(TABLE_2.trials(replace(scale, settings=SMALL | RESNET | changes)), root)


def test_a_missing_second_folder_is_found_first_if_it_is_needed(root: Path) -> None:
    (root / "flowers").rename(root / "weeds")
    scale = Scale(datasets=("tiny_imagenet",), settings=SMALL | RESNET, subset=30, seeds=3)
    with pytest.raises(UserError, match="'flowers', which is not in --data-root"):
        check(TABLE_2.trials(scale), root)
    check(TABLE_2.trials(replace(scale, methods=("clustered", "semi-supervised"))), root)
    check(TABLE_3.trials(scale), root)


def test_settings_of_one_stage_do_not_measure_another_again() -> None:
    def files(method: str, **settings: str) -> set[Path]:
        trials = TABLE_2.trials(Scale(methods=(method,), settings=settings))
        return {trial.file(Path()) for trial in trials}

    assert files("exemplar-cnn", clustered_patches="3", resnet_epochs="2") == files("exemplar-cnn")
    assert files("clustered", clustered_patches="100") == files("clustered"), "as many as the first network has"
    assert files("clustered", clustered_patches="3") != files("clustered")
    assert files("raw-pixels", patches="50", learning_rate="0.01") == files("raw-pixels")
    assert files("exemplar-cnn", learning_rate="0.10", fresh="False") == files("exemplar-cnn")


def test_a_subset_larger_than_the_whole(root: Path) -> None:
    with pytest.raises(UserError, match="--subset 41 must be from 2 to 40"):
        paper3.pictures_of("tiny_imagenet", root, 41, 0)
