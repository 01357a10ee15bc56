"""Convolutional auto-encoder (paper 2): learns to redraw pictures from few numbers."""

from dataclasses import dataclass
from typing import Literal, cast

import torch.nn.functional as F
from torch import Tensor, nn

from selfsort.augment import Augmentation
from selfsort.errors import UserError
from selfsort.estimator import TrainedEstimator
from selfsort.images import ImageSet
from selfsort.training import Batch, Net

Loss = Literal["bce", "l1", "mse"]


class ConvAutoencoderNet(Net):
    """Three convolutions (12, 24, 48 channels; kernel 4, stride 2) and their mirror image (section II-A)."""

    def __init__(self, channels: int, loss: Loss, pooled: bool):
        super().__init__()
        self.kind, self.pooled = loss, pooled
        steps = list(zip((channels, 12, 24), (12, 24, 48), strict=True))
        down: list[nn.Module] = []
        for before, after in steps:
            down += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.ReLU()]
        up: list[nn.Module] = []
        for before, after in reversed(steps):
            up += [nn.ConvTranspose2d(after, before, 4, stride=2, padding=1), nn.ReLU()]
        self.encoder = nn.Sequential(*down)
        # The sigmoid that ends the paper's decoder is in `decode` and, fused with the cross-entropy, in `loss`.
        self.decoder = nn.Sequential(*up[:-1])

    def loss(self, batch: Batch) -> Tensor:
        """Return the difference between pictures and their reconstruction, averaged over pixels."""
        target = batch.views[0]
        logits = self.decoder(self.encoder(target)).float()
        if self.kind == "bce":
            return F.binary_cross_entropy_with_logits(logits, target)
        difference = F.l1_loss if self.kind == "l1" else F.mse_loss
        return difference(logits.sigmoid(), target)

    def embed(self, images: Tensor) -> Tensor:
        """Return the (B, 48 * H / 8 * W / 8) code, or its (B, 48) average over positions."""
        code: Tensor = self.encoder(images)  # (B, 48, H / 8, W / 8)
        return code.mean((2, 3)) if self.pooled else code.flatten(1)

    def decode(self, z: Tensor) -> Tensor:
        """Return (B, C, H, W) pictures in [0, 1] for (B, 48, H / 8, W / 8) codes."""
        return cast(Tensor, self.decoder(z)).sigmoid()


@dataclass(kw_only=True, eq=False, repr=False)
class ConvAutoencoder(TrainedEstimator):
    """Convolutional auto-encoder (paper 2): a 12/24/48 network that redraws pictures; then clusters.

    Parameters
    ----------
    loss : "bce" (the paper's choice), "l1" or "mse"
    pooled : embed as 48 averages over positions, as the paper's probe does, instead of the whole code

    """

    loss: Loss = "bce"
    pooled: bool = False
    views: str | Augmentation = "none"

    n_views = 1

    def check(self, images: ImageSet) -> None:
        """Check the hyper-parameters and that three halvings fit the pictures."""
        super().check(images)
        height, width, _ = images.image_shape
        if height % 8 or width % 8:
            raise UserError(
                f"conv-autoencoder halves pictures three times and cannot take {height}x{width}: "
                f"use a size that is a multiple of 8, such as {max(8, round(height / 8) * 8)}."
            )

    def build(self, image_shape: tuple[int, int, int], n_images: int) -> ConvAutoencoderNet:
        """Return the untrained network."""
        return ConvAutoencoderNet(image_shape[2], self.loss, self.pooled)
