"""The loss, against the whole canvas run layer by layer."""

import copy
import pickle
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsort.errors import UserError
from selfsort.losses.perceptual import PerceptualLoss, feature_layers

Size = tuple[int, int]


def slow_reference(features: nn.Sequential, images: Tensor, canvas: int, position: Size | None) -> Tensor:
    """Put the pictures on the canvas one by one and run the layers one by one."""
    height, width = images.shape[-2:]
    top, left = position or ((canvas - height) // 2, (canvas - width) // 2)
    maps = []
    for image in images:
        padded = torch.zeros(1, 3, canvas, canvas, dtype=images.dtype)
        padded[0, :, top : top + height, left : left + width] = image
        for layer in features:
            padded = layer(padded)
        maps.append(padded)
    return torch.cat(maps)


def pictures(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def layers_of(network: str, layer: int) -> nn.Sequential:
    """Return random layers whose biases keep the blank canvas from staying blank."""
    torch.manual_seed(0)
    features = feature_layers(network, layer)
    for module in features.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            module.bias.uniform_(-0.5, 0.5)
    return features


def small() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 5, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(8, 6, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers).requires_grad_(False)


def assert_close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    """Compare relative to the largest value."""
    torch.testing.assert_close(found, expected, rtol=0.0, atol=tolerance * float(expected.detach().abs().max()))


# Sides of the picture and its position, as shares of the canvas: in the middle, at edges and corners, all of it.
PLACES: list[tuple[tuple[float, float], tuple[float, float] | None]] = [
    ((0.286, 0.286), None),
    ((0.149, 0.211), None),
    ((0.077, 0.023), (0.013, 0.403)),
    ((0.179, 0.139), (0.0, 0.0)),
    ((0.131, 0.135), (0.869, 0.865)),
    ((0.005, 0.005), (0.497, 0.506)),
    ((0.223, 1.0), (0.446, 0.0)),
    ((1.0, 1.0), None),
]
CUTS = [("alexnet", 224, 3), ("alexnet", 224, 5), ("alexnet", 224, 13)]
CUTS += [("squeezenet1_1", 113, 3), ("squeezenet1_1", 113, 5), ("squeezenet1_1", 113, 13)]
CUTS += [("vgg11", 65, 3), ("vgg11", 65, 8), ("vgg11", 65, 16)]


@pytest.mark.parametrize(("network", "canvas", "layer"), CUTS)
@pytest.mark.parametrize(("share", "place"), PLACES)
def test_equals_the_naive_computation(network: str, canvas: int, layer: int, share: Any, place: Any) -> None:
    # After poolings, float32 rounding can decide either way which of two equal values is passed on.
    dtype, tolerance = (torch.float64, 1e-12) if layer > 4 else (torch.float32, 1e-5)
    size = tuple(max(1, int(side * canvas)) for side in share)
    position = place and tuple(min(int(p * canvas), canvas - s) for p, s in zip(place, size, strict=True))
    features = layers_of(network, layer)
    net = PerceptualLoss(features, size, canvas=canvas, position=position).to(dtype)
    images, target = (pictures(2, 3, *size, seed=seed).to(dtype).requires_grad_() for seed in range(2))
    naive = slow_reference(features, images, canvas, position)
    assert_close(net.naive(images), naive, tolerance)
    expected = F.mse_loss(naive, slow_reference(features, target, canvas, position).detach())
    loss = net.loss(images, target)
    assert_close(loss, expected, tolerance)
    assert_close(*(torch.autograd.grad(value, images)[0] for value in (loss, expected)), tolerance)


@pytest.mark.parametrize("switches", [{"normalise": True}, {"sigmoid": True}, {"normalise": True, "sigmoid": True}])
def test_switches_equal_the_naive_computation(switches: dict[str, bool]) -> None:
    net = PerceptualLoss(small(), (11, 14), canvas=40, position=(0, 9), **switches)
    images, target = (pictures(3, 3, 11, 14, seed=seed).requires_grad_() for seed in range(2))
    losses = (net.loss(images, target), F.mse_loss(net.naive(images), net.naive(target).detach()))
    assert_close(*losses, 1e-5)
    assert_close(*(torch.autograd.grad(value, images)[0] for value in losses), 1e-5)


def test_normalise_is_imagenets_on_the_whole_canvas() -> None:
    from torchvision.transforms.functional import normalize

    features = small()
    net = PerceptualLoss(features, (12, 12), canvas=40, normalise=True)
    images = pictures(2, 3, 12, 12)
    canvas = normalize(F.pad(images, (14, 14, 14, 14)), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert_close(net.naive(images), features(canvas), 1e-6)


def test_bfloat16_stays_as_near_as_the_naive_computation_does() -> None:
    net = PerceptualLoss(layers_of("alexnet", 5), (64, 64))
    images, target = pictures(4, 3, 64, 64), pictures(4, 3, 64, 64, seed=1)
    exact = net.loss(images, target)
    with torch.autocast("cpu", torch.bfloat16):
        window, loss = net(images), net.loss(images, target)
    assert window.dtype == torch.bfloat16 and loss.dtype == torch.float32
    assert abs(loss / exact - 1) < 0.02
    assert net(images).dtype == torch.float32  # the other precision's constants are not used


def test_equal_pictures_differ_by_nothing_and_order_does_not_matter() -> None:
    net = PerceptualLoss(small(), (16, 16), canvas=40)
    images, target = pictures(5, 3, 16, 16), pictures(5, 3, 16, 16, seed=1)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(0))
    assert net.loss(images, images) == 0
    torch.testing.assert_close(net.loss(images[order], target[order]), net.loss(images, target))
    torch.testing.assert_close(net(images[order]), net(images)[order])


def test_gradient_flows_to_the_pictures_only() -> None:
    net = PerceptualLoss(feature_layers("alexnet", 5), (16, 16), canvas=64)
    images, target = (pictures(2, 3, 16, 16, seed=seed).requires_grad_() for seed in range(2))
    net.loss(images, target).backward()
    assert images.grad is not None and images.grad.abs().sum() > 0
    assert target.grad is None and all(weight.grad is None for weight in net.parameters())


def test_frozen_layers_stay_in_eval_mode() -> None:
    features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout())
    net = PerceptualLoss(features, (8, 8), canvas=20).train()
    assert net.training and not any(layer.training for layer in features.modules())
    assert torch.equal(net(torch.ones(1, 3, 8, 8)), net(torch.ones(1, 3, 8, 8)))
    assert features[1].num_batches_tracked == 0


def changed_by_loading(net: PerceptualLoss) -> None:
    net.load_state_dict({name: 2 * value for name, value in net.state_dict().items()})


def changed_by_loading_the_layers(net: PerceptualLoss) -> None:
    net.features.load_state_dict({name: value + 1 for name, value in net.features.state_dict().items()}, assign=True)


def changed_by_moving(net: PerceptualLoss) -> None:
    net.to(torch.float64)


@pytest.mark.parametrize("change", [changed_by_loading, changed_by_loading_the_layers, changed_by_moving])
def test_constants_follow_the_weights(change: Any) -> None:
    net = PerceptualLoss(small(), (12, 12), canvas=40)
    images, target = pictures(2, 3, 12, 12), pictures(2, 3, 12, 12, seed=1)
    before = net.loss(images, target)
    change(net)
    images, target = (batch.to(net.features[0].weight.dtype) for batch in (images, target))
    assert_close(net.loss(images, target), F.mse_loss(net.naive(images), net.naive(target)), 1e-5)
    assert change is changed_by_moving or net.loss(images, target) != before


def test_constants_made_in_inference_mode_serve_in_training() -> None:
    net = PerceptualLoss(small(), (12, 12), canvas=40)
    images = pictures(2, 3, 12, 12)
    with torch.inference_mode():
        net(images)
    net.loss(images.requires_grad_(), torch.zeros_like(images)).backward()
    assert images.grad is not None


def test_only_the_layers_are_saved_and_copies_work() -> None:
    net = PerceptualLoss(small(), (12, 12), canvas=40)
    images = pictures(2, 3, 12, 12)
    expected = net(images)
    assert set(net.state_dict()) == {f"features.{n}.{kind}" for n in (0, 3) for kind in ("weight", "bias")}
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(twin(images), expected)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"image_size": (50, 64), "canvas": 50}, "50x64 pictures do not fit on .* 50x50 canvas"),
        ({"image_size": (20, 20), "canvas": 40, "position": (0, 21)}, "do not fit at row 0, column 21"),
        ({"image_size": (20, 20), "canvas": 40, "position": (-1, 0)}, "do not fit at row -1"),
        ({"image_size": (4, 4), "canvas": 6}, "6x6 canvas is too small for the 5 layers"),
    ],
)
def test_sizes_that_do_not_fit(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as raised:
        PerceptualLoss(small(), **arguments)
    assert "\n" not in str(raised.value)


def test_pictures_of_another_size() -> None:
    with pytest.raises(UserError, match="set up for 12x12 pictures but got 12x13"):
        PerceptualLoss(small(), (12, 12), canvas=40)(pictures(1, 3, 12, 13))


@pytest.mark.parametrize("layer", [nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(8, track_running_stats=False), nn.Flatten()])
def test_layers_that_are_not_local(layer: nn.Module) -> None:
    features = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Sequential(nn.ReLU(), layer))
    with pytest.raises(UserError, match=rf"Layer 1\.1 \({type(layer).__name__}\)"):
        PerceptualLoss(features, (12, 12), canvas=40)
