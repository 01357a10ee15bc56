"""Colour profiles: convert the colours of a picture from its own profile to sRGB, if that changes anything."""

import io
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

_SPACES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_LEVELS_ALIKE = 3  # of 255; a profile that differs no more from sRGB is treated as sRGB
_LONGEST_NAME = 60

Convert = Callable[[Image.Image], Image.Image]


def conversion(profile: bytes | None, mode: str) -> tuple[Convert | None, str]:
    """Return what converts an image of mode "L", "RGB" or "CMYK" to sRGB, and the name of its profile.

    Returns None if there is no profile, it is damaged or not for such an image, or it is nearly sRGB.
    """
    return (None, "") if not profile else _conversion(profile, mode)


@lru_cache(maxsize=32)
def _conversion(profile: bytes, mode: str) -> tuple[Convert | None, str]:
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if _SPACES.get(own.profile.xcolor_space) != mode:
            return None, ""
        name = " ".join(ImageCms.getProfileDescription(own).split())[:_LONGEST_NAME]
        transform = ImageCms.buildTransform(own, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None, ""

    def convert(image: Image.Image) -> Image.Image:
        shown = ImageCms.applyTransform(image, transform)
        assert shown is not None  # it is None only for conversion in place
        return shown.convert("L") if mode == "L" else shown

    if mode != "CMYK" and _alike(convert, mode):
        return None, ""
    return convert, name or "unnamed"


def _alike(convert: Convert, mode: str) -> bool:
    """Tell whether a conversion hardly changes colours."""
    levels = np.arange(0, 256, 51, dtype=np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(36, 6, 3)
    probe = Image.fromarray(colours).convert(mode)
    return int(np.abs(np.asarray(convert(probe)).astype(int) - np.asarray(probe)).max()) <= _LEVELS_ALIKE
