"""Layer-wise and what-where auto-encoders, DCGAN and convolutional k-means: formulas, and their properties."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import selfsort
from samples import kinds, pictures, quick
from selfsort.evaluation.metrics import clustering_scores
from selfsort.methods.base import Estimator
from selfsort.methods.conv_kmeans import ConvKMeans, convolutional_kmeans, responses
from selfsort.methods.dcgan import DCGAN, discriminator_loss, generator_loss
from selfsort.methods.layerwise_ae import LayerwiseAE, LayerwiseNet
from selfsort.methods.stage import Context
from selfsort.methods.swwae import SWWAE, SWWAENet
from selfsort.models.base import Batch


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def batch_of(n: int) -> Batch:
    images = torch.from_numpy(pictures(n)).permute(0, 3, 1, 2) / 255
    return Batch(images, (images,), torch.arange(n))


def test_each_layer_reconstructs_its_input_and_learns_alone() -> None:
    net, batch = LayerwiseNet(3, (4, 6)), batch_of(5)
    for number in range(2):
        net.learning = number
        net.zero_grad(set_to_none=True)
        loss = net.loss(batch)
        loss.backward()
        given = batch.inputs
        for layer in net.down[:number]:
            given = layer(given)
        drawn = net.up[number](net.down[number](given))
        assert loss.item() == pytest.approx(slow_mean_square(drawn, given), rel=1e-4)
        moved = {name.split(".")[1] for name, each in net.named_parameters() if each.grad is not None}
        assert moved == {str(number)}
    net.learning = 2
    drawn = net.up[0](net.up[1](net.down[1](net.down[0](batch.inputs))).relu())
    assert net.loss(batch).item() == pytest.approx(slow_mean_square(drawn, batch.inputs), rel=1e-4)


def slow_mean_square(one: torch.Tensor, other: torch.Tensor) -> float:
    pairs = zip(one.flatten().tolist(), other.flatten().tolist(), strict=True)
    return sum((a - b) ** 2 for a, b in pairs) / one.numel()


@pytest.mark.parametrize("stacked", [True, False])
def test_layers_are_stages_and_the_last_uses_the_run_folder(stacked: bool) -> None:
    model = quick("layerwise-ae", stacked=stacked).fit(pictures(12))
    stages = [(stage.name, stage.net.learning) for stage in model.stages(images_of(12), Context())]
    expected = [("layer-1", 0), ("layer-2", 1), ("", 2)]
    assert stages == (expected if stacked else [("layer-1", 0), ("", 1)])


def images_of(n: int) -> selfsort.ImageSet:
    return selfsort.ImageSet(pictures(n), tuple(map(str, range(n))))


def test_swwae_reconstructs_every_layer_from_what_and_where() -> None:
    net, images = SWWAENet(1, (2, 3), 0.5), numbers(2, 1, 4, 4).abs()
    first = net.down[0](images).relu()
    what, where = slow_pooling(first)
    second = net.down[1](what).relu()
    top, places = slow_pooling(second)
    middle = net.up[1](slow_unpooling(top, places, second.shape)).relu()
    drawn = net.up[0](slow_unpooling(middle, where, first.shape))
    expected = (drawn - images).square().mean() + 0.5 * (middle - what).square().mean()
    found = net.loss(Batch(images, (images,), torch.arange(2)))
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.allclose(net(images).embedding, top.flatten(1))
    flipped = images.flip(0)
    assert net.loss(Batch(flipped, (flipped,), torch.arange(2))).item() == pytest.approx(found.item(), rel=1e-5)


def slow_pooling(maps: torch.Tensor) -> tuple[torch.Tensor, list[tuple[int, ...]]]:
    count, channels, height, width = maps.shape
    what, where = torch.zeros(count, channels, height // 2, width // 2), []
    for index in np.ndindex(*what.shape):
        n, c, y, x = index
        cells = [(2 * y + dy, 2 * x + dx) for dy in range(2) for dx in range(2)]
        best = max(cells, key=lambda cell: float(maps[n, c, cell[0], cell[1]].detach()))
        what[index] = maps[n, c, best[0], best[1]]
        where.append((n, c, *best))
    return what, where


def slow_unpooling(what: torch.Tensor, where: list[tuple[int, ...]], shape: torch.Size) -> torch.Tensor:
    maps = torch.zeros(shape)
    for value, place in zip(what.flatten(), where, strict=True):
        maps[place] = value
    return maps


def test_losses_of_discriminator_and_generator_equal_their_formulas() -> None:
    real, drawn = numbers(6, 1), numbers(6, 1, seed=1)
    real_shares, drawn_shares = torch.sigmoid(real).flatten().tolist(), torch.sigmoid(drawn).flatten().tolist()
    expected = -sum(math.log(p) + math.log(1 - q) for p, q in zip(real_shares, drawn_shares, strict=True)) / 6
    assert discriminator_loss(real, drawn).item() == pytest.approx(expected, rel=1e-5)
    assert generator_loss(drawn).item() == pytest.approx(-sum(map(math.log, drawn_shares)) / 6, rel=1e-5)
    assert torch.allclose(discriminator_loss(real.flip(0), drawn[torch.randperm(6)]), discriminator_loss(real, drawn))


def test_each_network_of_a_dcgan_learns_only_from_its_own_loss() -> None:
    net, batch = DCGAN(widths=(4, 8), z_dim=5).build((16, 16, 3), 6), batch_of(6)
    torch.manual_seed(0)
    net.loss(batch).backward()
    found = {name: parameter.grad.clone() for name, parameter in net.named_parameters()}
    torch.manual_seed(0)
    drawn = net.generator(torch.randn(6, 5))
    scores = net.discriminator(drawn.detach()), net.discriminator(drawn)
    losses = discriminator_loss(net.discriminator(batch.inputs), scores[0]), generator_loss(scores[1])
    for part, loss in zip(("discriminator", "generator"), losses, strict=True):
        own = {name: parameter for name, parameter in net.named_parameters() if name.startswith(part)}
        expected = torch.autograd.grad(loss, list(own.values()), retain_graph=True)
        assert all(torch.allclose(found[name], each, atol=1e-6) for name, each in zip(own, expected, strict=True))


def test_a_discriminator_learns_to_tell_real_pictures_from_generated_ones() -> None:
    model = quick("dcgan", epochs=12).fit(pictures(48))
    net, images = model.net_.eval(), batch_of(24).inputs
    with torch.no_grad():
        drawn = net.generator(torch.randn(24, net.z_dim, generator=torch.Generator().manual_seed(0)))
        assert net.discriminator(images).mean() > net.discriminator(drawn).mean()


def test_features_of_a_dcgan_are_the_largest_of_each_layer_on_a_grid() -> None:
    net = DCGAN(widths=(4, 8), grid=4).build((32, 32, 1), 6).eval()
    images = numbers(2, 1, 32, 32).sigmoid()
    first, second = net.discriminator.maps(images)
    assert first.shape == (2, 4, 16, 16) and second.shape == (2, 8, 8, 8)
    wanted = [first.view(2, 4, 4, 4, 4, 4).amax((3, 5)), second.view(2, 8, 4, 2, 4, 2).amax((3, 5))]
    assert torch.equal(net(images).embedding, torch.cat([each.flatten(1) for each in wanted], 1))


def test_responses_are_correlations_of_patches_whatever_their_brightness() -> None:
    images = numbers(2, 3, 6, 7)
    filters = numbers(4, 3, 3, 3, seed=1)
    filters = F.normalize((filters - filters.mean((1, 2, 3), keepdim=True)).flatten(1)).view_as(filters)
    found = responses(images, filters)
    for n, k, y, x in [(0, 0, 0, 0), (1, 3, 3, 4), (0, 2, 1, 3)]:
        patch = images[n, :, y : y + 3, x : x + 3].double()
        spread = (27**0.5) * (patch.std(correction=0) + 0.1)
        expected = ((patch - patch.mean()) * filters[k].double()).sum() / spread
        assert found[n, k, y, x].item() == pytest.approx(expected.item(), abs=1e-5)
    assert torch.allclose(responses(images + 5, filters), found, atol=1e-3)


def test_convolutional_kmeans_learns_a_pattern_once_wherever_it_is() -> None:
    generator = np.random.default_rng(0)
    patterns = torch.tensor([[[-1.0, 1, -1], [1, 1, 1], [-1, 1, -1]], [[1, -1, 1], [-1, 1, -1], [1, -1, 1]]])
    windows = torch.from_numpy(0.05 * generator.normal(size=(200, 1, 5, 5))).float()
    for number, window in enumerate(windows):
        y, x = generator.integers(3, size=2)
        window[0, y : y + 3, x : x + 3] += patterns[number % 2]
    found = convolutional_kmeans(windows, 4, 3, torch.Generator().manual_seed(0))
    unit = F.normalize(patterns.flatten(1) - patterns.flatten(1).mean(1, keepdim=True))
    assert (found.flatten(1) @ unit.T).amax(0).min() > 0.95
    assert torch.allclose(found.flatten(1).mean(1), torch.zeros(4), atol=1e-5)
    assert torch.allclose(found.flatten(1).norm(dim=1), torch.ones(4), atol=1e-5)


def test_conv_kmeans_does_not_depend_on_brightness_or_contrast() -> None:
    model = quick("conv-kmeans").fit(pictures(24))
    assert clustering_scores(kinds(24), model.labels_).accuracy == 1
    darker = (pictures(24) * 0.8).astype(np.uint8)
    assert np.allclose(model.transform(darker), model.transform(pictures(24)), atol=0.1)


@pytest.mark.parametrize("name", ["dcgan", "layerwise-ae", "swwae"])
def test_three_kinds_are_found(name: str) -> None:
    model = quick(name, epochs=8, batch_size=24, views="none").fit(pictures(72))
    assert clustering_scores(kinds(72), model.labels_).accuracy > 0.8


@pytest.mark.parametrize(
    ("model", "what"),
    [
        (LayerwiseAE(widths=()), "widths="),
        (LayerwiseAE(widths=(4, 4, 4, 4, 4)), "layerwise-ae halves pictures 5 times.*multiple of 32, such as 32"),
        (SWWAE(widths=(0,)), "widths="),
        (SWWAE(between=-1.0), "between=-1.0"),
        (SWWAE(widths=(4, 4, 4, 4, 4)), "swwae halves pictures 5 times.*at least 32"),
        (DCGAN(z_dim=0), "z_dim=0"),
        (DCGAN(widths=()), "widths="),
        (DCGAN(widths=(4, 4, 4, 4, 4)), "dcgan halves pictures 5 times.*multiple of 32, such as 32"),
        (ConvKMeans(filters=(4,)), "both need one positive number per layer"),
        (ConvKMeans(n_windows=0), "n_windows=0"),
        (ConvKMeans(sides=(9, 5)), "conv-kmeans cannot take 16x16: use a size of at least 24"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(model: Estimator, what: str) -> None:
    with pytest.raises(selfsort.UserError, match=what):
        model.fit(pictures(12))
