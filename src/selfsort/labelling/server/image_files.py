"""Pictures as files that a browser can show: thumbnails of the originals, and the originals themselves."""

import io
import threading
from collections import OrderedDict
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from selfsort.data.eight_bit import to_image
from selfsort.data.image_set import ImageSet
from selfsort.data.limits import MAX_PIXELS, pillow_limits, read_content
from selfsort.data.pixels import read_header
from selfsort.data.reading import Reading
from selfsort.data.standby import within_limits
from selfsort.errors import UserError

_THUMBNAIL = 256  # pixels of the longer side
_LOSSLESS = 128  # pictures this small are enlarged pixel by pixel, which would show JPEG artefacts
_CACHE_BYTES = 64 << 20  # of thumbnails, enough for some thousands of photographs
_LARGEST_FILE = 32 << 20  # most bytes that are sent to a browser unconverted
_PNG_BITS = 24  # offset of the number of bits per channel in a PNG file
_LONGEST = 4096  # pixels of the longer side of a converted picture
# Formats that browsers show, applying the orientation in the metadata.
_SIGNATURES = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n": "image/png", b"GIF8": "image/gif"}


class ImageFile(NamedTuple):
    """An encoded picture and its media type."""

    content: bytes
    media_type: str


class ImageFiles:
    """The original pictures of a run, for a browser; thumbnails are kept in a cache of bounded size.

    Any thread may call its methods. A picture that can no longer be read is shown as the pixels that the run was
    trained on.
    """

    def __init__(self, images: ImageSet, cache_bytes: int = _CACHE_BYTES):
        self._images, self._cache_bytes = images, cache_bytes
        self._lock = threading.Lock()
        self._cached: OrderedDict[int, ImageFile] = OrderedDict()
        self._size = 0

    def thumbnail(self, index: int) -> ImageFile:
        """Return a picture with a longer side of at most 256 pixels."""
        with self._lock:
            if index in self._cached:
                self._cached.move_to_end(index)
                return self._cached[index]
        made = _encoded(self._open(index, _THUMBNAIL), 85)
        with self._lock:
            self._keep(index, made)
        return made

    def original(self, index: int) -> ImageFile:
        """Return a picture's own file if browsers can show it, else a JPEG or PNG file made from it."""
        return self._own_file(index) or _encoded(self._open(index, _LONGEST), 92)

    def _open(self, index: int, longest: int) -> Image.Image:
        try:
            return self._images.open(index, longest)
        except UserError:
            return to_image(self._images.images[index])

    def _own_file(self, index: int) -> ImageFile | None:
        originals = self._images.originals
        try:
            opened = originals.open(originals.refs[index])
            if isinstance(opened, np.ndarray):
                return None
            with opened as stream:
                content = read_content(stream)
            if (
                len(content) > _LARGEST_FILE
                or _is_read_otherwise(content, self._images.reading)
                or (media_type := _media_type(content)) is None
            ):
                return None
            within_limits(_read_header, content, seconds=originals.max_seconds)
        except Exception:  # whatever zip files and PIL's plug-ins raise on damaged data
            return None
        return ImageFile(content, media_type)

    def _keep(self, index: int, made: ImageFile) -> None:
        if index not in self._cached:
            self._cached[index] = made
            self._size += len(made.content)
        while self._size > self._cache_bytes:
            self._size -= len(self._cached.popitem(last=False)[1].content)


def png(pixels: NDArray[np.uint8]) -> ImageFile:
    """Return (H, W, 1 or 3) pixels as a PNG file."""
    return _saved(to_image(pixels), "PNG", compress_level=1)


def _encoded(image: Image.Image, quality: int) -> ImageFile:
    if max(image.size) <= _LOSSLESS:
        return _saved(image, "PNG", compress_level=1)
    return _saved(image, "JPEG", quality=quality)


def _saved(image: Image.Image, kind: str, **options: int) -> ImageFile:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return ImageFile(buffer.getvalue(), f"image/{kind.lower()}")


def _is_read_otherwise(content: bytes, reading: Reading) -> bool:
    """Tell whether a model sees something other than what a browser would show."""
    deep = content.startswith(b"\x89PNG\r\n") and content[_PNG_BITS : _PNG_BITS + 1] == b"\x10"
    return deep or reading.page is not None or bool(reading.channels)


def _read_header(content: bytes) -> None:
    """Raise for a file whose header cannot be read."""
    with pillow_limits(MAX_PIXELS):
        read_header(io.BytesIO(content))


def _media_type(content: bytes) -> str | None:
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for begin, kind in _SIGNATURES.items() if content.startswith(begin)), None)
