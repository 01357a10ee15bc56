"""Run a network in OpenVINO on a CPU: measured three times as fast as PyTorch (docs/speed.md)."""

import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

_CLOSE = {False: 1e-2, True: 0.25}  # relative, in float32 and in bfloat16: a wrong conversion differs by about 1
_ENDS = [0, -1]  # pictures of a batch that are traced and compared
_log = logging.getLogger(__name__)
Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


class _Normalised(nn.Module):
    """A network that takes (B, H, W, C) uint8 pictures."""

    factor: Tensor
    shift: Tensor

    def __init__(self, net: nn.Module, mean: Tensor, std: Tensor):
        super().__init__()
        self.net = net
        self.register_buffer("factor", 1 / (255 * std))
        self.register_buffer("shift", -mean / std)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.net(images.permute(0, 3, 1, 2).float() * self.factor + self.shift)
        return features


def is_installed() -> bool:
    """Tell whether OpenVINO is installed, as by `pip install selfsort[openvino]`."""
    return find_spec("openvino") is not None


def compiled(net: nn.Module, mean: Tensor, std: Tensor, shape: tuple[int, int, int, int], *, low: bool) -> Run | None:
    """Return a function from uint8 pictures of a `shape` (B, H, W, C) to (B, width) features, or None.

    `mean` and `std` are (C, 1, 1); `low` computes in bfloat16. Returns None if the network cannot be converted, or then
    computes something else.
    """
    module = _Normalised(net, mean, std).eval()
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    try:
        run = _converted(module, pixels, low)
        found = run(pixels)[_ENDS]
    except Exception as error:  # whatever its converter does not support
        _log.info("OpenVINO cannot run this network, so PyTorch does: %s", error)
        return None
    with torch.inference_mode():
        wanted = module(torch.from_numpy(pixels[_ENDS])).numpy()
    difference = float(np.linalg.norm(found - wanted) / max(float(np.linalg.norm(wanted)), 1e-12))
    if found.shape == wanted.shape and difference < _CLOSE[low]:
        return run
    _log.info("OpenVINO computes other features for this network (by %.3f), so PyTorch runs it.", difference)
    return None


def _converted(module: nn.Module, pixels: NDArray[np.uint8], low: bool) -> Run:
    with _no_telemetry():
        import openvino
        from openvino.frontend import FrontEndManager
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
    # Only two pictures are traced: with a whole batch, converting a transformer takes minutes.
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # tracing warns about every shape that a network reads
        traced = cast(Any, torch.jit).trace(module, torch.from_numpy(pixels[_ENDS]), check_trace=False)
        decoder = TorchScriptPythonDecoder(traced)  # has to stay alive while the model is converted
        front_end = FrontEndManager().load_by_framework("pytorch")
        model = front_end.convert(front_end.load(decoder))
    model.reshape(list(pixels.shape))
    # One stream, so that the same picture gets the same features whatever else is running.
    how = {"INFERENCE_PRECISION_HINT": "bf16" if low else "f32", "NUM_STREAMS": "1"}
    how |= {"INFERENCE_NUM_THREADS": str(torch.get_num_threads())}
    request = openvino.Core().compile_model(model, "CPU", how).create_infer_request()
    alone = threading.Lock()  # a request has one place for its output

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        with alone:
            request.infer([images])
            return np.array(request.get_output_tensor(0).data, np.float32)

    return run


@contextmanager
def _no_telemetry() -> Iterator[None]:
    """Stop OpenVINO from reporting its use: it can send nothing without this package."""
    name = "openvino_telemetry"
    before: Any = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before
