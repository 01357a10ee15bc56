"""A fitted model as one PyTorch module: from the pixels of pictures to the probability of each name or cluster."""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from selfsort.data.input_spec import InputSpec
from selfsort.deployment.groups import as_module
from selfsort.methods.base import Estimator
from selfsort.models.base import Net
from selfsort.models.rivals import settled
from selfsort.schema import Invalid, checked

OUTPUTS = ("probabilities", "label", "confidence")
INPUT = "pictures"


@dataclass(frozen=True)
class ModelFacts:
    """What a file holds besides the graph.

    Attributes
    ----------
    names : the names, or the numbers of the clusters, in the order of the probabilities
    threshold : least confidence of an answer; 0 if nothing is rejected
    input : how a picture is brought to the size of the graph's input, and read if it has more than eight bits
    method : name of the method
    selfsort : version that wrote the file

    """

    names: tuple[str, ...]
    threshold: float
    input: InputSpec
    method: str
    selfsort: str

    def texts(self) -> dict[str, str]:
        """Return them as JSON texts, by name; "resize" and "channels" repeat what `input` says, for short scripts."""
        found: dict[str, Any] = {"names": self.names, "threshold": self.threshold, "input": self.input.to_json()}
        found |= {"resize": self.input.resize, "channels": self.input.channels}
        found |= {"method": self.method, "selfsort": self.selfsort}
        return {name: json.dumps(value, ensure_ascii=False) for name, value in found.items()}

    @classmethod
    def from_texts(cls, texts: Mapping[str, str]) -> Self:
        """Return what `texts` gave; raise `Invalid` for texts that it cannot have returned."""
        try:
            found = {name: json.loads(texts[name]) for name in ("names", "threshold", "input", "method", "selfsort")}
        except (KeyError, ValueError) as error:
            raise Invalid("it lacks names, threshold or input") from error
        return checked(cls, found)


class WholeModel(nn.Module):
    """A fitted model's network, its groups and a threshold, in float32 on the CPU.

    Attributes
    ----------
    facts : what to store with it

    """

    def __init__(self, model: Estimator, threshold: float = 0.0):
        super().__init__()
        self.net = cast(Net, settled(copy.deepcopy(model.net_).cpu().float().eval().requires_grad_(False)))
        self.groups = None if model.clustering_ is None else as_module(model.clustering_)
        names = tuple(str(name) for name in model.classes_)
        self.facts = ModelFacts(names, threshold, model.input_, model.method, version("selfsort"))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return probabilities (N, K), the likeliest class (N,) int64 and its probability (N,).

        `pictures` are (N, H, W, C) uint8. The class is -1 below the threshold.
        """
        found = self.net(pictures.permute(0, 3, 1, 2).float() / 255)
        if self.groups is None:
            assert found.logits is not None
            probabilities = found.logits.softmax(1)
        else:
            probabilities = cast(Tensor, self.groups(found.embedding))
        confidence, label = probabilities.max(1)
        return probabilities, torch.where(confidence < self.facts.threshold, -1, label), confidence
