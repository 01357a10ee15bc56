"""What a measurement keeps: models during fitting, in its folder, and tensors, as text in its outcome."""

import base64
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load, save
from torch import Tensor

from selfsort import methods
from selfsort.data.image_set import ImageSet
from selfsort.methods.base import Estimator
from selfsort.models.base import Net
from selfsort.runs import RunFolder
from selfsort.training.callbacks import OnEpoch
from selfsort.training.data import ImageData
from selfsort.training.outputs import outputs
from selfsort.training.recipe import Device, pick_device


def fitted(model: Estimator, images: ImageSet, folder: Path | None, on_epoch: OnEpoch | None = None) -> Estimator:
    """Fit a model, resuming a stopped measurement."""
    if folder is not None and RunFolder(folder).is_complete():
        return methods.load(folder)
    return model.fit(images, run_dir=folder, resume=folder is not None, on_epoch=on_epoch)


def embedded(net: Net, images: NDArray[np.uint8], device: Device) -> NDArray[np.float32]:
    """Return the (N, D) embedding of (N, H, W, C) pictures."""
    return outputs(net, ImageData(images, pick_device(device)))[0]


def classified(net: Net, images: NDArray[np.uint8], device: Device) -> NDArray[np.int64]:
    """Return the (N,) classes of (N, H, W, C) pictures, from a network that has classes of its own."""
    logits = outputs(net, ImageData(images, pick_device(device)))[1]
    assert logits is not None
    classes: NDArray[np.int64] = logits.argmax(1)
    return classes


def packed(tensors: Mapping[str, Tensor]) -> str:
    """Return tensors as text, for the outcome of a trial."""
    return base64.b64encode(save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()})).decode()


def unpacked(text: str) -> dict[str, Tensor]:
    """Return the tensors from a text made by `packed`."""
    return load(base64.b64decode(text))
