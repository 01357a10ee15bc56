"""Run folders that are damaged, foreign, newer, already there or unfinished."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

import selfsort
from run_files import edit, reseal
from samples import pictures, quick
from selfsort import runs
from selfsort.errors import UserError
from selfsort.parameters import matches, parse, readable


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "model"
    quick("simclr").fit(pictures(), run_dir=folder)
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    shutil.copytree(saved, tmp_path / "copy")
    return tmp_path / "copy"


def test_nothing_in_a_run_folder_is_a_pickle(saved: Path) -> None:
    kinds = {path.suffix for path in saved.rglob("*") if path.is_file() and "tensorboard" not in path.parts}
    assert kinds <= {".json", ".safetensors", ".npy", ".csv", ""}
    for path in saved.glob("*.npy"):
        np.load(path, allow_pickle=False)


def test_run_json_says_how_the_run_was_made(saved: Path) -> None:
    run = json.loads((saved / "run.json").read_text())
    assert run["format"] == 1 and run["status"] == "complete" and run["method"] == "simclr"
    assert run["params"]["random_state"] == 0 and run["data"]["n_images"] == 48
    assert {"python", "torch", "selfsort"} <= run["versions"].keys()
    assert len(run["data"]["fingerprint"]) == 32


def test_a_run_keeps_the_transformations_of_a_file_since_the_file_may_change(tmp_path: Path) -> None:
    file = tmp_path / "best.json"
    file.write_text('{"choices": ["crop", "noise+cutout"]}')
    model = quick("simclr").set_params(views=f"transformations:{file}")
    model.fit(pictures(), run_dir=tmp_path / "run")
    file.unlink()
    assert selfsort.load(tmp_path / "run").views == "transformations:crop,noise+cutout"


@pytest.mark.parametrize("damage", ["missing", "extra", "shape"])
def test_weights_must_fit_exactly(damage: str, copy: Path) -> None:
    path = copy / "model.safetensors"
    tensors = load_file(path)
    name = "net.head.0.weight"
    if damage == "missing":
        del tensors[name]
    elif damage == "extra":
        tensors["net.surprise"] = tensors[name].clone()
    else:
        tensors[name] = tensors[name][:3].clone()
    save_file(tensors, path)
    reseal(copy)
    words = {
        "missing": "lacks 'head.0.weight'",
        "extra": "holds 'surprise'",
        "shape": r"of shape \(3, 256\) instead of",
    }
    with pytest.raises(UserError, match=words[damage]):
        selfsort.load(copy)


def test_a_newer_format_is_refused(copy: Path) -> None:
    edit(copy, format=runs.FORMAT + 1)
    with pytest.raises(UserError, match="newer selfsort"):
        selfsort.load(copy)


@pytest.mark.parametrize("name", ["model.safetensors", "embedding.npy", "probabilities.npy", "assignments.csv"])
def test_a_missing_or_damaged_file(name: str, copy: Path) -> None:
    (copy / name).write_bytes(b"nothing")
    with pytest.raises(UserError, match="damaged"):
        selfsort.load(copy)
    (copy / name).unlink()
    with pytest.raises(UserError, match="missing"):
        selfsort.load(copy)


def test_damaged_run_json(copy: Path) -> None:
    (copy / "run.json").write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        selfsort.load(copy)


def test_not_a_run(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match="not a run folder"):
            selfsort.load(path)


def test_an_unfinished_run_is_not_loaded(copy: Path) -> None:
    edit(copy, status="training")
    with pytest.raises(UserError, match="unfinished run.*resume=True"):
        selfsort.load(copy)
    with pytest.raises(UserError, match="unfinished run.*resume=True"):
        quick("simclr").fit(pictures(), run_dir=copy)


def test_a_finished_run_is_not_overwritten(saved: Path) -> None:
    before = (saved / "model.safetensors").read_bytes()
    for resume in (False, True):
        with pytest.raises(UserError, match="already holds a finished run"):
            quick("simclr").fit(pictures(), run_dir=saved, resume=resume)
    with pytest.raises(UserError, match="not empty"):
        quick("simclr").fit(pictures()).save(saved)
    assert (saved / "model.safetensors").read_bytes() == before


def test_resume_with_other_settings_or_pictures_is_refused(copy: Path) -> None:
    edit(copy, status="training")
    with pytest.raises(UserError, match=r"batch_size \(was 16, now 8\)"):
        quick("simclr", batch_size=8).fit(pictures(), run_dir=copy, resume=True)
    with pytest.raises(UserError, match="the pictures changed"):
        quick("simclr").fit(pictures(seed=5), run_dir=copy, resume=True)
    with pytest.raises(UserError, match="method"):
        quick("conv-autoencoder").fit(pictures(), run_dir=copy, resume=True)


def test_other_folders_and_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("all of it")
    with pytest.raises(UserError, match="not a run folder"):
        quick("kmeans").fit(pictures(), run_dir=tmp_path)
    with pytest.raises(UserError, match="is a file"):
        quick("kmeans").fit(pictures(), run_dir=tmp_path / "thesis.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_folder_that_cannot_be_written_is_one_sentence() -> None:
    with pytest.raises(UserError, match="Cannot write"):
        quick("kmeans").fit(pictures(), run_dir="/proc/selfsort/run")
    with pytest.raises(UserError, match="Cannot write"):
        quick("kmeans").fit(pictures()).save("/proc/selfsort/run")


def test_a_failure_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="diverged"):
        quick("conv-autoencoder", optimizer="sgd", learning_rate=1e30, loss="mse").fit(
            pictures(), run_dir=tmp_path / "a"
        )
    assert not (tmp_path / "a").exists()


def test_types_of_parameters() -> None:
    assert matches(np.int64(3), int) and not matches(True, int) and not matches("3", float)
    assert parse("x", "none", int | None) is None and parse("x", "3", float) == 3
    assert parse("x", "true", bool) is True and parse("x", "", tuple[int, ...]) == ()
    with pytest.raises(UserError, match="x=1,2,3 is not valid: it must be 2 numbers"):
        parse("x", "1,2,3", tuple[float, float])
    assert readable(tuple[int, ...]) == "numbers such as 10,20"
