"""The backbone of a fitted model as a file of weights, under the names that torchvision and timm use."""

from pathlib import Path
from typing import NamedTuple, cast

import torch
from safetensors.torch import save_file
from torch import Tensor

from selfsort.errors import UserError
from selfsort.files import atomic_path
from selfsort.methods.base import Estimator, NamedNet
from selfsort.methods.frozen import FrozenNet
from selfsort.models.backbones import Backbone
from selfsort.models.pretrained import find

SUFFIXES = (".pth", ".pt", ".safetensors")


class BackboneFile(NamedTuple):
    """What a file of weights holds.

    Attributes
    ----------
    network : the architecture, such as "torchvision:resnet50" or "small-resnet18"
    tensors : its state dictionary, without the last layer
    channels : of the pictures that the first layer takes
    mean, std : of each channel, with which pictures in [0, 1] are normalised

    """

    network: str
    tensors: dict[str, Tensor]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def check_backbone_file(path: Path) -> None:
    """Raise `UserError` if a name does not end in one of `SUFFIXES`."""
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"The weights {str(path)!r} cannot be written: end the name in {', '.join(SUFFIXES)}.")


def backbone_of(model: Estimator) -> BackboneFile:
    """Return the backbone of a fitted model.

    Raises
    ------
    UserError
        If the method has none.

    """
    net = model.net_.net if isinstance(model.net_, NamedNet) else model.net_
    found = getattr(net, "backbone", None)
    name = getattr(model, "backbone", None)
    if isinstance(net, FrozenNet):
        normalised, channels = net, 3
        tensors = net.backbone.state_dict()
    elif isinstance(found, Backbone) and isinstance(name, str):
        normalised, channels = cast(FrozenNet, found), found.channels
        tensors = found.layers.state_dict()
    else:
        raise UserError(
            f"{model.method} has no backbone to export: choose a run of a method that has one, such as simclr."
        )
    network = str(name) if str(name).startswith("small-") else find(str(name)).network
    mean, std = (tuple(each.flatten().tolist()) for each in (normalised.mean, normalised.std))
    return BackboneFile(network, {key: value.cpu() for key, value in tensors.items()}, channels, mean, std)


def write_backbone(model: Estimator, path: Path) -> BackboneFile:
    """Write the weights of a model's backbone as a state dictionary, for `load_state_dict`.

    The names are those of the architecture in its library, without the last layer, so the `backbone` of torchvision's
    segmentation networks and `backbone.body` of its detection networks load them. A .safetensors file has the network
    and the normalisation in its metadata.

    Raises
    ------
    UserError
        If the method has none, or the file cannot be written.

    """
    check_backbone_file(path)
    found = backbone_of(model)
    tensors = {name: tensor.clone().contiguous() for name, tensor in found.tensors.items()}
    with atomic_path(path) as partial:
        if path.suffix.lower() == ".safetensors":
            about = {"network": found.network, "mean": str(list(found.mean)), "std": str(list(found.std))}
            save_file(tensors, partial, about)
        else:
            torch.save(tensors, partial)
    return found
