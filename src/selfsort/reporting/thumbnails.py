"""Thumbnails for a page, made from the originals, on all cores."""

import base64
import io
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from selfsort.data.decoding import in_chunks
from selfsort.data.eight_bit import to_image
from selfsort.data.image_set import ImageSet
from selfsort.data.limits import pillow_limits
from selfsort.data.listing import Open
from selfsort.data.pixels import read_scaled, reduced
from selfsort.data.reading import Reading
from selfsort.errors import UserError

# A page embeds its pictures. Up to so many pictures, this longer side and quality keep it below about 10 MB.
_SIZES = ((450, 256, 72), (1000, 128, 65), (1 << 62, 64, 50))
_PIXEL_ART = 32  # longer side up to which lossy compression would be visible
_ANY_SIZE = 1 << 62  # what is shown was decoded before, within the user's limit


class Thumbnail(NamedTuple):
    """An encoded picture and its (width, height) in pixels; `kind` is "png" or "webp"."""

    content: bytes
    kind: str
    size: tuple[int, int]

    @property
    def uri(self) -> str:
        """Return a data URI that contains the picture."""
        return data_uri(self.content, self.kind)

    def drawn(self, longest: int) -> tuple[int, int]:
        """Return the (width, height) at which to show the picture, with a longer side of `longest`."""
        width, height = (max(1, round(length * longest / max(self.size))) for length in self.size)
        return width, height

    def coarse(self, longest: int) -> bool:
        """Tell whether single pixels are visible when the longer side is drawn that long."""
        return longest > 2 * max(self.size)


def thumbnails(images: ImageSet, positions: Iterable[int]) -> dict[int, Thumbnail]:
    """Return the thumbnails of the pictures at some positions; the fewer there are, the larger they are.

    A picture that can no longer be read is shown as its decoded pixels if there are any, else left out.
    """
    chosen = sorted(set(positions))
    side, quality = next(size for count, *size in _SIZES if len(chosen) <= count)
    originals = images.originals.subset(np.array(chosen, np.intp))
    try:
        parts = list(in_chunks(originals, partial(_encoded, side, quality, images.reading), _crashed))
    finally:
        originals.close()
    found = dict(zip(chosen, (each for part in parts for each in part), strict=True))
    return {i: small for i, each in found.items() if (small := each or _of_pixels(images, i, side, quality))}


def whole(images: ImageSet, position: int, longest: int) -> Image.Image:
    """Return an uncropped picture with no side above `longest` pixels, from its pixels if it can no longer be read."""
    try:
        return images.open(position, longest)
    except UserError:
        return reduced(to_image(images.images[position]), longest)


def data_uri(content: bytes, kind: str) -> str:
    """Return the data URI of an image of a kind ("png", "webp")."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _encoded(
    side: int, quality: int, reading: Reading, open_image: Open, refs: Sequence[Any], first: int
) -> list[Thumbnail | None]:
    found: list[Thumbnail | None] = []
    for ref in refs:
        try:
            opened = open_image(ref)
            with pillow_limits(_ANY_SIZE):
                pixels = opened if isinstance(opened, np.ndarray) else _scaled(opened, side, reading)
                found.append(thumbnail(to_image(pixels), side, quality))
        except Exception:  # the file may have changed in any way since it was listed
            found.append(None)
    return found


def _scaled(opened: BinaryIO, side: int, reading: Reading) -> NDArray[np.uint8]:
    with opened as stream:
        return read_scaled(stream, side, _ANY_SIZE, reading).pixels


def _of_pixels(images: ImageSet, position: int, side: int, quality: int) -> Thumbnail | None:
    return thumbnail(to_image(images.images[position]), side, quality) if images.is_decoded else None


def thumbnail(image: Image.Image, side: int = _SIZES[0][1], quality: int = _SIZES[0][2]) -> Thumbnail:
    """Return an image as a thumbnail with no side above `side` pixels."""
    reduced(image, side)
    buffer = io.BytesIO()
    kind = "png" if max(image.size) <= _PIXEL_ART else "webp"
    image.save(buffer, kind, **({} if kind == "png" else {"quality": quality, "method": 2}))
    return Thumbnail(buffer.getvalue(), kind, image.size)


def _crashed(position: int, reason: str) -> list[Thumbnail | None]:
    return [None]
