"""Images in memory or in a memory map, with their ids and, kept apart, their labels."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from selfsort.data.arrays import to_uint8_images
from selfsort.data.input_spec import InputSpec
from selfsort.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_HASH_BLOCK_BYTES = 1 << 24


class Skipped(NamedTuple):
    """A picture that could not be read, and why."""

    id: str
    reason: str


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images as `uint8`, their ids and, kept apart, the labels that only evaluation reads.

    `images` is (N, H, W, C) with C 1 (grey) or 3 (RGB), an array or a read-only memory map. `ids` are N names: for a
    folder the paths relative to it, with "/" on every system and surrogate escapes for bytes that are not UTF-8.
    `labels` is (N,) with -1 where there is none, or None. `load_images(source, **options)` loads the same set again.
    `files` are the pictures' files where the source is a folder. `skipped` lists what could not be read.
    """

    images: NDArray[np.uint8]
    ids: tuple[str, ...]
    labels: NDArray[np.int64] | None = None
    label_names: tuple[str, ...] = ()
    source: str = "array"
    options: dict[str, Any] = field(default_factory=dict)
    files: tuple[Path, ...] | None = None
    skipped: tuple[Skipped, ...] = ()

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 4 or self.images.shape[3] not in (1, 3):
            raise UserError(
                f"An ImageSet holds uint8 images of shape (N, H, W, 1 or 3), not {self.images.dtype} of shape "
                f"{self.images.shape}; as_image_set(array) converts."
            )
        for name, values in (("ids", self.ids), ("labels", self.labels), ("files", self.files)):
            if values is not None and len(values) != len(self.images):
                raise UserError(f"An ImageSet of {len(self.images)} images needs as many {name}, not {len(values)}.")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Return (height, width, channels)."""
        height, width, channels = self.images.shape[1:]
        return height, width, channels

    @property
    def input_spec(self) -> InputSpec:
        """Return the input of a network that takes these images as they are."""
        return InputSpec.of_shape(self.image_shape, self.options.get("resize", "crop"))

    def subset(self, indices: ArrayLike) -> ImageSet:
        """Return the images at `indices`, integers in any order or a mask of length N.

        `source` and `options` stay those of the whole set.
        """
        chosen = np.arange(len(self))[np.asarray(indices, dtype=None if np.size(indices) else np.intp)]
        return replace(
            self,
            images=self.images[chosen],
            ids=tuple(self.ids[i] for i in chosen),
            labels=None if self.labels is None else self.labels[chosen],
            files=None if self.files is None else tuple(self.files[i] for i in chosen),
        )

    def fingerprint(self) -> str:
        """Return a hexadecimal hash of the images' shape, pixels and ids; labels do not enter."""
        digest = hashlib.blake2b(repr(self.images.shape).encode(), digest_size=16)
        rows = max(1, _HASH_BLOCK_BYTES // max(1, int(np.prod(self.image_shape))))
        with ThreadPoolExecutor() as pool:  # hashing releases the interpreter's lock
            for block in pool.map(lambda start: _hash(self.images[start : start + rows]), range(0, len(self), rows)):
                digest.update(block)
        for name in self.ids:
            digest.update(name.encode("utf-8", "surrogateescape") + b"\0")
        return digest.hexdigest()


def _hash(images: NDArray[np.uint8]) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(images).data).digest()


def as_image_set(images: ImageSet | ArrayLike | Any) -> ImageSet:
    """Return `images` as an `ImageSet`, without copying `uint8` arrays that already have the right layout.

    An `ImageSet` is returned as it is. Arrays are (N, H, W), (N, H, W, C) with C 1, 3 or 4 (alpha, put on white), or
    (N, C, H, W) with C 1 or 3; torch tensors (N, H, W) or (N, C, H, W) with C 1, 3 or 4. Values are `uint8`, `bool`, or
    floats in [0, 1].

    Raises `UserError` for any other shape or type, NaN, infinity, and floats outside [0, 1].

    >>> as_image_set(np.zeros((5, 8, 8))).image_shape
    (8, 8, 1)
    """
    if isinstance(images, ImageSet):
        return images
    pixels = to_uint8_images(images, "The array")
    return ImageSet(pixels, numbered("array", len(pixels)))


def numbered(prefix: str, count: int) -> tuple[str, ...]:
    """Return the ids of pictures that have no file name: `prefix/00000` and so on."""
    return tuple(f"{prefix}/{i:05d}" for i in range(count))


def summarise_skipped(skipped: Iterable[Skipped]) -> str:
    """Count the skipped files by reason in one line, or return "" when there are none.

    >>> summarise_skipped([Skipped("a", "not a picture"), Skipped("b", "truncated"), Skipped("c", "not a picture")])
    '3 files skipped: not a picture (2), truncated (1)'
    """
    # What stands in brackets differs from file to file.
    reasons = Counter(reason.split(" (")[0] for _, reason in skipped)
    if not reasons:
        return ""
    total = reasons.total()
    counts = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
    return f"{total} file{'s' if total > 1 else ''} skipped: {counts}"
