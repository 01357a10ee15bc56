"""The frozen networks: torchvision's feature layers, cut at a layer, with weights from its hub or from a file."""

import difflib
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from selfsort.errors import UserError
from selfsort.losses.perceptual.windows import find_not_local
from selfsort.models.weights.files import matching, read
from selfsort.models.weights.hubs import from_url


def feature_layers(network: str, layer: int) -> nn.Sequential:
    """Return the first `layer` feature layers of a torchvision network, randomly initialised and frozen.

    Paper 1 uses `feature_layers("alexnet", 5)`: two convolutions with ReLUs, and a max pooling between them.

    Raises
    ------
    UserError
        If the network is unknown, has no sequence of feature layers or one with layers that are not local (each
        position of the output must depend only on a neighbourhood of the input), or does not have that many layers.

    """
    layers = _all_layers(network)
    if not 1 <= layer <= len(layers):
        raise UserError(f"{network} has no feature layer {layer}: choose a layer from 1 to {len(layers)}.")
    features = layers[:layer]
    found = find_not_local(features)
    if found:
        path, module = found
        before = [name for name, _ in features.named_children()].index(path.split(".")[0])
        way_out = f"use at most {before} layers or choose another" if before else "choose another"
        raise UserError(
            f"{network} cannot be the perceptual network with {layer} layers, because features.{path} "
            f"({type(module).__name__}) is not a plain local layer: {way_out}, such as alexnet, vgg11 or squeezenet1_1."
        )
    return _initialised(features)


def _all_layers(network: str) -> nn.Sequential:
    from torchvision import models

    names = models.list_models(module=models)
    if network not in names:
        near = difflib.get_close_matches(network, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "choose alexnet, a vgg or a squeezenet."
        raise UserError(f"Unknown perceptual network {network!r}: {hint}")
    with torch.device("meta"):  # only the layers that are used need memory
        net = models.get_model(network, weights=None, **_quiet(network))
    layers = getattr(net, "features", None)
    if not isinstance(layers, nn.Sequential):
        raise UserError(f"{network} has no sequence of feature layers: choose alexnet, a vgg or a squeezenet.")
    return layers


def _quiet(network: str) -> dict[str, bool]:
    """Return the argument that keeps two networks from warning about a future change of their initialisation."""
    return {"init_weights": False} if network in ("googlenet", "inception_v3") else {}


def _initialised(features: nn.Sequential) -> nn.Sequential:
    features = features.to_empty(device="cpu")
    for module in features.modules():
        if hasattr(module, "reset_parameters"):
            cast(Any, module).reset_parameters()
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")  # keeps deep activations from fading
        if hasattr(module, "inplace"):
            cast(Any, module).inplace = False  # the activations before it are still needed
    return features.eval().requires_grad_(False)


def load_weights(features: nn.Sequential, network: str, weights: str) -> None:
    """Load weights into feature layers, all of them or none.

    `features` are what `feature_layers(network, ...)` returned. `weights` is "hub" for torchvision's ImageNet weights,
    downloaded once and checked by their hash; "random" to leave the layers as they are; or a .safetensors, .pth or .pt
    file with torchvision's names (`features.0.weight`) or plain ones (`0.weight`); its other layers are ignored.

    Raises
    ------
    UserError
        If there is no such file, it cannot be read or is of another architecture, or the hub's weights are neither
        on this computer nor available.

    """
    if weights == "random":
        return
    path = _from_hub(network) if weights == "hub" else Path(weights).expanduser()
    found = read(path, others=", 'hub' or 'random'").tensors
    features.load_state_dict(matching(features, found, path, network, ("features.", "")))


def _from_hub(network: str) -> Path:
    """Return the file of torchvision's default weights, downloaded if missing and checked by hash."""
    from torchvision import models

    url: str = models.get_model_weights(network).DEFAULT.url
    return from_url(url, network, "give a weights file as perceptual_weights=PATH")
