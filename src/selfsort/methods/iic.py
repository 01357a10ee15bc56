"""IIC: maximises the mutual information between the classes of two views of a picture.

Ji, Henriques and Vedaldi, "Invariant information clustering for unsupervised image classification and segmentation",
2019.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from selfsort.errors import UserError
from selfsort.methods.base import TrainedEstimator
from selfsort.models.backbones import Backbone, make_backbone
from selfsort.models.base import Batch, Net, Output
from selfsort.models.rivals import Rivals
from selfsort.models.split_batch import gathered

_LEAST = 1e-8  # of a probability


def mutual_information(first: Tensor, second: Tensor) -> Tensor:
    """Return the mutual information, in nats, of two views' classes, from their (B, C) probabilities (equation 3)."""
    with torch.autocast(first.device.type, enabled=False):  # bfloat16 would lose the differences below
        joint = (first.float().T @ second.float()) / len(first)
    joint = ((joint + joint.T) / 2).clamp_min(_LEAST)
    return (joint * (joint.log() - joint.sum(1, keepdim=True).log() - joint.sum(0, keepdim=True).log())).sum()


class IICNet(Net):
    """A backbone, linear heads for the wanted classes, and as many for more classes, which only help to learn.

    Of the heads that predict, the one with the lowest loss does.
    """

    def __init__(self, backbone: Backbone, n_classes: int, over_classes: int, n_heads: int):
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ModuleList(nn.Linear(backbone.width, n_classes) for _ in range(n_heads))
        self.over_heads = nn.ModuleList(nn.Linear(backbone.width, over_classes) for _ in range(n_heads))
        self.rivals = Rivals(n_heads)

    def loss(self, batch: Batch) -> Tensor:
        """Return the negative mutual information, averaged over both kinds of heads."""
        features = gathered(self.backbone(torch.cat(batch.views)), views=2)
        wanted, over = (self._losses(heads, features) for heads in (self.heads, self.over_heads))
        self.rivals.take(wanted)
        return (wanted.mean() + over.mean()) / 2

    def _losses(self, heads: nn.ModuleList, features: Tensor) -> Tensor:
        shares = [torch.softmax(head(features).float(), 1).chunk(2) for head in heads]
        return torch.stack([-mutual_information(*views) for views in shares])

    def forward(self, inputs: Tensor) -> Output:
        """Return the (B, D) features of the backbone and the (B, K) class scores of the head with the lowest loss."""
        features = self.backbone(inputs)
        return Output(features, cast(Tensor, self.heads[self.rivals.chosen](features)))


@dataclass(kw_only=True, eq=False, repr=False)
class IIC(TrainedEstimator):
    """IIC (Ji et al. 2019): classes that two views of a picture share, by mutual information, without k-means.

    Parameters
    ----------
    n_classes : number of classes of the heads that predict
    over_classes : number of classes of the auxiliary heads; None means five times `n_classes`
    n_heads : heads of each kind; the one with the lowest loss predicts
    backbone : "small-conv", "small-resnet18", "small-alexnet", or as in `models.pretrained`
    weights : initial weights of the backbone: None for random ones, "pretrained" for its own, or a file

    """

    over_classes: int | None = None
    n_heads: int = 5
    backbone: str = "small-conv"
    weights: str | None = None

    classifies = True

    def check_params(self) -> None:
        """Check the hyper-parameters."""
        super().check_params()
        if self.over_classes is not None and self.over_classes < 2:
            raise UserError(f"over_classes={self.over_classes} must be at least 2.")
        if self.n_heads < 1:
            raise UserError(f"n_heads={self.n_heads} must be at least 1.")

    def build(self, image_shape: tuple[int, int, int], n_images: int) -> IICNet:
        """Return the untrained network."""
        n_classes = cast(int, self.n_classes)
        over_classes = 5 * n_classes if self.over_classes is None else self.over_classes
        return IICNet(make_backbone(self.backbone, image_shape, self.weights), n_classes, over_classes, self.n_heads)

    def _training_facts(self) -> dict[str, Any]:
        rivals = cast(IICNet, self.net_).rivals
        losses = [round(loss, 4) for loss in rivals.recent_losses.tolist()]
        return super()._training_facts() | {"head": rivals.chosen, "head_losses": losses}
