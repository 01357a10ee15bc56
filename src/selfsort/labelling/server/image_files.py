"""Images as files that a browser shows."""

import io
import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from selfsort.data.image_set import ImageSet
from selfsort.data.pixels import MAX_PIXELS, pillow_limits, read_whole

_LONGEST = 1600  # pixels of a side of a picture that is looked at closely
# PIL's limits hold for the whole process, and one large picture at a time is enough in memory.
_one_at_a_time = threading.Lock()


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Return (H, W, 1 or 3) pixels as a PNG file."""
    buffer = io.BytesIO()
    grey = pixels.shape[2] == 1
    Image.fromarray(pixels[:, :, 0] if grey else pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def original(images: ImageSet, index: int) -> tuple[bytes, str]:
    """Return a picture as large as its file has it, at most 1600 pixels, and its media type.

    Without a file, or if that cannot be read any more, the pixels that the run was trained on.
    """
    jpeg = None if images.files is None else _jpeg(images.files[index])
    return (png(images.images[index]), "image/png") if jpeg is None else (jpeg, "image/jpeg")


def _jpeg(path: Path) -> bytes | None:
    buffer = io.BytesIO()
    try:
        with _one_at_a_time, pillow_limits(MAX_PIXELS), open(path, "rb") as stream:
            read_whole(stream, _LONGEST).save(buffer, "JPEG", quality=90)
    except Exception:  # whatever PIL's plug-ins raise on damaged data
        return None
    return buffer.getvalue()
