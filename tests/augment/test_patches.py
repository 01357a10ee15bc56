"""Patches against a slow reference, and what they must and must not depend on."""

import colorsys
import math

import numpy as np
import pytest
import torch

from samples import pictures
from selfsort.augment.patches import PatchChanges, PatchMaker, edge_strength, principal_colours

STILL = PatchChanges(
    shift=0,
    scale=(1, 1),
    rotation=0,
    horizontal_flip=0,
    colour=(1, 1),
    power=(1, 1),
    factor=(1, 1),
    offset=(0, 0),
    hue=0,
)


def changed(**strengths: object) -> PatchChanges:
    return PatchChanges(**{**vars(STILL), **strengths})  # type: ignore[arg-type]


def one_edge(size: int = 24, at: tuple[int, int] = (12, 12)) -> np.ndarray:
    """A grey picture with a single bright pixel, whose edges are the eight pixels around it."""
    image = np.full((1, size, size, 3), 100, np.uint8)
    image[0, at[1], at[0]] = 250
    return image


def drawn(maker: PatchMaker, rows: np.ndarray, count: int, seed: int = 0) -> torch.Tensor:
    return maker.draw(rows, count, torch.Generator().manual_seed(seed))


def test_without_changes_patches_are_plain_cuts() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 40, 40, 3)).astype(np.uint8)
    patches = drawn(PatchMaker(image, 9, changes=STILL), np.array([0]), 50)
    assert patches.shape == (50, 3, 9, 9)
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(image[0], ((4, 4), (4, 4), (0, 0)), "symmetric"), (9, 9), (0, 1)
    )
    every = torch.from_numpy(windows.reshape(-1, 3 * 81).astype(np.float32) / 255)
    assert torch.cdist(patches.flatten(1), every, compute_mode="donot_use_mm_for_euclid_dist").amin(1).max() < 1e-3


def test_patches_come_in_the_order_of_the_rows() -> None:
    images = np.stack([np.full((16, 16, 3), value, np.uint8) for value in range(0, 250, 5)])
    rows = np.arange(50)[::-1].copy()
    for count in (1, 3, 300):
        patches = drawn(PatchMaker(images, 8, changes=STILL), rows[:7] if count == 300 else rows, count)
        expected = np.repeat(images[rows[: len(patches) // count], 0, 0, 0] / 255, count)
        assert np.allclose(patches.mean((1, 2, 3)), expected, atol=1e-3)


def test_edges_are_those_of_sobels_operator() -> None:
    from scipy.ndimage import sobel

    image = np.random.default_rng(0).random((20, 30)).astype(np.float32)
    expected = np.hypot(sobel(image, 0, mode="nearest"), sobel(image, 1, mode="nearest"))
    assert np.allclose(edge_strength(torch.from_numpy(image)[None, None])[0], expected, atol=1e-5)


def test_anchors_lie_on_edges_in_proportion_to_their_strength() -> None:
    image = one_edge(33, (20, 9))
    maker = PatchMaker(image, 3, changes=STILL)
    patches = drawn(maker, np.array([0]), 2000)
    # The bright pixel is in every patch, since each anchor is one of its neighbours; a corner is less of an edge.
    bright = (patches[:, 0] > 0.9).flatten(1)
    assert bright.any(1).all()
    corners, sides = bright[:, [0, 2, 6, 8]].sum().item(), bright[:, [1, 3, 5, 7]].sum().item()
    assert not bright[:, 4].any()
    assert sides / corners == pytest.approx(2 / math.sqrt(2), rel=0.15)


def test_anchors_are_anywhere_where_there_is_no_edge() -> None:
    image = np.full((1, 20, 20, 3), 7, np.uint8)
    assert torch.allclose(drawn(PatchMaker(image, 5, changes=STILL), np.array([0]), 10), torch.tensor(7 / 255))


def test_shifts_are_normal() -> None:
    image = np.zeros((1, 201, 201, 3), np.uint8)
    image[..., 0] = np.arange(201)
    image[..., 1] = np.arange(201)[:, None]
    image[0, 100, 100] = (100, 100, 255)
    maker = PatchMaker(image, 20, changes=changed(shift=0.2))
    monochrome = image.copy()
    monochrome[..., :2] = 0  # so that the bright pixel is the only edge
    maker.images = monochrome
    grid = maker.grid(torch.from_numpy(monochrome).permute(0, 3, 1, 2) / 255, 5000, torch.Generator().manual_seed(0))
    centres = ((grid.mean((1, 2)) + 1) * 201 / 2).numpy()
    assert np.allclose(centres.mean(0), 100.5, atol=0.2)
    assert np.allclose(centres.std(0), np.hypot(4, math.sqrt(0.75)), atol=0.2)  # and up to a pixel to the edge


@pytest.mark.parametrize(
    ("strengths", "spread"),
    [({"scale": (0.7, 1.4)}, (0.7, 1.4)), ({"rotation": 20.0}, (1.0, 1.0)), ({"horizontal_flip": 1.0}, (1.0, 1.0))],
)
def test_geometry(strengths: dict[str, object], spread: tuple[float, float]) -> None:
    maker = PatchMaker(one_edge(101, (50, 50)), 21, changes=changed(**strengths))
    picture = torch.from_numpy(maker.images).permute(0, 3, 1, 2) / 255
    grid = maker.grid(picture, 500, torch.Generator().manual_seed(0)) * 101 / 2
    across, down = grid[:, 0, 1] - grid[:, 0, 0], grid[:, 1, 0] - grid[:, 0, 0]  # of a pixel, in pixels
    sizes = torch.linalg.norm(across, dim=1)
    assert sizes.min() >= spread[0] - 1e-3 and sizes.max() <= spread[1] + 1e-3
    assert torch.allclose(torch.linalg.norm(down, dim=1), sizes, atol=1e-3)
    assert torch.allclose((across * down).sum(1), torch.zeros(500), atol=1e-3)  # at right angles
    angles = torch.rad2deg(torch.atan2(across[:, 1], across[:, 0]))
    if "rotation" in strengths:
        assert -20.1 <= angles.min() < -17 and 17 < angles.max() <= 20.1
    if "horizontal_flip" in strengths:
        assert (across[:, 0] < -0.99).all() and (down[:, 1] > 0.99).all()
    if "scale" in strengths:
        assert sizes.min() < 0.75 and sizes.max() > 1.35


def test_beyond_the_border_is_the_reflection() -> None:
    image = np.zeros((1, 12, 12, 3), np.uint8)
    image[0, :, 0] = 200  # an edge along the left side
    patches = drawn(PatchMaker(image, 9, changes=STILL), np.array([0]), 200)[:, 0]
    assert set(np.unique(np.round(255 * patches.numpy()))) <= {0, 200}
    assert (patches > 0.5).sum((1, 2)).max() >= 18  # the bright column and its mirror image


def test_colours_turn_as_in_hsv() -> None:
    image = np.random.default_rng(1).integers(0, 256, (1, 30, 30, 3)).astype(np.uint8)
    base = drawn(PatchMaker(image, 12, changes=STILL), np.array([0]), 4)
    turned = drawn(
        PatchMaker(image, 12, changes=changed(hue=0.0, power=(2, 2), factor=(1.2, 1.2), offset=(0.05, 0.05))),
        np.array([0]),
        4,
    )

    def slowly(rgb: np.ndarray) -> tuple[float, ...]:
        hue, saturation, value = colorsys.rgb_to_hsv(*rgb)
        saturation, value = (min(1.0, max(0.0, 1.2 * each**2 + 0.05)) for each in (saturation, value))
        return colorsys.hsv_to_rgb(hue, saturation, value)

    expected = np.apply_along_axis(slowly, 1, base.permute(0, 2, 3, 1).reshape(-1, 3).double().numpy())
    assert np.allclose(turned.permute(0, 2, 3, 1).reshape(-1, 3), expected, atol=2e-3)


def test_the_hue_turns_to_either_side() -> None:
    image = np.zeros((1, 10, 10, 3), np.uint8)
    image[..., 0] = 255
    red, green, blue = drawn(PatchMaker(image, 4, changes=changed(hue=0.1)), np.array([0]), 500)[..., 0, 0].T
    assert torch.allclose(red, torch.ones(500), atol=1e-3)
    assert green.max() == pytest.approx(0.6, abs=0.02) and blue.max() == pytest.approx(0.6, abs=0.02)
    assert (torch.minimum(green, blue) < 1e-3).all()


def test_principal_colours_are_those_of_all_pixels() -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3)).astype(np.uint8)
    images[..., 2] = images[..., 0] // 2
    found = principal_colours(images)
    pixels = images.reshape(-1, 3) / 255
    assert np.allclose(found.mean, pixels.mean(0), atol=1e-5)
    covariance = found.components.numpy() @ np.cov(pixels.T, bias=True) @ found.components.numpy().T
    assert np.allclose(covariance, np.diag(np.diag(covariance)), atol=1e-4)


def test_principal_colours_are_stretched() -> None:
    images = np.random.default_rng(0).integers(100, 156, (4, 16, 16, 3)).astype(np.uint8)
    still, stretched = (
        drawn(PatchMaker(images, 8, changes=changed(colour=(x, x))), np.arange(4), 3) for x in (1.0, 0.5)
    )
    mean = principal_colours(images).mean[:, None, None]
    assert torch.allclose(stretched - mean, 0.5 * (still - mean), atol=2e-3)


def test_grey_pictures_give_grey_patches() -> None:
    patches = drawn(PatchMaker(pictures(8, channels=1), 11), np.arange(8), 5)
    assert patches.shape == (40, 1, 11, 11)
    assert patches.min() >= 0 and patches.max() <= 1 and patches.std() > 0.05


def test_the_same_seed_draws_the_same_patches() -> None:
    maker = PatchMaker(pictures(), 11)
    rows = np.arange(48)
    assert torch.equal(drawn(maker, rows, 3), drawn(maker, rows, 3))
    assert not torch.equal(drawn(maker, rows, 3), drawn(maker, rows, 3, seed=1))


def test_patches_stay_in_range_and_differ() -> None:
    patches = drawn(PatchMaker(pictures(), 11), np.arange(48), 10)
    assert patches.isfinite().all() and patches.min() >= 0 and patches.max() <= 1
    assert len(torch.unique(patches.flatten(1), dim=0)) > 470  # some end all black or white


@pytest.mark.parametrize("shape", [(16, 48), (48, 16)])
def test_pictures_need_not_be_square(shape: tuple[int, int]) -> None:
    image = np.zeros((1, *shape, 3), np.uint8)
    image[0, : shape[0] // 2] = 200
    patches = drawn(PatchMaker(image, 8, changes=STILL), np.array([0]), 20)
    # All lie on the edge across the middle: half dark, half bright, wherever it is cut.
    assert (patches[:, 0, 0] > 0.7).all() and (patches[:, 0, -1] < 0.1).all()
