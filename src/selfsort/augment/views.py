"""Random views of whole batches, each picture with its own random parameters, on the device of the batch.

The whole geometry of a view (crop, flips, rotation, shear, shift) is one affine map and one resampling; all colour
changes are one 3x3 matrix and an offset. Libraries that work operation by operation resample and recolour once for
each: `benchmarks/throughput.py` compares this with Kornia's equivalent.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from selfsort.models.split_batch import drawn

Range = tuple[float, float]
_LEAST_SIDE = 8  # pixels of a smaller view
LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Views:
    """Strengths of the random changes that make a view; everything off by default.

    Parameters
    ----------
    crop_scale, crop_ratio : share of the picture's area that a crop covers, and its stretch (1 keeps the shape)
    rotation, shear : largest angle to either side, in degrees
    translation : largest shift to either side, as a share of the side
    horizontal_flip, vertical_flip : probability
    jitter : probability that brightness, contrast, saturation and hue change at all
    brightness, contrast, saturation : factors are drawn from [1 - value, 1 + value]
    hue : largest turn of the hue to either side, as a share of the colour circle (at most 0.5)
    grayscale : probability
    blur : probability of a Gaussian blur whose sigma, in pixels, is drawn from `blur_sigma`
    noise : standard deviation of added Gaussian noise

    """

    crop_scale: Range = (1.0, 1.0)
    crop_ratio: Range = (1.0, 1.0)
    rotation: float = 0.0
    shear: float = 0.0
    translation: float = 0.0
    horizontal_flip: float = 0.0
    vertical_flip: float = 0.0
    jitter: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    grayscale: float = 0.0
    blur: float = 0.0
    blur_sigma: Range = (0.1, 2.0)
    noise: float = 0.0

    def __call__(self, images: Tensor, generator: torch.Generator | None = None, size: float = 1.0) -> Tensor:
        """Return one view of each picture: (B, C, H, W) floats in [0, 1] in, the same shape and range out.

        `size` makes their sides smaller, as a share of the pictures' sides.
        """
        if self._moves or size != 1:
            images = self._warp(images, generator, size)
        if self._recolours:
            images = self._recolour(images, generator)
        if self.blur > 0:
            images = self._blur(images, generator)
        if self.noise > 0:
            shape, device = images.shape[1:], images.device
            noise = drawn(lambda rows: torch.randn((rows, *shape), generator=generator, device=device), len(images))
            images = (images + self.noise * noise).clamp_(0, 1)
        return images

    @property
    def _moves(self) -> bool:
        still = (1.0, 1.0)
        angles = self.rotation or self.shear or self.translation
        flips = self.horizontal_flip or self.vertical_flip
        return bool(self.crop_scale != still or self.crop_ratio != still or angles or flips)

    @property
    def _recolours(self) -> bool:
        strengths = self.brightness or self.contrast or self.saturation or self.hue
        return bool(self.grayscale or (self.jitter and strengths))

    def _warp(self, images: Tensor, generator: torch.Generator | None, size: float) -> Tensor:
        matrix = self.affine(len(images), images.shape[-2:], images.device, generator)
        return warp(images, matrix, "reflection", sides(images.shape[-2:], size))

    def affine(self, n: int, shape: torch.Size, device: torch.device, generator: torch.Generator | None) -> Tensor:
        """Draw (n, 2, 3) maps from view to picture coordinates, both in [-1, 1]."""
        draw = Draw(n, device, generator)
        height, width = shape
        area = draw.between(*self.crop_scale)
        ratio = draw.between(math.log(self.crop_ratio[0]), math.log(self.crop_ratio[1])).exp()
        across, down = (area * ratio).sqrt().clamp(max=1.0), (area / ratio).sqrt().clamp(max=1.0)
        shift_x = draw.between(-1, 1) * (1 - across + 2 * self.translation)
        shift_y = draw.between(-1, 1) * (1 - down + 2 * self.translation)
        angle = draw.between(-self.rotation, self.rotation) * (math.pi / 180)
        slant = (draw.between(-self.shear, self.shear) * (math.pi / 180)).tan()
        mirror_x = 1 - 2 * draw.happens(self.horizontal_flip)
        mirror_y = 1 - 2 * draw.happens(self.vertical_flip)
        cos, sin, aspect = angle.cos(), angle.sin(), height / width
        a, b = cos, slant * cos - sin
        c, d = sin, slant * sin + cos
        rows = [a * across * mirror_x, b * down * mirror_y * aspect, shift_x]
        rows += [c * across * mirror_x / aspect, d * down * mirror_y, shift_y]
        return torch.stack(rows, 1).view(n, 2, 3)

    def _recolour(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        draw = Draw(len(images), images.device, generator)
        on = draw.happens(self.jitter)
        brightness = 1 + on * draw.between(-self.brightness, self.brightness)
        contrast = 1 + on * draw.between(-self.contrast, self.contrast)
        saturation = 1 + on * draw.between(-self.saturation, self.saturation)
        angle = on * draw.between(-self.hue, self.hue) * (2 * math.pi)
        saturation = saturation * (1 - draw.happens(self.grayscale))
        channels = images.shape[1]
        luma = images.new_tensor(LUMA if channels == 3 else [1 / channels] * channels)
        mean = images.mean((2, 3)) @ luma  # (B,)
        offset = (1 - contrast) * brightness * mean
        matrix = (brightness * contrast)[:, None, None] * _saturate_and_turn(saturation, angle, luma)
        pixels = images.flatten(2)  # (B, C, HW)
        mixed = torch.baddbmm(offset[:, None, None], matrix, pixels)
        return mixed.view(images.shape).clamp_(0, 1)

    def _blur(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        draw = Draw(len(images), images.device, generator)
        sigma = draw.between(*self.blur_sigma)
        chosen = draw.happens(self.blur).bool().nonzero().squeeze(1)
        if len(chosen) == 0:
            return images
        # A kernel of a tenth of the side (SimCLR, appendix A).
        radius = max(1, round(0.05 * min(images.shape[-2:])))
        offsets = torch.arange(-radius, radius + 1, device=images.device)
        weights = torch.exp(-(offsets**2) / (2 * sigma[chosen, None] ** 2))
        weights = (weights / weights.sum(1, keepdim=True))[:, :, None, None, None]  # (b, taps, 1, 1, 1)
        blurred = images[chosen]
        for axis in (2, 3):
            blurred = _weighted_shifts(blurred, weights, radius, axis)
        return images.index_copy(0, chosen, blurred)


def sides(shape: Sequence[int], size: float) -> tuple[int, int]:
    """Return the height and width of views of (height, width) pictures whose sides are `size` times as long.

    Smaller than 8 pixels, only views of smaller pictures are: they hardly show anything, and for maps of a single pixel
    oneDNN (torch 2.15) computes wrong bfloat16 gradients of strided convolutions.

    >>> sides((32, 64), 0.43), sides((8, 6), 0.43)
    ((14, 28), (8, 6))
    """
    height, width = (max(round(length * size), min(length, _LEAST_SIDE)) for length in shape)
    return height, width


def warp(
    images: Tensor, matrix: Tensor, padding: Literal["reflection", "zeros"], shape: tuple[int, int] | None = None
) -> Tensor:
    """Return (B, C, H, W) pictures resampled by (B, 2, 3) maps from their new to their old coordinates in [-1, 1].

    A map's row is (from x, from y, shift); outside the old picture is its reflection, or black. The new pictures have
    the (height, width) of `shape`, without one that of the old ones.
    """
    # This takes a third of the time of torch's affine_grid, which multiplies (x, y, 1) for every pixel.
    y, x = (torch.linspace(1 / n - 1, 1 - 1 / n, n, device=images.device) for n in shape or images.shape[-2:])
    row = matrix[:, None, :, 0] * x[None, :, None] + matrix[:, None, :, 2]  # (B, W, 2)
    column = matrix[:, None, :, 1] * y[None, :, None]  # (B, H, 2)
    grid = row[:, None] + column[:, :, None]  # (B, H, W, 2)
    return F.grid_sample(images, grid, padding_mode=padding, align_corners=False)


@dataclass(frozen=True)
class Draw:
    """Random numbers, one per picture."""

    n: int
    device: torch.device
    generator: torch.Generator | None

    def between(self, low: float, high: float) -> Tensor:
        """Return (n,) numbers, uniform between `low` and `high`."""
        return low + (high - low) * self._uniform()

    def happens(self, probability: float) -> Tensor:
        """Return (n,) numbers, 1 with this probability and otherwise 0."""
        return (self._uniform() < probability).float()

    def _uniform(self) -> Tensor:
        return drawn(lambda rows: torch.rand(rows, generator=self.generator, device=self.device), self.n)


def _saturate_and_turn(saturation: Tensor, angle: Tensor, luma: Tensor) -> Tensor:
    """Return (B, C, C) matrices that scale saturation and turn the hue about the grey axis, keeping the luma."""
    channels = len(luma)
    identity = torch.eye(channels, device=luma.device)
    grey = luma.expand(channels, channels)  # maps a colour to grey
    if channels != 3:
        return identity.expand(len(saturation), -1, -1)
    # Rodrigues' rotation about (1, 1, 1) / sqrt 3, then the luma is restored.
    root = 1 / math.sqrt(3)
    cross = luma.new_tensor([[0, -root, root], [root, 0, -root], [-root, root, 0]])
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    turn = cos * identity + sin * cross + (1 - cos) / 3
    turn = turn - grey @ turn + grey
    strength = saturation[:, None, None]
    return strength * turn + (1 - strength) * grey


def _weighted_shifts(images: Tensor, weights: Tensor, radius: int, axis: int) -> Tensor:
    pad = (0, 0, radius, radius) if axis == 2 else (radius, radius, 0, 0)
    padded = F.pad(images, pad, mode="reflect")
    size = images.shape[axis]
    total = weights[:, 0] * padded.narrow(axis, 0, size)
    for tap in range(1, 2 * radius + 1):
        total.addcmul_(weights[:, tap], padded.narrow(axis, tap, size))
    return total


PRESETS: dict[str, Views] = {
    # SimCLR's, with the colour strength of 0.5 that its appendix B.9 uses for small pictures.
    "natural": Views(
        crop_scale=(0.08, 1.0),
        crop_ratio=(3 / 4, 4 / 3),
        horizontal_flip=0.5,
        jitter=0.8,
        brightness=0.4,
        contrast=0.4,
        saturation=0.4,
        hue=0.1,
        grayscale=0.2,
        blur=0.5,
    ),
    "digits": Views(
        crop_scale=(0.6, 1.0),
        crop_ratio=(3 / 4, 4 / 3),
        rotation=15,
        shear=15,
        translation=0.05,
        jitter=0.8,
        brightness=0.3,
        contrast=0.3,
    ),
    "cells": Views(
        crop_scale=(0.4, 1.0),
        crop_ratio=(4 / 5, 5 / 4),
        rotation=180,
        horizontal_flip=0.5,
        vertical_flip=0.5,
        jitter=0.8,
        brightness=0.2,
        contrast=0.2,
        saturation=0.2,
        hue=0.05,
        blur=0.2,
    ),
    "none": Views(),
}
