"""Self-Classifier: learns classes and features at once by giving two views of a picture the same class (paper 5).

Amrani, Karlinsky and Bronstein, "Self-supervised classification network", 2021; the report on CIFAR-10 is paper 5.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsort.errors import UserError
from selfsort.methods.base import TrainedEstimator
from selfsort.models.backbones import Backbone, make_backbone
from selfsort.models.base import Batch, Net, Output
from selfsort.training.recipe import OptimizerName

_SMOOTHING = 0.01  # share of a step in the losses that choose a head


def self_classifier_loss(first: Tensor, second: Tensor, row: float, column: float) -> Tensor:
    """Return the symmetric cross-entropy between (B, C) class scores of two views (paper 5, section 5.1).

    The target of one view is a softmax over the batch at temperature `column`, normalised over classes; the
    prediction of the other is a softmax over classes at temperature `row`, normalised over the batch and scaled by B
    / C. So a class that takes all pictures gains nothing, and no other term is needed against collapse.
    """
    return (_cross_entropy(first, second, row, column) + _cross_entropy(second, first, row, column)) / 2


def _cross_entropy(target: Tensor, prediction: Tensor, row: float, column: float) -> Tensor:
    batch, classes = target.shape
    share = torch.log_softmax(target / column, 0)  # over the batch
    weight = torch.softmax(share, 1)  # the L1 normalisation of exp(share) over classes
    log_class = torch.log_softmax(prediction / row, 1)  # over classes
    log_prediction = log_class - log_class.logsumexp(0) + math.log(batch / classes)
    return -(weight * log_prediction).sum(1).mean()


class CosineClassifier(nn.Linear):
    """A linear classifier without bias whose weights have unit norm."""

    def __init__(self, dim: int, classes: int):
        super().__init__(dim, classes, bias=False)

    def forward(self, z: Tensor) -> Tensor:
        """Return the (B, classes) cosines of unit vectors with each class's weights."""
        return F.linear(z, F.normalize(self.weight))


class SelfClassifierNet(Net):
    """A backbone, an MLP with unit-norm output, and cosine classifiers, of which some have the same class count.

    Training ends in local optima, and the loss tells which: of the `rivals` first heads, that of lowest loss predicts.

    Attributes
    ----------
    recent_losses : (rivals,) of the first heads, smoothed over the last steps

    """

    recent_losses: Tensor

    def __init__(
        self,
        backbone: Backbone,
        mlp: nn.Module,
        dim: int,
        classes: tuple[int, ...],
        row: float,
        column: float,
        rivals: int = 1,
    ):
        super().__init__()
        self.backbone, self.mlp, self.row, self.column = backbone, mlp, row, column
        self.heads = nn.ModuleList(CosineClassifier(dim, count) for count in classes)
        self.register_buffer("recent_losses", torch.zeros(rivals), persistent=rivals > 1)

    @property
    def chosen(self) -> int:
        """Return the number of the head that predicts; of a network without values (on "meta") any."""
        return 0 if self.recent_losses.is_meta else int(self.recent_losses.argmin())

    def loss(self, batch: Batch) -> Tensor:
        """Return the loss of the two views, averaged over the heads."""
        z = self._project(self.backbone(torch.cat(batch.views)))
        found = []
        for head in self.heads:
            first, second = head(z).float().chunk(2)
            found.append(self_classifier_loss(first, second, self.row, self.column))
        losses = torch.stack(found)
        if self.training:
            new = losses.detach()[: len(self.recent_losses)]
            self.recent_losses.copy_(
                torch.where(self.recent_losses == 0, new, self.recent_losses.lerp(new, _SMOOTHING))
            )
        return losses.mean()

    def forward(self, inputs: Tensor) -> Output:
        """Return the (B, D) features of the backbone and the (B, K) class scores of the head of lowest loss."""
        features = self.backbone(inputs)
        return Output(features, cast(Tensor, self.heads[self.chosen](self._project(features))) / self.row)

    def _project(self, features: Tensor) -> Tensor:
        return F.normalize(self.mlp(features))


@dataclass(kw_only=True, eq=False, repr=False)
class SelfClassifier(TrainedEstimator):
    """Self-Classifier (paper 5): classes and features at once, without k-means.

    Parameters
    ----------
    n_classes : classes of the head that predicts
    n_heads : heads of so many classes, of which that of lowest loss predicts
    head_classes : class counts of further heads that train beside them, as the original does
    backbone : "small-conv", "small-resnet18", "small-alexnet" (both the paper's), or as in `models.pretrained`
    weights : that the backbone begins with: None for random ones, "pretrained" for its own, or a file
    hidden_layers : of the MLP: 1 (the paper's best on CIFAR-10) or 2 (the original's)
    mlp_end : what follows its last layer: "norm", batch norm and a leaky ReLU as after the others, or "linear", nothing
        and all weights drawn from a truncated normal of 0.02, as the authors' code has it
    hidden_dim : width of the first of 2 hidden layers
    projection_dim : outputs of the MLP
    row_temperature : of the softmax over classes
    column_temperature : of the softmax over the batch

    """

    n_heads: int = 8
    head_classes: tuple[int, ...] = ()
    backbone: str = "small-conv"
    weights: str | None = None
    hidden_layers: Literal[1, 2] = 1
    mlp_end: Literal["norm", "linear"] = "norm"
    hidden_dim: int = 4096
    projection_dim: int = 128
    row_temperature: float = 0.1
    column_temperature: float = 0.05
    batch_size: int = 64
    optimizer: OptimizerName = "adam"
    learning_rate: float = 1e-3

    def check_params(self) -> None:
        """Check the hyper-parameters."""
        super().check_params()
        if self.n_classes == "auto":
            raise UserError("n_classes='auto' is for methods that cluster; self-classifier learns a number of classes.")
        if any(count < 2 for count in self.head_classes):
            raise UserError(f"head_classes={self.head_classes}: every head needs at least 2 classes.")
        if self.n_heads < 1:
            raise UserError(f"n_heads={self.n_heads} must be at least 1.")
        if self.projection_dim < 1 or self.hidden_dim < 1:
            raise UserError(
                f"projection_dim={self.projection_dim}, hidden_dim={self.hidden_dim}: both must be at least 1."
            )
        if not (self.row_temperature > 0 and self.column_temperature > 0):
            raise UserError("row_temperature and column_temperature must be positive numbers.")

    def build(self, image_shape: tuple[int, int, int], n_images: int) -> SelfClassifierNet:
        """Return the untrained network."""
        backbone = make_backbone(self.backbone, image_shape, self.weights)
        classes = (*[cast(int, self.n_classes)] * self.n_heads, *self.head_classes)
        mlp = self._mlp(backbone.width)
        temperatures = self.row_temperature, self.column_temperature
        net = SelfClassifierNet(backbone, mlp, self.projection_dim, classes, *temperatures, self.n_heads)
        if self.mlp_end == "linear":
            for layer in (*mlp.modules(), *net.heads):
                if isinstance(layer, nn.Linear):
                    nn.init.trunc_normal_(layer.weight, std=0.02)
        return net

    @classmethod
    def restore(cls, folder: Path, run: Mapping[str, Any], params: Mapping[str, Any]) -> Self:
        """Return a saved model; runs of earlier versions have one head of the class count that predicts."""
        return super().restore(folder, run, {"n_heads": 1, **params})

    def _training_facts(self) -> dict[str, Any]:
        net = cast(SelfClassifierNet, self.net_)
        losses = [round(loss, 4) for loss in net.recent_losses.tolist()]
        return super()._training_facts() | {"head": net.chosen, "head_losses": losses}

    def _mlp(self, width: int) -> nn.Module:
        widths = [width, self.hidden_dim, self.projection_dim][2 - self.hidden_layers :]
        widths[0] = width
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.LeakyReLU()]
        return nn.Sequential(*(layers[:-2] if self.mlp_end == "linear" else layers))
