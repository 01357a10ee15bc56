"""Small photographs with metadata: when, where and with what they were taken."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image

NOON = datetime(2024, 5, 31, 12)


def save_shot(
    path: Path,
    seconds: float | None = 0.0,
    *,
    camera: tuple[str, str] | None = ("Acme", "One"),
    place: tuple[float, float] | None = None,
    pixels: Any = None,
) -> None:
    """Save a picture taken some seconds after noon."""
    exif = Image.Exif()
    if camera:
        exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = camera
    if seconds is not None:
        taken = NOON + timedelta(seconds=seconds)
        details = exif.get_ifd(ExifTags.IFD.Exif)
        details[ExifTags.Base.DateTimeOriginal] = taken.strftime("%Y:%m:%d %H:%M:%S")
        details[ExifTags.Base.SubsecTimeOriginal] = f"{taken.microsecond // 1000:03d}"
    if place:
        gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
        for value, name, sides in ((place[0], "Latitude", "NS"), (place[1], "Longitude", "EW")):
            gps[ExifTags.GPS[f"GPS{name}Ref"]] = sides[value < 0]
            gps[ExifTags.GPS[f"GPS{name}"]] = (abs(value) // 1, abs(value) % 1 * 60 // 1, abs(value) * 60 % 1 * 60)
    path.parent.mkdir(parents=True, exist_ok=True)
    shown = np.zeros((16, 16, 3), np.uint8) if pixels is None else pixels
    Image.fromarray(shown).save(path, exif=exif)
