"""IMSAT: classes that carry much information about pictures, and do not change when a picture is changed slightly.

Hu, Miyato, Tokui, Matsumoto and Sugiyama, "Learning discrete representations via information maximizing self-augmented
training", 2017.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsort.clustering.neighbours import nearest_others
from selfsort.data.image_set import ImageSet
from selfsort.errors import UserError
from selfsort.methods.base import TrainedEstimator
from selfsort.methods.stage import Context, Stage
from selfsort.models.backbones import Backbone, make_backbone
from selfsort.models.base import Batch, Net, Output
from selfsort.models.per_image import PerImage
from selfsort.models.split_batch import drawn, gathered

_NEIGHBOUR = 10  # the distance of this neighbour measures what is near a picture (section 5.1)


def information(scores: Tensor, balance: float) -> Tensor:
    """Return balance * H(Y) - H(Y | X) of (B, K) class scores, in nats (equations 6 and 7)."""
    log_shares = torch.log_softmax(scores.float(), 1)
    shares = log_shares.exp()
    evenness: Tensor = torch.special.entr(shares.mean(0)).sum()
    return balance * evenness + (shares * log_shares).sum(1).mean()


def augmentation_loss(shares: Tensor, changed: Tensor) -> Tensor:
    """Return the mean cross-entropy of (B, K) scores of changed pictures with the unchanged ones' shares (eq. 2)."""
    return -(shares * torch.log_softmax(changed.float(), 1)).sum(1).mean()


class IMSATNet(Net):
    """A backbone and a linear classifier.

    Attributes
    ----------
    radius : (N,) how far each picture is moved against the classifier, by Euclidean distance of pixels in [0, 1]

    """

    def __init__(self, backbone: Backbone, n_classes: int, n_images: int, weight: float, balance: float):
        super().__init__()
        self.backbone, self.classifier = backbone, nn.Linear(backbone.width, n_classes)
        self.weight, self.balance = weight, balance
        self.radius = PerImage(torch.zeros(n_images))

    def loss(self, batch: Batch) -> Tensor:
        """Return how far changes of the pictures change the classes, minus the weighted information (equation 8)."""
        scores = self._scores(batch.inputs)
        shares = torch.softmax(scores.float(), 1).detach()
        changed = [self._scores(view) for view in batch.views]
        radius = self.radius[batch.indices]
        if self.radius.rows.any():
            changed.append(self._scores(self._worst(batch.inputs, shares, radius.view(-1, 1, 1, 1))))
        apart = torch.stack([augmentation_loss(shares, each) for each in changed]).mean()
        return apart - self.weight * information(gathered(scores), self.balance)

    def _worst(self, images: Tensor, shares: Tensor, radius: Tensor) -> Tensor:
        """Return pictures moved by `radius` to where their classes change fastest (virtual adversarial training)."""
        noise = drawn(lambda rows: torch.randn((rows, *images.shape[1:]), device=images.device), len(images))
        step = (radius * _directions(noise)).requires_grad_()
        apart = augmentation_loss(shares, self._scores(images + step))
        (gradient,) = torch.autograd.grad(apart, step)
        return images + radius * _directions(gradient)

    def _scores(self, inputs: Tensor) -> Tensor:
        return cast(Tensor, self.classifier(self.backbone(inputs)))

    def forward(self, inputs: Tensor) -> Output:
        """Return the (B, D) features of the backbone and the (B, K) class scores."""
        features = self.backbone(inputs)
        return Output(features, cast(Tensor, self.classifier(features)))


def _directions(tensor: Tensor) -> Tensor:
    return F.normalize(tensor.float().flatten(1)).view_as(tensor)


@dataclass(kw_only=True, eq=False, repr=False)
class IMSAT(TrainedEstimator):
    """IMSAT (Hu et al. 2017): informative classes that small changes do not alter, without k-means.

    Parameters
    ----------
    n_classes : number of classes to learn
    adversarial : how far pictures are moved against the classifier, as a share of the distance to the tenth neighbour
        (the paper's alpha); with 0 only random views are used
    weight : weight of the information in the loss (the paper's lambda)
    balance : weight of even classes relative to confidence (the paper's mu)
    backbone : "small-conv", "small-resnet18", "small-alexnet", or as in `models.pretrained`
    weights : initial weights of the backbone: None for random ones, "pretrained" for its own, or a file

    """

    adversarial: float = 0.25
    weight: float = 0.1
    balance: float = 4.0
    backbone: str = "small-conv"
    weights: str | None = None

    classifies = True
    n_views = 1

    def check_params(self) -> None:
        """Check the hyper-parameters."""
        super().check_params()
        for name in ("adversarial", "weight", "balance"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"{name}={getattr(self, name)} must be 0 or a positive number.")

    def build(self, image_shape: tuple[int, int, int], n_images: int) -> IMSATNet:
        """Return the untrained network."""
        backbone = make_backbone(self.backbone, image_shape, self.weights)
        return IMSATNet(backbone, cast(int, self.n_classes), n_images, self.weight, self.balance)

    def stages(self, images: ImageSet, context: Context) -> Iterator[Stage]:
        """Train `net_`, after setting how far pictures may be moved."""
        if self.adversarial:
            pixels = images.pixels(self.input_of(images) or images.input_spec)
            points = (pixels.reshape(len(pixels), -1) / np.float32(255)).astype(np.float32)
            distances = np.sqrt(nearest_others(points, _NEIGHBOUR)[0][:, -1])
            cast(IMSATNet, self.net_).radius.replace(torch.from_numpy(self.adversarial * distances))
        yield from super().stages(images, context)
