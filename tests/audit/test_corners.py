"""The black around round cells does not make different cells duplicates, and hides no copy."""

import io

import numpy as np
import pytest
from PIL import Image

from selfsort.audit.corners import without_corners
from selfsort.audit.duplicates import similar_pairs
from selfsort.audit.look import look
from selfsort.data.limits import MAX_PIXELS
from selfsort.data.reading import ALONE


def cell(seed: int, texture: float, size: int = 128) -> Image.Image:
    """A round cell with its own texture, on black."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    small = Image.fromarray((128 + rng.normal(0, 60, (6, 6))).clip(0, 255).astype(np.uint8))
    levels = (np.asarray(small.resize((size, size), Image.Resampling.BICUBIC)).astype(float) - 128) / 60
    pixels = np.array([190, 150, 160]) + texture * levels[..., None]
    pixels[y**2 + x**2 > (0.48 * size + rng.normal()) ** 2] = 0
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, format: str, **options: int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


@pytest.mark.parametrize("texture", [10, 25])
def test_different_cells_on_black_are_not_duplicates_but_copies_are(texture):
    cells = [cell(seed, texture) for seed in range(60)]
    copies = [encoded(each.resize((100, 100)), "JPEG", quality=70) for each in cells[:20]]
    seen = look(ALONE, MAX_PIXELS, io.BytesIO, [encoded(each, "PNG") for each in cells] + copies, 0)
    found = similar_pairs(seen.thumbnails, layouts=seen.layouts)
    pairs = set(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert pairs == {(number, 60 + number) for number in range(20)}


def test_pictures_without_plain_corners_stay_as_they_are():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 256, (2, 5, 32, 32)).astype(np.uint8)
    for one, other in zip(without_corners(first, second), (first, second), strict=True):
        assert np.array_equal(one, other)


def test_corners_count_if_there_is_nothing_else():
    y, x = np.mgrid[:32, :32] - 15.5
    disc = np.where(y**2 + x**2 < 200, 180, 0).astype(np.uint8)[None]
    assert np.array_equal(without_corners(disc, disc)[0], disc)
    assert without_corners(disc[:0], disc[:0])[0].shape == (0, 32, 32)
