"""Losses against slow references written from their formulas, and tests specific to each method."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import selfsort
from run_files import edit
from samples import pictures, quick
from selfsort import methods
from selfsort.errors import UserError
from selfsort.losses.self_classifier import self_classifier_loss
from selfsort.methods.conv_autoencoder import ConvAutoencoderNet
from selfsort.methods.self_classifier import CosineClassifier
from selfsort.methods.simclr import nt_xent
from selfsort.models.backbones import make_backbone
from selfsort.models.base import Batch


def nt_xent_by_the_formula(first: torch.Tensor, second: torch.Tensor, temperature: float) -> float:
    z = [F.normalize(row, dim=0) for row in torch.cat([first, second])]
    n, total = len(first), 0.0
    for i in range(2 * n):
        partner = (i + n) % (2 * n)
        others = [math.exp(float(z[i] @ z[k]) / temperature) for k in range(2 * n) if k != i]
        total -= math.log(math.exp(float(z[i] @ z[partner]) / temperature) / sum(others))
    return total / (2 * n)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
def test_nt_xent_equals_its_formula(temperature: float) -> None:
    torch.manual_seed(0)
    first, second = torch.randn(7, 5), torch.randn(7, 5)
    expected = nt_xent_by_the_formula(first, second, temperature)
    assert nt_xent(first, second, temperature).item() == pytest.approx(expected, rel=1e-5)


def losses() -> dict[str, object]:
    return {
        "nt_xent": lambda a, b: nt_xent(a, b, 0.3),
        "self_classifier": lambda a, b: self_classifier_loss([a, b], 0.3, 0.2),
    }


@pytest.mark.parametrize("name", losses())
def test_losses_ignore_the_order_of_the_batch_and_of_the_views(name: str) -> None:
    torch.manual_seed(0)
    loss, first, second, order = losses()[name], torch.randn(8, 6), torch.randn(8, 6), torch.randperm(8)
    assert callable(loss)
    assert torch.allclose(loss(first[order], second[order]), loss(first, second), atol=1e-5)
    assert torch.allclose(loss(second, first), loss(first, second), atol=1e-5)


def test_self_classifier_loss_ignores_the_names_of_classes() -> None:
    torch.manual_seed(0)
    first, second, order = torch.randn(8, 6), torch.randn(8, 6), torch.randperm(6)
    assert torch.allclose(
        self_classifier_loss([first[:, order], second[:, order]], 0.3, 0.2),
        self_classifier_loss([first, second], 0.3, 0.2),
    )


def test_self_classifier_loss_prefers_even_classes_to_one_class() -> None:
    even = F.one_hot(torch.arange(12) % 4, 4).float()
    collapsed = F.one_hot(torch.zeros(12, dtype=torch.long), 4).float()
    assert self_classifier_loss([even, even], 0.1, 0.05) < self_classifier_loss([collapsed, collapsed], 0.1, 0.05) - 0.5


def test_self_classifier_gives_gradients_through_targets_and_predictions() -> None:
    first, second = torch.randn(6, 3, requires_grad=True), torch.randn(6, 3, requires_grad=True)
    self_classifier_loss([first, second], 0.1, 0.05).backward()
    assert first.grad is not None and second.grad is not None
    assert first.grad.abs().sum() > 0 and second.grad.abs().sum() > 0


def test_cosine_classifier_has_unit_weights_and_no_bias() -> None:
    head = CosineClassifier(5, 3)
    head.weight.data *= 7
    z = F.normalize(torch.randn(4, 5))
    assert head.bias is None
    expected = F.cosine_similarity(z[:, None], head.weight[None], dim=2)
    assert torch.allclose(head(z), expected, atol=1e-6)


def test_self_classifier_trains_several_heads() -> None:
    settings = {"n_heads": 2, "head_classes": (5, 8)}
    model = quick("self-classifier", **settings).fit(pictures())
    heads = [tuple(head.weight.shape) for head in model.net_.heads]
    assert heads == [(3, 128), (3, 128), (5, 128), (8, 128)]
    torch.manual_seed(0)
    fresh = quick("self-classifier", **settings).build((16, 16, 3), 48)
    assert all(not torch.equal(a.weight, b.weight) for a, b in zip(model.net_.heads, fresh.heads, strict=True))
    assert model.predict_proba(pictures(4)).shape == (4, 3)


def test_self_classifier_predicts_with_the_head_of_lowest_loss(tmp_path: Path) -> None:
    model = quick("self-classifier", n_heads=3).fit(pictures())
    losses = model.net_.rivals.recent_losses
    assert losses.min() > 0 and model.run_["training"]["head"] == int(losses.argmin())
    assert model.run_["training"]["head_losses"] == pytest.approx(losses.tolist(), abs=1e-4)
    with torch.no_grad():
        losses.copy_(torch.tensor([0.3, 0.2, 0.1]))
    images = torch.rand(4, 3, 16, 16)
    net = model.net_.eval()
    features = net.backbone(images)
    wanted = net.heads[2](torch.nn.functional.normalize(net.mlp(features))) / 0.1
    assert torch.allclose(net(images).logits, wanted)
    model.save(tmp_path / "run")
    assert selfsort.load(tmp_path / "run").net_.rivals.chosen == 2


def test_self_classifier_smooths_the_losses_that_choose_a_head() -> None:
    net = quick("self-classifier", n_heads=2).build((16, 16, 3), 48).train()
    views = (torch.rand(8, 3, 16, 16), torch.rand(8, 3, 16, 16))
    batch = Batch(views[0], views, torch.arange(8))
    net.loss(batch)
    first = net.rivals.recent_losses.clone()
    assert (first > 0).all()
    with torch.no_grad():
        net.rivals.recent_losses.fill_(10.0)
    net.loss(batch)
    assert (net.rivals.recent_losses < 10).all() and (net.rivals.recent_losses > 9.8).all()
    net.eval().loss(batch)
    kept = net.rivals.recent_losses.clone()
    net.eval().loss(batch)
    assert torch.equal(kept, net.rivals.recent_losses)


def test_self_classifier_of_an_earlier_version_has_one_head(tmp_path: Path) -> None:
    model = quick("self-classifier", n_heads=1).fit(pictures(), run_dir=tmp_path / "run")
    params = json.loads((tmp_path / "run/run.json").read_text())["params"]
    edit(tmp_path / "run", params={name: value for name, value in params.items() if name not in ("n_heads", "mlp_end")})
    assert np.array_equal(selfsort.load(tmp_path / "run").predict_proba(pictures(4)), model.predict_proba(pictures(4)))


def test_self_classifier_can_end_its_mlp_as_the_authors_do() -> None:
    net = quick("self-classifier", hidden_layers=2, mlp_end="linear").build((16, 16, 3), 48)
    assert [type(layer).__name__ for layer in net.mlp] == ["Linear", "BatchNorm1d", "LeakyReLU", "Linear"]
    for layer in (net.mlp[0], net.mlp[3], *net.heads):
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.15)


def test_self_classifier_with_two_hidden_layers_is_the_original_one() -> None:
    net = quick("self-classifier", hidden_layers=2).build((16, 16, 3), 48)
    kinds = [type(layer).__name__ for layer in net.mlp]
    assert kinds == ["Linear", "BatchNorm1d", "LeakyReLU"] * 2
    assert net.mlp[0].out_features == 4096 and net.mlp[3].out_features == 128


def test_conv_autoencoder_is_the_papers_network() -> None:
    net = ConvAutoencoderNet(3, "bce", pooled=False)
    code = net.encoder(torch.rand(2, 3, 32, 32))
    assert code.shape == (2, 48, 4, 4)
    assert net.decode(code).shape == (2, 3, 32, 32)
    shapes = [tuple(p.shape) for name, p in net.encoder.named_parameters() if "weight" in name]
    assert shapes == [(12, 3, 4, 4), (24, 12, 4, 4), (48, 24, 4, 4)]
    assert net(torch.rand(2, 3, 32, 32)).embedding.shape == (2, 768)
    assert ConvAutoencoderNet(3, "bce", pooled=True)(torch.rand(2, 3, 32, 32)).embedding.shape == (2, 48)


@pytest.mark.parametrize("kind", ["bce", "l1", "mse"])
def test_conv_autoencoder_losses_are_those_of_the_reconstruction(kind: str) -> None:
    torch.manual_seed(0)
    net, images = ConvAutoencoderNet(3, kind, pooled=False), torch.rand(4, 3, 16, 16)  # type: ignore[arg-type]
    drawn = net.decode(net.encoder(images))
    reference = {
        "bce": -(images * drawn.log() + (1 - images) * (1 - drawn).log()).mean(),
        "l1": (images - drawn).abs().mean(),
        "mse": ((images - drawn) ** 2).mean(),
    }
    assert torch.allclose(net.loss(Batch(images, (images,), torch.arange(4))), reference[kind], atol=1e-5)


def test_conv_autoencoder_names_the_size_it_can_take() -> None:
    with pytest.raises(UserError, match="20x20.*multiple of 8, such as 16"):
        quick("conv-autoencoder").fit(pictures(size=20))


def test_kmeans_on_pixels_and_on_an_embedding() -> None:
    images = pictures(60)
    assert np.array_equal(
        quick("kmeans").fit(images).embedding_, (images / 255).astype(np.float32).transpose(0, 3, 1, 2).reshape(60, -1)
    )
    encoder = quick("conv-autoencoder").fit(images)
    on_fitted = quick("kmeans", encoder=encoder).fit(images)
    on_unfitted = quick("kmeans", encoder=quick("conv-autoencoder")).fit(images)
    assert np.array_equal(on_fitted.embedding_, encoder.embedding_)
    assert on_unfitted.embedding_.shape == encoder.embedding_.shape
    assert on_unfitted.history_.rows, "the encoder was trained"


@pytest.mark.slow
def test_umap_leaves_the_number_of_threads_alone() -> None:
    """A different number would change the last bits of everything computed afterwards."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        quick("kmeans", cluster_space="umap").fit(pictures(60))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_kmeans_keeps_its_encoder_through_save_and_load(tmp_path: object) -> None:
    images = pictures()
    model = quick("kmeans", encoder=quick("self-classifier").fit(images)).fit(images)
    model.save(f"{tmp_path}/run")
    again = selfsort.load(f"{tmp_path}/run")
    assert np.array_equal(again.predict_proba(images), model.predict_proba(images))
    assert again.encoder.method == "self-classifier"


def test_kmeans_refuses_an_encoder_of_other_pictures() -> None:
    encoder = quick("conv-autoencoder").fit(pictures(size=24))
    with pytest.raises(UserError, match="encoder was trained on"):
        quick("kmeans", encoder=encoder).fit(pictures())


@pytest.mark.parametrize("name", ["small-conv", "small-resnet18", "small-alexnet", "mobilenet_v3_small"])
@pytest.mark.parametrize("channels", [1, 3])
def test_backbones_give_their_width(name: str, channels: int) -> None:
    backbone = make_backbone(name, (32, 32, channels)).eval()
    assert backbone(torch.rand(2, channels, 32, 32)).shape == (2, backbone.width)


def test_small_resnet_keeps_the_size_in_its_stem() -> None:
    backbone = make_backbone("small-resnet18", (32, 32, 3))
    assert backbone.width == 512
    assert backbone.layers.conv1.stride == (1, 1) and backbone.layers.conv1.kernel_size == (3, 3)


@pytest.mark.parametrize(
    ("name", "words"),
    [("resnet81", "did you mean 'resnet18'"), ("alexnet", "cannot take 32x32"), ("squeezenet1_1", "cannot be used")],
)
def test_backbones_that_are_not_possible(name: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        make_backbone(name, (32, 32, 3))


@pytest.mark.parametrize(
    ("method", "settings", "words"),
    [
        ("simclr", {"temperature": "hot"}, "temperature=hot is not valid: it must be float"),
        ("simclr", {"temprature": "1"}, "did you mean 'temperature'"),
        ("simcrl", {}, "did you mean 'simclr'"),
        ("self-classifier", {"hidden_layers": "3"}, "1 or 2"),
        ("kmeans", {"epochs": "3"}, "no parameter 'epochs'"),
    ],
)
def test_bad_settings(method: str, settings: dict[str, str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        methods.make(method, settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"temperature": -1.0}, "temperature=-1.0"),
        ({"epochs": 0}, "epochs=0"),
        ({"batch_size": "64"}, "batch_size='64'"),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"optimizer": "sdg"}, "optimizer='sdg'"),
        ({"views": "nature"}, "Unknown views"),
        ({"device": "tpu"}, "device='tpu'"),
    ],
)
def test_bad_values_in_python(settings: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        quick("simclr", **settings).fit(pictures())


def test_settings_from_the_command_line() -> None:
    model = methods.make(
        "self-classifier", {"head_classes": "20,50", "epochs": "3", "learning_rate": "1", "views": "cells"}
    )
    assert model.get_params(deep=False) | {"head_classes": (20, 50), "epochs": 3, "views": "cells"} == model.get_params(
        deep=False
    )
    assert methods.make("kmeans", {"encoder": "simclr"}).encoder.method == "simclr"
    assert methods.make("self-classifier", {"head_classes": "20"}).head_classes == (20,)
