"""What paper 1's four auto-encoders share: they differ in input, reconstruction target, and loss."""

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

SIDE = 64  # of the network's input
_COLOUR_SAMPLE = 1000  # pictures whose mean colour a decoder starts with
Tiles = Literal[1, 2]


class Periodic(nn.Conv2d):
    """A convolution of kernel 4 and stride 2 over equal tiles, computed on one tile with circular padding.

    Over 2x2 tiles of 32 pixels the response of each of paper 1's four layers repeats itself: instead of 31x31, 14x14,
    6x6 and 2x2 values there are only 16x16, 8x8, 4x4 and 2x2 different ones, less than half of the work. The values are
    the same; only batch norm counts each of them once.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return (B, out, H / 2, W / 2) maps for (B, in, H, W) maps with even sides."""
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
        """Return the (B, embedding_size) codes for what `rescaled` returned."""
        return cast(Tensor, self.layers(tile))

    def rescaled(self, images: Tensor) -> Tensor:
        """Return (B, 3, side, side) tiles of (B, C, H, W) pictures; the side is 32, or 64 for a single tile."""
        side = SIDE // self.tiles
        if images.shape[-2:] != (side, side):
            images = F.interpolate(images, (side, side), mode="bilinear", antialias=True).clamp(0, 1)
        return images.expand(-1, 3, -1, -1)

    def laid_out(self, tile: Tensor) -> Tensor:
        """Lay out as (B, 3, 64, 64) pictures what `rescaled` returned."""
        return tile.repeat(1, 1, self.tiles, self.tiles)


class FromOnePixel(nn.ConvTranspose2d):
    """A transposed convolution of one-pixel maps, computed as a matrix product: five times as fast."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Return (B, out, kernel, kernel) maps for (B, in, 1, 1) maps."""
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
    """Initialise a decoder as He et al. 2015 do for ReLU: it learns faster than with PyTorch's weights.

    The encoder keeps PyTorch's smaller weights: with He's it hardly leaves its random start.
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
    """An encoder, its mirror image, and a comparison by pixels or by the layers of a frozen network."""

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
        """Make an untrained decoder draw the mean colour of (N, H, W, C) pictures, estimated from at most a thousand.

        A decoder that starts with grey first learns that dark pictures are dark: so fast that its sigmoid and the last
        ReLU saturate, and from then on basic-ae draws nothing but black for MNIST.
        """
        chosen = np.linspace(0, len(images) - 1, min(len(images), _COLOUR_SAMPLE)).astype(np.int64)
        mean = torch.from_numpy(images[chosen].mean((0, 1, 2), dtype=np.float64) / 255).float()
        drawn = cast(nn.ConvTranspose2d, self.decoder[-2])
        with torch.no_grad():
            cast(Tensor, drawn.bias).copy_(torch.logit(mean, 0.01))

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean squared error between the target and the view's reconstruction (equations 3, 4, 9)."""
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
    embedding_size : numbers from which a picture is reconstructed; the paper tries 250, 300 and 350
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
    original: ClassVar[bool] = False  # reconstruct the picture itself instead of its view

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
        """Return the perceptual loss, with random weights; None compares pixels."""
        return None

    def stages(self, images: ImageSet, context: Context) -> Iterator[Stage]:
        """Train `net_`, starting from the pictures' mean colour."""
        cast(TiledAutoencoderNet, self.net_).begin_with(images.images)
        yield from super().stages(images, context)


@dataclass(kw_only=True, eq=False, repr=False)
class PerceptualAutoencoder(TiledAutoencoder):
    """Base of paper 1's auto-encoders with a perceptual loss (section 2.2).

    Parameters
    ----------
    perceptual_network : torchvision network whose first layers compare pictures, such as "alexnet"
    perceptual_layer : number of its feature layers; AlexNet's first 5 end in the second convolution, as in the paper
    perceptual_weights : "hub" loads torchvision's ImageNet weights; a .safetensors or .pth file; or "random"
    perceptual_canvas : side of the black canvas in the middle of which the 64x64 pixels are placed
    perceptual_normalise : normalise with ImageNet's mean and standard deviation first; the paper does not
    perceptual_sigmoid : end the network in a sigmoid, as the paper's predecessor does

    """

    perceptual_network: str = "alexnet"
    perceptual_layer: int = 5
    perceptual_weights: str = "hub"
    perceptual_canvas: int = 224
    perceptual_normalise: bool = False
    perceptual_sigmoid: bool = False

    def check(self, images: ImageSet) -> None:
        """Check the hyper-parameters, the pictures, and that the frozen network is available."""
        super().check(images)
        with torch.random.fork_rng(devices=[]):  # the layers' first weights are random
            self._load(self.perceptual_loss())

    def perceptual_loss(self) -> PerceptualLoss:
        """Return the perceptual loss, with random weights: a saved model loads its own from its file."""
        return PerceptualLoss(
            feature_layers(self.perceptual_network, self.perceptual_layer),
            (SIDE, SIDE),
            canvas=self.perceptual_canvas,
            normalise=self.perceptual_normalise,
            sigmoid=self.perceptual_sigmoid,
        )

    def stages(self, images: ImageSet, context: Context) -> Iterator[Stage]:
        """Train `net_` with the frozen network's loss."""
        self._load(cast(TiledAutoencoderNet, self.net_).perceptual)
        yield from super().stages(images, context)

    def _load(self, perceptual: PerceptualLoss | None) -> None:
        assert perceptual is not None
        load_weights(perceptual.features, self.perceptual_network, self.perceptual_weights)
