"""torchvision's classification networks."""

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from selfsort.data.input_spec import InputSpec
from selfsort.errors import UserError
from selfsort.models.libraries.library import Architecture, Library, NetworkFacts
from selfsort.models.weights import hubs
from selfsort.models.weights.files import matching


class Torchvision(Library):
    """torchvision, whose weights are at URLs that contain a hash; a name is "NETWORK" or "NETWORK.TAG"."""

    def names(self) -> Sequence[str]:
        """Return the names of all networks."""
        return _names()

    def has(self, name: str) -> bool:
        """Tell whether there is a network with this name."""
        return name.partition(".")[0] in _names()

    def facts(self, name: str) -> NetworkFacts:
        """Return what is known about a network; raise `UserError` if it has no such weights."""
        base, weights = name.partition(".")[0], _weights(name)
        shown = weights.transforms()
        spec = InputSpec(int(shown.crop_size[0]), 3, "crop", tuple(shown.mean), tuple(shown.std))
        licence = "cc-by-nc-4.0" if _is_swag(weights) else "bsd-3-clause"
        return NetworkFacts(f"torchvision:{base}", f"torchvision:{base}.{weights.name}", spec, licence)

    def build(self, wanted: Architecture) -> nn.Module:
        """Return a network without its last layer, with random weights; raise `UserError` if it ends in several."""
        from torchvision import models

        net: nn.Module = models.get_model(wanted.name, weights=None)
        linear = [path for path, layer in net.named_modules() if isinstance(layer, nn.Linear)]
        if not linear or wanted.name in ("googlenet", "inception_v3"):
            raise UserError(
                f"Backbone {wanted.name!r} does not end in one linear layer and cannot be used: choose another."
            )
        parent, _, last = linear[-1].rpartition(".")
        setattr(net.get_submodule(parent), last, nn.Identity())
        return net

    def load(self, wanted: Architecture, tensors: dict[str, Tensor], path: Path) -> nn.Module:
        """Return a network without its last layer, with weights."""
        net = self.build(wanted)
        # The first DenseNets' names contain dots, which PyTorch no longer allows.
        renamed = {
            re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.([12])", r"\1\2", name): value
            for name, value in tensors.items()
        }
        net.load_state_dict(matching(net, renamed, path, wanted.name, ("", "module.", "backbone.")))
        return net

    def source(self, weights: str) -> str:
        """Return the URL of the weights."""
        return str(_weights(weights).url)

    def fetch(self, weights: str, called: str, way_out: str) -> Path:
        """Return the weights file, downloaded if necessary."""
        return hubs.from_url(_weights(weights).url, called, way_out)

    def is_cached(self, weights: str) -> bool:
        """Tell whether the weights are on this computer."""
        return hubs.cached_url(_weights(weights).url).is_file()


@lru_cache(maxsize=1)
def _names() -> tuple[str, ...]:
    from torchvision import models

    return tuple(models.list_models(module=models))


def _weights(name: str) -> Any:
    from torchvision import models

    base, _, tag = name.partition(".")
    weights = models.get_model_weights(base)
    if tag and tag not in weights.__members__:
        raise UserError(f"{base} has no weights {tag!r}: choose {', '.join(weights.__members__)}.")
    free = [each for each in weights if not _is_swag(each)]  # not for commercial use, so never the default
    return weights[tag] if tag else weights.DEFAULT if weights.DEFAULT in free or not free else free[0]


def _is_swag(weights: Any) -> bool:
    return "SWAG" in weights.name
