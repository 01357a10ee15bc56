"""Rotation: learns features by predicting how far a picture was turned.

Gidaris, Singh and Komodakis, "Unsupervised representation learning by predicting image rotations", 2018.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsort.methods.base import TrainedEstimator
from selfsort.models.backbones import Backbone, make_backbone
from selfsort.models.base import Batch, Net, Output

_TURNS = 4  # by a quarter turn each


def turned(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return (4B, C, H, H) copies of square pictures, turned by 0, 90, 180 and 270 degrees, and the turn of each."""
    copies = torch.cat([images.rot90(turn, (2, 3)) for turn in range(_TURNS)])
    return copies, torch.arange(_TURNS, device=images.device).repeat_interleave(len(images))


class RotationNet(Net):
    """A backbone and a linear classifier for the four turns, which is dropped after training."""

    def __init__(self, backbone: Backbone):
        super().__init__()
        self.backbone, self.classifier = backbone, nn.Linear(backbone.width, _TURNS)

    def loss(self, batch: Batch) -> Tensor:
        """Return the cross-entropy of the turns, each picture seen in all four (equations 2 and 3)."""
        copies, turns = turned(batch.views[0])
        return F.cross_entropy(self.classifier(self.backbone(copies)).float(), turns)

    def forward(self, inputs: Tensor) -> Output:
        """Return the (B, D) features, of unit length."""
        return Output(F.normalize(self.backbone(inputs)))


@dataclass(kw_only=True, eq=False, repr=False)
class Rotation(TrainedEstimator):
    """Rotation (Gidaris et al. 2018): predicts how far a picture was turned; then clusters.

    It learns nothing from pictures that look the same in any orientation, such as cells.

    Parameters
    ----------
    backbone : "small-conv", "small-resnet18", "small-alexnet", or as in `models.pretrained`
    weights : initial weights of the backbone: None for random ones, "pretrained" for its own, or a file
    batch_size : pictures per step, each in four turns

    """

    backbone: str = "small-conv"
    weights: str | None = None
    batch_size: int = 128
    n_views = 1

    def build(self, image_shape: tuple[int, int, int], n_images: int) -> RotationNet:
        """Return the untrained network."""
        return RotationNet(make_backbone(self.backbone, image_shape, self.weights))
