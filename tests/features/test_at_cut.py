"""The activations at the cut of a network, for unchanged pictures and for views of them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import selfsort
from samples import pictures
from selfsort.data.input_spec import InputSpec
from selfsort.errors import UserError
from selfsort.features.at_cut import at_cut

SPEC = InputSpec(16, 3)


def flipped(images: Tensor) -> Tensor:
    return images.flip(3)


def test_the_first_row_is_the_picture_and_the_others_are_views() -> None:
    images = selfsort.load_images(pictures(70))  # more than one batch
    found = at_cut(images, nn.Identity(), SPEC, flipped, 3, device="cpu", precision="32")
    assert found.shape == (70, 3, 3, 16, 16) and found.dtype == np.float16
    wanted = images.pixels(SPEC).transpose(0, 3, 1, 2).astype(np.float32) / 255
    mean, std = (np.array(each, np.float32)[:, None, None] for each in (SPEC.mean, SPEC.std))
    wanted = (wanted - mean) / std
    assert np.allclose(found[:, 0], wanted, atol=2e-3) and np.allclose(found[:, 2], wanted[..., ::-1], atol=2e-3)


def test_the_random_views_depend_on_the_seed() -> None:
    images = selfsort.load_images(pictures(6))

    def noisy(given: Tensor) -> Tensor:
        return given + torch.rand_like(given)

    first, again, other = (
        at_cut(images, nn.Identity(), SPEC, noisy, 2, device="cpu", random_state=seed) for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_a_picture_that_is_gone_is_named(tmp_path: Path) -> None:
    for number, pixels in enumerate(pictures(3)):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    images = selfsort.list_images(tmp_path)
    (tmp_path / "1.png").unlink()
    with pytest.raises(UserError, match=r"'1.png' can no longer be read"):
        at_cut(images, nn.Identity(), SPEC, flipped, 2, device="cpu")
