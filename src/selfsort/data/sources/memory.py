"""Arrays, tensors and lists of PIL images in memory."""

from pathlib import Path
from typing import Any

from selfsort.data.arrays import to_uint8_images
from selfsort.data.listing import Listing, is_images, list_images_of_pillow, numbered, of_rows
from selfsort.data.request import Request

ORDER = 90


def claims(given: Any) -> bool:
    """Tell whether this is neither a name nor a path."""
    return not isinstance(given, (str, Path))


def list_source(given: Any, request: Request) -> Listing:
    """List the pictures in an array or a list; see `as_image_set` for what it may be."""
    request.refuse("An array", "split", "fold", "classes_from")
    if is_images(given):
        return list_images_of_pillow(given)
    pixels, reading = to_uint8_images(given, "The array", request.reading)
    return Listing("array", numbered("array", len(pixels)), of_rows(pixels, reading))
