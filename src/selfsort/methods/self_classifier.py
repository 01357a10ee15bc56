"""Self-Classifier: learns classes and features at once by giving two views of a picture the same class (paper 5).

Amrani, Karlinsky and Bronstein, "Self-supervised classification network", 2021; the report on CIFAR-10 is paper 5.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsort.augment import Views, sides, views_from
from selfsort.data.image_set import ImageSet
from selfsort.errors import UserError
from selfsort.losses.self_classifier import self_classifier_loss
from selfsort.methods.base import TrainedEstimator
from selfsort.models.backbones import Backbone, make_backbone
from selfsort.models.base import Batch, Net, Output
from selfsort.models.queues import NeighbourQueue
from selfsort.models.rivals import Rivals
from selfsort.models.split_batch import gathered
from selfsort.training.data import ImageData
from selfsort.training.recipe import OptimizerName


class CosineClassifier(nn.Linear):
    """A linear classifier without bias whose weights have unit norm."""

    def __init__(self, dim: int, classes: int):
        super().__init__(dim, classes, bias=False)

    def forward(self, z: Tensor) -> Tensor:
        """Return the (B, classes) cosines between unit vectors and each class's weights."""
        return F.linear(z, F.normalize(self.weight))


class SelfClassifierNet(Net):
    """A backbone, an MLP with unit-norm output, and cosine classifiers, some of which have the same class count.

    Training ends in local optima, and the loss shows the best one: of the first `n_rivals` heads, the one with the
    lowest loss predicts. With a queue, the nearest neighbour among earlier pictures takes the place of the first view.
    """

    def __init__(
        self,
        backbone: Backbone,
        mlp: nn.Module,
        dim: int,
        classes: tuple[int, ...],
        row: float,
        column: float,
        n_rivals: int = 1,
        queue_size: int = 0,
    ):
        super().__init__()
        self.backbone, self.mlp, self.row, self.column = backbone, mlp, row, column
        self.heads = nn.ModuleList(CosineClassifier(dim, count) for count in classes)
        self.n_rivals, self.rivals = n_rivals, Rivals(n_rivals)
        self.queue = NeighbourQueue(queue_size, dim) if queue_size else None

    def loss(self, batch: Batch) -> Tensor:
        """Return the loss of the views, averaged over the heads."""
        views = self._embeddings(batch)
        found = []
        for head in self.heads:
            scores = [head(z).float() for z in views]
            found.append(self_classifier_loss(scores, self.row, self.column))
        losses = torch.stack(found)
        self.rivals.take(losses[: self.n_rivals])
        return losses.mean()

    def forward(self, inputs: Tensor) -> Output:
        """Return the (B, D) features of the backbone and the (B, K) class scores of the head with the lowest loss."""
        features = self.backbone(inputs)
        return Output(features, cast(Tensor, self.heads[self.rivals.chosen](self._project(features))) / self.row)

    def _embeddings(self, batch: Batch) -> list[Tensor]:
        """Return the whole batch's (B, D) embeddings of each view, the first replaced by its neighbours in a queue."""
        found: list[Tensor] = []
        for _, alike in groupby(batch.views, key=lambda view: view.shape):
            same_size = list(alike)
            embedded = self._project(self.backbone(torch.cat(same_size)))
            found += gathered(embedded, len(same_size)).chunk(len(same_size))
        if self.queue is not None:
            first, indices = found[0], gathered(batch.indices)
            found[0] = self.queue.nearest(first, indices)
            if self.training:
                self.queue.put(first, indices)
        return found

    def _project(self, features: Tensor) -> Tensor:
        return F.normalize(self.mlp(features))


@dataclass(kw_only=True, eq=False, repr=False)
class SelfClassifier(TrainedEstimator):
    """Self-Classifier (paper 5): classes and features at once, without k-means.

    Parameters
    ----------
    n_classes : number of classes of the head that predicts
    n_heads : number of heads with that many classes; the one with the lowest loss predicts
    head_classes : class counts of further heads trained alongside, as in the original
    local_views : number of small views besides the two large ones (multi-crop); the original has 6
    local_scale : share of the picture's area that a small view covers
    local_size : side of a small view as a share of the picture's side; at least 8 pixels; the original's is 96 of 224
    queue_size : number of embeddings of earlier pictures, among which the first view is replaced by its nearest
        neighbour, at most half the number of pictures; 0 for none, 262,144 in the original
    backbone : "small-conv", "small-resnet18", "small-alexnet" (both the paper's), or as in `models.pretrained`
    weights : initial weights of the backbone: None for random ones, "pretrained" for its own, or a file
    hidden_layers : hidden layers of the MLP: 1 (the paper's best on CIFAR-10) or 2 (the original's)
    mlp_end : what follows the MLP's last layer: "norm", batch norm and a leaky ReLU as after the others, or "linear",
        nothing, with all weights drawn from a truncated normal distribution of 0.02, as in the authors' code
    hidden_dim : width of the first of 2 hidden layers
    projection_dim : outputs of the MLP
    row_temperature : temperature of the softmax over classes
    column_temperature : temperature of the softmax over the batch

    """

    n_heads: int = 8
    head_classes: tuple[int, ...] = ()
    local_views: int = 0
    local_scale: tuple[float, float] = (0.05, 0.4)
    local_size: float = 0.43
    queue_size: int = 0
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

    renamed: ClassVar = {"recent_losses": "rivals.recent_losses"}

    def check_params(self) -> None:
        """Check the hyper-parameters."""
        super().check_params()
        if self.n_classes == "auto":
            raise UserError("n_classes='auto' is for methods that cluster; self-classifier needs a number of classes.")
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

        self._check_local_views()

    def _check_local_views(self) -> None:
        if self.local_views < 0 or self.queue_size < 0:
            raise UserError(f"local_views={self.local_views}, queue_size={self.queue_size}: neither can be negative.")
        low, high = self.local_scale
        if not 0 < low <= high <= 1:
            raise UserError(f"local_scale={self.local_scale} must be two numbers above 0 and at most 1, lower first.")
        if not 0 < self.local_size <= 1:
            raise UserError(f"local_size={self.local_size} must be above 0 and at most 1.")
        if self.local_views and not isinstance(views_from(self.views), Views):
            raise UserError(f"local_views={self.local_views} need views that crop, not views={self.views!r}.")

    def image_data(self, images: ImageSet) -> ImageData:
        """Return pictures with two large random views and `local_views` small ones."""
        data = super().image_data(images)
        if self.local_views:
            small = replace(cast(Views, views_from(self.views)), crop_scale=self.local_scale)
            data.further = [partial(small, size=self.local_size)] * self.local_views
        return data

    def build(self, image_shape: tuple[int, int, int], n_images: int) -> SelfClassifierNet:
        """Return the untrained network."""
        backbone = make_backbone(self.backbone, image_shape, self.weights)
        classes = (*[cast(int, self.n_classes)] * self.n_heads, *self.head_classes)
        mlp = self._mlp(backbone.width)
        temperatures = self.row_temperature, self.column_temperature
        if self.local_views:
            self._check_small(backbone, image_shape)
        queue_size = min(self.queue_size, max(1, n_images // 2))
        net = SelfClassifierNet(backbone, mlp, self.projection_dim, classes, *temperatures, self.n_heads, queue_size)
        if self.mlp_end == "linear":
            for layer in (*mlp.modules(), *net.heads):
                if isinstance(layer, nn.Linear):
                    nn.init.trunc_normal_(layer.weight, std=0.02)
        return net

    def _check_small(self, backbone: Backbone, image_shape: tuple[int, int, int]) -> None:
        height, width = sides(image_shape[:2], self.local_size)
        try:
            with torch.no_grad():
                found = backbone.eval()(torch.zeros(1, image_shape[2], height, width)).shape[1]
        except (RuntimeError, AssertionError, ValueError):
            found = 0
        backbone.train()
        if found != backbone.width:
            raise UserError(
                f"Backbone {self.backbone!r} cannot take local views of {height}x{width} pixels: give a larger "
                "local_size, local_views=0 or another backbone."
            )

    @classmethod
    def restore(cls, folder: Path, run: Mapping[str, Any], params: Mapping[str, Any]) -> Self:
        """Return a saved model; in runs of earlier versions only one head predicts."""
        return super().restore(folder, run, {"n_heads": 1, **params})

    def _training_facts(self) -> dict[str, Any]:
        rivals = cast(SelfClassifierNet, self.net_).rivals
        losses = [round(loss, 4) for loss in rivals.recent_losses.tolist()]
        return super()._training_facts() | {"head": rivals.chosen, "head_losses": losses}

    def _mlp(self, width: int) -> nn.Module:
        widths = [width, self.hidden_dim, self.projection_dim][2 - self.hidden_layers :]
        widths[0] = width
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.LeakyReLU()]
        return nn.Sequential(*(layers[:-2] if self.mlp_end == "linear" else layers))
