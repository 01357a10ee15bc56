"""Convert arrays and tensors to `uint8` pictures, and resize pictures held in an array."""

from collections.abc import Iterator, Mapping, Set
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfsort.data import values
from selfsort.data.eight_bit import to_image
from selfsort.data.input_spec import InputSpec
from selfsort.data.pixels import to_pixels
from selfsort.data.reading import ALONE, Range, Reading, ValueRange
from selfsort.errors import UserError

_BLOCK = 1024
_SAMPLE = 32  # pictures sampled to find the range of values
# Common containers of pictures, by the package and the name of their class or of one of its base classes.
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
    """Fit (N, H, W, C) pictures to the shape that `spec` wants, without a copy if they have it already."""
    if images.shape[1:] == spec.image_shape:
        return images
    out = np.empty((len(images), *spec.image_shape), np.uint8)
    for row, image in zip(out, images, strict=True):
        row[:] = to_pixels(to_image(image), spec)
    return out


def to_uint8_images(array: Any, name: str, reading: Reading = ALONE) -> tuple[NDArray[np.uint8], Reading]:
    """Convert an array or a torch tensor to (N, H, W, C) `uint8`, C 1 or 3, as `as_image_set` describes.

    Also return how it was read, including the range of its values where one was found. `name` is the subject of the
    message of the `UserError` that bad shapes, types and values raise.
    """
    if other := container(array):
        raise UserError(
            f"{other[0].upper()}{other[1:]} cannot be used as pictures; load the folder or data set they are in "
            "with load_images(folder), or give one array or a list of PIL images."
        )
    tensor = hasattr(array, "detach") and hasattr(array, "cpu")
    found = _from_tensor(array) if tensor else _from_array(array, name)
    if found.dtype.kind not in "buif":
        raise UserError(f"{name} must hold numbers or bool, not {found.dtype}; convert it first.")
    found = _channel_last(found, tensor, name, reading.channels)
    if found.dtype not in (np.uint8, np.bool_):
        reading = _with_range(found, reading, _finite_range(found, name))
    images = _to_uint8(found, reading)
    return (_on_white(images) if images.shape[3] == 4 else images), reading


def _with_range(array: NDArray[Any], reading: Reading, whole: Range) -> Reading:
    """Return a reading that knows the range of an array's values, if the range is to be that of the set.

    `whole` is the smallest and largest value of the array. Floats from 0 to 1 keep that range, even if few are bright.
    """
    kind = values.kind_of(array.dtype)
    if reading.found(kind) != "set":
        return reading
    if kind == "floats" and whole[0] >= 0 and values.LEAST_SHARE < whole[1] <= 1:
        return reading.knowing(None, (0, 1))
    rows = np.unique(np.linspace(0, len(array) - 1, _SAMPLE).astype(int))
    channels = tuple(range(min(3, array.shape[3])))
    samples = [values.of_array(array[row]).sample(channels) for row in rows]
    found = values.range_of_set(samples, kind)
    return reading.knowing(None, found) if kind == "floats" else reading.knowing(found, None)


def container(given: Any) -> str:
    """Name the container that pictures were given in if it is not an array; "" for what may be one.

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
        raise UserError(f"{name} holds pictures of different shapes; resize them to one size first.") from error


def _channel_last(array: NDArray[Any], channel_first: bool, name: str, chosen: tuple[int, ...]) -> NDArray[Any]:
    """Return an array (N, H, W), (N, H, W, C) or (N, C, H, W) as (N, H, W, C), with chosen channels only, if any."""
    shape = array.shape
    if 0 in shape:
        raise UserError(f"{name} of shape {shape} holds no pixels; give at least one picture.")
    if chosen and array.ndim == 4:
        last = array.transpose(0, 2, 3, 1) if channel_first or shape[1] < shape[3] else array
        return _of_channels(last, name, chosen)
    # No picture is 3 or 4 pixels wide, but a single colour picture without its leading axis looks as if it were.
    if array.ndim == 3 and (channel_first or shape[2] not in (3, 4)):
        return _of_channels(array[:, :, :, None], name, chosen)
    if array.ndim == 4 and not channel_first and shape[3] in (1, 3, 4):
        return array
    if array.ndim == 4 and shape[1] in ((1, 3, 4) if channel_first else (1, 3)):
        return array.transpose(0, 2, 3, 1)
    wanted = "(N, H, W) or (N, C, H, W)" if channel_first else "(N, H, W), (N, H, W, C) or (N, C, H, W)"
    raise UserError(
        f"{name} must be of shape {wanted} with 1, 3 or 4 channels, not {shape}; reshape it, or choose with channels=…."
    )


def _of_channels(array: NDArray[Any], name: str, chosen: tuple[int, ...]) -> NDArray[Any]:
    """Return the chosen channels of an array (N, H, W, C), all if none are chosen; add a black one to two."""
    if not chosen:
        return array
    if max(chosen) >= array.shape[3]:
        raise UserError(f"{name} has {array.shape[3]} channels, numbered from 0: channels={chosen} cannot be chosen.")
    found = array[..., chosen]
    return np.concatenate([found, np.zeros_like(found[..., :1])], 3) if len(chosen) == 2 else found


def _to_uint8(array: NDArray[Any], reading: Reading) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array
    out = np.empty(array.shape, np.uint8)
    chosen = reading.found(values.kind_of(array.dtype))
    step = _BLOCK if isinstance(chosen, tuple) else 1  # otherwise each picture has its own range
    for start in range(0, len(array), step):  # in blocks: the array may be a file larger than memory
        block = array[start : start + step]
        out[start : start + step, ..., :3] = _shown(block[..., :3], chosen)
        if block.shape[3] == 4:
            out[start : start + step, ..., 3:] = _shown(block[..., 3:], "type")
    return out


def _shown(block: NDArray[Any], chosen: ValueRange) -> NDArray[np.uint8]:
    if block.dtype == np.bool_:
        return block.astype(np.uint8) * np.uint8(255)
    if not isinstance(chosen, tuple):
        image = values.of_array(block[0])
        box = (0, 0, *image.size)
        chosen = values.range_of(image, chosen, [box], tuple(range(image.channels)))
    return values.to_8_bit(block, *chosen)


def _finite_range(array: NDArray[Any], name: str) -> Range:
    """Return the smallest and largest value of an array; raise `UserError` for NaN and infinity."""
    low, high = np.inf, -np.inf
    for start in range(0, len(array), _BLOCK):
        block = array[start : start + _BLOCK]
        least, most = float(block.min()), float(block.max())
        low, high = min(low, least), max(high, most)
        if not np.isfinite(least + most):
            raise UserError(f"{name} holds NaN or infinity; replace those values, for example with numpy.nan_to_num.")
    return low, high


def _on_white(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    out = np.empty((*images.shape[:3], 3), np.uint8)
    for start in range(0, len(images), _BLOCK):
        block = images[start : start + _BLOCK].astype(np.float32)
        alpha = block[..., 3:] / 255
        out[start : start + _BLOCK] = np.rint(block[..., :3] * alpha + 255 * (1 - alpha))
    return out
