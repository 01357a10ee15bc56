import math
from dataclasses import fields, replace

import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from selfsort.augment import PRESETS, Views, views_from
from selfsort.errors import UserError


def photos(n: int = 6, channels: int = 3, size: int = 24) -> torch.Tensor:
    torch.manual_seed(0)
    smooth = torch.rand(n, channels, size // 4, size // 4)
    return torch.nn.functional.interpolate(smooth, size, mode="bilinear")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_none_changes_nothing() -> None:
    images = photos()
    assert torch.equal(PRESETS["none"](images), images)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("channels", [1, 3])
def test_presets_keep_shape_and_range_and_repeat(name: str, channels: int) -> None:
    images = photos(channels=channels)
    view = PRESETS[name](images, seeded())
    assert view.shape == images.shape and view.dtype == torch.float32
    assert 0 <= view.min() and view.max() <= 1
    assert torch.equal(view, PRESETS[name](images, seeded()))


@pytest.mark.parametrize("name", ["natural", "digits", "cells"])
def test_every_picture_draws_its_own_parameters(name: str) -> None:
    one = photos(1)
    views = PRESETS[name](one.expand(16, -1, -1, -1).contiguous(), seeded())
    distances = torch.cdist(views.flatten(1), views.flatten(1)) + torch.eye(16)
    assert distances.min() > 1e-3


def test_digits_are_never_mirrored_and_cells_are() -> None:
    assert PRESETS["digits"].horizontal_flip == PRESETS["digits"].vertical_flip == 0
    assert PRESETS["cells"].horizontal_flip == PRESETS["cells"].vertical_flip == 0.5


@pytest.mark.parametrize(("flip", "axis"), [("horizontal_flip", 3), ("vertical_flip", 2)])
def test_flip(flip: str, axis: int) -> None:
    images = photos()
    assert torch.allclose(Views(**{flip: 1.0})(images), images.flip(axis), atol=1e-5)


def test_flip_probability() -> None:
    images = photos(1).expand(2000, -1, -1, -1)
    kept = torch.isclose(Views(horizontal_flip=0.3)(images, seeded()), images, atol=1e-4).flatten(1).all(1)
    assert abs(kept.float().mean() - 0.7) < 0.04


def test_rotation_turns_and_keeps_within_its_range() -> None:
    # A quarter turn is exact on a square; the drawn angle is forced by shrinking the range to a point.
    images = photos()
    quarter = replace(Views(), rotation=90.0)
    matrices = quarter.affine(4000, images.shape[-2:], images.device, seeded())
    angles = torch.atan2(matrices[:, 1, 0], matrices[:, 0, 0]) * 180 / math.pi
    assert angles.abs().max() <= 90 and angles.std() > 45
    sizes = torch.linalg.det(matrices[:, :, :2])
    assert torch.allclose(sizes, torch.ones(4000), atol=1e-5)


def test_crop_covers_the_requested_area_and_stays_inside() -> None:
    crop = Views(crop_scale=(0.25, 0.5), crop_ratio=(0.8, 1.25))
    matrices = crop.affine(4000, torch.Size([24, 24]), torch.device("cpu"), seeded())
    area = torch.linalg.det(matrices[:, :, :2])
    assert area.min() >= 0.25 - 1e-5 and area.max() <= 0.5 + 1e-5
    reach = matrices[:, :, :2].abs().sum(2) + matrices[:, :, 2].abs()
    assert reach.max() <= 1 + 1e-5


def test_a_ramp_shows_where_a_crop_came_from() -> None:
    # Linear pictures are resampled exactly, so each pixel of the view shows the coordinate it was taken from.
    x = (torch.arange(32.0) + 0.5) / 16 - 1  # pixel centres in [-1, 1]
    ramps = torch.stack([x.expand(32, 32), x[:, None].expand(32, 32)]).expand(50, 2, 32, 32)
    crop = Views(crop_scale=(0.3, 0.6), crop_ratio=(0.7, 1.4))
    matrix = crop.affine(50, torch.Size([32, 32]), torch.device("cpu"), seeded(3))
    places = torch.stack([x.expand(32, 32), x[:, None].expand(32, 32), torch.ones(32, 32)])  # (3, H, W)
    expected = torch.einsum("nij,jhw->nihw", matrix, places)
    inside = (expected.abs() < 1 - 1 / 32).all(1, keepdim=True).expand_as(expected)
    assert torch.allclose(crop(ramps, seeded(3))[inside], expected[inside], atol=1e-5)


def test_rotation_of_oblong_pictures_does_not_squash() -> None:
    wide = Views(rotation=45.0).affine(500, torch.Size([16, 48]), torch.device("cpu"), seeded())
    to_pixels = torch.diag(torch.tensor([24.0, 8.0]))
    in_pixels = to_pixels @ wide[:, :, :2] @ torch.linalg.inv(to_pixels)
    identity = torch.eye(2).expand(500, 2, 2)
    assert torch.allclose(in_pixels @ in_pixels.mT, identity, atol=1e-4)


def test_grayscale_equals_torchvision() -> None:
    images = photos()
    expected = reference.rgb_to_grayscale(images, num_output_channels=3)
    assert torch.allclose(Views(grayscale=1.0)(images), expected, atol=1e-3)


@pytest.mark.parametrize("strength", ["brightness", "contrast", "saturation"])
def test_colour_strengths_equal_torchvision(strength: str) -> None:
    images = photos(40) * 0.5 + 0.25  # away from the ends, where the order of clamping would show
    view = Views(jitter=1.0, **{strength: 0.3})(images, seeded())
    adjust = getattr(reference, f"adjust_{strength}")
    # Each picture must be the plain adjustment by some factor within the range.
    factors = torch.linspace(0.7, 1.3, 241)
    for image, changed in zip(images, view, strict=True):
        error = min((adjust(image, factor.item()) - changed).abs().max().item() for factor in factors)
        assert error < 5e-3


def test_hue_keeps_luma_and_grey() -> None:
    images = photos(8) * 0.2 + 0.4
    view = Views(jitter=1.0, hue=0.5)(images, seeded())
    luma = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    assert torch.allclose((view * luma).sum(1), (images * luma).sum(1), atol=1e-4)
    grey = photos(8, channels=1).expand(-1, 3, -1, -1)
    assert torch.allclose(Views(jitter=1.0, hue=0.5)(grey, seeded()), grey, atol=1e-5)
    assert (view - images).abs().max() > 0.02


def test_blur_equals_torchvision() -> None:
    images = photos()
    blurred = Views(blur=1.0, blur_sigma=(1.0, 1.0))(images)
    assert torch.allclose(blurred, reference.gaussian_blur(images, [3, 3], [1.0, 1.0]), atol=1e-5)


def test_noise_has_its_strength() -> None:
    grey = torch.full((8, 3, 32, 32), 0.5)
    assert abs(Views(noise=0.05)(grey, seeded()).std().item() - 0.05) < 0.002


def test_strengths_in_a_name() -> None:
    views = views_from("digits:rotation=30,crop_scale=0.5..1,blur=0.25")
    assert views == replace(PRESETS["digits"], rotation=30.0, crop_scale=(0.5, 1.0), blur=0.25)
    assert views_from(views) is views


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("naturel", "Unknown views 'naturel'"),
        ("digits:spin=3", "no strength 'spin'"),
        ("digits:rotation=fast", "is not a strength"),
        ("digits:rotation=1..2", "takes one number"),
        ("digits:blur=2", "out of range"),
        ("digits:crop_scale=0..1", "out of range"),
        ("digits:noise=nan", "out of range"),
    ],
)
def test_bad_views(spec: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        views_from(spec)


def test_every_strength_is_documented() -> None:
    assert all(field.name in (Views.__doc__ or "") for field in fields(Views))
