"""BYOL: from one view of a picture, predict a slowly updated network's output for another; no pictures repel.

Grill et al., "Bootstrap your own latent: a new approach to self-supervised learning", 2020.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsort.errors import UserError
from selfsort.methods.base import TrainedEstimator
from selfsort.models.backbones import Backbone, make_backbone
from selfsort.models.base import Batch, Net, Output
from selfsort.models.followers import Follower


def byol_loss(predicted: Tensor, targets: Tensor) -> Tensor:
    """Return the mean squared distance of (B, D) predictions from targets, both of unit length (equation 2)."""
    return 2 - 2 * (F.normalize(predicted.float()) * F.normalize(targets.float())).sum(1).mean()


class BYOLNet(Net):
    """A backbone with a projection and a prediction head, and a moving average of backbone and projection."""

    def __init__(self, backbone: Backbone, hidden_dim: int, projection_dim: int, decay: float):
        super().__init__()
        self.backbone = backbone
        self.projection = _mlp(backbone.width, hidden_dim, projection_dim)
        self.prediction = _mlp(projection_dim, hidden_dim, projection_dim)
        self.target = Follower(nn.Sequential(self.backbone, self.projection), decay, by_batch=True)

    def loss(self, batch: Batch) -> Tensor:
        """Return the loss of both views' predictions of each other, after updating the target network."""
        online = nn.Sequential(self.backbone, self.projection)
        views = torch.cat(batch.views)
        with torch.no_grad():
            if self.training:
                self.target.update_parameters(online)
            first, second = self.target(views).chunk(2)
        return byol_loss(self.prediction(online(views)), torch.cat([second, first]))

    def forward(self, inputs: Tensor) -> Output:
        """Return the (B, D) features of the backbone, of unit length."""
        return Output(F.normalize(self.backbone(inputs)))


def _mlp(width: int, hidden_dim: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, hidden_dim), nn.BatchNorm1d(hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, outputs)
    )


@dataclass(kw_only=True, eq=False, repr=False)
class BYOL(TrainedEstimator):
    """BYOL (Grill et al. 2020): predicts from one view a slow copy's output for another; then clusters.

    Parameters
    ----------
    backbone : "small-conv", "small-resnet18", "small-alexnet", or as in `models.pretrained`
    weights : initial weights of the backbone: None for random ones, "pretrained" for its own, or a file
    hidden_dim : width of the projection's and the prediction's hidden layer; the paper uses 4096
    projection_dim : outputs of both
    target_decay : the share of itself that the slow copy keeps in each step; the paper raises it from 0.996 to 1, over
        many more steps than a small set needs

    """

    backbone: str = "small-conv"
    weights: str | None = None
    hidden_dim: int = 512
    projection_dim: int = 128
    target_decay: float = 0.99

    def check_params(self) -> None:
        """Check the hyper-parameters."""
        super().check_params()
        if self.hidden_dim < 1 or self.projection_dim < 1:
            raise UserError(
                f"hidden_dim={self.hidden_dim}, projection_dim={self.projection_dim}: both must be at least 1."
            )
        if not 0 <= self.target_decay < 1:
            raise UserError(f"target_decay={self.target_decay} must be from 0 to less than 1.")

    def build(self, image_shape: tuple[int, int, int], n_images: int) -> BYOLNet:
        """Return the untrained network."""
        backbone = make_backbone(self.backbone, image_shape, self.weights)
        return BYOLNet(backbone, self.hidden_dim, self.projection_dim, self.target_decay)
