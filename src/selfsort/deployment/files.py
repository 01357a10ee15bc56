"""Files with a whole model in them: ONNX, for any runtime, and PyTorch's own .pt2."""

import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from selfsort.deployment.graph import INPUT, OUTPUTS, WholeModel
from selfsort.errors import UserError
from selfsort.files import atomic_path
from selfsort.methods.base import Estimator

SUFFIXES = (".onnx", ".pt2")
_CLOSE = 1e-4
_OPSET = 18
_LIBRARIES = ("onnx", "onnxruntime", "onnxscript")
_LARGEST = 2**31 - 1  # bytes of a protocol buffer


def check_model_file(path: Path) -> None:
    """Raise `UserError` unless `path` can be the name of a model's file and what writes it is installed."""
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"Cannot tell the format of {str(path)!r} from its name: end it in {' or '.join(SUFFIXES)}.")
    if path.is_dir():
        raise UserError(f"{str(path)!r} is a folder: choose the name of a file.")
    missing = missing_libraries()
    if path.suffix.lower() == ".onnx" and missing:
        raise UserError(
            f"{str(path)!r} needs the library {missing[0]!r}: pip install 'selfsort[onnx]', or write a .pt2 file."
        )


def missing_libraries() -> list[str]:
    """Return the names of the libraries of the extra "onnx" that are not installed."""
    return [name for name in _LIBRARIES if find_spec(name) is None]


def write_model(model: Estimator, path: str | Path, *, threshold: float = 0.0) -> None:
    """Write a fitted model as one graph, .onnx or .pt2, with what has to be known about it.

    It takes (N, H, W, C) uint8 pictures of the size of the network's input, any number of them, and returns
    "probabilities" (N, K), "label" (N,), which is -1 for a confidence below the `threshold`, and "confidence" (N,). The
    names, the threshold and how a picture is brought to this size are JSON texts in the file's metadata (ONNX) or extra
    files (.pt2). What ONNX Runtime returns is compared with PyTorch before anything is written.

    Raises
    ------
    UserError
        For another suffix, a missing library, a path that cannot be written, or a network that cannot be exported.

    """
    path = Path(path)
    check_model_file(path)
    whole = WholeModel(model, threshold)
    content = (onnx_bytes if path.suffix.lower() == ".onnx" else _pt2)(whole)
    with atomic_path(path) as partial:
        partial.write_bytes(content)


def onnx_bytes(whole: WholeModel) -> bytes:
    """Return a model as an ONNX file; raise `UserError` if it cannot be exported."""
    import onnx

    names = list(OUTPUTS)
    with _explained(whole, "to ONNX", "export it as .pt2, or use `selfsort predict`"):
        found: Any = torch.onnx.export(
            _exported(whole), input_names=[INPUT], output_names=names, opset_version=_OPSET, verbose=False
        )
        proto = found.model_proto
        onnx.helper.set_model_props(proto, whole.facts.texts())
        if proto.ByteSize() > _LARGEST:
            raise ValueError("an ONNX file holds at most 2 GB")
        content: bytes = proto.SerializeToString()
        _check(whole, runner(open_session(content)))
    return content


def _pt2(whole: WholeModel) -> bytes:
    file = io.BytesIO()
    texts = {f"{name}.json": text for name, text in whole.facts.texts().items()}
    with _explained(whole, "by torch.export", "use `selfsort predict`"):
        torch.export.save(_exported(whole), file, extra_files=texts)
    return file.getvalue()


def _exported(whole: WholeModel) -> torch.export.ExportedProgram:
    example = torch.from_numpy(_samples(whole)[:2])
    return torch.export.export(whole, (example,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))


@contextmanager
def _explained(whole: WholeModel, how: str, way_out: str) -> Iterator[None]:
    """Silence PyTorch's exporter, and turn whatever it raises into one sentence."""
    log = logging.getLogger("torch.onnx")
    before, log.disabled = log.disabled, True
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # whatever the exporter does not support
        method = whole.facts.method
        raise UserError(f"A model of {method} cannot be exported {how} ({_reason(error)}): {way_out}.") from error
    finally:
        log.disabled = before


def _reason(error: BaseException) -> str:
    """Say in a few words what went wrong first."""
    while error.__cause__ is not None:
        error = error.__cause__
    if operator := re.search(r"No ONNX function found.*aten\.(\w+)", str(error)):
        return f"ONNX has no operator for {operator[1]}"
    lines = filter(None, map(str.strip, str(error).splitlines()))
    return next(lines, type(error).__name__).rstrip(".")[:200]


def runner(session: Any) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Return a function from (N, H, W, C) uint8 pictures to (N, K) probabilities, for a session of ONNX Runtime."""

    def run(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        probabilities: NDArray[np.float32] = session.run([OUTPUTS[0]], {INPUT: pictures})[0]
        return probabilities

    return run


def open_session(content: bytes | str) -> Any:
    """Return a session of ONNX Runtime on the CPU for an ONNX file or its path."""
    import onnxruntime

    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


def _samples(whole: WholeModel) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (5, *whole.facts.input.image_shape), np.uint8)


def _check(whole: WholeModel, run: Callable[[NDArray[np.uint8]], NDArray[np.float32]]) -> None:
    pictures = _samples(whole)
    with torch.inference_mode():
        wanted = whole(torch.from_numpy(pictures))[0].numpy()
    # The median, since between two neighbours that are equally far either may vote.
    difference = float(np.median(np.abs(run(pictures) - wanted).max(1)))
    if not difference < _CLOSE:
        raise ValueError(f"ONNX Runtime's probabilities differ by {difference:.2g}")
