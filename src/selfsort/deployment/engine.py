"""What computes predictions one upload at a time: ONNX Runtime where it is installed, otherwise PyTorch."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from selfsort import methods
from selfsort.data.input_spec import InputSpec
from selfsort.data.limits import MAX_PIXELS, MAX_SECONDS, pillow_limits
from selfsort.data.pixels import read_image
from selfsort.data.reading import ALONE
from selfsort.data.standby import within_limits
from selfsort.data.unreadable import explain
from selfsort.data.workers import WorkerDied
from selfsort.deployment.files import missing_libraries, onnx_bytes, open_session, runner
from selfsort.deployment.graph import ModelFacts, WholeModel
from selfsort.errors import UserError
from selfsort.schema import Invalid

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Engine:
    """A model that names pictures from the bytes of their files; any thread may use it.

    Attributes
    ----------
    kind : "onnx" or "torch"
    facts : names, threshold and input of the model
    run : (N, H, W, C) uint8 pictures to (N, K) probabilities

    """

    kind: str
    facts: ModelFacts
    run: Callable[[NDArray[np.uint8]], NDArray[np.float32]]

    def probabilities(self, content: bytes, max_pixels: int = MAX_PIXELS) -> NDArray[np.float32]:
        """Return the (K,) probabilities for the bytes of one picture's file, decoded as `selfsort predict` does.

        Raises `UserError` if it cannot be read, has more than `max_pixels`, or takes too long to decode.
        """
        try:
            found = within_limits(_pixels, content, self.facts.input, max_pixels, seconds=MAX_SECONDS)
        except WorkerDied as error:
            found = explain(error)
        if isinstance(found, str):
            raise UserError(f"The picture cannot be read: {found}.")
        probabilities: NDArray[np.float32] = self.run(found[None])[0]
        return probabilities


def _pixels(content: bytes, spec: InputSpec, max_pixels: int) -> NDArray[np.uint8] | str:
    """Return a picture fitted to a network's input, or the reason why it cannot be read."""
    try:
        with pillow_limits(max_pixels):
            found = read_image(BytesIO(content), spec, max_pixels, ALONE.over(spec.reading))
            return np.require(found.pixels, requirements="W")  # PyTorch warns about arrays of Pillow's, which are not
    except Exception as error:  # whatever decoders raise on damaged data
        return explain(error)


def engine_of_run(folder: Path, threshold: float) -> Engine:
    """Return an engine for the model in a run folder; raise `UserError` as `selfsort.load` does."""
    whole = WholeModel(methods.load(folder), threshold)
    if missing_libraries():
        return _by_torch(whole)
    try:
        return Engine("onnx", whole.facts, runner(open_session(onnx_bytes(whole))))
    except UserError as error:
        _log.warning("%s PyTorch computes the predictions instead.", error)
        return _by_torch(whole)


def engine_of_file(path: Path) -> Engine:
    """Return an engine for an ONNX file of `write_model`; or raise `UserError`, also without ONNX Runtime."""
    if "onnxruntime" in missing_libraries():
        raise UserError(
            f"{str(path)!r} needs the library 'onnxruntime': pip install 'selfsort[onnx]', or serve the run."
        )
    if not path.is_file():
        raise UserError(f"There is no file {str(path)!r}.")
    try:
        session = open_session(str(path))
        facts = ModelFacts.from_texts(session.get_modelmeta().custom_metadata_map)
    except Exception as error:  # ONNX Runtime has errors of its own for each kind of damage
        reason = str(error) if isinstance(error, Invalid) else "ONNX Runtime cannot load it"
        raise UserError(f"{str(path)!r} is no model of `selfsort export` ({reason}): export it again.") from error
    return Engine("onnx", facts, runner(session))


def _by_torch(whole: WholeModel) -> Engine:
    def run(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            found: NDArray[np.float32] = whole(torch.from_numpy(pictures))[0].numpy()
        return found

    return Engine("torch", whole.facts, run)
