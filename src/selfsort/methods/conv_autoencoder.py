"""Convolutional auto-encoder (paper 2): learns to reconstruct pictures from few numbers."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import torch.nn.functional as F
from torch import Tensor, nn

from selfsort.augment import Augmentation
from selfsort.data.image_set import ImageSet
from selfsort.errors import UserError
from selfsort.losses.local_aggregation import LocalAggregation
from selfsort.methods.base import TrainedEstimator
from selfsort.models.base import Batch, Net, Output

Loss = Literal["bce", "l1", "mse"]


class ConvAutoencoderNet(Net):
    """Three convolutions (12, 24, 48 channels; kernel 4, stride 2) and their mirror image (section II-A)."""

    def __init__(
        self,
        channels: int,
        loss: Loss,
        pooled: bool,
        aggregation: LocalAggregation | None = None,
        aggregation_weight: float = 0.0,
    ):
        super().__init__()
        self.kind, self.pooled = loss, pooled
        self.aggregation, self.aggregation_weight = aggregation, aggregation_weight
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
        """Return the reconstruction error, averaged over pixels, plus the weighted local aggregation loss."""
        code = self.encoder(batch.views[0])
        loss = self._reconstruction(self.decoder(code).float(), batch.views[0])
        if self.aggregation is not None:
            loss = loss + self.aggregation_weight * self.aggregation(self._embedding(code), batch.indices)
        return loss

    def _reconstruction(self, logits: Tensor, target: Tensor) -> Tensor:
        if self.kind == "bce":
            return F.binary_cross_entropy_with_logits(logits, target)
        difference = F.l1_loss if self.kind == "l1" else F.mse_loss
        return difference(logits.sigmoid(), target)

    def forward(self, inputs: Tensor) -> Output:
        """Return the (B, 48 * H / 8 * W / 8) code, or its (B, 48) average over positions."""
        return Output(self._embedding(self.encoder(inputs)))

    def _embedding(self, code: Tensor) -> Tensor:  # of (B, 48, H / 8, W / 8)
        return code.mean((2, 3)) if self.pooled else code.flatten(1)

    def decode(self, z: Tensor) -> Tensor:
        """Return (B, C, H, W) pictures in [0, 1] for (B, 48, H / 8, W / 8) codes."""
        return cast(Tensor, self.decoder(z)).sigmoid()


@dataclass(kw_only=True, eq=False, repr=False)
class ConvAutoencoder(TrainedEstimator):
    """Convolutional auto-encoder (paper 2): a 12/24/48 network that reconstructs pictures; then clusters.

    Parameters
    ----------
    loss : "bce" (the paper's choice), "l1" or "mse"
    pooled : use 48 averages over positions as embedding, as the paper's probe does, instead of the whole code
    aggregation : weight of an added Local Aggregation loss (Zhuang et al. 2019), from the second epoch on; 0 for none
    aggregation_neighbours : nearest pictures from which a picture is told apart
    aggregation_clusterings : runs of k-means; pictures that share a cluster in any of them attract each other
    aggregation_cluster_size : average number of pictures in a cluster
    aggregation_temperature : temperature of the similarities
    aggregation_momentum : weight of the new embedding in a picture's running mean

    """

    loss: Loss = "bce"
    pooled: bool = False
    aggregation: float = 0.0
    aggregation_neighbours: int = 512
    aggregation_clusterings: int = 3
    aggregation_cluster_size: int = 40
    aggregation_temperature: float = 0.07
    aggregation_momentum: float = 0.5
    views: str | Augmentation = "none"

    n_views = 1
    renamed: ClassVar = {"aggregation.bank": "aggregation.bank.rows"}

    def check_params(self) -> None:
        """Check the hyper-parameters."""
        super().check_params()
        self._check_aggregation()

    def check(self, images: ImageSet) -> None:
        """Check the hyper-parameters and that the pictures can be halved three times."""
        super().check(images)
        height, width, _ = images.image_shape
        if height % 8 or width % 8:
            raise UserError(
                f"conv-autoencoder halves pictures three times and cannot take {height}x{width}: "
                f"use a size that is a multiple of 8, such as {max(8, round(height / 8) * 8)}."
            )

    def _check_aggregation(self) -> None:
        if not 0 <= self.aggregation < math.inf:
            raise UserError(f"aggregation={self.aggregation} must be 0 or a positive number.")
        for name, least in {"neighbours": 2, "clusterings": 1, "cluster_size": 2}.items():
            value = getattr(self, f"aggregation_{name}")
            if value < least:
                raise UserError(f"aggregation_{name}={value} is too small: it must be at least {least}.")
        if not 0 < self.aggregation_temperature < math.inf:
            raise UserError(f"aggregation_temperature={self.aggregation_temperature} must be a positive number.")
        if not 0 < self.aggregation_momentum <= 1:
            raise UserError(f"aggregation_momentum={self.aggregation_momentum} must be above 0 and at most 1.")

    def build(self, image_shape: tuple[int, int, int], n_images: int) -> ConvAutoencoderNet:
        """Return the untrained network."""
        aggregation = self._aggregation(image_shape, n_images) if self.aggregation else None
        return ConvAutoencoderNet(image_shape[2], self.loss, self.pooled, aggregation, self.aggregation)

    def _aggregation(self, image_shape: tuple[int, int, int], n_images: int) -> LocalAggregation:
        height, width, _ = image_shape
        return LocalAggregation(
            n_images,
            48 if self.pooled else 48 * (height // 8) * (width // 8),
            neighbours=self.aggregation_neighbours,
            clusterings=self.aggregation_clusterings,
            cluster_size=self.aggregation_cluster_size,
            temperature=self.aggregation_temperature,
            momentum=self.aggregation_momentum,
        )
