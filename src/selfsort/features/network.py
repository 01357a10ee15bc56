"""A pre-trained network set up to run fast, and so that a picture's features never depend on its neighbours."""

import copy
import threading
from functools import cached_property, partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from selfsort.features import openvino
from selfsort.memory import keep_freed_memory
from selfsort.models.pretrained import Pretrained
from selfsort.training.recipe import Device, Precision, pick_device, pick_precision

_CLOSE = 1e-3  # relative; folding reorders sums in float32
_KEPT = 2  # networks kept ready: to convert one takes seconds, which would be most of the time that few pictures take
_ready: dict[tuple[object, ...], openvino.Run] = {}
_making = threading.Lock()


class Extractor:
    """Computes the (n, width) float32 features of (n, H, W, C) uint8 pictures.

    Every batch has the same size, the last one filled up with blank pictures, because kernels may differ with it. On a
    CPU it runs in OpenVINO if that is installed, otherwise in PyTorch.

    Parameters
    ----------
    pretrained : the network
    device, precision : as for training; "auto" uses CUDA and bfloat16 if the hardware has them
    batch_size : pictures at a time

    """

    def __init__(self, pretrained: Pretrained, device: Device, precision: Precision, batch_size: int):
        self.device = pick_device(device)
        self.low = pick_precision(precision, self.device) == "bf16-mixed"
        self.batch_size = batch_size
        self.spec, self.width = pretrained.input, pretrained.width
        self.dtype = torch.bfloat16 if self.low else torch.float32
        self.mean = torch.tensor(self.spec.mean, device=self.device).view(-1, 1, 1)
        self.std = torch.tensor(self.spec.std, device=self.device).view(-1, 1, 1)
        self._module = pretrained.module
        self.engine = "openvino" if self.device.type == "cpu" and openvino.is_installed() else "torch"
        what = (pretrained.card.network, pretrained.sha256, repr(self.spec))
        how = (self.device, self.dtype, self.engine, batch_size, torch.get_num_threads())
        self._key = (*what, *how)

    @cached_property
    def _run(self) -> openvino.Run:
        """Return what computes a whole batch; made on first use, since often all features are kept already."""
        with _making:
            run = _ready.pop(self._key, None) or self._made()
            if self._key[1]:  # without the hash of its weights, a network is not known again
                _ready[self._key] = run
            while len(_ready) > _KEPT:
                del _ready[next(iter(_ready))]
        return run

    def _made(self) -> openvino.Run:
        keep_freed_memory()
        net = with_folded_norms(self._module, self.spec.image_shape)
        shape = (self.batch_size, *self.spec.image_shape)
        run = openvino.compiled(net, self.mean, self.std, shape, low=self.low) if self.engine == "openvino" else None
        return run or partial(self._by_torch, self._for_torch(net))

    def _for_torch(self, net: nn.Module) -> nn.Module:
        return net.to(self.device, self.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the features of pictures that have the shape of the network's input and are not normalised."""
        parts = [self.of_batch(images[i : i + self.batch_size]) for i in range(0, len(images), self.batch_size)]
        return np.concatenate(parts) if parts else np.empty((0, self.width), np.float32)

    def of_batch(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the features of at most one batch of pictures."""
        batch = np.zeros((self.batch_size, *images.shape[1:]), np.uint8)
        batch[: len(images)] = images
        return self._run(batch)[: len(images)]

    @torch.inference_mode()
    def _by_torch(self, net: nn.Module, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        # (B, H, W, C) in memory is the channels_last layout, so nothing is copied.
        pixels = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2).float()
        normalised = pixels.mul_(1 / 255).sub_(self.mean).div_(self.std).to(self.dtype)
        return cast(Tensor, net(normalised)).float().cpu().numpy()


def with_folded_norms(module: nn.Module, image_shape: tuple[int, int, int]) -> nn.Module:
    """Return a copy of a frozen network with its batch norms folded into the convolutions before them.

    They are found by running it once; if the result is not the same afterwards, nothing is folded.
    """
    folded = copy.deepcopy(module).eval()
    height, width, channels = image_shape
    images = torch.randn(1, channels, height, width, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted = module(images)
    pairs = _convolutions_before_norms(folded, images)
    if not pairs:
        return folded
    for convolution, norm in pairs:
        _fold(folded, convolution, norm)
    with torch.inference_mode():
        difference = (folded(images) - wanted).norm() / wanted.norm()
    return folded if difference < _CLOSE else copy.deepcopy(module).eval()


def _convolutions_before_norms(net: nn.Module, images: Tensor) -> list[tuple[str, str]]:
    """Return the names of convolutions, each with the batch norm that takes its output."""
    source: dict[int, str] = {}
    pairs: list[tuple[str, str]] = []
    alive: list[Tensor] = []  # keeps them alive, so that no two tensors have the same id

    def note(name: str) -> Any:
        def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            alive.append(output)
            if isinstance(layer, nn.Conv2d):
                source[id(output)] = name
            elif id(inputs[0]) in source:
                pairs.append((source[id(inputs[0])], name))

        return hook

    layers = [(name, layer) for name, layer in net.named_modules() if isinstance(layer, (nn.Conv2d, nn.BatchNorm2d))]
    hooks = [layer.register_forward_hook(note(name)) for name, layer in layers]
    with torch.inference_mode():
        net(images)
    for hook in hooks:
        hook.remove()
    once = {name for name, _ in pairs if sum(name == other for other, _ in pairs) == 1}
    return [pair for pair in pairs if pair[0] in once]


def _fold(net: nn.Module, convolution: str, norm: str) -> None:
    own, after = cast(Any, net.get_submodule(convolution)), cast(Any, net.get_submodule(norm))
    fused = fuse_conv_bn_eval(own, after)
    own.weight, own.bias = fused.weight, fused.bias
    parent, _, last = norm.rpartition(".")
    # timm's batch norms include the activation that follows.
    rest = [getattr(after, name) for name in ("drop", "act") if isinstance(getattr(after, name, None), nn.Module)]
    setattr(net.get_submodule(parent), last, nn.Sequential(*rest))
