"""N2D: an auto-encoder, a UMAP of its codes, and a Gaussian mixture on that.

McConville, Santos-Rodriguez, Piechocki and Craddock, "N2D: (not too) deep clustering via clustering the local manifold
of an autoencoded embedding", 2020.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, cast

import torch.nn.functional as F
from torch import Tensor, nn

from selfsort.augment import Augmentation
from selfsort.clustering.mixture import fit_mixture
from selfsort.data.image_set import ImageSet
from selfsort.errors import UserError
from selfsort.heads.base import Groups
from selfsort.methods.base import TrainedEstimator
from selfsort.methods.stage import Context, Stage
from selfsort.methods.two_stage import Embedded, TwoStage
from selfsort.models.base import Batch, Net, Output


class DenseAutoencoderNet(Net):
    """Dense layers to a code, and their mirror image (section 4.2)."""

    def __init__(self, image_shape: tuple[int, int, int], hidden: tuple[int, ...], code_size: int):
        super().__init__()
        widths = (math.prod(image_shape), *hidden, code_size)
        self.encoder = nn.Sequential(nn.Flatten(), *_layers(widths))
        self.decoder = nn.Sequential(*_layers(widths[::-1]))

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean squared difference between pictures and the reconstructions from their views."""
        drawn = self.decoder(self.encoder(batch.views[0])).float()
        return F.mse_loss(drawn, batch.inputs.flatten(1))

    def forward(self, inputs: Tensor) -> Output:
        """Return the (B, code_size) codes."""
        return Output(cast(Tensor, self.encoder(inputs)))


def _layers(widths: tuple[int, ...]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return layers[:-1]


@dataclass(kw_only=True, eq=False, repr=False)
class N2D(TwoStage, TrainedEstimator):
    """N2D (McConville et al. 2020): a Gaussian mixture on a UMAP of an auto-encoder's codes, or of any embedding.

    Parameters
    ----------
    encoder : a method, fitted or not, or its run folder, in whose embedding to look for clusters; None trains an
        auto-encoder
    widths : widths of the auto-encoder's layers before the code
    code_size : numbers in the auto-encoder's code; None means one per class, as in the paper, or 10 for "auto"
    epochs : passes of the auto-encoder over the pictures; the paper uses 1000

    """

    widths: tuple[int, ...] = (500, 500, 2000)
    code_size: int | None = None
    epochs: int = 200
    schedule: Literal["constant", "cosine", "step"] = "constant"
    views: str | Augmentation = "none"

    n_views = 1

    def check_params(self) -> None:
        """Check the hyper-parameters."""
        super().check_params()
        if self.code_size is not None and self.code_size < 1:
            raise UserError(f"code_size={self.code_size} must be at least 1.")
        if min(self.widths, default=1) < 1:
            raise UserError(f"widths={self.widths}: every layer needs at least 1 number.")

    def build(self, image_shape: tuple[int, int, int], n_images: int) -> Net:
        """Return the encoder's network, or an untrained auto-encoder."""
        net = self.first_net(image_shape, n_images)
        code_size = self.code_size or (10 if self.n_classes == "auto" else self.n_classes)
        return DenseAutoencoderNet(image_shape, self.widths, code_size) if net is None else Embedded(net)

    def stages(self, images: ImageSet, context: Context) -> Iterator[Stage]:
        """Train the auto-encoder, or the encoder if it is not fitted; UMAP and mixture follow."""
        if isinstance(self.net_, Embedded):
            yield from self.only_first_stages(self.net_.net, images, context)
        else:
            yield from super().stages(images, context)

    def _cluster(self) -> Groups:
        return fit_mixture(self.embedding_, self.n_clusters_, random_state=self.random_state)
