"""Photographs made up for the audit, and what people do to photographs."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance


def photo(seed: int, width: int = 120, height: int = 90) -> Image.Image:
    """Return a picture of coloured blobs of every size, unlike that of any other seed."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((height, width, 3))
    for detail in (3, 6, 12, 24):
        noise = Image.fromarray(rng.integers(0, 256, (detail, detail, 3), np.uint8))
        pixels += np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC), float) * 3 / detail
    pixels = (pixels - pixels.min()) / np.ptp(pixels) * 235 + 10
    return Image.fromarray(pixels.astype(np.uint8))


def photos(count: int, first: int = 0, **shape: int) -> NDArray[np.uint8]:
    return np.stack([np.asarray(photo(first + seed, **shape)) for seed in range(count)])


def compressed(image: Image.Image, quality: int = 60) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(io.BytesIO(stream.getvalue()))


def cropped(image: Image.Image, share: float = 0.02) -> Image.Image:
    width, height = image.size
    return image.crop((round(share * width), 0, width, round((1 - share) * height)))


def brighter(image: Image.Image, factor: float = 1.25) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(factor)


def resized(image: Image.Image, factor: float = 0.6) -> Image.Image:
    return image.resize((round(factor * image.width), round(factor * image.height)), Image.Resampling.BICUBIC)


def framed(image: Image.Image, left: int, top: int, right: int, bottom: int, colour: str = "black") -> Image.Image:
    out = Image.new("RGB", (image.width + left + right, image.height + top + bottom), colour)
    out.paste(image, (left, top))
    return out


def shape(ink: str, paper: str = "white", kind: int = 0, side: int = 64) -> Image.Image:
    """Return a plain shape on plain ground."""
    image = Image.new("RGB", (side, side), paper)
    box = (side // 4, side // 3, 3 * side // 4, 3 * side // 4)
    (ImageDraw.Draw(image).ellipse, ImageDraw.Draw(image).rectangle)[kind](box, fill=ink)
    return image


CHANGES = {"compressed": compressed, "cropped": cropped, "brighter": brighter, "resized": resized}


def save(image: Image.Image, path: Path, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path
