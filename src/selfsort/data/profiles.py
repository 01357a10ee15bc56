"""Colour profiles: from the colours of a picture's own profile to sRGB, where that changes anything."""

import io
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

_SPACES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_LEVELS_ALIKE = 3  # of 255, by which a profile may differ from sRGB and pass for it
_LONGEST_NAME = 60

Convert = Callable[[Image.Image], Image.Image]


def conversion(profile: bytes | None, mode: str) -> tuple[Convert | None, str]:
    """Return what brings an image of mode "L", "RGB" or "CMYK" to sRGB, and what its profile is called.

    Returns None where there is no profile, none for such an image, a damaged one, or one that is nearly sRGB.
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
        assert shown is not None  # it is where nothing is converted in place
        return shown.convert("L") if mode == "L" else shown

    if mode != "CMYK" and _alike(convert, mode):
        return None, ""
    return convert, name or "unnamed"


def _alike(convert: Convert, mode: str) -> bool:
    """Tell whether a conversion leaves colours nearly as they are."""
    levels = np.arange(0, 256, 51, dtype=np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(36, 6, 3)
    probe = Image.fromarray(colours).convert(mode)
    return int(np.abs(np.asarray(convert(probe)).astype(int) - np.asarray(probe)).max()) <= _LEVELS_ALIKE
