"""What paper 1's four auto-encoders share: they differ in what they are shown, what they redraw, and in the loss."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from selfsort.augment import Augmentation
from selfsort.data.image_set import ImageSet
from selfsort.errors import UserError
from selfsort.losses.perceptual import PerceptualLoss, feature_layers, load_weights
from selfsort.methods.base import TrainedEstimator
from selfsort.methods.stage import Context, Stage
from selfsort.models.base import Batch, Net, Output

SIDE = 64  # of what the network sees
_COLOUR_SAMPLE = 1000  # pictures whose mean colour a decoder begins with
Tiles = Literal[1, 2]


class Periodic(nn.Conv2d):
    """A convolution of kernel 4 and stride 2 over equal tiles, computed on one of them as if it lay on a torus.

    Over 2x2 tiles of 32 pixels each of paper 1's four layers has a response that repeats itself: what is left of 31x31,
    14x14, 6x6 and 2x2 values are 16x16, 8x8, 4x4 and 2x2 different ones, less than half of the work. The values are the
    same; batch norm alone counts each of them once.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return (B, out, H / 2, W / 2) maps of (B, in, H, W) ones, of even sides."""
        input = torch.cat((input, input[..., :2]), -1)
        return super().forward(torch.cat((input, input[..., :2, :]), -2))


class TiledEncoder(nn.Module):
    """Four convolutions to a code; pictures are rescaled and laid out as tiles first (paper 1, section 5.1, figure 9).

    Attributes
    ----------
    width : size of the code

    """

    def __init__(self, embedding_size: int, batch_norm: bool = False, tiles: Tiles = 2):
        super().__init__()
        self.width, self.tiles = embedding_size, tiles
        kind = Periodic if tiles > 1 else nn.Conv2d
        layers: list[nn.Module] = []
        for before, after in zip((3, 32, 64, 128), (32, 64, 128, 256), strict=True):
            norm = [nn.BatchNorm2d(after)] if batch_norm else []
            layers += [kind(before, after, 4, stride=2), *norm, nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(1024, embedding_size))

    def forward(self, images: Tensor) -> Tensor:
        """Return the (B, embedding_size) codes of (B, C, H, W) pictures in [0, 1]."""
        return self.encode(self.rescaled(images))

    def encode(self, tile: Tensor) -> Tensor:
        """Return the (B, embedding_size) codes of what `rescaled` returned."""
        return cast(Tensor, self.layers(tile))

    def rescaled(self, images: Tensor) -> Tensor:
        """Return (B, 3, side, side) tiles of (B, C, H, W) pictures; a side is 32 or, of a single tile, 64."""
        side = SIDE // self.tiles
        if images.shape[-2:] != (side, side):
            images = F.interpolate(images, (side, side), mode="bilinear", antialias=True).clamp(0, 1)
        return images.expand(-1, 3, -1, -1)

    def laid_out(self, tile: Tensor) -> Tensor:
        """Return (B, 3, 64, 64) pictures of what `rescaled` returned."""
        return tile.repeat(1, 1, self.tiles, self.tiles)


class FromOnePixel(nn.ConvTranspose2d):
    """A transposed convolution of maps of one pixel, as the matrix product that it is: five times as fast."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Return (B, out, kernel, kernel) maps of (B, in, 1, 1) ones."""
        rows, columns = self.kernel_size
        weight = self.weight.permute(2, 3, 1, 0).reshape(-1, self.in_channels)
        bias = None if self.bias is None else self.bias.repeat(rows * columns)
        flat = F.linear(input.flatten(1), weight, bias)
        return flat.view(-1, rows, columns, self.out_channels).permute(0, 3, 1, 2)


def _decoder(embedding_size: int, batch_norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Linear(embedding_size, 1024), nn.Unflatten(1, (1024, 1, 1)), nn.ReLU()]
    for before, after, kernel in ((1024, 128, 5), (128, 64, 5), (64, 32, 6)):
        norm = [nn.BatchNorm2d(after)] if batch_norm else []
        kind = FromOnePixel if before == 1024 else nn.ConvTranspose2d
        layers += [kind(before, after, kernel, stride=2), *norm, nn.ReLU()]
    return nn.Sequential(*layers, nn.ConvTranspose2d(32, 3, 6, stride=2), nn.Sigmoid()).apply(_initialise)


def _initialise(layer: nn.Module) -> None:
    """Draw a decoder's weights as He et al. 2015 do for ReLU, with which it learns faster than with PyTorch's.

    The encoder keeps PyTorch's, which are smaller: with He's it hardly leaves its random start.
    """
    if isinstance(layer, nn.Linear):
        inputs = layer.in_features
    elif isinstance(layer, FromOnePixel):
        inputs = layer.in_channels
    elif isinstance(layer, nn.ConvTranspose2d):
        inputs = layer.in_channels * math.prod(layer.kernel_size) // math.prod(layer.stride)
    else:
        return
    nn.init.normal_(layer.weight, 0.0, math.sqrt(2 / inputs))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class TiledAutoencoderNet(Net):
    """An encoder, its mirror image, and pixels or the layers of a frozen network to compare by."""

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        encoder: TiledEncoder,
        batch_norm: bool,
        perceptual: PerceptualLoss | None,
        original: bool,
    ):
        super().__init__()
        self.image_shape, self.original = image_shape, original
        self.encoder, self.decoder = encoder, _decoder(encoder.width, batch_norm)
        self.perceptual = perceptual

    def begin_with(self, images: NDArray[np.uint8]) -> None:
        """Have an untrained decoder draw the mean colour of (N, H, W, C) pictures, by a thousand of them at most.

        A decoder that draws grey first learns that dark pictures are dark: so fast that its sigmoid and the last ReLU
        leave the range in which they learn anything, and basic-ae draws nothing but black for MNIST from then on.
        """
        chosen = np.linspace(0, len(images) - 1, min(len(images), _COLOUR_SAMPLE)).astype(np.int64)
        mean = torch.from_numpy(images[chosen].mean((0, 1, 2), dtype=np.float64) / 255).float()
        drawn = cast(nn.ConvTranspose2d, self.decoder[-2])
        with torch.no_grad():
            cast(Tensor, drawn.bias).copy_(torch.logit(mean, 0.01))

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean squared difference between the target and what is drawn of the view (equations 3, 4, 9)."""
        seen = self.encoder.rescaled(batch.views[0])
        target = self.encoder.laid_out(self.encoder.rescaled(batch.inputs) if self.original else seen)
        drawn: Tensor = self.decoder(self.encoder.encode(seen))
        if self.perceptual is not None:
            return self.perceptual.loss(drawn, target)
        return F.mse_loss(drawn.float(), target)

    def forward(self, inputs: Tensor) -> Output:
        """Return the (B, embedding_size) codes."""
        return Output(cast(Tensor, self.encoder(inputs)))

    def decode(self, z: Tensor) -> Tensor:
        """Return (B, C, H, W) pictures in [0, 1] for (B, embedding_size) codes: the mean of their tiles."""
        height, width, channels = self.image_shape
        tiles, side = self.encoder.tiles, SIDE // self.encoder.tiles
        drawn = cast(Tensor, self.decoder(z)).float()
        tile = drawn.view(len(z), 3, tiles, side, tiles, side).mean((2, 4))
        resized = F.interpolate(tile, (height, width), mode="bilinear", antialias=True).clamp(0, 1)
        return resized.mean(1, keepdim=True) if channels == 1 else resized


@dataclass(kw_only=True, eq=False, repr=False)
class TiledAutoencoder(TrainedEstimator):
    """Base of paper 1's auto-encoders.

    Parameters
    ----------
    embedding_size : numbers that a picture is redrawn from; the paper tries 250, 300 and 350
    batch_norm : normalise after each convolution, as later code of the paper's predecessor does
    tiles : 2 lays each picture out in a 2x2 grid of 32x32 pixels, as the paper does; 1 rescales it to 64x64

    """

    embedding_size: int = 300
    batch_norm: bool = False
    tiles: Tiles = 2
    epochs: int = 90
    batch_size: int = 100
    schedule: Literal["constant", "cosine", "step"] = "constant"
    views: str | Augmentation = "none"

    n_views = 1
    original: ClassVar[bool] = False  # redraw the picture itself instead of its view

    def check_params(self) -> None:
        """Check the hyper-parameters."""
        super().check_params()
        if self.embedding_size < 1:
            raise UserError(f"embedding_size={self.embedding_size} is too small: it must be at least 1.")

    def check(self, images: ImageSet) -> None:
        """Check the hyper-parameters, and that the pictures fit the network."""
        super().check(images)
        height, width, _ = images.image_shape
        if height != width:
            raise UserError(
                f"{self.method} lays out square pictures and cannot take {height}x{width}: load them with size=32."
            )

    def build(self, image_shape: tuple[int, int, int], n_images: int) -> TiledAutoencoderNet:
        """Return the untrained network."""
        encoder = TiledEncoder(self.embedding_size, self.batch_norm, self.tiles)
        return TiledAutoencoderNet(image_shape, encoder, self.batch_norm, self.perceptual_loss(), self.original)

    def perceptual_loss(self) -> PerceptualLoss | None:
        """Return what to compare by, with random weights; None compares pixels."""
        return None

    def stages(self, images: ImageSet, context: Context) -> Iterator[Stage]:
        """Train `net_`, which begins with the pictures' mean colour."""
        cast(TiledAutoencoderNet, self.net_).begin_with(images.images)
        yield from super().stages(images, context)


@dataclass(kw_only=True, eq=False, repr=False)
class PerceptualAutoencoder(TiledAutoencoder):
    """Base of those of paper 1's auto-encoders that compare by a frozen network (section 2.2).

    Parameters
    ----------
    perceptual_network : torchvision network whose first layers tell pictures apart, such as "alexnet"
    perceptual_layer : how many of its feature layers; 5 of AlexNet's end in the second convolution, as in the paper
    perceptual_weights : "hub" loads torchvision's ImageNet weights; a .safetensors or .pth file; or "random"
    perceptual_canvas : side of the black picture in whose middle the network sees the 64x64 pixels
    perceptual_normalise : subtract ImageNet's mean and divide by its deviation first; the paper does not
    perceptual_sigmoid : end the network in a sigmoid, as the paper's predecessor does

    """

    perceptual_network: str = "alexnet"
    perceptual_layer: int = 5
    perceptual_weights: str = "hub"
    perceptual_canvas: int = 224
    perceptual_normalise: bool = False
    perceptual_sigmoid: bool = False

    def check(self, images: ImageSet) -> None:
        """Check the hyper-parameters, the pictures, and that the frozen network can be had."""
        super().check(images)
        with torch.random.fork_rng(devices=[]):  # the layers' first weights are random
            self._load(self.perceptual_loss())

    def perceptual_loss(self) -> PerceptualLoss:
        """Return what to compare by, with random weights: those of a saved model come from its own file."""
        return PerceptualLoss(
            feature_layers(self.perceptual_network, self.perceptual_layer),
            (SIDE, SIDE),
            canvas=self.perceptual_canvas,
            normalise=self.perceptual_normalise,
            sigmoid=self.perceptual_sigmoid,
        )

    def stages(self, images: ImageSet, context: Context) -> Iterator[Stage]:
        """Train `net_` against the frozen network."""
        self._load(cast(TiledAutoencoderNet, self.net_).perceptual)
        yield from super().stages(images, context)

    def _load(self, perceptual: PerceptualLoss | None) -> None:
        assert perceptual is not None
        load_weights(perceptual.features, self.perceptual_network, self.perceptual_weights)
