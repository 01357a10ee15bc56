"""The interface that every library of networks implements."""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from selfsort.data.input_spec import InputSpec

_NOT_COMMERCIAL = re.compile(r"(^|[-_])nc([-_]|$)|non-?commercial|amlr|seer")


class NetworkFacts(NamedTuple):
    """A network and its own weights: names valid everywhere for both, its input, its licence."""

    network: str
    weights: str
    input: InputSpec
    licence: str


class Architecture(NamedTuple):
    """A network to build: its name for the user and for the library, its input, and the outputs of its last layer.

    `head` is 0 if the layer before the last one yields the embedding.
    """

    called: str
    name: str
    input: InputSpec
    head: int


class Library(ABC):
    """A library of networks; names here are the library's own; weights are named by network and tag."""

    @abstractmethod
    def names(self) -> Sequence[str]:
        """Return the names of all networks."""

    @abstractmethod
    def has(self, name: str) -> bool:
        """Tell whether there is a network with this name."""

    @abstractmethod
    def facts(self, name: str) -> NetworkFacts:
        """Return what is known about a network; raise `UserError` if it has no such weights."""

    @abstractmethod
    def build(self, wanted: Architecture) -> nn.Module:
        """Return a network without its last layer, with random weights."""

    @abstractmethod
    def load(self, wanted: Architecture, tensors: dict[str, Tensor], path: Path) -> nn.Module:
        """Return a network without its last layer, with the tensors of a file; raise `UserError` if they do not fit."""

    @abstractmethod
    def source(self, weights: str) -> str:
        """Say where the weights come from."""

    @abstractmethod
    def fetch(self, weights: str, called: str, way_out: str) -> Path:
        """Return the weights file, downloaded if necessary; raise `UserError` if they cannot be obtained."""

    @abstractmethod
    def is_cached(self, weights: str) -> bool:
        """Tell whether the weights are on this computer."""


def forbids_commerce(licence: str) -> bool:
    """Tell whether a licence forbids commercial use."""
    return bool(_NOT_COMMERCIAL.search(licence.lower()))
