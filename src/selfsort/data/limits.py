"""Limits for one picture: memory before it is decoded, bytes read, and time; and what Pillow refuses."""

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import BinaryIO

from PIL import Image, ImageFile

from selfsort.data.unreadable import Unreadable

MAX_PIXELS = 178_956_970  # twice PIL's own limit, from which on it refuses instead of warning
MAX_SECONDS = 10.0  # of processor time for one picture
MAX_BYTES = 1 << 28  # of one encoded picture read into memory
_HEAVY_PIXELS, _HEAVY_BYTES = 1 << 25, 1 << 23
_limits_lock = threading.RLock()
_light: ContextVar[bool] = ContextVar("_light", default=False)
Size = tuple[int, int]


@contextmanager
def pillow_limits(max_pixels: int) -> Iterator[None]:
    """For one block, make PIL refuse truncated pictures and those of more than `max_pixels`, and silence its warnings.

    PIL's limits hold for the whole process: a second thread waits until the first has left its block.
    """
    with _limits_lock:
        before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = max_pixels, False
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                yield
        finally:
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = before


class Heavy(BaseException):
    """A picture may take long to decode, and only light ones are allowed here."""


@contextmanager
def only_light() -> Iterator[None]:
    """For one block of this thread, raise `Heavy` instead of decoding a picture that may take long."""
    token = _light.set(True)
    try:
        yield
    finally:
        _light.reset(token)


def too_many_bytes() -> Unreadable:
    """Return the error for an encoded picture of more than `MAX_BYTES`."""
    return Unreadable(f"too many bytes (more than {MAX_BYTES >> 20} MiB)")


def read_content(stream: BinaryIO) -> bytes:
    """Read a whole encoded picture; raise `Unreadable` for more than `MAX_BYTES`."""
    check_bytes(stream)
    stream.seek(0)
    return stream.read()


def check_bytes(stream: BinaryIO) -> None:
    """Raise `Unreadable` for an encoded picture of more than `MAX_BYTES`."""
    if stream.seek(0, io.SEEK_END) > MAX_BYTES:
        raise too_many_bytes()


def check_size(size: Size, max_pixels: int) -> None:
    """Raise `Unreadable` for more than `max_pixels` pixels."""
    if size[0] * size[1] > max_pixels:
        raise too_many_pixels(max_pixels)


def check_memory(size: Size, needed: int, max_pixels: int, times: int = 1) -> None:
    """Refuse a picture that needs more memory than four bytes for each of `max_pixels`.

    Inside `only_light`, raise `Heavy` if the decoder processes many pixels, counting each of its `times` passes.
    """
    if needed > 4 * max_pixels:
        raise too_many_pixels(4 * max_pixels * size[0] * size[1] // needed)
    if _light.get() and size[0] * size[1] * max(1, times) > _HEAVY_PIXELS:
        raise Heavy


def too_many_pixels(limit: int) -> Unreadable:
    """Return the error for a picture of more pixels than are decoded."""
    return Unreadable(f"too many pixels (more than {limit:,})")


def check_light(stream: BinaryIO) -> None:
    """Raise `Heavy` for a large file inside `only_light`."""
    if _light.get() and stream.seek(0, io.SEEK_END) > _HEAVY_BYTES:
        raise Heavy
