"""What a measurement keeps: models that are being fitted, in its folder, and tensors, as text in its outcome."""

import base64
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load, save
from torch import Tensor

from selfsort import methods, runs
from selfsort.data.image_set import ImageSet
from selfsort.methods.base import Estimator
from selfsort.training.loop import OnEpoch


def fitted(model: Estimator, images: ImageSet, folder: Path | None, on_epoch: OnEpoch | None = None) -> Estimator:
    """Fit a model, going on where a stopped measurement was."""
    if folder is not None and runs.is_complete(folder):
        return methods.load(folder)
    return model.fit(images, run_dir=folder, resume=folder is not None, on_epoch=on_epoch)


def packed(tensors: Mapping[str, Tensor]) -> str:
    """Return tensors as text, which a cell can hold."""
    return base64.b64encode(save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()})).decode()


def unpacked(text: str) -> dict[str, Tensor]:
    """Return the tensors of a text that `packed` made."""
    return load(base64.b64decode(text))
