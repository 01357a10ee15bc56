"""The activations at a network's cut for several views of each picture, computed once; its tail learns from them."""

import tempfile
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import IO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from selfsort.data.image_set import ImageSet
from selfsort.data.input_spec import InputSpec
from selfsort.errors import UserError
from selfsort.features.network import with_folded_norms
from selfsort.files import write_error
from selfsort.memory import keep_freed_memory
from selfsort.progress import ProgressBar
from selfsort.training.recipe import Device, Precision, pick_device, pick_precision, seed_of

_BATCH = 64


def at_cut(
    images: ImageSet,
    front: nn.Module,
    spec: InputSpec,
    make_view: Callable[[Tensor], Tensor],
    n_views: int,
    *,
    device: Device = "auto",
    precision: Precision = "auto",
    random_state: int = 0,
    progress: bool = False,
) -> NDArray[np.float16]:
    """Return the (N, n_views, ...) outputs of `front`: first for each picture as it is, then for random views of it.

    The array lies in a temporary file, mapped into memory, which disappears with the array. Raises UserError if a
    picture can no longer be read or there is no room.
    """
    compute = _FastFront(front, spec, pick_device(device), precision)
    shape: tuple[int, ...] = ()
    with (
        torch.random.fork_rng(),
        tempfile.TemporaryFile() as file,
        ProgressBar("Preparing views", len(images), shown=progress) as bar,
    ):
        torch.manual_seed(seed_of(random_state, 6))
        for block in images.blocks(spec):
            if block.failures:
                position, reason = block.failures[0]
                raise UserError(f"{images.ids[position]!r} can no longer be read: {reason}; put it back.")
            for start in range(0, len(block.images), _BATCH):
                pictures = compute.pictures(block.images[start : start + _BATCH])
                views = chain([pictures], (make_view(pictures) for _ in range(n_views - 1)))
                rows = np.stack([compute(view) for view in views], 1)
                shape = rows.shape[1:]
                _write(file, rows)
                bar.advance(len(rows))
        return np.memmap(file, np.float16, "r", shape=(len(images), *shape))


class _FastFront:
    """The front of a network, set up to run as fast as possible."""

    def __init__(self, front: nn.Module, spec: InputSpec, device: torch.device, precision: Precision):
        keep_freed_memory()
        low = pick_precision(precision, device) == "bf16-mixed"
        self.device, self.dtype = device, torch.bfloat16 if low else torch.float32
        self.mean, self.std = (torch.tensor(each, device=device).view(-1, 1, 1) for each in (spec.mean, spec.std))
        net = with_folded_norms(front, spec.image_shape)
        self.net = net.to(device, self.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def pictures(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Return (n, H, W, C) pixels as (n, C, H, W) in [0, 1] on the device."""
        return torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2).float().div_(255)

    @torch.inference_mode()
    def __call__(self, pictures: Tensor) -> NDArray[np.float16]:
        """Return the activations at the cut for (n, C, H, W) pictures in [0, 1]."""
        normalised = ((pictures - self.mean) / self.std).to(self.dtype, memory_format=torch.channels_last)
        return np.asarray(self.net(normalised).half().cpu().contiguous().numpy())


def _write(file: IO[bytes], rows: NDArray[np.float16]) -> None:
    try:
        file.write(np.ascontiguousarray(rows).data)
        file.flush()
    except OSError as error:
        raise write_error(Path(tempfile.gettempdir()), error) from error
