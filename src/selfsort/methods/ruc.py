"""RUC: treats the classes of another method as labels with errors, and relearns them from those that seem right.

Park, Han, Kim, Kim, Park, Hong and Cha, "Improving unsupervised image clustering with robust learning", 2021; its
learning is that of Berthelot et al., "MixMatch: a holistic approach to semi-supervised learning", 2019.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from selfsort.clustering.neighbours import nearest_others
from selfsort.clustering.space import unit_rows
from selfsort.data.image_set import ImageSet
from selfsort.errors import UserError
from selfsort.losses.robust import robust_loss, sharpened
from selfsort.methods.base import TrainedEstimator
from selfsort.methods.stage import Context, Stage
from selfsort.methods.two_stage import TwoStage, embedding_width
from selfsort.models.base import Batch, Net, Output
from selfsort.models.per_image import PerImage
from selfsort.models.split_batch import gathered, share

_MIXING = 4.0  # both parameters of the Beta distribution for mixing pairs
_SMOOTHING = 0.5  # share of a label's probability spread over the other classes
_SURE = 0.99  # the probability from which a doubtful picture's class is trusted


def clean(embedding: NDArray[np.float32], shares: NDArray[np.float32], count: int, kept: float) -> NDArray[np.bool_]:
    """Return which of N pictures seem right, from an (N, D) embedding and (N, K) shares (section 3.1, "hybrid").

    They are those whose class most of the `count` nearest neighbours share, if they are among the `kept` most
    confident ones of their class.
    """
    labels = shares.argmax(1)
    votes = np.eye(shares.shape[1])[labels[nearest_others(unit_rows(embedding), count)[1]]].sum(1)
    sure = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        sure[own[np.argsort(-shares[own, label], kind="stable")[: max(1, round(kept * len(own)))]]] = True
    found: NDArray[np.bool_] = sure & (votes.argmax(1) == labels)
    return found


class Classifier(nn.Module):
    """An encoder and a linear classifier on its embedding."""

    def __init__(self, encoder: Net, width: int, n_classes: int):
        super().__init__()
        self.encoder, self.normalise = encoder, nn.BatchNorm1d(width, affine=False)
        self.head = nn.Linear(width, n_classes)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return (B, D) embedding and (B, K) class scores."""
        embedding = self.encoder(inputs).embedding
        return embedding, cast(Tensor, self.head(self.normalise(embedding))).float()


class RUCNet(Net):
    """Two classifiers that question each other's labels.

    Attributes
    ----------
    labels : (N,) class of each picture, from the other method or corrected since
    clean : (N,) whether it is trusted
    steps : steps taken

    """

    steps: Tensor

    def __init__(self, encoder: Net, width: int, n_classes: int, n_images: int, doubt_weight: float, total: int):
        super().__init__()
        both = (encoder, copy.deepcopy(encoder))
        self.both = nn.ModuleList(Classifier(each, width, n_classes) for each in both)
        self.n_classes, self.doubt_weight, self.total = n_classes, doubt_weight, total
        self.labels = PerImage(torch.zeros(n_images, dtype=torch.int64), trained=True)
        self.clean = PerImage(torch.zeros(n_images, dtype=torch.bool), trained=True)
        self.register_buffer("steps", torch.tensor(0))

    def loss(self, batch: Batch) -> Tensor:
        """Return the losses of both (section 3.2), each learning from the other's predictions for labels and views."""
        first, second = self.both
        shares = [
            [torch.softmax(net(images)[1], 1).detach() for images in (batch.inputs, *batch.views[:2])]
            for net in self.both
        ]
        guess = sharpened(torch.stack([each for both in shares for each in both[1:]]).mean(0))
        losses = self._loss(first, shares[1][0], guess, batch), self._loss(second, shares[0][0], guess, batch)
        if self.training:
            self._believe(gathered(batch.indices), gathered((shares[0][0] + shares[1][0]) / 2))
            self.steps += 1
        return (losses[0] + losses[1]) / 2

    def _loss(self, net: nn.Module, others: Tensor, guess: Tensor, batch: Batch) -> Tensor:
        labels, is_clean = self.labels[batch.indices], self.clean[batch.indices]
        known = F.one_hot(labels, self.n_classes).float()
        trust = others.amax(1, keepdim=True)  # the other network's confidence
        targets = torch.where(is_clean[:, None], sharpened((1 - trust) * known + trust * others), guess)
        images, targets = torch.cat(batch.views[:2]), targets.repeat(2, 1)
        images, targets = _mixed(images, targets)
        scores, is_clean = gathered(net(images)[1], views=2), gathered(is_clean)
        ramp = min(1.0, max(0.1, int(self.steps) / self.total))
        found = robust_loss(scores, gathered(targets, views=2), is_clean.repeat(2), self.doubt_weight * ramp)
        smoothed = F.cross_entropy(net(batch.views[2])[1], labels, reduction="none", label_smoothing=_SMOOTHING)
        return found + (gathered(smoothed) * is_clean).sum() / is_clean.sum().clamp_min(1)

    def _believe(self, indices: Tensor, shares: Tensor) -> None:
        sureness, labels = shares.max(1)
        new = (sureness > _SURE) & ~self.clean[indices]
        self.labels.put(indices[new], labels[new])
        self.clean.put(indices[new], new[new])

    def forward(self, inputs: Tensor) -> Output:
        """Return the first's (B, D) embedding and the (B, K) logarithms of both classifiers' mean shares."""
        (embedding, one), (_, other) = (net(inputs) for net in self.both)
        return Output(embedding, torch.stack([one, other]).log_softmax(2).logsumexp(0))


def _mixed(images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return two views, one below the other, mixed with others of the whole batch at random, and their targets."""
    part = torch.distributions.Beta(_MIXING, _MIXING).sample()
    everyone = gathered(images, views=2)
    order = share(torch.randperm(len(everyone), device=images.device), views=2)
    weight = 1 - torch.maximum(part, 1 - part)
    return images.lerp(everyone[order], weight), targets.lerp(gathered(targets, views=2)[order], weight)


@dataclass(kw_only=True, eq=False, repr=False)
class RUC(TwoStage, TrainedEstimator):
    """RUC (Park et al. 2021): relearns the classes of any other method, as labels some of which are wrong.

    Parameters
    ----------
    encoder : the method whose classes or clusters to learn, fitted or not, or its run folder; None trains SimCLR
    n_neighbours : neighbours, most of which must share a picture's class for it to be trusted
    clean_share : share of a class's pictures, the most confident ones, that may be trusted at first; the paper uses a
        probability of 0.99, which another method's clusters need not reach
    doubt_weight : weight of the pictures that are not trusted

    """

    n_neighbours: int = 20
    clean_share: float = 0.5
    doubt_weight: float = 25.0

    classifies = True
    n_views = 3
    usual_encoder = "simclr"

    def check_params(self) -> None:
        """Check the hyper-parameters."""
        super().check_params()
        if self.n_neighbours < 1:
            raise UserError(f"n_neighbours={self.n_neighbours} must be at least 1.")
        if not 0 < self.clean_share <= 1:
            raise UserError(f"clean_share={self.clean_share} must be above 0 and at most 1.")
        if not 0 <= self.doubt_weight < float("inf"):
            raise UserError(f"doubt_weight={self.doubt_weight} must be 0 or a positive number.")

    def check(self, images: ImageSet) -> None:
        """Check the hyper-parameters and the pictures, and that the other method has as many classes."""
        super().check(images)
        first = cast(TrainedEstimator, self.first)
        found = first.n_classes_ if hasattr(first, "net_") else first.n_classes
        if found != self.n_classes:
            raise UserError(f"The encoder has {found} classes, not n_classes={self.n_classes}: make both the same.")

    def build(self, image_shape: tuple[int, int, int], n_images: int) -> RUCNet:
        """Return the network, with its encoders fitted or untrained."""
        encoder = cast(Net, self.first_net(image_shape, n_images))
        total = self.epochs * max(1, n_images // self.batch_size)
        width = embedding_width(encoder, image_shape)
        return RUCNet(encoder, width, cast(int, self.n_classes), n_images, self.doubt_weight, total)

    def stages(self, images: ImageSet, context: Context) -> Iterator[Stage]:
        """Train the encoder if it is not fitted, then both classifiers on its classes."""
        net = cast(RUCNet, self.net_)
        one, other = (cast(Classifier, each).encoder for each in net.both)
        yield from self.first_stages(one, images, context)
        other.load_state_dict(one.state_dict())
        embedding, shares = self.first_groups(one, images)
        net.labels.replace(torch.from_numpy(shares.argmax(1)))
        net.clean.replace(torch.from_numpy(clean(embedding, shares, self.n_neighbours, self.clean_share)))
        yield Stage(net, self.image_data(images), self.recipe(), title="robust learning")
