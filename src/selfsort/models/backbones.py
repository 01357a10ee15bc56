"""Networks that methods share: (B, C, H, W) pictures in [0, 1] in, (B, `width`) features out.

`small-conv`, `small-resnet18` (the CIFAR form of ResNet-18) and `small-alexnet` are made for pictures of about 16 to
96 pixels; every other name is one of torchvision's classification networks, from scratch, without its last layer.
"""

import difflib
from typing import cast

import torch
from torch import Tensor, nn

from selfsort.errors import UserError


class Backbone(nn.Module):
    """A network without a head.

    Attributes
    ----------
    width : number of features it gives for a picture

    """

    def __init__(self, layers: nn.Module, width: int, channels: int):
        super().__init__()
        self.layers = layers
        self.width = width
        self.channels = channels

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, width) features of (B, C, H, W) pictures in [0, 1]."""
        if images.shape[1] < self.channels:
            images = images.expand(-1, self.channels, -1, -1)
        return cast(Tensor, self.layers((images - 0.5) * 4).flatten(1))


def make_backbone(name: str, image_shape: tuple[int, int, int]) -> Backbone:
    """Build a backbone by name for (height, width, channels) pictures.

    Raises
    ------
    UserError
        For an unknown name, or pictures that the network cannot take.

    """
    channels = image_shape[2]
    layers = _SMALL[name](channels) if name in _SMALL else _torchvision(name)
    channels = channels if name in _SMALL else 3
    return Backbone(layers, _width(name, layers, (channels, *image_shape[:2])), channels)


def _width(name: str, layers: nn.Module, shape: tuple[int, int, int]) -> int:
    """Find the number of features by a trial run, which also shows whether the pictures are large enough."""
    try:
        with torch.no_grad():
            features = layers.eval()(torch.zeros(1, *shape))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise UserError(
            f"Backbone {name!r} cannot take {shape[1]}x{shape[2]} pictures: choose another --size or backbone."
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


def _torchvision(name: str) -> nn.Module:
    from torchvision import models

    names = models.list_models(module=models)
    if name not in names:
        near = difflib.get_close_matches(name, [*_SMALL, *names], n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose {', '.join(_SMALL)} or a torchvision network."
        raise UserError(f"Unknown backbone {name!r}: {hint}")
    net: nn.Module = models.get_model(name, weights=None)
    linear = [path for path, layer in net.named_modules() if isinstance(layer, nn.Linear)]
    if not linear or name in ("googlenet", "inception_v3"):
        raise UserError(f"Backbone {name!r} does not end in one linear layer and cannot be used: choose another.")
    parent, _, last = linear[-1].rpartition(".")
    setattr(net.get_submodule(parent), last, nn.Identity())
    return net
