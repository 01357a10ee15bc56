"""timm's networks."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from selfsort.data.input_spec import InputSpec
from selfsort.errors import UserError
from selfsort.models.libraries.library import Architecture, Library, NetworkFacts
from selfsort.models.weights import hubs


class Timm(Library):
    """timm, whose weights are on the Hugging Face hub or at a URL; a name is "NETWORK" or "NETWORK.TAG"."""

    def names(self) -> Sequence[str]:
        """Return the names of all networks."""
        import timm

        return cast(list[str], timm.list_models())

    def has(self, name: str) -> bool:
        """Tell whether there is a network with this name, and weights with its tag."""
        import timm

        base, _, tag = name.partition(".")
        return bool(timm.is_model(base)) and (not tag or bool(timm.models.is_model_pretrained(name)))

    def facts(self, name: str) -> NetworkFacts:
        """Return what is known about a network."""
        base, _, tag = name.partition(".")
        config = _config(name)
        tag = tag or config.get("tag", "")
        size = config.get("input_size", (3, 224, 224))
        spec = InputSpec(size[1], 3, "crop", tuple(config.get("mean", (0.5,))), tuple(config.get("std", (0.5,))))
        weights = f"timm:{base}.{tag}" if tag else "random"
        return NetworkFacts(f"timm:{base}", weights, spec, config.get("license") or "not stated")

    def build(self, wanted: Architecture) -> nn.Module:
        """Return a network without its last layer, or with one of `head` outputs, with random weights."""
        return _model(wanted, num_classes=wanted.head)

    def load(self, wanted: Architecture, tensors: dict[str, Tensor], path: Path) -> nn.Module:
        """Return a network with weights; timm knows how to read its own and those of other programs."""
        head = _config(wanted.name).get("classifier")
        heads = (head,) if isinstance(head, str) else tuple(head or ())
        found = next((tensors[f"{name}.weight"] for name in heads if f"{name}.weight" in tensors), None)
        classes = 0 if found is None else len(found)
        overlay = {"state_dict": dict(tensors), "num_classes": classes, "custom_load": False, "source": None}
        overlay |= {"hf_hub_id": None, "url": "", "file": None, "label_offset": 0}
        try:
            net = _model(wanted, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=classes)
        except (RuntimeError, KeyError) as error:
            difference = _first_difference(error)
            raise UserError(
                f"Weights {str(path)!r} do not fit {wanted.name} ({difference}): give weights for it."
            ) from error
        if classes != wanted.head:
            cast(Any, net).reset_classifier(wanted.head)
        return net

    def source(self, weights: str) -> str:
        """Say where the weights come from."""
        config = _config(weights)
        return f"{config['hf_hub_id']} on the Hugging Face hub" if config.get("hf_hub_id") else str(config["url"])

    def fetch(self, weights: str, called: str, way_out: str) -> Path:
        """Return the weights file, downloaded if necessary."""
        config = _config(weights)
        repository, url = config.get("hf_hub_id"), config.get("url", "")
        if not repository and not url:
            raise UserError(f"No weights of {called!r} are available: {way_out}.")
        if not repository or (url and hubs.cached_url(url).is_file()):
            return hubs.from_url(url, called, way_out)
        return hubs.from_hugging_face(repository, _files(config), called, way_out)

    def is_cached(self, weights: str) -> bool:
        """Tell whether the weights are on this computer."""
        config = _config(weights)
        return hubs.is_cached(config.get("hf_hub_id", ""), _files(config), config.get("url", ""))


def described(facts: NetworkFacts, config: Mapping[str, Any]) -> InputSpec:
    """Return the input of a timm network, as described by the config.json of a repository."""
    spec = facts.input
    side = int(config["input_size"][1]) if "input_size" in config else spec.side
    return replace(spec, side=side, mean=tuple(config.get("mean", spec.mean)), std=tuple(config.get("std", spec.std)))


def tensor_names(wanted: Architecture) -> list[str]:
    """Return the names of a network's tensors, its last layer's included, in timm's order."""
    with torch.device("meta"):
        return list(_model(wanted).state_dict())


def _config(name: str) -> dict[str, Any]:
    import timm

    config = timm.models.get_pretrained_cfg(name, allow_unregistered=False)
    return {} if config is None else cast(dict[str, Any], config.to_dict(remove_null=True))


def _files(config: Mapping[str, Any]) -> Sequence[str]:
    named = config.get("hf_hub_filename")
    return (named,) if named else hubs.WEIGHT_FILES


def _model(wanted: Architecture, **options: Any) -> nn.Module:
    import timm

    config = _config(wanted.name)
    height, width, _ = wanted.input.image_shape
    if config.get("fixed_input_size") and tuple(config["input_size"][1:]) != (height, width):
        options["img_size"] = (height, width)
    try:
        return cast(nn.Module, timm.create_model(wanted.name, **options))
    except (AssertionError, ValueError) as error:
        raise UserError(
            f"Backbone {wanted.called!r} cannot take {height}x{width} pictures: choose another size."
        ) from error


def _first_difference(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[1] if len(lines) > 1 else lines[0] if lines else type(error).__name__
    return text[:120].rstrip(" .:") + ("…" if len(text) > 120 else "")
