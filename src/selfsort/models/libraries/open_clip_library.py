"""open_clip's image towers; the package is an extra."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from selfsort.data.input_spec import InputSpec
from selfsort.errors import UserError
from selfsort.models.libraries.library import Architecture, Library, NetworkFacts, forbids_commerce
from selfsort.models.weights import hubs
from selfsort.models.weights.files import matching

_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


class OpenClip(Library):
    """open_clip, whose weights are on the Hugging Face hub or at a URL; a name is "NETWORK" or "NETWORK/TAG"."""

    def names(self) -> Sequence[str]:
        """Return the names of all networks."""
        return cast(list[str], _open_clip().list_models())

    def has(self, name: str) -> bool:
        """Tell whether there is a network with this name."""
        return name.partition("/")[0] in self.names()

    def facts(self, name: str) -> NetworkFacts:
        """Return what is known about a network; raise `UserError` if it has no such weights."""
        clip = _open_clip()
        base, _, tag = name.partition("/")
        tags = clip.list_pretrained_tags_by_model(base)
        if tag and tag not in tags:
            raise UserError(f"{base} has no weights {tag!r}: choose {', '.join(tags) or 'another network'}.")
        # Weights whose licence forbids commercial use are never the default.
        free = [each for each in tags if not forbids_commerce(_licence(base, each))]
        tag = tag or next(reversed(free or tags), "")
        config = clip.pretrained.get_pretrained_cfg(base, tag) if tag else {}
        size = clip.get_model_config(base)["vision_cfg"].get("image_size", 224)
        resize = "squash" if config.get("resize_mode") == "squash" else "crop"
        mean = tuple(config.get("mean", clip.OPENAI_DATASET_MEAN))
        std = tuple(config.get("std", clip.OPENAI_DATASET_STD))
        spec = InputSpec(size if isinstance(size, int) else size[0], 3, resize, mean, std)  # type: ignore[arg-type]
        weights = f"open_clip:{base}/{tag}" if tag else "random"
        return NetworkFacts(f"open_clip:{base}", weights, spec, _licence(base, tag))

    def build(self, wanted: Architecture) -> nn.Module:
        """Return an image tower with random weights."""
        logging.getLogger().addFilter(_no_random_warning)
        try:
            return cast(nn.Module, _open_clip().create_model(wanted.name, pretrained=None).visual)
        finally:
            logging.getLogger().removeFilter(_no_random_warning)

    def load(self, wanted: Architecture, tensors: dict[str, Tensor], path: Path) -> nn.Module:
        """Return an image tower with weights, which may be those of the whole network."""
        visual = self.build(wanted)
        visual.load_state_dict(matching(visual, tensors, path, wanted.name, ("visual.", "")))
        return visual

    def source(self, weights: str) -> str:
        """Return the name under which open_clip finds the weights."""
        return f"open_clip:{weights}"

    def fetch(self, weights: str, called: str, way_out: str) -> Path:
        """Return the weights file, downloaded if necessary."""
        repository, files, url = _place(weights)
        if not repository:
            return hubs.from_url(url, called, way_out)
        return hubs.from_hugging_face(repository, files, called, way_out)

    def is_cached(self, weights: str) -> bool:
        """Tell whether the weights are on this computer."""
        return hubs.is_cached(*_place(weights))


def _open_clip() -> Any:
    try:
        import open_clip
    except ImportError as error:
        raise UserError(
            "open_clip's networks need a package: run `pip install selfsort[clip]`, or choose 'clip'."
        ) from error
    return open_clip


def _place(weights: str) -> tuple[str, Sequence[str], str]:
    """Return the repository of weights, "" if there is none, the files that it may have, and their URL."""
    base, _, tag = weights.partition("/")
    config = _open_clip().pretrained.get_pretrained_cfg(base, tag)
    owner, _, file = config.get("hf_hub", "").rpartition("/")
    return owner, (file,) if file else _FILES, config.get("url", "")


def _licence(model: str, tag: str) -> str:
    """Return the licence of weights as their publishers state it, because open_clip does not."""
    if "metaclip" in tag or "nllb" in model.lower():
        return "cc-by-nc-4.0"
    if tag.startswith("dfn") or "MobileCLIP" in model:
        return "apple-amlr"
    if tag == "openai" or tag.startswith(("laion", "datacomp", "commonpool", "yfcc", "cc12m")):
        return "mit"
    return "apache-2.0" if tag.startswith(("webli", "v2_webli")) else "not stated"


def _no_random_warning(record: logging.LogRecord) -> bool:
    return "No pretrained weights loaded" not in record.getMessage()
