"""Associative deep clustering: walks from a class's centre to pictures and back should end at the same centre.

Haeusser, Plapp, Golkov, Aljalbout and Cremers, "Associative deep clustering: training a classification network with no
labels", 2018; the walks are those of Haeusser, Mordvintsev and Cremers, "Learning by association", 2017.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from selfsort.clustering.kmeans import kmeans
from selfsort.data.image_set import ImageSet
from selfsort.errors import UserError
from selfsort.methods.base import TrainedEstimator
from selfsort.methods.stage import Context, Stage
from selfsort.models.backbones import Backbone, make_backbone
from selfsort.models.base import Batch, Net, Output
from selfsort.models.split_batch import gathered
from selfsort.training.outputs import outputs


def association_loss(starts: Tensor, others: Tensor, temperature: float, visit: float) -> Tensor:
    """Return how often walks from (A, D) unit vectors to (B, D) others end elsewhere, and how unevenly they visit.

    The walker term is the cross-entropy of ending where a walk began; the weighted visit term is that of visiting all
    of the others equally ("Learning by association", equations 1 to 5).
    """
    similarity = starts @ others.T / temperature  # (A, B)
    there = torch.log_softmax(similarity, 1)  # over the others
    back = torch.log_softmax(similarity, 0).T  # over the starts
    # log of the diagonal of the product of both
    ended = (there + back.T).logsumexp(1)
    visited = there.logsumexp(0) - math.log(len(starts))
    return -ended.mean() - visit * visited.mean()


class ADCNet(Net):
    """A backbone with an embedding, a centre in it for each class, and a classifier on it.

    Attributes
    ----------
    centres : (K, D) centres, trained like weights

    """

    def __init__(self, backbone: Backbone, dim: int, n_classes: int, temperature: float, visit: float):
        super().__init__()
        # Without it all embeddings point in about the same direction at first, and no centre is nearer than another.
        self.backbone = backbone
        self.projection = nn.Sequential(nn.Linear(backbone.width, dim), nn.BatchNorm1d(dim, affine=False))
        self.centres = nn.Parameter(torch.randn(n_classes, dim))
        self.classifier = nn.Linear(dim, n_classes)
        self.temperature, self.visit = temperature, visit

    def begin_with(self, centres: NDArray[np.float32]) -> None:
        """Use the (K, D) means of clusters as initial centres, and their directions as the classifier's weights."""
        with torch.no_grad():
            self.centres.copy_(F.normalize(torch.from_numpy(centres)))
            self.classifier.weight.copy_(self.centres)
            self.classifier.bias.zero_()

    def loss(self, batch: Batch) -> Tensor:
        """Return the associations of centres with pictures and of pictures with views, plus the classifier's loss."""
        embedded = self._embedded(torch.cat([batch.inputs, batch.views[0]]))
        pictures, views = gathered(embedded, views=2).chunk(2)
        centres = F.normalize(self.centres)
        found = association_loss(centres, pictures, self.temperature, self.visit)
        found = found + association_loss(views, pictures, self.temperature, self.visit)
        return found + self._classifier_loss(centres, pictures, views)

    def _classifier_loss(self, centres: Tensor, pictures: Tensor, views: Tensor) -> Tensor:
        """Return the cross-entropies of centres with their own class and of views with their picture's classes."""
        own = F.cross_entropy(self._scores(centres), torch.arange(len(centres), device=centres.device))
        return own + F.cross_entropy(self._scores(views), torch.softmax(self._scores(pictures), 1))

    def _embedded(self, inputs: Tensor) -> Tensor:
        return F.normalize(self.projection(self.backbone(inputs)).float())

    def _scores(self, embedding: Tensor) -> Tensor:
        return cast(Tensor, self.classifier(embedding)).float() / self.temperature

    def forward(self, inputs: Tensor) -> Output:
        """Return the (B, D) embedding, of unit length, and the (B, K) class scores."""
        embedding = self._embedded(inputs)
        return Output(embedding, self._scores(embedding))


@dataclass(kw_only=True, eq=False, repr=False)
class ADC(TrainedEstimator):
    """Associative deep clustering (Haeusser et al. 2018): classes by walks from centres to pictures and back.

    Parameters
    ----------
    n_classes : number of classes to learn
    backbone : "small-conv", "small-resnet18", "small-alexnet", or as in `models.pretrained`
    weights : initial weights of the backbone: None for random ones, "pretrained" for its own, or a file
    embedding_dim : numbers in the embedding; the paper uses 128
    temperature : temperature of the similarities of unit vectors
    visit : weight of visiting all pictures equally

    """

    backbone: str = "small-conv"
    weights: str | None = None
    embedding_dim: int = 128
    temperature: float = 0.1
    visit: float = 1.0

    classifies = True
    n_views = 1

    def check_params(self) -> None:
        """Check the hyper-parameters."""
        super().check_params()
        if self.embedding_dim < 1:
            raise UserError(f"embedding_dim={self.embedding_dim} must be at least 1.")
        if not self.temperature > 0:
            raise UserError(f"temperature={self.temperature} must be a positive number.")
        if not 0 <= self.visit < math.inf:
            raise UserError(f"visit={self.visit} must be 0 or a positive number.")

    def build(self, image_shape: tuple[int, int, int], n_images: int) -> ADCNet:
        """Return the untrained network."""
        backbone = make_backbone(self.backbone, image_shape, self.weights)
        n_classes = cast(int, self.n_classes)
        return ADCNet(backbone, self.embedding_dim, n_classes, self.temperature, self.visit)

    def stages(self, images: ImageSet, context: Context) -> Iterator[Stage]:
        """Train `net_`, starting from k-means clusters of its untrained embedding, as in the authors' code."""
        net, data = cast(ADCNet, self.net_), self.image_data(images)
        found = kmeans(outputs(net, data)[0], cast(int, self.n_classes), random_state=self.random_state)
        net.begin_with(found.centers)
        yield Stage(net, data, self.recipe())
