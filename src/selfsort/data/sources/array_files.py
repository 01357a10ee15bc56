"""Arrays in `.npy` and `.npz` files."""

import math
import zlib
from pathlib import Path
from textwrap import shorten
from tokenize import TokenError
from typing import Any
from zipfile import BadZipFile, ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray

from selfsort.data.arrays import to_uint8_images
from selfsort.data.listing import Listing, numbered, of_rows
from selfsort.data.request import Request
from selfsort.data.sources import is_file, path_of
from selfsort.errors import UserError

ORDER = 50
TAKES = "an .npy or .npz file"

_ALWAYS_READ = 1 << 30  # bytes that an array in an .npz file may always take
_MOST_EXPANSION = 100  # beyond that, how many times its compressed size it may take
# What zipfile and NumPy's parser of headers raise on damaged files.
_UNREADABLE = (
    *(OSError, ValueError, EOFError, BadZipFile, MemoryError, zlib.error, TokenError, SyntaxError),
    *(OverflowError, TypeError, KeyError, NotImplementedError, RecursionError),
)
_LONGEST_REASON = 120
_MOST_CLASSES = 100_000  # larger numbers are not classes, and a list of them would fill the memory


def claims(given: Any) -> bool:
    """Tell whether this is a file whose name ends in .npy or .npz."""
    path = path_of(given)
    return path is not None and path.suffix.lower() in (".npy", ".npz") and is_file(path)


def list_source(given: Any, request: Request) -> Listing:
    """List the pictures, and the `labels` of an `.npz` file that has them.

    The pictures are the array called `images`, or else the file's first array not called `labels`.
    """
    path = Path(given).expanduser().absolute()
    request.refuse(f"The array file {str(path)!r}", "split", "fold", "classes_from")
    array, labels = _read(path)
    pixels, reading = to_uint8_images(array, f"The array in {str(path)!r}", request.reading)
    known = None if labels is None else _to_labels(labels, len(pixels), path)
    names = () if known is None else tuple(map(str, range(int(known.max(initial=-1)) + 1)))
    return Listing(str(path), numbered("array", len(pixels)), of_rows(pixels, reading), known, names)


def _read(path: Path) -> tuple[NDArray[Any], NDArray[Any] | None]:
    try:
        if path.suffix.lower() == ".npy":
            return np.lib.format.open_memmap(path, mode="r"), None
        return _read_npz(path)
    except UserError:
        raise
    except _UNREADABLE as error:
        if "allow_pickle" in str(error) or "Python objects" in str(error):
            raise UserError(f"{str(path)!r} holds Python objects; save plain uint8 or float arrays instead.") from error
        reason = shorten(str(error), _LONGEST_REASON)  # NumPy quotes a header in full
        raise UserError(f"{str(path)!r} is not a readable array file ({reason}); write it with numpy.save.") from error


def _read_npz(path: Path) -> tuple[NDArray[Any], NDArray[Any] | None]:
    with ZipFile(path) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        names = [name for name in members if name != "labels"]
        if not names:
            raise UserError(f"{str(path)!r} holds no array of pictures; save one called 'images' in it.")
        images = _array(archive, members["images" if "images" in names else names[0]])
        return images, _array(archive, members["labels"]) if "labels" in members else None


def _array(archive: ZipFile, member: ZipInfo) -> NDArray[Any]:
    """Read an array unless it would take far more memory than its file."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[
            version
        ]
        shape, _, dtype = read_header(file)
    size = math.prod(shape) * dtype.itemsize
    if size > max(member.compress_size * _MOST_EXPANSION, _ALWAYS_READ):
        raise UserError(
            f"{archive.filename!r} declares an array of {size / 2**30:,.1f} GiB in {member.compress_size:,} bytes: "
            "save it with numpy.save, as an .npy file, which is read without taking memory."
        )
    with archive.open(member) as file:
        found: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        return found


def _to_labels(labels: NDArray[Any], count: int, path: Path) -> NDArray[np.int64]:
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise UserError(
            f"'labels' in {str(path)!r} must be {count} whole numbers, one per picture, "
            f"not {labels.dtype} of shape {labels.shape}."
        )
    if labels.min(initial=0) < -1:
        raise UserError(f"'labels' in {str(path)!r} go down to {labels.min()}: write -1 for no label.")
    if labels.max(initial=0) >= _MOST_CLASSES:
        raise UserError(f"'labels' in {str(path)!r} go up to {labels.max()}: number the classes from 0.")
    return labels.astype(np.int64)
