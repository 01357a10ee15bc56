from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsort.perceptual import PerceptualLoss, feature_layers

CORNERS: list[tuple[tuple[int, int], tuple[int, int] | None]] = [
    ((64, 64), None),
    ((33, 47), None),
    ((17, 5), (3, 90)),
    ((40, 31), (0, 0)),
    ((29, 30), (224 - 29, 224 - 30)),
    ((1, 1), (111, 113)),
    ((50, 224), (100, 0)),
    ((224, 224), None),
]


def slow_reference(features: nn.Sequential, images: Tensor, canvas: int, position: tuple[int, int] | None) -> Tensor:
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


def blank_features(network: str, layer: int) -> nn.Sequential:
    """Return random layers with biases of a size that makes the blank canvas anything but blank."""
    torch.manual_seed(0)
    features = feature_layers(network, layer)
    for module in features.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            module.bias.uniform_(-0.5, 0.5)
    return features


def assert_equal_to_naive(net: PerceptualLoss, images: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    """Compare the loss and its gradient with those of whole maps, relative to their largest values."""
    target = pictures(*images.shape, seed=1).to(images.dtype)
    gradients = []
    losses = []
    for difference in (net.loss, lambda x, y: F.mse_loss(net.naive(x), net.naive(y))):
        leaf = images.clone().requires_grad_()
        losses.append(difference(leaf, target))
        losses[-1].backward()
        gradients.append(leaf.grad)
    naive = net.naive(images)
    close = {"rtol": tolerance, "atol": 0.0}
    torch.testing.assert_close(naive, expected, rtol=0.0, atol=tolerance * float(expected.abs().max()))
    torch.testing.assert_close(losses[0], losses[1], **close)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0.0, atol=tolerance * float(gradients[1].abs().max()))
    window = net(images)
    where = window_of(naive, net.naive(torch.zeros_like(images)))
    rows, columns = window.shape[-2:]
    assert where is None or (where[1] - where[0] <= rows and where[3] - where[2] <= columns)


def window_of(maps: Tensor, blank: Tensor) -> tuple[int, int, int, int] | None:
    """Return the rows and columns where maps differ at all from the blank canvas's."""
    differs = ((maps - blank).abs() > 1e-6).any(0).any(0)
    rows, columns = differs.any(1).nonzero(), differs.any(0).nonzero()
    if not len(rows):
        return None
    return int(rows.min()), int(rows.max()) + 1, int(columns.min()), int(columns.max()) + 1


@pytest.mark.parametrize(
    ("network", "layer"),
    [*(("alexnet", n) for n in (1, 3, 5, 8, 13)), *(("squeezenet1_1", n) for n in (3, 5, 7, 13)), ("vgg11", 3)],
)
@pytest.mark.parametrize(("size", "position"), CORNERS)
def test_equals_the_naive_computation(network: str, layer: int, size: Any, position: Any) -> None:
    features = blank_features(network, layer)
    net = PerceptualLoss(features, size, position=position)
    images = pictures(2, 3, *size)
    # So deep, a rounding in float32 can decide which of two equal values a pool passes on, here as in the naive way.
    dtype, tolerance = (torch.float64, 1e-12) if layer > 8 else (torch.float32, 1e-5)
    net, images = net.to(dtype), images.to(dtype)
    assert_equal_to_naive(net, images, slow_reference(features, images, 224, position), tolerance)
