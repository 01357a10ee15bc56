"""Decode the centre of a group into a picture, for methods with a decoder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from selfsort import runs
from selfsort.errors import UserError

Decode = Callable[[NDArray[np.float32]], NDArray[np.uint8]]


def decoder(run: Path) -> Decode | None:
    """Return a function that decodes a point (D,) of the embedding to pixels (H, W, C); None if the method cannot."""
    if not any("decoder." in name for name in runs.tensor_names(run)):
        return None  # without importing torch, which takes seconds
    import torch

    from selfsort import methods
    from selfsort.methods.base import NamedNet

    model = methods.load(run)
    net = cast(Any, (model.net_.net if isinstance(model.net_, NamedNet) else model.net_).cpu().eval())

    def decode(point: NDArray[np.float32]) -> NDArray[np.uint8]:
        with torch.inference_mode():
            drawn = net.decode(torch.from_numpy(point)[None])[0]  # (C, H, W)
        pixels: NDArray[np.uint8] = (drawn * 255).round().byte().permute(1, 2, 0).numpy()
        return pixels

    try:
        decode(model.embedding_.mean(0))
    except (AttributeError, RuntimeError):  # its decoder does not take the embedding
        return None
    return decode


def decoder_or_none(run: Path) -> Decode | None:
    """Return `decoder(run)`, or None if the model cannot be loaded, as naming does not need it."""
    try:
        return decoder(run)
    except UserError:
        return None
