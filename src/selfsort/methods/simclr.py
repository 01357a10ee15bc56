"""SimCLR: two views of a picture attract each other, all other pictures of the batch repel.

Chen, Kornblith, Norouzi and Hinton, "A simple framework for contrastive learning of visual representations", 2020.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsort.errors import UserError
from selfsort.methods.base import TrainedEstimator
from selfsort.models.backbones import Backbone, make_backbone
from selfsort.models.base import Batch, Net, Output
from selfsort.models.split_batch import gathered


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Return the normalised temperature-scaled cross-entropy of (B, D) projections of two views (section 2.1)."""
    batch = len(first)
    z = F.normalize(torch.cat([first, second]).float())  # (2B, D)
    similarity = z @ z.T / temperature  # (2B, 2B)
    similarity.fill_diagonal_(-torch.inf)
    positives = torch.arange(2 * batch, device=z.device).roll(batch)
    return F.cross_entropy(similarity, positives)


class SimCLRNet(Net):
    """A backbone and a projection head that is dropped after training."""

    def __init__(self, backbone: Backbone, projection_dim: int, temperature: float):
        super().__init__()
        width = backbone.width
        self.backbone = backbone
        self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, projection_dim))
        self.temperature = temperature

    def loss(self, batch: Batch) -> Tensor:
        """Return NT-Xent over the projections of the two views."""
        first, second = gathered(self.head(self.backbone(torch.cat(batch.views))).float(), views=2).chunk(2)
        return nt_xent(first, second, self.temperature)

    def forward(self, inputs: Tensor) -> Output:
        """Return the (B, D) features before the projection head, of unit length."""
        return Output(F.normalize(self.backbone(inputs)))


@dataclass(kw_only=True, eq=False, repr=False)
class SimCLR(TrainedEstimator):
    """SimCLR (Chen et al. 2020): views of a picture attract each other, other pictures repel; then clusters.

    Parameters
    ----------
    backbone : "small-conv", "small-resnet18", "small-alexnet", or as in `models.pretrained`
    weights : initial weights of the backbone: None for random ones, "pretrained" for its own, or a file
    projection_dim : outputs of the projection head
    temperature : temperature of the similarities; appendix B.9 uses 0.5 for small pictures

    """

    backbone: str = "small-conv"
    weights: str | None = None
    projection_dim: int = 128
    temperature: float = 0.5

    def check_params(self) -> None:
        """Check the hyper-parameters."""
        super().check_params()
        if self.projection_dim < 1:
            raise UserError(f"projection_dim={self.projection_dim} must be at least 1.")
        if not self.temperature > 0:
            raise UserError(f"temperature={self.temperature} must be a positive number.")

    def build(self, image_shape: tuple[int, int, int], n_images: int) -> SimCLRNet:
        """Return the untrained network."""
        return SimCLRNet(make_backbone(self.backbone, image_shape, self.weights), self.projection_dim, self.temperature)
