"""Networks shared by methods: (B, C, H, W) pictures in [0, 1] in, (B, `width`) features out.

`small-conv`, `small-resnet18` (the CIFAR form of ResNet-18) and `small-alexnet` are for pictures of about 16 to 96
pixels; every other name is one from `selfsort.models.pretrained`, such as torchvision's classification networks, used
without its last layer and trained from scratch unless `weights` are given.
"""

from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from selfsort.errors import UserError
from selfsort.models import pretrained
from selfsort.models.weights.files import matching, read
from selfsort.models.weights.frozen import is_architecture_only


class Backbone(nn.Module):
    """A network without a head, which normalises its input.

    Attributes
    ----------
    width : number of features per picture

    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        layers: nn.Module,
        width: int,
        channels: int,
        mean: tuple[float, ...] = (0.5,),
        std: tuple[float, ...] = (0.25,),
    ):
        super().__init__()
        self.layers = layers
        self.width = width
        self.channels = channels
        # They follow from the constructor's arguments, so they need not be saved in a run.
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, width) features of (B, C, H, W) pictures in [0, 1]."""
        if images.shape[1] < self.channels:
            images = images.expand(-1, self.channels, -1, -1)
        return cast(Tensor, self.layers((images - self.mean) / self.std).flatten(1))


def make_backbone(name: str, image_shape: tuple[int, int, int], weights: str | None = None) -> Backbone:
    """Build a backbone by name for (height, width, channels) pictures.

    It starts with random weights, or with `weights`: "pretrained" for those that belong to its name, a file, or any
    others known to `selfsort.models.pretrained`.

    Raises
    ------
    UserError
        If the name is unknown, the network cannot take such pictures, or the weights cannot be obtained or do not fit.

    """
    if name in _SMALL:
        channels = image_shape[2]
        layers = _SMALL[name](channels)
        if weights is not None and not is_architecture_only():
            _load_small(layers, name, weights)
        return Backbone(layers, _width(name, layers, (channels, *image_shape[:2])), channels)
    layers = pretrained.network(name, image_shape)
    width = _width(name, layers, (3, *image_shape[:2]))
    if weights is None:
        return Backbone(layers, width, 3)
    card = pretrained.with_weights(name, weights)
    if not is_architecture_only():
        pretrained.load_into(layers, card, image_shape)
    return Backbone(layers, width, 3, card.input.mean, card.input.std)


def _load_small(layers: nn.Module, name: str, weights: str) -> None:
    if weights == "pretrained":
        raise UserError(
            f"Backbone {name!r} has no pre-trained weights: give a weights file, or choose another backbone."
        )
    path = Path(weights).expanduser()
    layers.load_state_dict(matching(layers, read(path).tensors, path, name, ("", "layers.", "net.backbone.layers.")))


def _width(name: str, layers: nn.Module, shape: tuple[int, int, int]) -> int:
    """Find the number of features by a trial run, which also shows whether the pictures are large enough."""
    try:
        with torch.no_grad():
            features = layers.eval()(torch.zeros(1, *shape))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise UserError(
            f"Backbone {name!r} cannot take {shape[1]}x{shape[2]} pictures: choose another size=… or backbone=…."
        ) from error
    layers.train()
    return int(features.flatten(1).shape[1])


def _conv(channels: int, out: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(channels, out, 3, stride=stride, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(out), nn.ReLU(inplace=True)]


def _small_conv(channels: int) -> nn.Module:
    layers = _conv(channels, 32, 1) + _conv(32, 64, 2) + _conv(64, 128, 2) + _conv(128, 256, 2)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1))


def _small_resnet18(channels: int) -> nn.Module:
    from torchvision.models import resnet18

    net = resnet18(weights=None)
    # SimCLR, appendix B.9: a 3x3 stem of stride 1 and no pooling for 32x32 pictures.
    net.conv1 = nn.Conv2d(channels, 64, 3, stride=1, padding=1, bias=False)
    net.maxpool = nn.Identity()
    net.fc = nn.Identity()
    return cast(nn.Module, net)


def _small_alexnet(channels: int) -> nn.Module:
    pool = nn.MaxPool2d(2)
    layers = [*_conv(channels, 64, 1), pool, *_conv(64, 192, 1), pool]
    layers += [*_conv(192, 384, 1), *_conv(384, 256, 1), *_conv(256, 256, 1), pool]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2))


_SMALL = {"small-conv": _small_conv, "small-resnet18": _small_resnet18, "small-alexnet": _small_alexnet}
