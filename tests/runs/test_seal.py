"""A run is read as it was written, or refused: every file and every value, including infinite and huge ones."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import selfsort
from run_files import edit, reseal
from samples import pictures, quick
from selfsort import runs
from selfsort.errors import UserError
from selfsort.methods import names
from selfsort.runs import RunFolder


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "run"
    quick("simclr").fit(pictures(), run_dir=run)
    return run


@pytest.fixture
def run(saved: Path, tmp_path: Path) -> Path:
    return shutil.copytree(saved, tmp_path / "run")


@pytest.fixture
def early(run: Path) -> Path:
    """A run of an earlier version without digests."""
    edit(run, "files")
    return run


def read_all(run: Path) -> None:
    selfsort.load(run)
    runs.read_skipped(run)


def sentence(run: Path) -> str:
    with pytest.raises(UserError) as error:
        read_all(run)
    said = str(error.value)
    assert "\n" not in said and said.endswith(".") and "restore a copy" in said
    return said


def test_the_manifest_has_a_digest_of_every_permanent_file(saved: Path) -> None:
    known = runs.read_run(saved)["files"]
    assert set(known) == {path.name for path in RunFolder(saved).sealed_files if path.exists()} >= {"model.safetensors"}
    left = {path.name for path in saved.iterdir() if path.is_file()} - set(known)
    assert left <= {"run.json", ".lock"}


@pytest.mark.parametrize("name", [path.name for path in RunFolder("").sealed_files])
def test_a_changed_bit_is_noticed_wherever_it_is(name: str, run: Path) -> None:
    if not (run / name).exists():
        pytest.skip("this method has no such file")
    before = (run / name).read_bytes()
    for place in np.linspace(0, 8 * len(before) - 1, 25).astype(int):
        changed = bytearray(before)
        changed[place // 8] ^= 1 << place % 8
        (run / name).write_bytes(changed)
        assert f"{name!r}"[1:] in sentence(run)
    (run / name).write_bytes(before)
    read_all(run)


def test_a_changed_bit_in_the_manifest_is_noticed_or_changes_nothing(run: Path) -> None:
    before = (run / "run.json").read_bytes()
    content, noticed = runs.read_run(run), 0
    for place in range(0, 8 * len(before), 61):
        changed = bytearray(before)
        changed[place // 8] ^= 1 << place % 8
        (run / "run.json").write_bytes(changed)
        try:
            found = runs.read_run(run)
        except UserError:
            noticed += 1
        else:  # in the digest's own name, or in a space
            assert {name: found[name] for name in content} == content
    assert noticed > 0.7 * len(range(0, 8 * len(before), 61))


def test_runs_of_earlier_versions_open(early: Path) -> None:
    read_all(early)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["model.safetensors", "embedding.npy", "probabilities.npy", "metrics.csv"])
def test_values_that_are_not_finite_are_refused(name: str, value: float, early: Path) -> None:
    if name.endswith(".npy"):
        array = np.load(early / name)
        array[3, 1] = value
        np.save(early / name, array)
    elif name.endswith(".csv"):
        lines = (early / name).read_text().splitlines()
        (early / name).write_text("\n".join([*lines[:-1], lines[-1].rpartition(",")[0] + f",{value}", ""]))
    else:
        tensors = load_file(early / name)
        next(tensor for tensor in tensors.values() if tensor.is_floating_point()).view(-1)[0] = value
        save_file(tensors, early / name)
    assert name in sentence(early)


def test_weights_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    model = quick("simclr").fit(pictures())
    with torch.no_grad():
        next(model.net_.parameters())[0] = torch.nan
    with pytest.raises(UserError, match="is not finite"):
        model.save(tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match="not finite"):
        model.predict(pictures())


def array_of(change: Callable[[Any], Any]) -> Callable[[Path], None]:
    return lambda path: np.save(path, change(np.load(path)))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("probabilities.npy", array_of(lambda found: found[:, :2])),
        ("probabilities.npy", array_of(lambda found: np.hstack([found, 0 * found]))),
        ("probabilities.npy", array_of(lambda found: found * 2)),
        ("probabilities.npy", array_of(lambda found: found - 1)),
        ("probabilities.npy", array_of(lambda found: found[0])),
        ("embedding.npy", array_of(lambda found: found[:-1])),
        ("embedding.npy", array_of(lambda found: found[:, :-1])),
        ("embedding.npy", array_of(lambda found: found.astype(np.int64))),
        ("embedding.npy", lambda path: path.write_bytes(path.read_bytes().replace(b"(48, ", b"(10**9, ", 1))),
        ("embedding.npy", lambda path: path.write_bytes(path.read_bytes().replace(b"'shape': (", b"'shape': [", 1))),
        ("embedding.npy", lambda path: path.write_bytes(path.read_bytes()[:-4])),
        ("embedding.npy", lambda path: path.write_bytes(path.read_bytes() + b"0000")),
        ("assignments.csv", lambda path: path.write_text("id,cluster\n0,1,2\n")),
        ("assignments.csv", lambda path: path.write_text("id\n0\n")),
    ],
)
def test_arrays_that_do_not_fit(name: str, damage: Callable[[Path], object], early: Path) -> None:
    damage(early / name)
    assert "is damaged" in sentence(early)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": True},
        {"format": 0},
        {"method": 3},
        {"params": {"n_classes": 3}},
        {"params.epochs": 10**9 + 0.5},
        {"params.epochs": -1},
        {"params.n_classes": 10**9},
        {"params.projection_dim": 10**9},
        {"params.random_state": -1},
        {"params.views": {"rotation": "far"}},
        {"params.views": {"magic": 1}},
        {"data.n_images": 10**9},
        {"data.n_images": True},
        {"data.n_images": 47},
        {"data.image_shape": [10**9, 16, 3]},
        {"data.image_shape": [2**16, 2**16, 3]},
        {"data.image_shape": [16, 16]},
        {"data.options": {"sizes": 3}},
        {"data.options": {"size": "16"}},
        {"input": {"side": 0}},
        {"input": {"side": 16, "channels": 3, "mean": [0.0], "std": [-1.0]}},
        {"training": {"minutes": "long"}},
        {"training.minutes": -1.0},
        {"training.warnings": 3},
        {"names": ["a", "a"]},
        {"names": ["a", "\ud800"]},
        {"names": ["a", ""]},
        {"names": ["a", "b"]},
        {"weights": {"net": {"name": "x"}}},
        {"files": {"model.safetensors": "none"}},
        {"files": {"model.safetensors": "0" * 64}},
    ],
    ids=str,
)
def test_forged_facts(changes: dict[str, Any], run: Path) -> None:
    facts = json.loads((run / "run.json").read_text())
    for place, value in changes.items():
        *parents, last = place.split(".")
        content = facts
        for parent in parents:
            content = content[parent]
        content[last] = value
    edit(run, **facts)
    sentence(run)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"format": 1e999}',
        '{"format": NaN}',
        '{"format": 1' + "0" * 5000 + "}",
        '{"a": ' * 500 + "1" + "}" * 500,
    ],
    ids=["deep", "infinite", "nan", "long", "nested"],
)
def test_excessive_json(text: str, run: Path) -> None:
    (run / "run.json").write_text(text)
    assert "run.json" in sentence(run)


def test_a_network_larger_than_its_weights_takes_no_memory(early: Path) -> None:
    """It is refused by its sizes alone, as building it would take terabytes."""
    facts = json.loads((early / "run.json").read_text())
    edit(early, params=facts["params"] | {"projection_dim": 2**31})
    assert "of shape" in sentence(early)


@pytest.mark.parametrize("name", names())
def test_every_method_is_restored_unchanged(name: str, tmp_path: Path) -> None:
    if name == "frozen":
        pytest.skip("tests/methods/test_frozen.py loads it")
    size = 32 if name == "exemplar-cnn" else 16
    model = quick(name).fit(pictures(24, size))
    model.save(tmp_path / "run")
    loaded = selfsort.load(tmp_path / "run")
    assert np.array_equal(loaded.predict_proba(pictures(24, size)), model.predict_proba(pictures(24, size)))


def test_a_digest_under_a_changed_key_does_not_make_a_file_one_of_an_earlier_version(run: Path) -> None:
    manifest = RunFolder(run).manifest
    manifest.write_text(manifest.read_text().replace('"digest"', '"eigest"'))
    assert "was changed after it was written" in sentence(run)


def test_files_added_later_are_sealed_too(run: Path) -> None:
    runs.write_array(RunFolder(run).error_probability, np.zeros(48, np.float32))
    with pytest.raises(UserError, match="does not belong to this run"):
        runs.read_array(RunFolder(run).error_probability, (48,))
    reseal(run)
    assert runs.read_array(RunFolder(run).error_probability, (48,)).tolist() == [0] * 48


@pytest.mark.parametrize("mapped", [False, True])
def test_arrays_of_any_order_and_none(mapped: bool, tmp_path: Path) -> None:
    for number, array in enumerate((np.ones((3, 2), np.float32).T, np.zeros((0, 4), np.float32))):
        np.save(tmp_path / f"{number}.npy", array)
        found = runs.read_array(tmp_path / f"{number}.npy", (None, None), mapped=mapped)
        assert found.shape == array.shape and np.array_equal(found, array)
        assert isinstance(found, np.memmap) == (mapped and array.size > 0)


@pytest.mark.parametrize("mapped", [False, True])
def test_an_array_is_checked_before_it_is_mapped(mapped: bool, run: Path) -> None:
    embedding = RunFolder(run).embedding
    found = runs.read_training_arrays(run, mapped=mapped)[0]
    assert np.array_equal(found, np.load(embedding))
    data = bytearray(embedding.read_bytes())
    data[-1] ^= 1
    embedding.write_bytes(data)
    with pytest.raises(UserError, match="was changed after it was written"):
        runs.read_training_arrays(run, mapped=mapped)
    np.save(embedding, np.full(found.shape, np.nan, np.float32))
    reseal(run)
    with pytest.raises(UserError, match="not finite"):
        runs.read_training_arrays(run, mapped=mapped)


def test_stored_arrays_are_read_or_computed_again(tmp_path: Path) -> None:
    path, points = tmp_path / "points.npz", np.ones((3, 2))
    assert runs.read_kept(path, "a", {"points": "Nd"}) is None
    runs.write_kept(path, "a", points=points)
    found = runs.read_kept(path, "a", {"points": "Nd"})
    assert found is not None and np.array_equal(found["points"], points)
    assert runs.read_kept(path, "b", {"points": "Nd"}) is None
    assert runs.read_kept(path, "a", {"points": "N"}) is None
    np.savez_compressed(path, stamp="a", points=points)
    assert runs.read_kept(path, "a", {"points": "Nd"}) is None, "it could expand beyond the memory"
    runs.write_kept(path, "a", points=points)
    data = bytearray(path.read_bytes())
    data[data.index(points.tobytes()) + 5] ^= 1
    path.write_bytes(data)
    assert runs.read_kept(path, "a", {"points": "Nd"}) is None
