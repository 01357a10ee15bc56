import numpy as np
import pytest
from PIL import Image

from audit_samples import compressed, framed, photo
from selfsort.audit.borders import find_borders, refine

COLOURS = ["black", "white", "#808080", "#c81428", "#1450c8"]
SHAPES = {"letterbox": (0, 1, 0, 1), "pillarbox": (1, 0, 1, 0), "frame": (1, 1, 1, 1), "one side": (0, 0, 1, 0)}


def depths(*images: Image.Image) -> list[list[int]]:
    return find_borders(np.stack([np.asarray(image.convert("RGB")) for image in images])).depths.tolist()


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("depth", [3, 11])
def test_borders_are_found_to_the_pixel(shape, colour, depth):
    sides = [depth * side for side in SHAPES[shape]]
    assert depths(*(framed(photo(seed), *sides, colour) for seed in range(20))) == [sides] * 20


@pytest.mark.parametrize("quality", [75, 95])
@pytest.mark.parametrize("shape", SHAPES)
def test_compression_hides_few(shape, quality):
    sides = [6 * side for side in SHAPES[shape]]
    images = [framed(photo(seed), *sides, COLOURS[seed % 5]) for seed in range(100)]
    found = np.array([depths(compressed(image, quality))[0] for image in images])
    assert (np.abs(found - sides) <= 1).all(1).mean() >= 0.97


def test_different_sides_have_different_depths():
    assert depths(framed(photo(1), 9, 4, 20, 7), framed(photo(2), 9, 4, 20, 7)) == [[9, 4, 20, 7]] * 2


def test_pictures_without_borders_have_none():
    assert np.sum(depths(*(photo(seed) for seed in range(200)))) == 0


def test_an_object_on_a_plain_background_has_no_border():
    y, x = np.mgrid[:80, :80]
    thing = np.where(((x - 40) ** 2 + (y - 40) ** 2 < 30**2)[..., None], np.asarray(photo(1, 80, 80)), 250)
    fading = np.broadcast_to(np.minimum(2 * y, 255)[..., None], (80, 80, 3))
    found = find_borders(np.stack([thing, fading, np.full_like(thing, 9)]).astype(np.uint8))
    assert found.depths.tolist() == [[0] * 4] * 3 and found.certainty.tolist() == [0] * 3


def test_grey_pictures_have_borders_too():
    image = np.asarray(framed(photo(1), 0, 5, 0, 5, "#404040").convert("L"))[None, :, :, None]
    found = find_borders(image)
    assert found.depths.tolist() == [[0, 5, 0, 5]] and found.colours[0, 1].tolist() == [64, 64, 64]


def test_rotated_pictures_have_rotated_borders():
    image = np.asarray(framed(photo(3), 8, 3, 0, 5))
    assert find_borders(np.rot90(image)[None]).depths.tolist() == [[3, 0, 5, 8]]
    assert find_borders(image[:, ::-1][None]).depths.tolist() == [[0, 3, 8, 5]]


def test_the_smallest_pictures_can_be_looked_at():
    for shape in ((1, 1), (1, 9), (2, 2), (3, 5)):
        assert find_borders(np.zeros((2, *shape, 3), np.uint8)).depths.tolist() == [[0] * 4] * 2


def test_rough_depths_are_refined():
    image = np.asarray(framed(photo(1, 900, 700), 0, 61, 33, 0))
    assert refine(image, np.array([0, 58, 36, 0]), 6).tolist() == [0, 61, 33, 0]
