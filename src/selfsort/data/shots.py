"""When, where and with what camera pictures were taken, according to their metadata (EXIF), and which form a burst."""

import math
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from selfsort.data.image_set import ImageSet
from selfsort.data.limits import MAX_PIXELS, pillow_limits

BURST_SECONDS = 5.0
COLUMNS = ("id", "time", "latitude", "longitude", "camera")
_FORMATS = ("JPEG", "TIFF", "PNG", "WEBP", "AVIF", "HEIF")
_TIMES = ((ExifTags.Base.DateTimeOriginal, ExifTags.Base.SubsecTimeOriginal), (ExifTags.Base.DateTime, None))


class Shot(NamedTuple):
    """What the metadata of one picture tells.

    Attributes
    ----------
    time : by the camera's clock, in seconds since 1970 as if it ran on UTC; NaN if unknown
    latitude, longitude : in degrees; NaN if unknown
    camera : its maker, model and serial number; empty if unknown

    """

    time: float = math.nan
    latitude: float = math.nan
    longitude: float = math.nan
    camera: str = ""


@dataclass(frozen=True, eq=False)
class Shots:
    """What the metadata of N pictures tells.

    Attributes
    ----------
    ids : (N,) of the pictures
    shots : (N,) one for each

    """

    ids: Sequence[str]
    shots: Sequence[Shot]

    @classmethod
    def read(cls, images: ImageSet) -> Self:
        """Read the metadata of pictures, without decoding any; what is missing or damaged counts as unknown."""
        originals = images.originals
        if originals.array is not None:
            return cls(images.ids, (Shot(),) * len(images))
        return cls(images.ids, [_shot_of(originals.open, ref) for ref in originals.refs])

    def rows(self) -> Iterable[Sequence[object]]:
        """Yield a row for each picture, with the `COLUMNS` of a table; the time in ISO 8601, without a zone."""
        for image_id, shot in zip(self.ids, self.shots, strict=True):
            time = "" if math.isnan(shot.time) else _moment(shot.time).isoformat(timespec="milliseconds")
            place = ("" if math.isnan(degrees) else f"{degrees:.6f}" for degrees in (shot.latitude, shot.longitude))
            yield image_id, time, *place, shot.camera

    @classmethod
    def from_rows(cls, rows: Sequence[dict[str, str]]) -> Self:
        """Undo `rows`; raise `ValueError` for an invalid time or number."""
        return cls([row["id"] for row in rows], [_from_row(row) for row in rows])

    def days(self) -> list[str]:
        """Return the day (N,) on which each picture was taken, such as "2024-05-31"; empty if unknown."""
        return ["" if math.isnan(shot.time) else _moment(shot.time).date().isoformat() for shot in self.shots]

    def places(self) -> list[str]:
        """Return the place (N,) of each picture to a tenth of a degree, about 10 km; empty if unknown."""
        return [
            "" if math.isnan(shot.latitude) else f"{shot.latitude:.1f}, {shot.longitude:.1f}" for shot in self.shots
        ]

    def cameras(self) -> list[str]:
        """Return the camera (N,) of each picture; empty if unknown."""
        return [shot.camera for shot in self.shots]

    def bursts(self, seconds: float = BURST_SECONDS) -> NDArray[np.int64]:
        """Return the number (N,) of the burst that each picture belongs to, by order of first pictures.

        Pictures of one folder and camera form a burst as long as no two consecutive ones are more than `seconds` apart.
        A picture whose time is unknown is a burst of its own.
        """
        found = np.arange(len(self.shots))
        series: dict[tuple[str, str], list[int]] = {}
        for place, (image_id, shot) in enumerate(zip(self.ids, self.shots, strict=True)):
            if not math.isnan(shot.time):
                series.setdefault((image_id.rpartition("/")[0], shot.camera), []).append(place)
        for places in series.values():
            places.sort(key=lambda place: self.shots[place].time)
            for before, place in zip(places, places[1:], strict=False):
                if self.shots[place].time - self.shots[before].time <= seconds:
                    found[place] = found[before]
        return np.unique(found, return_inverse=True)[1].astype(np.int64)


def _moment(time: float) -> datetime:
    return datetime.fromtimestamp(time, UTC).replace(tzinfo=None)


def _from_row(row: dict[str, str]) -> Shot:
    time = datetime.fromisoformat(row["time"]).replace(tzinfo=UTC).timestamp() if row["time"] else math.nan
    latitude, longitude = (float(row[name]) if row[name] else math.nan for name in ("latitude", "longitude"))
    return Shot(time, latitude, longitude, row["camera"])


def _shot_of(open_ref: Any, ref: Any) -> Shot:
    try:
        opened = open_ref(ref)
        if isinstance(opened, np.ndarray):
            return Shot()
        with closing(opened) as stream, pillow_limits(MAX_PIXELS), Image.open(stream, formats=_FORMATS) as image:
            return _shot(_exif(image))
    except Exception:  # whatever Pillow's plug-ins, zips and files raise; reading the picture itself reports it
        return Shot()


def _exif(image: Image.Image) -> Image.Exif:
    """Return the metadata in the header of an open picture."""
    if image.format == "TIFF":
        return image.getexif()
    exif = Image.Exif()  # not `getexif`, which decodes a PNG
    if "exif" in image.info:
        exif.load(image.info["exif"])
    return exif


def _shot(exif: Image.Exif) -> Shot:
    details = exif.get_ifd(ExifTags.IFD.Exif)
    known = {**exif, **details}
    latitude, longitude = _place(exif.get_ifd(ExifTags.IFD.GPSInfo))
    names = (ExifTags.Base.Make, ExifTags.Base.Model, ExifTags.Base.BodySerialNumber)
    camera = " ".join(dict.fromkeys(text for name in names if (text := _text(known.get(name)))))
    return Shot(_time(known), latitude, longitude, camera)


def _text(value: Any) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
    return " ".join("".join(letter for letter in text if letter.isprintable()).split())[:100]


def _time(known: dict[int, Any]) -> float:
    for name, part in _TIMES:
        try:
            moment = datetime.strptime(_text(known.get(name)), "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC)
        except ValueError:
            continue
        fraction = _text(known.get(part)) if part else ""
        return moment.timestamp() + (float(f"0.{fraction}") if fraction.isdecimal() else 0.0)
    return math.nan


def _place(gps: dict[int, Any]) -> tuple[float, float]:
    pairs = (
        (ExifTags.GPS.GPSLatitude, ExifTags.GPS.GPSLatitudeRef),
        (ExifTags.GPS.GPSLongitude, ExifTags.GPS.GPSLongitudeRef),
    )
    try:
        latitude, longitude = (_degrees(gps[name], _text(gps[side])) for name, side in pairs)
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return math.nan, math.nan
    is_one = abs(latitude) <= 90 and abs(longitude) <= 180 and (latitude, longitude) != (0.0, 0.0)
    return (latitude, longitude) if is_one else (math.nan, math.nan)


def _degrees(parts: Sequence[Any], side: str) -> float:
    degrees, minutes, seconds = (float(part) for part in parts)
    return (-1 if side in ("S", "W") else 1) * (degrees + minutes / 60 + seconds / 3600)
