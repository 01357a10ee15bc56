"""SCAN: classes on which neighbours in another method's embedding agree, then training on confident predictions.

Van Gansbeke, Vandenhende, Georgoulis, Proesmans and Van Gool, "SCAN: learning to classify images without labels", 2020.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from selfsort.clustering.neighbours import nearest_others
from selfsort.clustering.space import unit_rows
from selfsort.data.image_set import ImageSet
from selfsort.errors import UserError
from selfsort.heads.scan import scan_loss, self_labelling_loss
from selfsort.methods.base import TrainedEstimator
from selfsort.methods.stage import Context, Stage
from selfsort.methods.two_stage import TwoStage, embedding_width
from selfsort.models.base import Batch, Net, Output
from selfsort.models.rivals import Rivals
from selfsort.models.split_batch import gathered
from selfsort.ranks import from_first
from selfsort.training.data import ImageData, NeighbourPairs
from selfsort.training.outputs import outputs


class ScanNet(Net):
    """An encoder and linear heads on its embedding, of which the one with the lowest loss predicts.

    Attributes
    ----------
    labelling : whether it learns from its confident predictions, no longer from neighbours

    """

    def __init__(self, encoder: Net, width: int, n_classes: int, n_heads: int, sure: float):
        super().__init__()
        self.encoder, self.sure, self.labelling = encoder, sure, False
        # Embeddings differ in scale, and heads on unit vectors would hardly start to learn.
        self.normalise = nn.BatchNorm1d(width, affine=False)
        self.heads = nn.ModuleList(nn.Linear(width, n_classes) for _ in range(n_heads))
        self.rivals = Rivals(n_heads)

    def loss(self, batch: Batch) -> Tensor:
        """Return how far pictures and their neighbours disagree, or the cross-entropy of sure ones (section 2)."""
        if self.labelling:
            return self._labelling_loss(batch)
        features = self.normalise(self.encoder(torch.cat(batch.views)).embedding)
        scores = torch.stack([head(features).float() for head in self.heads], 1)  # (2B, heads, K)
        losses = scan_loss(*gathered(scores.log_softmax(-1), views=2).chunk(2))
        self.rivals.take(losses)
        return losses.mean()

    def _labelling_loss(self, batch: Batch) -> Tensor:
        with torch.no_grad():
            shares = torch.softmax(self._scores(batch.inputs), 1)
        sureness, labels = shares.max(1)
        scores = gathered(self._scores(batch.views[0]))
        return self_labelling_loss(scores, gathered(labels), gathered(sureness > self.sure))

    def _scores(self, inputs: Tensor) -> Tensor:
        scores = self(inputs).logits
        assert scores is not None
        return scores.float()

    def forward(self, inputs: Tensor) -> Output:
        """Return the (B, D) embedding of the encoder and the (B, K) class scores of the head with the lowest loss."""
        embedding = self.encoder(inputs).embedding
        return Output(embedding, cast(Tensor, self.heads[self.rivals.chosen](self.normalise(embedding))))


@dataclass(kw_only=True, eq=False, repr=False)
class SCAN(TwoStage, TrainedEstimator):
    """SCAN (Van Gansbeke et al. 2020): classes that neighbours in another method's embedding share, self-labelled.

    Parameters
    ----------
    encoder : the method that finds the neighbours, fitted or not, or its run folder; None trains SimCLR
    n_neighbours : neighbours of each picture, one of which is drawn at a time
    n_heads : linear heads, of which the one with the lowest loss predicts
    labelling_epochs : passes of the last stage, which learns from confident predictions of the one before; 0 omits it
    sure : the probability from which a prediction counts as confident

    """

    n_neighbours: int = 20
    n_heads: int = 5
    labelling_epochs: int = 20
    sure: float = 0.99

    classifies = True
    n_views = 1
    usual_encoder = "simclr"

    def check_params(self) -> None:
        """Check the hyper-parameters."""
        super().check_params()
        for name, least in {"n_neighbours": 1, "n_heads": 1, "labelling_epochs": 0}.items():
            if getattr(self, name) < least:
                raise UserError(f"{name}={getattr(self, name)} must be at least {least}.")
        if not 0 <= self.sure < 1:
            raise UserError(f"sure={self.sure} must be from 0 to less than 1.")

    def build(self, image_shape: tuple[int, int, int], n_images: int) -> ScanNet:
        """Return the network, with its encoder fitted or untrained."""
        encoder = cast(Net, self.first_net(image_shape, n_images))
        width = embedding_width(encoder, image_shape)
        return ScanNet(encoder, width, cast(int, self.n_classes), self.n_heads, self.sure)

    def stages(self, images: ImageSet, context: Context) -> Iterator[Stage]:
        """Train the encoder if it is not fitted, then classes that neighbours share, then confident predictions."""
        net, data = cast(ScanNet, self.net_), self.image_data(images)
        yield from self.first_stages(net.encoder, images, context)
        embedding = unit_rows(outputs(net.encoder, data)[0])
        neighbours = from_first(lambda: nearest_others(embedding, self.n_neighbours)[1])
        pairs = NeighbourPairs(data, neighbours)
        name = "clustering" if self.labelling_epochs else ""
        yield Stage(net, pairs, self.recipe(), name, "classes that neighbours share")
        if self.labelling_epochs:
            yield from self._labelling(net, data, context)

    def _labelling(self, net: ScanNet, data: ImageData, context: Context) -> Iterator[Stage]:
        """Learn from confident predictions, but restore the earlier weights if that loses classes."""
        before, state = _used_classes(net, data), copy.deepcopy(net.state_dict())
        net.labelling = True
        yield Stage(net, data, replace(self.recipe(), epochs=self.labelling_epochs), title="self-labelling")
        if (after := _used_classes(net, data)) < before:
            net.load_state_dict(state)
            context.warn(f"Self-labelling left {after} of {before} classes: the model is as it was before it.")

    def _training_facts(self) -> dict[str, Any]:
        rivals = cast(ScanNet, self.net_).rivals
        losses = [round(loss, 4) for loss in rivals.recent_losses.tolist()]
        return super()._training_facts() | {"head": rivals.chosen, "head_losses": losses}


def _used_classes(net: ScanNet, data: ImageData) -> int:
    logits = outputs(net, data)[1]
    assert logits is not None
    return len(np.unique(logits.argmax(1)))
