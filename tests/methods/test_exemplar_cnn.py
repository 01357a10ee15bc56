"""ExemplarCNN: its network, its surrogate set, its rounds, and its answers to bad input."""

import csv
import logging
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import selfsort
from samples import pictures, quick
from selfsort import UserError
from selfsort.clustering import CompleteLinkage
from selfsort.clustering.complete_linkage import ThresholdTooLarge
from selfsort.clustering.surrogates import surrogate_classes
from selfsort.methods import exemplar_cnn, stage
from selfsort.methods.exemplar_cnn import ExemplarCNN, ExemplarNet
from selfsort.models.base import Batch
from selfsort.training import loop
from selfsort.training.recipe import make_optimizer, rate_factor


def net(n_classes: int = 5, patch_size: int = 32) -> ExemplarNet:
    torch.manual_seed(0)
    return ExemplarNet(3, patch_size, "64-128-256", n_classes).eval()


def exemplar(**changes: Any) -> ExemplarCNN:
    model = quick("exemplar-cnn", **{"views": "none", **changes})
    assert isinstance(model, ExemplarCNN)
    return model


def rounds_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_at: int, **changes: Any) -> None:
    """Train until a step of the second round, as if killed there."""
    one_step, steps = loop.Loop.one_step, 0

    def counted(loop: Any) -> None:
        nonlocal steps
        if steps == dies_at:
            raise SystemError("as if killed")
        steps += 1
        one_step(loop)

    monkeypatch.setattr(loop.Loop, "one_step", counted)
    with pytest.raises(SystemError):
        exemplar(**changes).fit(pictures(), run_dir=tmp_path / "run")
    monkeypatch.setattr(loop.Loop, "one_step", one_step)


def test_layers_are_those_of_table_1() -> None:
    large = ExemplarNet(3, 32, "92-256-512", 16_000)
    shapes = [
        tuple(layer.weight.shape) for layer in (large.conv1, large.conv2, large.conv3, large.dense1, large.dense2)
    ]
    assert shapes == [(92, 3, 5, 5), (256, 92, 5, 5), (512, 256, 5, 5), (1024, 25088), (16_000, 1024)]
    assert large.scores(torch.rand(2, 3, 32, 32)).shape == (2, 16_000)


def test_optimiser_is_that_of_section_4_1() -> None:
    model = ExemplarCNN()
    network = net()
    optimizer = make_optimizer(network, model.recipe())
    assert isinstance(optimizer, torch.optim.SGD) and optimizer.defaults["momentum"] == 0.9
    found = {
        id(parameter): (0.1 * group.get("rate", 1.0), group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    expected = {"conv1": 0.0, "conv2": 0.0, "conv3": 0.0, "dense1": 0.004, "dense2": 0.016}
    for name, decay in expected.items():
        layer = getattr(network, name)
        assert found[id(layer.weight)] == (pytest.approx(0.025 if name == "dense2" else 0.1), decay)
        assert found[id(layer.bias)] == (pytest.approx(0.2), 0.0)
    assert len(found) == 10


def test_the_rates_reach_the_optimiser(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    one_step = loop.Loop.one_step

    def spy(loop: Any) -> None:
        one_step(loop)
        seen.append([group["lr"] for group in loop.optimizer.param_groups])

    monkeypatch.setattr(loop.Loop, "one_step", spy)
    exemplar(epochs=1).fit(pictures())
    assert seen[0] == pytest.approx([0.01, 0.01, 0.0025, 0.02])


def test_schedule_is_that_of_section_4_1() -> None:
    recipe = ExemplarCNN().recipe()
    rates = [rate_factor(recipe, epoch, 1) for epoch in range(110)]
    falls = {epoch: rates[epoch] / rates[epoch - 1] for epoch in range(1, 110) if rates[epoch] != rates[epoch - 1]}
    assert falls == {75: pytest.approx(0.4), 85: pytest.approx(0.25), 92: pytest.approx(0.4), 100: pytest.approx(0.25)}


def test_loss_is_the_cross_entropy_of_the_surrogate_classes() -> None:
    network = net()
    network.classes.replace(torch.tensor([4, 4, 0, 1]))
    patches, indices = torch.rand(3, 3, 32, 32), torch.tensor([1, 3, 2])
    expected = F.cross_entropy(network.scores(patches), torch.tensor([4, 1, 0]))
    assert torch.allclose(network.loss(Batch(patches, (patches,), indices)), expected)


def test_without_patches_there_is_no_loss() -> None:
    images = torch.rand(2, 3, 40, 40)
    assert net().loss(Batch(images, (images,), torch.arange(2))) == 0


def test_features_of_a_patch_are_its_maps_in_quarters_and_its_dense_outputs() -> None:
    network = net()
    network.mean, network.deviation = torch.full((3, 1, 1), 0.4), torch.full((3, 1, 1), 0.2)
    patch = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        features = network(patch).embedding
        first = F.relu(network.conv1((patch - 0.4) / 0.2))
        assert torch.allclose(features[:, :4], first[:, 0].reshape(2, 2, 16, 2, 16).amax((2, 4)).flatten(1), atol=1e-6)
        assert torch.allclose(features[:, -5:], network.scores(patch), atol=1e-4)
    assert features.shape == (2, 4 * (64 + 128 + 256) + 512 + 5)


@pytest.mark.parametrize("shape", [(64, 64), (96, 96), (40, 70)])
def test_dense_layers_see_windows_of_larger_pictures(shape: tuple[int, int]) -> None:
    network = net()
    image = torch.rand(1, 3, *shape)
    with torch.no_grad():
        features = network(image).embedding
        third = F.relu(network.conv1(image))
        third = F.max_pool2d(F.relu(network.conv2(F.max_pool2d(third, 3, 2))), 3, 2)
        third = F.relu(network.conv3(third))
        side = network.side
        windows = third.unfold(2, side, 4).unfold(3, side, 4)  # (1, C, rows, columns, side, side)
        flat = windows.permute(0, 2, 3, 1, 4, 5).flatten(0, 2).flatten(1)
        hidden = F.relu(network.dense1(flat))
        expected = torch.cat([hidden.amax(0), network.dense2(hidden).amax(0)])
    assert torch.allclose(features[0, -len(expected) :], expected, atol=1e-4)


def test_patches_are_normalised_by_the_sets_own_mean_and_deviation(monkeypatch: pytest.MonkeyPatch) -> None:
    sets: list[np.ndarray] = []
    statistics = exemplar_cnn.mean_and_deviation

    def spy(patches: Any, every: bool) -> Any:
        sets.append(np.array(patches.images))
        return statistics(patches, every)

    monkeypatch.setattr(exemplar_cnn, "mean_and_deviation", spy)
    model = exemplar(epochs=1).fit(pictures())
    assert sets[0].shape == (48 * 4, 11, 11, 3)
    assert np.allclose(model.net_.mean.flatten(), sets[0].mean((0, 1, 2)) / 255, atol=1e-4)  # type: ignore[operator]
    assert np.allclose(model.net_.deviation.flatten(), sets[0].std((0, 1, 2)) / 255, atol=1e-4)  # type: ignore[operator]


def test_patches_of_a_class_are_of_its_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.zeros((6, 16, 16, 3), np.uint8)
    images[:] = np.arange(0, 240, 40, dtype=np.uint8)[:, None, None, None]
    made = {}

    def spy(network: Any, patches: Any, *rest: Any, **more: Any) -> Any:
        made["classes"], made["patches"] = network.classes.rows.clone(), np.array(patches.images)
        return train(network, patches, *rest, **more)

    train = stage.train
    monkeypatch.setattr(stage, "train", spy)
    model = exemplar(surrogate_classes=4, epochs=1)
    model.fit(images)
    assert made["classes"].tolist() == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4
    assert len(made["patches"]) == 16
    chosen = [rows.tolist() for rows in model.surrogate_classes_]
    assert len(chosen) == 4 and all(len(rows) == 1 for rows in chosen)
    assert len({rows[0] for rows in chosen}) == 4


@pytest.mark.slow
def test_fresh_patches_differ_by_epoch_and_made_ones_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def of_first_picture(fresh: bool) -> list[torch.Tensor]:
        seen: dict[int, list[torch.Tensor]] = {}

        def spy(network: ExemplarNet, batch: Batch) -> torch.Tensor:
            for index, view in zip(batch.indices.tolist(), batch.views[0], strict=True):
                seen.setdefault(index, []).append(view.clone())
            return loss(network, batch)

        loss = ExemplarNet.loss
        with monkeypatch.context() as patched:
            patched.setattr(ExemplarNet, "loss", spy)
            exemplar(fresh=fresh).fit(pictures())
        return seen[0]

    first, second = of_first_picture(fresh=True)
    assert not torch.equal(first, second)
    first, second = of_first_picture(fresh=False)
    assert torch.equal(first, second)


@pytest.mark.slow
def test_new_patches_are_recognised_after_training() -> None:
    rng = np.random.default_rng(0)
    plain = rng.integers(0, 256, (6, 1, 1, 3)) * np.ones((6, 24, 24, 1)) + rng.integers(-20, 20, (6, 24, 24, 3))
    images = plain.clip(0, 255).astype(np.uint8)
    model = exemplar(patches=60, validation_patches=20, epochs=8, n_classes=2, learning_rate=0.02).fit(images)
    accuracy = [row["patch_accuracy"] for row in model.history_.rows]
    assert accuracy[-1] > 0.4 > 1 / 6 and len(accuracy) == 8


def test_validation_can_be_left_out() -> None:
    model = exemplar(validation_patches=0, epochs=1).fit(pictures())
    assert "patch_accuracy" not in model.history_.rows[0]


def test_clustered_classes_hold_several_pictures(tmp_path: Path) -> None:
    model = exemplar(clustered=True, surrogate_classes=10, epochs=1).fit(pictures(), run_dir=tmp_path / "run")
    assert len(model.surrogate_classes_) == 10 and all(len(rows) > 1 for rows in model.surrogate_classes_)
    assert len(model.history_.rows) == 1
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert not {name for name in left if name.startswith(("round", "patches"))}
    with open(tmp_path / "run" / "surrogate-classes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["class"]) for row in rows] == [n for n, each in enumerate(model.surrogate_classes_) for _ in each]
    again = selfsort.load(tmp_path / "run")
    assert np.array_equal(again.embedding_, model.embedding_)
    for one, other in zip(again.surrogate_classes_, model.surrogate_classes_, strict=True):  # type: ignore[attr-defined]
        assert np.array_equal(one, other)


@pytest.mark.slow
def test_the_second_round_starts_from_scratch_and_not_from_the_first() -> None:
    single = exemplar(surrogate_classes=10, epochs=1).fit(pictures())
    clustered = exemplar(surrogate_classes=10, epochs=1, clustered=True).fit(pictures())
    two = exemplar(surrogate_classes=10, epochs=1, clustered=True, rounds=2).fit(pictures())
    weights = [model.net_.conv1.weight for model in (single, clustered, two)]  # type: ignore[union-attr]
    assert not torch.equal(weights[0], weights[1]) and not torch.equal(weights[1], weights[2])  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("dies_at", [1, 4, 7, 14])
def test_a_clustered_run_is_resumed_where_it_was(
    fresh: bool, dies_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"clustered": True, "surrogate_classes": 12, "epochs": 2, "fresh": fresh, "checkpoint_minutes": 0}
    whole = exemplar(**settings).fit(pictures())
    rounds_of(tmp_path, monkeypatch, dies_at, **settings)
    resumed = exemplar(**settings).fit(pictures(), run_dir=tmp_path / "run", resume=True)
    for name, tensor in whole.net_.state_dict().items():
        assert torch.equal(tensor, resumed.net_.state_dict()[name]), name


def test_warnings_of_all_rounds_and_a_lowered_distance_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fit = CompleteLinkage.fit

    def short_of_memory(linkage: CompleteLinkage, points: Any) -> CompleteLinkage:
        if linkage.distance_threshold > 1:
            error = ThresholdTooLarge("too many pairs")
            error.fitting = 1.0
            raise error
        return fit(linkage, points)

    monkeypatch.setattr(CompleteLinkage, "fit", short_of_memory)
    monkeypatch.setattr(loop, "collapse_warning", lambda epoch, gauge: f"Epoch {epoch}: as if collapsed.")
    model = exemplar(clustered=True, surrogate_classes=10, epochs=2).fit(pictures(), run_dir=tmp_path / "run")
    lowered = "Too many pictures lie within cluster_distance=1.25 of each other for the memory: it is lowered to 1."
    first, last = "Training 1 of 2: Epoch 2: as if collapsed.", "Epoch 2: as if collapsed."
    assert model.history_.warnings == [first, lowered, last]
    assert selfsort.load(tmp_path / "run").history_.warnings == [first, lowered, last]
    assert lowered in caplog.text


def test_a_run_that_is_stopped_in_its_first_round_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds_of(tmp_path, monkeypatch, 3, clustered=True, surrogate_classes=12, checkpoint_minutes=0)
    assert list((tmp_path / "run").glob("round-1/checkpoints/*.safetensors"))


def test_another_methods_embedding_can_replace_the_first_round(tmp_path: Path) -> None:
    first = exemplar(surrogate_classes=10, epochs=1).fit(pictures(), run_dir=tmp_path / "first")
    by_first = exemplar(surrogate_classes=10, epochs=1, clustered=True, encoder=first).fit(pictures())
    in_one = exemplar(surrogate_classes=10, epochs=1, clustered=True).fit(pictures())
    for one, other in zip(by_first.surrogate_classes_, in_one.surrogate_classes_, strict=True):
        assert np.array_equal(one, other)
    for name, tensor in by_first.net_.state_dict().items():
        assert torch.equal(tensor, in_one.net_.state_dict()[name]), name
    by_first.save(tmp_path / "second")
    assert np.array_equal(selfsort.load(tmp_path / "second").embedding_, by_first.embedding_)


def test_an_encoder_of_other_pictures_embeds_these() -> None:
    other = exemplar(surrogate_classes=10, epochs=1).fit(pictures(seed=5))
    model = exemplar(surrogate_classes=10, epochs=1, clustered=True, encoder=other).fit(pictures())
    expected = surrogate_classes(other.transform(pictures()), 10)
    for one, wanted in zip(model.surrogate_classes_, expected, strict=True):
        assert np.array_equal(one, wanted)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"encoder": quick("kmeans"), "clustered": True}, "The encoder 'kmeans' is not fitted"),
        ({"encoder": quick("kmeans")}, "set clustered=True, or leave it out"),
    ],
)
def test_bad_encoders(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        exemplar(**settings).fit(pictures())


def test_pictures_of_one_colour_cause_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    images = pictures()
    images[3:5] = 77
    with caplog.at_level(logging.WARNING):
        model = exemplar(epochs=1).fit(images)
    sentence = "2 of 48 pictures have only one colour: their patches are drawn anywhere."
    assert sentence in caplog.text and sentence in model.history_.warnings


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"surrogate_classes": 49}, "surrogate_classes=49 must be from 2 to 48, one for each picture"),
        ({"surrogate_classes": 1}, "surrogate_classes=1 must be from 2 to 48"),
        (
            {"surrogate_classes": 25, "clustered": True},
            "surrogate_classes=25 must be from 2 to 24, half of the pictures",
        ),
        ({"patch_size": 17}, "pictures are 16x16, smaller than a patch of 17x17: load them with size=34"),
        ({"patch_size": 10}, "patch_size=10 is too small: it must be at least 11"),
        ({"patches": 0}, "patches=0 is too small"),
        ({"cluster_distance": 0.0}, "cluster_distance=0.0 must be above 0"),
        ({"cluster_distance": 2.1}, "cluster_distance=2.1 must be above 0 and at most 2"),
        ({"largest_cluster": 1}, "largest_cluster=1 is too small"),
        ({"network": "large"}, "network='large' is not valid"),
    ],
)
def test_bad_settings(settings: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence):
        exemplar(**settings).fit(pictures(), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_picture_without_features_is_named(tmp_path: Path) -> None:
    for number, pixels in enumerate(pictures(12)):
        Image.fromarray(pixels).save(tmp_path / f"{number:02d}.png")

    images = selfsort.load_images(tmp_path)
    encoder = exemplar(epochs=1, n_classes=2).fit(images)
    encoder.embedding_ = np.ones((12, 3), np.float32) * (np.arange(12) != 7)[:, None]
    model = exemplar(clustered=True, encoder=encoder, surrogate_classes=3, n_classes=2)
    with pytest.raises(UserError, match="The features of picture '07.png' are all 0, so they have no direction"):
        model.fit(images)


def test_three_pictures_are_too_few_to_be_clustered() -> None:
    with pytest.raises(UserError, match="3 pictures are too few to be clustered"):
        exemplar(clustered=True, n_classes=2).fit(pictures(3))


def test_a_softmax_that_does_not_fit_into_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exemplar_cnn, "available_bytes", lambda: 1 << 20)
    with pytest.raises(UserError, match="48 surrogate classes takes .* GiB to train .* lower surrogate_classes"):
        exemplar().fit(pictures())


def test_features_that_do_not_fit_into_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    net_bytes = 12 * sum(p.numel() for p in ExemplarNet(3, 11, "64-128-256", 48).parameters())
    monkeypatch.setattr(exemplar_cnn, "available_bytes", lambda: net_bytes / 0.89)
    images = np.zeros((6000, 16, 16, 3), np.uint8)
    with pytest.raises(UserError, match=r"features of 6,000 pictures, 2,352 numbers each, take 0.0526 GiB"):
        exemplar(surrogate_classes=48).fit(images)


def test_patches_that_do_not_fit_on_the_disk_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(exemplar_cnn.shutil, "disk_usage", lambda path: usage(1 << 20, 0, 10_000))
    with pytest.raises(UserError, match=r"The 48 patches take .* are free in .*run.*: lower patches"):
        exemplar().fit(pictures(), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
