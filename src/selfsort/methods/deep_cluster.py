"""DeepCluster: learns to predict the k-means clusters of its own features, recomputed after each epoch.

Caron, Bojanowski, Joulin and Douze, "Deep clustering for unsupervised learning of visual features", 2018.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from selfsort.clustering.kmeans import kmeans
from selfsort.clustering.space import unit_rows
from selfsort.data.image_set import ImageSet
from selfsort.errors import UserError
from selfsort.methods.base import TrainedEstimator
from selfsort.methods.stage import Context, Stage
from selfsort.models.backbones import Backbone, make_backbone
from selfsort.models.base import Batch, Net, Output
from selfsort.models.per_image import PerImage
from selfsort.models.split_batch import gathered
from selfsort.ranks import from_first
from selfsort.training.outputs import outputs

_COMPONENTS = 256  # principal components used by k-means (section 3.3)


def whitened(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (N, d) principal components of (N, D) features, each of variance 1, then of unit length (section 3.3)."""
    from sklearn.decomposition import PCA

    rows = features.astype(np.float64)
    components = PCA(min(_COMPONENTS, len(rows) - 1, rows.shape[1])).fit_transform(rows)
    spread = components.std(0)
    # Directions that hold only rounding errors would be amplified as well.
    return unit_rows(components[:, spread > 1e-6 * spread.max()] / spread[spread > 1e-6 * spread.max()])


class DeepClusterNet(Net):
    """A backbone and a linear classifier of pseudo-classes.

    Attributes
    ----------
    pseudo : (N,) pseudo-class of each picture
    weights : (P,) weights of the pseudo-classes in the loss, so that all count equally

    """

    weights: Tensor

    def __init__(self, backbone: Backbone, n_images: int, n_pseudo: int):
        super().__init__()
        self.backbone, self.classifier = backbone, nn.Linear(backbone.width, n_pseudo)
        self.pseudo = PerImage(torch.zeros(n_images, dtype=torch.int64), trained=True)
        self.register_buffer("weights", torch.ones(n_pseudo))

    def loss(self, batch: Batch) -> Tensor:
        """Return the cross-entropy of the pseudo-classes (equation 1), as if each had as many pictures."""
        scores = gathered(self.classifier(self.backbone(batch.views[0])).float())
        return F.cross_entropy(scores, self.pseudo[gathered(batch.indices)], self.weights)

    def forward(self, inputs: Tensor) -> Output:
        """Return the (B, D) features of the backbone."""
        return Output(self.backbone(inputs))

    def regroup(self, features: NDArray[np.float32], seed: int) -> None:
        """Use the clusters of the pictures' (N, D) features as pseudo-classes."""
        groups = len(self.weights)
        found = from_first(lambda: kmeans(whitened(features), groups, restarts=1, random_state=seed).labels)
        counts = np.bincount(found, minlength=len(self.weights))
        self.pseudo.replace(torch.from_numpy(found))
        self.weights.copy_(torch.from_numpy(len(found) / (len(counts) * counts)))


@dataclass(kw_only=True, eq=False, repr=False)
class DeepCluster(TrainedEstimator):
    """DeepCluster (Caron et al. 2018): repeatedly learns the k-means clusters of its own features; then clusters.

    Parameters
    ----------
    backbone : "small-conv", "small-resnet18", "small-alexnet", or as in `models.pretrained`
    weights : initial weights of the backbone: None for random ones, "pretrained" for its own, or a file
    pseudo_classes : number of clusters to predict, at most half the number of pictures; None means ten for each of
        `n_classes`, as in the paper, or 100 if that is "auto"

    """

    backbone: str = "small-conv"
    weights: str | None = None
    pseudo_classes: int | None = None

    n_views = 1

    def check_params(self) -> None:
        """Check the hyper-parameters."""
        super().check_params()
        if self.pseudo_classes is not None and self.pseudo_classes < 2:
            raise UserError(f"pseudo_classes={self.pseudo_classes} must be at least 2.")

    def build(self, image_shape: tuple[int, int, int], n_images: int) -> DeepClusterNet:
        """Return the untrained network."""
        wanted = self.pseudo_classes or (100 if self.n_classes == "auto" else 10 * self.n_classes)
        backbone = make_backbone(self.backbone, image_shape, self.weights)
        return DeepClusterNet(backbone, n_images, min(wanted, max(2, n_images // 2)))

    def stages(self, images: ImageSet, context: Context) -> Iterator[Stage]:
        """Train `net_` on clusters found before the first epoch and after each one."""
        net, data = cast(DeepClusterNet, self.net_), self.image_data(images)
        net.regroup(outputs(net, data)[0], self.random_state)

        def regroup() -> Mapping[str, float]:
            before = net.pseudo.rows.cpu().numpy()
            # The loop seeds torch's generator at each step, so a resumed run makes the same clusters.
            net.regroup(outputs(net, data)[0], int(torch.randint(2**31, ())))
            net.classifier.reset_parameters()  # the clusters have new numbers
            net.train()
            return {"kept_groups": _agreement(before, net.pseudo.rows.cpu().numpy())}

        yield Stage(net, data, self.recipe(), validate=regroup)


def _agreement(before: NDArray[np.int64], after: NDArray[np.int64]) -> float:
    """Return the normalised mutual information of two clusterings, which rises as they become stable (figure 2b)."""
    from sklearn.metrics import normalized_mutual_info_score

    return float(normalized_mutual_info_score(before, after))
