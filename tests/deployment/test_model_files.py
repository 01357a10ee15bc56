"""Models in one file: ONNX Runtime and torch.export give the probabilities that the model gives."""

import contextlib
import csv
import io
import json
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import nn

from commands import Cli
from samples import pictures, quick
from selfsort import UserError
from selfsort.clustering.assign import clustering_of
from selfsort.clustering.space import centred, unit_rows
from selfsort.data.image_set import as_image_set
from selfsort.data.input_spec import InputSpec
from selfsort.deployment.files import open_session, runner, write_model
from selfsort.deployment.groups import Votes, as_module
from selfsort.heads.kmeans import KMeansHead
from selfsort.heads.learning import LinearHead
from selfsort.methods.base import Estimator, NamedNet
from selfsort.methods.frozen import FrozenNet
from selfsort.models.base import Output
from selfsort.models.pretrained import Pretrained, find
from selfsort.training.callbacks import History

X = pictures(12)
NEW = pictures(5, seed=7)


def named(model: Estimator) -> Estimator:
    """Return a model with a softmax head that has not learnt anything, which does not matter here."""
    torch.manual_seed(0)
    net = NamedNet(model.net_, model.embedding_.shape[1], ("bar", "Höhe/block", "other"))
    named: Estimator = model.with_net(net, as_image_set(X), History(), {})
    return named


@pytest.mark.parametrize(
    "name", ["kmeans", *(pytest.param(name, marks=pytest.mark.slow) for name in ("simclr", "self-classifier"))]
)
def test_onnx_runtime_gives_the_same_probabilities_for_any_number_of_pictures(name: str, tmp_path: Path) -> None:
    model = quick(name, **({"n_classes": 5} if name == "simclr" else {})).fit(X)
    write_model(model, tmp_path / "model.onnx")
    run = runner(open_session(str(tmp_path / "model.onnx")))
    assert np.abs(run(X) - model.predict_proba(X)).max() < 1e-4
    assert np.abs(run(NEW[:1]) - model.predict_proba(NEW[:1])).max() < 1e-4


def test_a_named_model_carries_names_threshold_and_input(tmp_path: Path) -> None:
    model = named(quick("simclr").fit(X))
    threshold = float(np.sort(model.predict_proba(NEW).max(1))[2]) + 1e-6
    write_model(model, tmp_path / "model.onnx", threshold=threshold)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    facts = {name: json.loads(text) for name, text in session.get_modelmeta().custom_metadata_map.items()}
    assert facts["names"] == ["bar", "Höhe/block", "other"] and facts["threshold"] == threshold
    assert facts["resize"] == model.input_.resize and facts["input"] == model.input_.to_json()
    probabilities, label, confidence = session.run(None, {"pictures": NEW})
    expected = model.predict_proba(NEW)
    assert np.abs(probabilities - expected).max() < 1e-4 and np.allclose(confidence, expected.max(1), atol=1e-4)
    assert label.tolist() == np.where(expected.max(1) < threshold, -1, expected.argmax(1)).tolist()
    assert (label == -1).sum() == 3


def test_pt2_holds_the_same(tmp_path: Path) -> None:
    model = named(quick("simclr").fit(X))
    write_model(model, tmp_path / "model.pt2")
    extra = {"names.json": "", "threshold.json": ""}
    module = torch.export.load(tmp_path / "model.pt2", extra_files=extra).module()
    assert json.loads(extra["names.json"]) == list(model.names_) and json.loads(extra["threshold.json"]) == 0
    for count in (1, 5):
        found = module(torch.from_numpy(NEW[:count]))[0].numpy()
        assert np.abs(found - model.predict_proba(NEW[:count])).max() < 1e-5


def test_votes_and_heads_agree_with_their_arrays() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(50, 1, (400, 6)).astype(np.float32)
    labels, new = rng.integers(0, 4, 400), rng.normal(50, 2, (50, 6)).astype(np.float32)
    votes, mean = clustering_of(points, labels, 4), points.mean(0)
    unit = unit_rows(points - mean)
    linear = LinearHead(*(rng.normal(size=shape).astype(np.float32) for shape in (6, (6, 3), (3, 4), 4)))
    for groups in (votes, KMeansHead(mean, clustering_of(unit, labels, 4)), linear):
        found = as_module(groups)(torch.from_numpy(new)).numpy()
        assert np.abs(found - groups.predict_proba(new)).max() < 1e-5
    equal = clustering_of(np.ones((20, 2), np.float32), np.arange(20) % 2, 2)
    assert np.allclose(Votes(equal)(torch.ones(1, 2)).numpy().sum(1), 1)


@pytest.mark.parametrize("head", ["kmeans", pytest.param("linear", marks=pytest.mark.slow)])
def test_features_of_a_frozen_network_and_the_groups_of_a_head(head: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten())
    card = replace(find("efficientnet-lite0"), input=InputSpec(16, 3, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.3)))
    model = quick("kmeans").fit(X)
    model.net_ = FrozenNet(Pretrained(layers.eval(), card, 8, ""))
    rows, mean = centred(model.transform(pictures(48)))
    rng = np.random.default_rng(0)
    axes, weight, bias = (rng.normal(size=shape).astype(np.float32) for shape in ((8, 4), (4, 3), 3))
    kmeans = KMeansHead(mean, clustering_of(rows, rng.integers(0, 3, 48), 3))
    model.clustering_ = kmeans if head == "kmeans" else LinearHead(mean, axes, weight, bias)
    expected = model.predict_proba(NEW)
    assert expected.max() < 0.999  # else it would be the same without normalisation, too
    write_model(model, tmp_path / "model.onnx")
    assert np.abs(runner(open_session(str(tmp_path / "model.onnx")))(NEW) - expected).max() < 1e-4


class _Unknown(nn.Module):
    """A network with an operator that ONNX lacks."""

    def forward(self, inputs: torch.Tensor) -> Output:
        return Output(inputs.flatten(1), torch.linalg.eigvals(inputs[:, 0]).real[:, :3])


@pytest.mark.slow
def test_an_operator_that_onnx_lacks_is_one_sentence(tmp_path: Path) -> None:
    model = quick("kmeans").fit(X)
    model.net_, model.clustering_ = _Unknown(), None
    sentence = (
        r"^A model of kmeans cannot be exported to ONNX \(ONNX has no operator for linalg_eig\): export it as .pt2"
    )
    with pytest.raises(UserError, match=sentence) as error:
        write_model(model, tmp_path / "model.onnx")
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


def test_wrong_suffix_and_missing_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = quick("kmeans").fit(X)
    with pytest.raises(UserError, match="end it in .onnx or .pt2"):
        write_model(model, tmp_path / "model.h5")
    monkeypatch.setattr("selfsort.deployment.files.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'selfsort\[onnx\]'"):
        write_model(model, tmp_path / "model.onnx")


def test_export_of_a_run_and_the_example_that_reads_it(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick("simclr", n_classes=4).fit(X, run_dir=tmp_path / "run")
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, pixels in enumerate(NEW):
        Image.fromarray(pixels).resize((40, 30)).save(photos / f"{number}.png")
    found = cli.json("export", tmp_path / "run", "--out", tmp_path / "model.onnx")
    assert found["kind"] == "onnx" and found["threshold"] == 0
    cli.json("predict", tmp_path / "run", photos, "--out", tmp_path / "table.csv")
    with open(tmp_path / "table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            monkeypatch.setattr("sys.argv", ["classify.py", str(tmp_path / "model.onnx"), str(photos / row["id"])])
            runpy.run_path(str(Path(__file__).parents[2] / "examples" / "classify.py"))
        name, confidence = printed.getvalue().split()
        assert name == row["cluster"] and abs(float(confidence) - float(row["confidence"])) < 1e-3
