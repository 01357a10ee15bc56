"""Variational auto-encoder with a small code (paper 4), designed for naming group by group.

The labels that a person gives enter elsewhere (`selfsort.labelling`), through the softmax head on z and the loss (3).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsort.augment import Augmentation
from selfsort.errors import UserError
from selfsort.methods.base import TrainedEstimator
from selfsort.models.base import Batch, Net, Output
from selfsort.models.split_batch import drawn

Network = Literal["dense", "conv"]
_FIRST_LOG_VARIANCE = -3.0


def vae_loss(logits: Tensor, target: Tensor, mean: Tensor, log_variance: Tensor, beta: float) -> Tensor:
    """Return equation (1): cross-entropy summed over pixels + beta * KL divergence, averaged over pictures.

    `logits` and `target` are (B, C, H, W) with targets in [0, 1]; `mean` and `log_variance` are (B, z_dim).
    """
    # In float32 whatever the network's precision: hundreds of pixels are summed.
    pixels = F.binary_cross_entropy_with_logits(logits.float(), target.float(), reduction="sum")
    mean, log_variance = mean.float(), log_variance.float()
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum()
    return (pixels + beta * divergence) / len(target)


class TopdownVAENet(Net):
    """Four layers to the distribution of a code z, and four back (paper 4, section 3.3)."""

    def __init__(self, image_shape: tuple[int, int, int], network: Network, z_dim: int, beta: float):
        super().__init__()
        self.beta = beta
        height, width, channels = image_shape
        layers = _dense if network == "dense" else _conv
        self.encoder, self.decoder = layers((channels, height, width), z_dim)
        self._begin(z_dim)

    def _begin(self, z_dim: int) -> None:
        """Draw initial weights with which the codes carry information from the first step on.

        With PyTorch's own, whose signals fade from layer to layer, the divergence silences the codes before the decoder
        learns to read them: after 5 epochs on MNIST 3 of 10 numbers are in use, but 8 to 10 with these weights, and the
        loss is lower as well.
        """
        for layer in self.modules():
            if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(cast(Tensor, layer.bias))
        last = cast(nn.Linear, self.encoder[-1])
        nn.init.constant_(last.bias[z_dim:], _FIRST_LOG_VARIANCE)

    def loss(self, batch: Batch) -> Tensor:
        """Return equation (1) for the views, each encoded by one sample from its distribution."""
        target = batch.views[0]
        mean, log_variance = self._distribution(target)
        noise = drawn(lambda rows: torch.randn(rows, mean.shape[1], device=mean.device), len(mean))
        z = mean + noise * (log_variance / 2).exp()
        return vae_loss(self.decoder(z), target, mean, log_variance, self.beta)

    def forward(self, inputs: Tensor) -> Output:
        """Return the (B, z_dim) means of the codes."""
        return Output(self._distribution(inputs)[0])

    def decode(self, z: Tensor) -> Tensor:
        """Return (B, C, H, W) pictures in [0, 1] for (B, z_dim) codes."""
        return cast(Tensor, self.decoder(z)).float().sigmoid()

    def _distribution(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = cast(Tensor, self.encoder(images)).float().chunk(2, dim=1)  # (B, 2 * z_dim)
        return mean, log_variance


def _dense(shape: tuple[int, int, int], z_dim: int) -> tuple[nn.Sequential, nn.Sequential]:
    pixels = shape[0] * shape[1] * shape[2]
    # The third layer is the paper's; it leaves the widths of the first two open.
    widths = (pixels, 512, 256, 32)
    encoder = nn.Sequential(nn.Flatten(), *_perceptron((*widths, 2 * z_dim)))
    return encoder, nn.Sequential(*_perceptron((z_dim, *reversed(widths))), nn.Unflatten(1, shape))


def _perceptron(widths: Sequence[int]) -> list[nn.Module]:
    """Return linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return layers[:-1]


def _conv(shape: tuple[int, int, int], z_dim: int) -> tuple[nn.Sequential, nn.Sequential]:
    channels, *size = shape
    half = [-(-side // 2) for side in size]
    quarter = [-(-side // 2) for side in half]
    code = 64 * quarter[0] * quarter[1]
    down = [nn.Conv2d(channels, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU()]
    encoder = nn.Sequential(*down, nn.Flatten(), *_perceptron((code, 256, 2 * z_dim)))
    up = [_doubled(64, 32, half), nn.ReLU(), _doubled(32, channels, size)]
    unfold = [nn.ReLU(), nn.Unflatten(1, (64, *quarter))]
    return encoder, nn.Sequential(*_perceptron((z_dim, 256, code)), *unfold, *up)


def _doubled(before: int, after: int, size: Sequence[int]) -> nn.Module:
    """Return the layer that undoes a halving, to (height, width), including odd sizes."""
    odd = tuple(1 - side % 2 for side in size)
    return nn.ConvTranspose2d(before, after, 3, 2, 1, output_padding=cast(tuple[int, int], odd))


@dataclass(kw_only=True, eq=False, repr=False)
class TopdownVAE(TrainedEstimator):
    """Variational auto-encoder with a small code (paper 4): its groups can be drawn, named and split; then clusters.

    Parameters
    ----------
    network : "dense" (the paper's fully connected layers) or "conv"
    z_dim : numbers in a picture's code (10 in the paper)
    beta : weight of the KL divergence, which keeps codes near the origin (5 in the paper)

    """

    network: Network = "dense"
    z_dim: int = 10
    beta: float = 5.0
    epochs: int = 20
    batch_size: int = 128
    schedule: Literal["constant", "cosine", "step"] = "constant"
    views: str | Augmentation = "none"

    n_views = 1
    # As in the paper: groups are looked for in z, where their centres can be decoded; gamma of equation (3).
    label_space: ClassVar[Literal["embedding"]] = "embedding"
    name_weight: ClassVar[float] = 150.0

    def check_params(self) -> None:
        """Check the hyper-parameters, including their ranges."""
        super().check_params()
        if self.z_dim < 1:
            raise UserError(f"z_dim={self.z_dim} is too small: it must be at least 1.")
        if not 0 <= self.beta < float("inf"):
            raise UserError(f"beta={self.beta} must be a number of at least 0.")

    def build(self, image_shape: tuple[int, int, int], n_images: int) -> TopdownVAENet:
        """Return the untrained network."""
        return TopdownVAENet(image_shape, self.network, self.z_dim, self.beta)
