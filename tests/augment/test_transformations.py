"""Paper 1's transformations: as in appendix A, separately for each picture, and the same with the same seed."""

import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import Tensor

from selfsort.augment import Transformations, views_from
from selfsort.augment.transformations import ALLOWED, TRANSFORMATIONS, choices_from, pairs_of
from selfsort.errors import UserError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def natural(n: int = 64) -> Tensor:
    """Pictures that every transformation changes."""
    rows = torch.linspace(0.2, 0.8, 32)
    return torch.stack([rows[:, None] + 0.1 * torch.sin(9 * rows), rows.flip(0)[:, None] * rows, rows.expand(32, 32)])[
        None
    ].repeat(n, 1, 1, 1)


@pytest.mark.parametrize("name", TRANSFORMATIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_shape_and_range_stay(name: str, channels: int) -> None:
    images = natural()[:, :channels]
    before = images.clone()
    changed = Transformations((name,))(images, seeded())
    assert changed.shape == images.shape and changed.dtype == images.dtype
    assert changed.min() >= 0 and changed.max() <= 1
    assert torch.equal(images, before), "the original stays as it is: it is the target"
    assert name == "grayscale" and channels == 1 or not torch.equal(changed, images)


def test_flips_and_grey_are_exact() -> None:
    images = torch.rand(5, 3, 8, 8, generator=seeded())
    assert torch.allclose(Transformations(("horizontal-flip",))(images), images.flip(3), atol=1e-5)
    assert torch.allclose(Transformations(("vertical-flip",))(images), images.flip(2), atol=1e-5)
    both = Transformations(("horizontal-flip+vertical-flip",))(images)
    assert torch.allclose(both, images.flip(2, 3), atol=1e-5)
    luma = (images * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
    assert torch.allclose(Transformations(("grayscale",))(images), luma.expand(-1, 3, -1, -1), atol=1e-5)


def test_cutout_hides_one_square_of_10_of_32_pixels_anywhere_inside() -> None:
    changed = Transformations(("cutout",))(torch.ones(500, 3, 32, 32), seeded())
    hidden = changed[:, 0] == 0
    assert (hidden.sum((1, 2)) == 100).all() and torch.equal(changed[:, 0], changed[:, 2])
    rows, columns = hidden.any(2), hidden.any(1)
    assert (rows.sum(1) == 10).all() and (columns.sum(1) == 10).all()
    starts = rows.float().argmax(1)
    assert starts.min() == 0 and starts.max() == 22


def test_crop_shows_20_of_32_pixels_from_every_part() -> None:
    ramp = torch.arange(32.0).expand(400, 1, 32, 32) / 31  # brightness is the place
    spread = Transformations(("crop",))(ramp, seeded())
    width = (spread[:, 0, 0, -1] - spread[:, 0, 0, 0]) * 31
    assert torch.allclose(width, torch.full((400,), 20 * 31 / 32), atol=0.4)  # half a pixel at the border
    left = spread[:, 0, 0, 0] * 31
    assert left.min() < 0.5 and left.max() > 11.4


def test_rotation_is_up_to_45_degrees_either_way_with_black_corners() -> None:
    """A bright point at a known place shows the angle."""
    images = torch.zeros(300, 1, 65, 65)
    images[:, :, 31:34, 55:58] = 1.0  # 24 pixels to the right of the middle
    turned = Transformations(("rotation",))(images, seeded())[:, 0]
    y, x = torch.meshgrid(torch.arange(65.0) - 32, torch.arange(65.0) - 32, indexing="ij")
    weight = turned / turned.sum((1, 2), keepdim=True)
    angles = torch.atan2((weight * y).sum((1, 2)), (weight * x).sum((1, 2))) * 180 / torch.pi
    assert angles.abs().max() <= 45.5 and angles.min() < -43 and angles.max() > 43
    assert (Transformations(("rotation",))(torch.ones(50, 1, 32, 32), seeded())[:, 0, 0, 0] == 0).any()


def test_affine_scales_from_half_to_one_and_a_half() -> None:
    images = torch.zeros(400, 1, 64, 64)
    images[:, :, 24:40, 24:40] = 1.0
    area = Transformations(("affine",))(images, seeded()).sum((1, 2, 3)) / 256
    assert 0.24 < area.min() < 0.3 and 2.1 < area.max() < 2.3


def test_each_picture_draws_its_own_choice_as_often_as_any_other() -> None:
    changed = Transformations(("horizontal-flip", "vertical-flip", "grayscale"))(natural(3000), seeded())
    kinds = Counter(tuple(picture.mul(1000).round().int().flatten().tolist()) for picture in changed)
    assert len(kinds) == 3 and min(kinds.values()) > 900


def test_pairs_are_applied_in_both_orders() -> None:
    """Cutout before a crop leaves a larger square than after it."""
    hidden = (Transformations(("crop+cutout",))(torch.ones(400, 1, 32, 32), seeded()) == 0).sum((1, 2, 3))
    after = (hidden == 100).float().mean()
    assert 0.4 < after < 0.65


def test_the_same_seed_draws_the_same() -> None:
    views = views_from("transformations:cifar10")
    first, again, other = (views(natural(), seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_choices_of_the_data_sets_are_those_of_table_1() -> None:
    assert {name: len(allowed) for name, allowed in ALLOWED.items()} == {"mnist": 5, "cifar10": 9, "svhn": 7}
    assert not {"horizontal-flip", "vertical-flip"} & set(ALLOWED["svhn"])
    assert len(choices_from("mnist")) == 5 + 10 and len(choices_from("cifar10")) == 9 + 36
    assert pairs_of(("a",)) == ("a",)


def test_a_file_of_the_search_is_read(tmp_path: Path) -> None:
    path = tmp_path / "top ten.json"
    path.write_text(json.dumps({"choices": ["crop", "crop+noise"]}))
    assert views_from(f"transformations:{path}") == Transformations(("crop", "crop+noise"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no transformation"),
        ("crops", "Unknown transformation 'crops': did you mean 'crop'"),
        ("crop+crop", "'crop.crop' must be one transformation or two different ones"),
        ("crop+noise+affine", "must be one transformation or two"),
        ("mnist:crop,horizontal-flip", "'horizontal-flip' is not meant for mnist .paper 1, table 1.: it has rotation"),
        ("stl10:crop", "Table 1 of paper 1 does not name 'stl10'"),
        ("nowhere.json", "'nowhere.json' holds no choices of transformations: make it with"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        views_from(f"transformations:{text}")


@pytest.mark.parametrize("content", ["", "[]", '{"choices": "crop"}', '{"choices": [3]}', "{"])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(UserError, match="holds no choices of transformations"):
        views_from(f"transformations:{path}")
