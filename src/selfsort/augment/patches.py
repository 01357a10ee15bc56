"""Random patches of pictures (paper 3, section 3.1, after Dosovitskiy et al. 2016), in whole batches on any device.

The position, size and rotation of a patch form one affine map, so it is resampled only once, straight from the picture;
all patches of a picture are cut in one call.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from selfsort.augment.views import LUMA, Draw, Range
from selfsort.memory import keep_freed_memory
from selfsort.models.split_batch import drawn

_CHUNK_PIXELS = 1 << 18  # of pictures and patches processed at once, so that they stay in the CPU cache
_COLOUR_SAMPLE = 1000  # pictures from which the principal colours are computed


@dataclass(frozen=True)
class PatchChanges:
    """How patches differ from each other; the ranges are those of Dosovitskiy et al. (2016, section 3).

    Parameters
    ----------
    shift : standard deviation of the offset from the anchor, as a share of the patch's side
    scale : pixels of the picture per pixel of the patch
    rotation : largest angle to either side, in degrees; outside the picture its reflection is used
    horizontal_flip : probability
    colour : factor of each principal component of the colours
    power, factor, offset : for saturation and value, drawn independently: factor * value ** power + offset
    hue : largest turn of the hue to either side, as a share of the colour circle

    """

    shift: float = 0.2
    scale: Range = (0.7, 1.4)
    rotation: float = 20.0
    horizontal_flip: float = 0.5
    colour: Range = (0.5, 2.0)
    power: Range = (0.25, 4.0)
    factor: Range = (0.7, 1.4)
    offset: Range = (-0.1, 0.1)
    hue: float = 0.1


@dataclass(frozen=True)
class PrincipalColours:
    """The principal components of a set's colours.

    Attributes
    ----------
    mean : (C,) mean of all pixels
    components : (C, C), one component per row

    """

    mean: Tensor
    components: Tensor


def principal_colours(images: NDArray[np.uint8]) -> PrincipalColours:
    """Return the principal components of the colours of (N, H, W, C) pictures, from at most a thousand of them."""
    chosen = np.unique(np.linspace(0, len(images) - 1, min(len(images), _COLOUR_SAMPLE)).astype(np.int64))
    channels = images.shape[3]
    pixels, products, count = np.zeros(channels), np.zeros((channels, channels)), 0
    for place in chosen:  # one by one, because pictures may be large
        flat = images[place].reshape(-1, channels).astype(np.float32) / 255
        pixels += flat.sum(0, dtype=np.float64)
        products += flat.T @ flat
        count += len(flat)
    mean = pixels / count
    _, vectors = np.linalg.eigh(products / count - np.outer(mean, mean))
    return PrincipalColours(
        torch.from_numpy(mean.astype(np.float32)), torch.from_numpy(vectors.T.astype(np.float32).copy())
    )


class PatchMaker:
    """Cuts random square patches out of pictures and changes their colours.

    Anchors are drawn with a probability that grows with the edge strength at a point (Sobel operator on the grey
    picture), or anywhere in a picture without edges.

    Parameters
    ----------
    images : (N, H, W, C) uint8
    size : side of a patch in pixels
    device : to compute on
    changes : how patches differ

    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        size: int = 32,
        device: torch.device | str = "cpu",
        changes: PatchChanges | None = None,
    ):
        self.images, self.size, self.device = images, size, torch.device(device)
        self.changes = changes or PatchChanges()
        found = principal_colours(images)
        self.colours = PrincipalColours(found.mean.to(self.device), found.components.to(self.device))

    def draw(self, rows: NDArray[np.int64], count: int, generator: torch.Generator | None = None) -> Tensor:
        """Return `count` patches of the picture in each row, (len(rows) * count, C, size, size) floats in [0, 1]."""
        keep_freed_memory()
        found = torch.empty((len(rows) * count, self.images.shape[3], self.size**2), device=self.device)
        done = 0
        with torch.no_grad():
            for part, each in self._chunks(rows, count):
                self._cut(part, each, generator, found[done : done + len(part) * each])
                done += len(part) * each
        return found.view(*found.shape[:2], self.size, self.size)

    def _chunks(self, rows: NDArray[np.int64], count: int) -> Iterator[tuple[NDArray[np.int64], int]]:
        height, width = self.images.shape[1:3]
        # A picture with many patches is processed in several rounds.
        at_once = min(count, max(1, _CHUNK_PIXELS // self.size**2))
        step = max(1, _CHUNK_PIXELS // (height * width + count * self.size**2))
        for start in range(0, len(rows), step):
            for done in range(0, count, at_once):
                yield rows[start : start + step], min(at_once, count - done)

    def _cut(self, rows: NDArray[np.int64], count: int, generator: torch.Generator | None, out: Tensor) -> None:
        pictures = torch.from_numpy(self.images[rows]).to(self.device).permute(0, 3, 1, 2).float().div_(255)
        grid = self.grid(pictures, count, generator)  # (n * count, size, size, 2)
        n, channels = pictures.shape[:2]
        grid = grid.view(n, count * self.size, self.size, 2)
        cut = F.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)
        pixels = cut.view(n, channels, count, -1).transpose(1, 2).reshape(n * count, channels, -1)
        self._recolour(pixels, generator, out)

    def grid(self, pictures: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
        """Draw sampling grids for the patches of (B, C, H, W) pictures: (B * count, size, size, 2), in [-1, 1]."""
        height, width = pictures.shape[-2:]
        changes, draw = self.changes, Draw(len(pictures) * count, self.device, generator)
        anchors = _anchors(pictures, count, generator)
        options: dict[str, Any] = {"generator": generator, "device": self.device}
        shifts = drawn(lambda rows: torch.randn((rows, 2), **options), draw.n) * (changes.shift * self.size)
        limits = anchors.new_tensor([width, height])
        centres = (anchors + shifts).clamp_(min=0).minimum(limits)
        scale = draw.between(*changes.scale)
        angle = draw.between(-changes.rotation, changes.rotation) * (math.pi / 180)
        mirror = 1 - 2 * draw.happens(changes.horizontal_flip)
        cos, sin = angle.cos() * scale, angle.sin() * scale
        # Picture pixels per pixel across and down the patch, then in units of half the picture's sides.
        across = torch.stack([cos * mirror, sin * mirror], 1) * 2 / limits
        down = torch.stack([-sin, cos], 1) * 2 / limits
        start = 2 * centres / limits - 1
        steps = torch.arange(self.size, device=self.device) - (self.size - 1) / 2
        row = across[:, None] * steps[None, :, None] + start[:, None]  # (n * count, size, 2)
        column = down[:, None] * steps[None, :, None]
        return row[:, None] + column[:, :, None]

    def _recolour(self, pixels: Tensor, generator: torch.Generator | None, out: Tensor) -> None:
        changes, draw = self.changes, Draw(len(pixels), self.device, generator)
        channels = pixels.shape[1]
        factors = torch.stack([draw.between(*changes.colour) for _ in range(channels)], 1)
        axes = self.colours.components
        matrix = axes.T @ (factors[:, :, None] * axes)  # (B, C, C)
        mean = self.colours.mean
        offset = mean - matrix @ mean
        pixels = torch.baddbmm(offset[:, :, None], matrix, pixels).clamp_(0, 1)
        value = _ToneCurve.drawn(changes, draw)
        if channels == 1:
            out.copy_(value(pixels))
            return
        saturation = _ToneCurve.drawn(changes, draw)
        turn = draw.between(-changes.hue, changes.hue)[:, None] * 6
        _through_hsv(pixels, turn, saturation, value, out)


def _anchors(pictures: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """Draw (n * count, 2) points (x, y), in pixels, on the edges of (n, C, H, W) pictures."""
    width = pictures.shape[-1]
    summed = edge_strength(pictures).flatten(1).cumsum(1)
    total = summed[:, -1:]
    options: dict[str, Any] = {"generator": generator, "device": pictures.device}
    places = drawn(lambda rows: torch.rand((rows, count), **options), len(pictures))
    found = torch.searchsorted(summed, places * total, right=True)
    anywhere = (places * summed.shape[1]).long()
    found = torch.where(total > 0, found, anywhere).clamp_(max=summed.shape[1] - 1).flatten()
    return torch.stack([found % width, found // width], 1) + 0.5


def edge_strength(pictures: Tensor) -> Tensor:
    """Return the (n, H, W) edge strength of (n, C, H, W) pictures: the length of the Sobel gradient of their grey."""
    channels = pictures.shape[1]
    weights = pictures.new_tensor(LUMA if channels == 3 else [1 / channels] * channels)
    grey = F.pad(torch.einsum("nchw,c->nhw", pictures, weights)[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    smooth_down = grey[:, :-2] + 2 * grey[:, 1:-1] + grey[:, 2:]
    smooth_across = grey[:, :, :-2] + 2 * grey[:, :, 1:-1] + grey[:, :, 2:]
    across = smooth_down[:, :, 2:] - smooth_down[:, :, :-2]
    down = smooth_across[:, 2:] - smooth_across[:, :-2]
    strength = torch.hypot(across, down)
    return torch.where(strength < 1e-5, 0.0, strength)  # rounding errors in a plain picture are no edges


@dataclass(frozen=True)
class _ToneCurve:
    """A change of values in [0, 1], one per patch: factor * value ** power + offset."""

    power: Tensor
    factor: Tensor
    offset: Tensor

    @classmethod
    def drawn(cls, changes: PatchChanges, draw: Draw) -> "_ToneCurve":
        # A power and its inverse are equally likely: drawn uniformly, most powers would darken.
        power = draw.between(math.log(changes.power[0]), math.log(changes.power[1])).exp()
        return cls(power, draw.between(*changes.factor), draw.between(*changes.offset))

    def __call__(self, values: Tensor) -> Tensor:
        shape = (-1, *[1] * (values.ndim - 1))
        power, factor, offset = (each.view(shape) for each in (self.power, self.factor, self.offset))
        raised = torch.log2(values).mul_(power).exp2_()  # same as pow, in two thirds of the time
        return raised.mul_(factor).add_(offset).clamp_(0, 1)


def _through_hsv(pixels: Tensor, turn: Tensor, saturation: _ToneCurve, value: _ToneCurve, out: Tensor) -> None:
    """Turn the hue of (B, 3, P) colours by (B, 1) sixths of the colour circle, and change saturation and value."""
    red, green, blue = pixels.unbind(1)
    high, low = torch.maximum(red, green).maximum(blue), torch.minimum(red, green).minimum(blue)
    spread = high - low
    # The distance of the hue from red in sixths of the circle, and its side: equivalent to the usual three cases.
    hue = (green + blue).sub_(red).sub_(low).add_(spread).div_(low.copy_(spread).clamp_(min=1e-6))
    hue = torch.copysign(hue, green - blue, out=hue).add_(turn).remainder_(6)
    new_value = value(high)
    chroma = saturation(spread.div_(high.clamp_(min=1e-6))).mul_(new_value)
    least = new_value.sub_(chroma)
    weights = (
        (hue - 3).abs_().sub_(1),
        (hue - 2).abs_().neg_().add_(2),
        hue.sub_(4).abs_().neg_().add_(2),
    )
    for channel, weight in enumerate(weights):
        torch.addcmul(least, chroma, weight.clamp_(0, 1), out=out[:, channel])
