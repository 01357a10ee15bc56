"""Arrays in `.npy` and `.npz` files."""

import zlib
from pathlib import Path
from tokenize import TokenError
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from selfsort.data.arrays import to_uint8_images
from selfsort.data.listing import Listing, numbered, of_rows
from selfsort.data.request import Request
from selfsort.data.sources import is_file, path_of
from selfsort.errors import UserError

ORDER = 50
TAKES = "an .npy or .npz file"

_MOST_CLASSES = 100_000  # larger numbers are no classes, and a list of them would fill the memory


def claims(given: Any) -> bool:
    """Tell whether this is a file whose name ends in .npy or .npz."""
    path = path_of(given)
    return path is not None and path.suffix.lower() in (".npy", ".npz") and is_file(path)


def list_source(given: Any, request: Request) -> Listing:
    """List the pictures, and the `labels` of an `.npz` file that has them.

    The pictures are the array called `images`, else the file's first array that is not called `labels`.
    """
    path = Path(given).expanduser().absolute()
    request.refuse(f"The array file {str(path)!r}", "split", "fold", "classes_from")
    array, labels = _read(path)
    pixels = to_uint8_images(array, f"The array in {str(path)!r}")
    known = None if labels is None else _to_labels(labels, len(pixels), path)
    names = () if known is None else tuple(map(str, range(int(known.max(initial=-1)) + 1)))
    return Listing(str(path), numbered("array", len(pixels)), of_rows(pixels), known, names)


def _read(path: Path) -> tuple[NDArray[Any], NDArray[Any] | None]:
    try:
        if path.suffix.lower() == ".npy":
            return np.lib.format.open_memmap(path, mode="r"), None
        return _read_npz(path)
    except UserError:
        raise
    except (OSError, ValueError, EOFError, BadZipFile, MemoryError, zlib.error, TokenError, SyntaxError) as error:
        if "allow_pickle" in str(error) or "Python objects" in str(error):
            raise UserError(f"{str(path)!r} holds Python objects; save plain uint8 or float arrays in it.") from error
        raise UserError(f"{str(path)!r} is not a readable array file ({error}); write it with numpy.save.") from error


def _read_npz(path: Path) -> tuple[NDArray[Any], NDArray[Any] | None]:
    with ZipFile(path):  # NumPy would take a file that is no zip for a pickle
        pass
    with np.load(path, allow_pickle=False) as arrays:
        names = [name for name in arrays.files if name != "labels"]
        if not names:
            raise UserError(f"{str(path)!r} holds no array of pictures; save one called 'images' in it.")
        images = arrays["images" if "images" in names else names[0]]
        return images, arrays["labels"] if "labels" in arrays.files else None


def _to_labels(labels: NDArray[Any], count: int, path: Path) -> NDArray[np.int64]:
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise UserError(
            f"'labels' in {str(path)!r} must be {count} whole numbers, one per picture, "
            f"not {labels.dtype} of shape {labels.shape}."
        )
    if labels.max(initial=0) >= _MOST_CLASSES:
        raise UserError(f"'labels' in {str(path)!r} go up to {labels.max()}: number the classes from 0.")
    return labels.astype(np.int64)
