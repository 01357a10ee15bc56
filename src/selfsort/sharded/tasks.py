"""What is computed for the pictures of a shard: features, or a model's predictions.

A task is sent to other processes, where `start` loads its network once for all shards.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from selfsort.data.decoding import Failure
from selfsort.data.image_set import ImageSet
from selfsort.data.input_spec import InputSpec
from selfsort.export.table import Predictions
from selfsort.export.tables.parquet import table_of
from selfsort.features import openvino
from selfsort.features.embedding import BATCH_SIZE, computed
from selfsort.features.network import Extractor
from selfsort.methods import load
from selfsort.models import pretrained as networks
from selfsort.runs import RunFolder
from selfsort.runs.seal import digest_of
from selfsort.tables import utf8_text
from selfsort.training.recipe import Device, Precision


class Computed(NamedTuple):
    """What was computed for one shard: a pyarrow table with a row for each readable picture, and the failures.

    `counts` are the pictures of each cluster, empty for features.
    """

    table: Any
    failures: Sequence[Failure]
    counts: Sequence[int] = ()


Compute = Callable[[ImageSet], Computed]


class Task(Protocol):
    """What is computed, in a form that can be sent to another process."""

    @property
    def uses_gpu(self) -> bool:
        """Tell whether it runs on a GPU; where it is left open, this machine decides for all."""

    def facts(self) -> Mapping[str, Any]:
        """Return all that decides what is computed, to be compared with that of earlier shards."""

    def start(self) -> Compute:
        """Load the network, and return the function that is called for each shard."""


@dataclass(frozen=True)
class Embed:
    """Features of a pre-trained network; the arguments are those of `selfsort.embed`."""

    backbone: str
    input_spec: InputSpec
    device: Device = "auto"
    precision: Precision = "auto"

    @property
    def uses_gpu(self) -> bool:
        """Tell whether it runs on a GPU."""
        return _is_gpu(self.device)

    def facts(self) -> Mapping[str, Any]:
        """Return the network, its weights, its input, and how it is run."""
        network = networks.pretrained(self.backbone, self.input_spec)
        how = {"gpu": self.uses_gpu, "precision": self.precision, "openvino": openvino.is_installed()}
        return {"network": network.card.network, "weights": network.sha256, "input": self.input_spec.to_json(), **how}

    def start(self) -> Compute:
        """Load the network."""
        network = networks.pretrained(self.backbone, self.input_spec)
        extract = Extractor(network, self.device, self.precision, BATCH_SIZE)

        def compute(images: ImageSet) -> Computed:
            values, failures, _ = computed(images, extract)
            return Computed(_embeddings(_readable(images, failures), values), failures)

        return compute


@dataclass(frozen=True)
class Predict:
    """Predictions of the model in a folder, which all processes must be able to read."""

    folder: Path

    @property
    def uses_gpu(self) -> bool:
        """Tell whether it runs on a GPU."""
        return _is_gpu(load(self.folder).device)

    def facts(self) -> Mapping[str, Any]:
        """Return the hash of the model, its names, and whether it runs on a GPU."""
        model = load(self.folder)
        weights = digest_of(RunFolder(self.folder).model)
        return {"model": weights, "names": list(model.names_), "gpu": _is_gpu(model.device)}

    def start(self) -> Compute:
        """Load the model."""
        model = load(self.folder)

        def compute(images: ImageSet) -> Computed:
            probabilities, failures = model.predict_streamed(images)
            table = table_of(Predictions(_readable(images, failures), probabilities, model.names_))
            return Computed(table, failures, np.bincount(probabilities.argmax(1), minlength=model.n_classes_).tolist())

        return compute


def _is_gpu(device: Device) -> bool:
    return device == "cuda" or (device == "auto" and torch.cuda.is_available())


def _readable(images: ImageSet, failures: Sequence[Failure]) -> list[str]:
    """Return the ids of the pictures that could be read."""
    failed = {position for position, _ in failures}
    return [name for position, name in enumerate(images.ids) if position not in failed]


def _embeddings(ids: Sequence[str], values: NDArray[np.float32]) -> Any:
    """Return a pyarrow table of ids and, as lists of a fixed size, embeddings (n, D)."""
    import pyarrow as pa

    vectors = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
    return pa.table({"id": pa.array([utf8_text(name) for name in ids], pa.string()), "embedding": vectors})
