"""Arrays and tensors as `uint8` pictures, and pictures in an array at another size."""

from collections.abc import Iterator, Mapping, Set
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfsort.data.input_spec import InputSpec
from selfsort.data.pixels import to_image, to_pixels
from selfsort.errors import UserError

_BLOCK = 1024
# What people have their pictures in, by the package and the class that it is, or is made from.
_CONTAINERS = {
    ("torch", "Dataset"): "a torch Dataset",
    ("torch", "DataLoader"): "a torch DataLoader",
    ("datasets", "Dataset"): "a Hugging Face Dataset",
    ("datasets", "DatasetDict"): "a Hugging Face DatasetDict",
    ("datasets", "IterableDataset"): "a Hugging Face IterableDataset",
    ("pandas", "DataFrame"): "a pandas DataFrame",
    ("pandas", "Series"): "a pandas Series",
    ("polars", "DataFrame"): "a polars DataFrame",
    ("polars", "Series"): "a polars Series",
    ("tensorflow", "DatasetV2"): "a TensorFlow Dataset",
}


def refit(images: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.uint8]:
    """Bring (N, H, W, C) pictures to the shape that `spec` wants, without copying those that have it."""
    if images.shape[1:] == spec.image_shape:
        return images
    out = np.empty((len(images), *spec.image_shape), np.uint8)
    for row, image in zip(out, images, strict=True):
        row[:] = to_pixels(to_image(image), spec)
    return out


def to_uint8_images(array: Any, name: str) -> NDArray[np.uint8]:
    """Return an array or a torch tensor as (N, H, W, C) `uint8`, C 1 or 3, as `as_image_set` describes.

    `name` begins the sentence of the `UserError` that bad shapes, types and values raise.
    """
    if other := container(array):
        raise UserError(
            f"{other[0].upper()}{other[1:]} cannot be taken for pictures; load the folder or data set that they are in "
            "with load_images(folder), or give one array or a list of PIL images."
        )
    tensor = hasattr(array, "detach") and hasattr(array, "cpu")
    values = _from_tensor(array) if tensor else _from_array(array, name)
    images = _to_uint8(_channel_last(values, tensor, name), name)
    return _on_white(images) if images.shape[3] == 4 else images


def container(given: Any) -> str:
    """Say what it is that pictures are in, where that is no array; "" for what may be one.

    >>> container(["a.png", "b.png"]), container({"a": 1}), container([[1, 2], [3, 4]])
    ('a list of paths', 'a dict', '')
    """
    for base in type(given).__mro__:
        if found := _CONTAINERS.get((base.__module__.partition(".")[0], base.__name__)):
            return found
    if isinstance(given, (str, PurePath)):
        return "a path"
    if isinstance(given, (list, tuple)):
        return "a list of paths" if given and isinstance(given[0], (str, PurePath)) else ""
    if isinstance(given, (Mapping, Set, Iterator)):
        return f"a {type(given).__name__}"
    return "nothing (None)" if given is None else ""


def _from_tensor(tensor: Any) -> NDArray[Any]:
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point():
        tensor = tensor.float()  # NumPy has no bfloat16
    values: NDArray[Any] = tensor.numpy()
    return values


def _from_array(array: Any, name: str) -> NDArray[Any]:
    try:
        return np.asarray(array)
    except ValueError as error:
        raise UserError(f"{name} is made of pictures of different shapes; bring them to one size first.") from error


def _channel_last(values: NDArray[Any], channel_first: bool, name: str) -> NDArray[Any]:
    """Return (N, H, W, C) of values that are (N, H, W), (N, H, W, C) or (N, C, H, W)."""
    if 0 in values.shape:
        raise UserError(f"{name} of shape {values.shape} holds no pixels; give at least one picture.")
    # No picture is 3 or 4 pixels wide, but one colour picture without its leading axis looks like that.
    if values.ndim == 3 and (channel_first or values.shape[2] not in (3, 4)):
        return values[:, :, :, None]
    if values.ndim == 4 and not channel_first and values.shape[3] in (1, 3, 4):
        return values
    if values.ndim == 4 and values.shape[1] in ((1, 3, 4) if channel_first else (1, 3)):
        return values.transpose(0, 2, 3, 1)
    wanted = "(N, H, W) or (N, C, H, W)" if channel_first else "(N, H, W), (N, H, W, C) or (N, C, H, W)"
    raise UserError(f"{name} must be of shape {wanted} with 1, 3 or 4 channels, not {values.shape}; reshape it.")


def _to_uint8(values: NDArray[Any], name: str) -> NDArray[np.uint8]:
    if values.dtype == np.uint8:
        return values
    if values.dtype != np.bool_ and values.dtype.kind != "f":
        raise UserError(f"{name} must hold uint8, bool or floats in [0, 1], not {values.dtype}; convert it first.")
    out = np.empty(values.shape, np.uint8)
    for start in range(0, len(values), _BLOCK):  # in blocks: the floats may be a file larger than memory
        block = values[start : start + _BLOCK]
        if block.dtype.kind == "f":
            _check_range(block, name)
        out[start : start + _BLOCK] = np.rint(block.astype(np.float32) * 255)
    return out


def _check_range(block: NDArray[Any], name: str) -> None:
    if not np.isfinite(block).all():
        raise UserError(f"{name} holds NaN or infinity; replace those values, for example with numpy.nan_to_num.")
    low, high = float(block.min()), float(block.max())
    if low < 0 or high > 1:
        raise UserError(
            f"{name} holds floats from {low:g} to {high:g}, but they must be in [0, 1]; rescale them, or convert "
            "values in [0, 255] with .astype(numpy.uint8)."
        )


def _on_white(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    out = np.empty((*images.shape[:3], 3), np.uint8)
    for start in range(0, len(images), _BLOCK):
        block = images[start : start + _BLOCK].astype(np.float32)
        alpha = block[..., 3:] / 255
        out[start : start + _BLOCK] = np.rint(block[..., :3] * alpha + 255 * (1 - alpha))
    return out
