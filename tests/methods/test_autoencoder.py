"""Paper 1's auto-encoders: the network of figure 9, the four losses, and their error messages."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import selfsort
from papers.supervised import SupervisedNet
from samples import pictures, quick
from selfsort import load_images
from selfsort.errors import UserError
from selfsort.labelling.learning.centres import decoder
from selfsort.methods.autoencoder import FromOnePixel, Periodic
from selfsort.methods.base import TrainedEstimator
from selfsort.models.base import Batch
from selfsort.training.data import ImageData
from selfsort.training.loop import train

ALL = ("basic-ae", "perceptual-ae", "augmented-ae", "pseudo-label-ae")
PERCEPTUAL = ALL[1:]


def built(name: str, shape: tuple[int, int, int] = (28, 28, 1), **changes: Any) -> Any:
    torch.manual_seed(0)
    return quick(name, **changes).build(shape, 8)


def tiled(images: Tensor) -> Tensor:
    """Rescale and tile as in the paper, slowly."""
    small = F.interpolate(images, (32, 32), mode="bilinear", antialias=True).expand(-1, 3, -1, -1)
    return torch.cat([torch.cat([small, small], 3)] * 2, 2)


def encoded(net: Any, laid_out: Tensor) -> Tensor:
    """Encode as in figure 9: every convolution sees all tiles."""
    for layer in net.encoder.layers:
        periodic = isinstance(layer, Periodic)
        laid_out = F.conv2d(laid_out, layer.weight, layer.bias, stride=2) if periodic else layer(laid_out)
    return laid_out


def test_the_network_is_that_of_figure_9() -> None:
    net = built("basic-ae")
    kinds = [(type(layer).__name__, *layer.weight.shape) for layer in net.modules() if hasattr(layer, "weight")]
    assert kinds == [
        ("Periodic", 32, 3, 4, 4),
        ("Periodic", 64, 32, 4, 4),
        ("Periodic", 128, 64, 4, 4),
        ("Periodic", 256, 128, 4, 4),
        ("Linear", 300, 1024),
        ("Linear", 1024, 300),
        ("FromOnePixel", 1024, 128, 5, 5),
        ("ConvTranspose2d", 128, 64, 5, 5),
        ("ConvTranspose2d", 64, 32, 6, 6),
        ("ConvTranspose2d", 32, 3, 6, 6),
    ]
    assert isinstance(list(net.decoder)[-1], nn.Sigmoid)
    tile = net.encoder.rescaled(torch.rand(2, 1, 28, 28))
    assert net.encoder.layers[:-2](tile).shape == (2, 256, 2, 2)
    assert net.decoder(net(torch.rand(2, 1, 28, 28)).embedding).shape == (2, 3, 64, 64)


def test_the_fast_first_layer_is_a_transposed_convolution() -> None:
    torch.manual_seed(0)
    layer = FromOnePixel(20, 6, 5, stride=2)
    z = torch.randn(4, 20, 1, 1, requires_grad=True)
    expected = F.conv_transpose2d(z, layer.weight, layer.bias, stride=2)
    assert torch.allclose(layer(z), expected, atol=1e-6)
    (gradient,) = torch.autograd.grad(expected.square().sum(), z, retain_graph=True)
    assert torch.allclose(torch.autograd.grad(layer(z).square().sum(), z)[0], gradient, atol=1e-4)


@pytest.mark.parametrize(("size", "channels"), [(28, 1), (32, 3), (16, 3), (96, 3)])
def test_pictures_are_rescaled_to_32_and_tiled_two_by_two(size: int, channels: int) -> None:
    images = torch.rand(2, channels, size, size)
    encoder = built("basic-ae").encoder
    assert torch.allclose(encoder.laid_out(encoder.rescaled(images)), tiled(images), atol=1e-6)


def test_one_tile_is_the_picture_at_64() -> None:
    net, images = built("basic-ae", tiles=1), torch.rand(2, 3, 64, 64)
    assert torch.equal(net.encoder.laid_out(net.encoder.rescaled(images)), images)
    assert net(images).embedding.shape == (2, 300)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_one_tile_is_encoded_as_if_all_were_seen(batch_norm: bool) -> None:
    net = built("basic-ae", batch_norm=batch_norm).eval()
    images = torch.rand(3, 1, 28, 28, requires_grad=True)
    codes, expected = net(images).embedding, encoded(net, tiled(images))
    assert torch.allclose(codes, expected, atol=1e-5)
    weights = [images, *net.encoder.parameters()]
    found, wanted = (torch.autograd.grad(each.square().sum(), weights) for each in (codes, expected))
    for one, other in zip(found, wanted, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))


def test_the_decoders_first_weights_keep_the_scale_of_a_signal() -> None:
    decoder = built("basic-ae").decoder
    assert all(not layer.bias.any() for layer in decoder if hasattr(layer, "bias"))
    signal = torch.randn(64, 300)
    for layer in list(decoder)[:-2]:
        signal = layer(signal)
        assert 0.25 < signal.square().mean().item() < 2.5  # less at the borders, which fewer inputs reach


@pytest.mark.parametrize("colour", [(20, 20, 20), (250, 10, 0), (128,)])
def test_an_untrained_decoder_draws_the_mean_colour(colour: tuple[int, ...]) -> None:
    net = built("basic-ae", (28, 28, len(colour)))
    net.begin_with(np.full((5, 28, 28, len(colour)), colour, np.uint8))
    drawn = net.decoder(torch.zeros(1, 300))
    expected = (torch.tensor(colour) / 255).clamp(0.01, 0.99).expand(3)
    assert torch.allclose(drawn.amin((0, 2, 3)), expected, atol=1e-3)
    assert torch.allclose(drawn.amax((0, 2, 3)), expected, atol=1e-3)


def test_a_training_starts_with_the_mean_colour() -> None:
    """Otherwise it learns so fast that dark pictures are dark that it learns nothing more: on MNIST, all black."""
    images = np.zeros((64, 28, 28, 1), np.uint8)
    for number, image in enumerate(images):
        image[number % 24 : number % 24 + 4, 10:14] = 255
    model = quick("basic-ae", epochs=1, batch_size=64, learning_rate=1e-9).fit(images)
    mean = 16 / 28**2
    assert model.net_.decode(torch.zeros(1, 300)).mean().item() == pytest.approx(mean, abs=2e-3)


@pytest.mark.parametrize("name", ALL)
def test_the_losses_are_those_of_the_paper(name: str) -> None:
    """Equations 3, 4 and 9, and the SDA-AE's in algorithm 2, on the naive perceptual network."""
    net = built(name)
    original, changed = torch.rand(3, 1, 28, 28), torch.rand(3, 1, 28, 28)
    drawn = net.decoder(encoded(net, tiled(changed)))
    target = tiled(original if name == "pseudo-label-ae" else changed)
    if name != "basic-ae":
        drawn, target = net.perceptual.naive(drawn), net.perceptual.naive(target)
    expected = ((drawn - target) ** 2).mean()
    loss = net.loss(Batch(original, (changed,), torch.arange(3)))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("name", ALL)
def test_the_loss_ignores_the_order_of_the_batch(name: str) -> None:
    net, order = built(name), torch.randperm(4)
    images, views = torch.rand(2, 4, 1, 28, 28)
    one = net.loss(Batch(images, (views,), torch.arange(4)))
    other = net.loss(Batch(images[order], (views[order],), order))
    assert torch.allclose(one, other, rtol=1e-4)


@pytest.mark.parametrize("name", PERCEPTUAL)
def test_the_frozen_network_does_not_learn(name: str) -> None:
    model = quick(name).fit(pictures())
    fresh = quick(name).build((16, 16, 3), 48)
    assert not any(p.requires_grad for p in model.net_.perceptual.parameters())
    before, after = (net.perceptual.state_dict() for net in (fresh, model.net_))
    assert before.keys() == after.keys() and len(before)


def test_weights_of_the_frozen_network_come_from_the_file_and_go_with_the_run(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    source = {
        f"features.{name}": tensor + 0.5
        for name, tensor in built("perceptual-ae").perceptual.features.state_dict().items()
    }
    path = tmp_path / "weights.safetensors"
    save_file(source, path)
    model = quick("perceptual-ae", perceptual_weights=str(path)).fit(pictures(), run_dir=tmp_path / "run")
    kept = model.net_.perceptual.features.state_dict()
    assert all(torch.equal(kept[name.removeprefix("features.")], tensor) for name, tensor in source.items())
    path.unlink()
    again = selfsort.load(tmp_path / "run")
    assert np.array_equal(again.transform(pictures(4)), model.transform(pictures(4)))


def test_decoded_centres_have_the_shape_of_the_pictures(tmp_path: Path) -> None:
    for channels in (1, 3):
        run = tmp_path / str(channels)
        model = quick("basic-ae").fit(pictures(channels=channels), run_dir=run)
        decode = decoder(run)
        assert decode is not None
        assert decode(model.embedding_[0]).shape == (16, 16, channels)


def test_batch_norm_is_a_switch() -> None:
    kinds = [type(layer).__name__ for layer in built("basic-ae", batch_norm=True).modules()]
    assert kinds.count("BatchNorm2d") == 7 and "BatchNorm2d" not in str(built("basic-ae"))


@pytest.mark.slow
def test_pseudo_labels_learn_more_than_pixels_do() -> None:
    """To reconstruct a digit from a changed one, its code must describe the digit."""
    digits = load_images("digits", size=16)
    model = quick("pseudo-label-ae", n_classes=10, epochs=3, batch_size=50, views="transformations:mnist")
    model.fit(digits.subset(np.arange(600)))
    losses = [row["loss"] for row in model.history_.rows]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embedding_size": 0}, "embedding_size=0 is too small"),
        ({"tiles": 3}, "tiles=3 is not valid for perceptual-ae: it must be 1 or 2"),
        ({"perceptual_network": "alexnetz"}, "alexnetz.*did you mean 'alexnet'"),
        ({"perceptual_layer": 99}, "squeezenet1_1 has no feature layer 99: choose a layer from 1 to"),
        ({"perceptual_network": "vit_b_16"}, "vit_b_16"),
        ({"perceptual_weights": "nowhere.safetensors"}, "nowhere.safetensors"),
        ({"views": "transformations:crops"}, "Unknown transformation 'crops'"),
    ],
)
def test_mistakes_are_reported_before_training(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        quick("perceptual-ae", **changes).fit(pictures(), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_pictures_that_the_network_cannot_take() -> None:
    with pytest.raises(UserError, match="square pictures and cannot take 16x24: load them with size=32"):
        quick("basic-ae").fit(pictures()[:, :, :8].repeat(3, axis=2))


class TestSupervised:
    def net(self, **changes: Any) -> SupervisedNet:
        return SupervisedNet(built("basic-ae", (16, 16, 3)), nn.Linear(300, 3), np.arange(48) % 3, **changes)

    def batch(self) -> Batch:
        images = torch.from_numpy(pictures()).permute(0, 3, 1, 2)[:8] / 255
        return Batch(images, (images,), torch.arange(8))

    def test_the_loss_is_cross_entropy_by_index_and_the_own_loss(self) -> None:
        net, batch = self.net(), self.batch()
        expected = F.cross_entropy(net.head(net.net(batch.inputs).embedding), torch.arange(8) % 3)
        assert torch.allclose(net.loss(batch), expected)
        joint = self.net(own_weight=2.0)
        joint.load_state_dict(net.state_dict())
        assert torch.allclose(joint.loss(batch), expected + 2 * net.net.loss(batch), atol=1e-5)

    def test_a_frozen_network_keeps_its_weights_and_the_head_learns(self) -> None:
        model = quick("basic-ae")
        assert isinstance(model, TrainedEstimator)
        frozen = self.net(frozen=True)
        before = {name: tensor.clone() for name, tensor in frozen.state_dict().items()}
        data = ImageData(pictures(), torch.device("cpu"), lambda images: images, 1)
        train(frozen, data, model.recipe())
        changed = {name for name, tensor in frozen.state_dict().items() if not torch.equal(tensor, before[name])}
        assert changed == {"head.weight", "head.bias"}

    def test_labels_are_in_no_file(self) -> None:
        assert "labels" not in self.net().state_dict()

    def test_unknown_labels_are_refused(self) -> None:
        with pytest.raises(UserError, match="Some pictures have no label"):
            SupervisedNet(built("basic-ae"), nn.Linear(300, 3), [0, -1, 2])
