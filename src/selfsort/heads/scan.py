"""SCAN: a classifier trained to agree on neighbours, then on its own confident predictions."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfsort.heads.learning import (
    Classifiers,
    HeadPoints,
    LinearHead,
    agreeing,
    entropy,
    pair_consistency,
    points_of,
    train,
)

_HEADS = 5
_LABELLING_STEPS = 200
_ENTROPY = 5.0
_SURE = 0.99


@dataclass(frozen=True, eq=False)
class ScanHead(LinearHead):
    """Agreement of neighbours, the best of several heads, then self-labelling (Van Gansbeke et al., ECCV 2020)."""

    @classmethod
    def fit(cls, features: NDArray[np.float32], n_classes: int, *, random_state: int = 0) -> Self:
        """Find `n_classes` groups in (N, D) features."""
        points, generator = points_of(features, n_classes), torch.Generator().manual_seed(random_state)
        found = agreeing(points, n_classes, _HEADS, scan_loss, generator)
        learnt = self_labelled(found, points, generator)
        return cls(points.mean, points.axes, *learnt.head(0))


def scan_loss(one: Tensor, other: Tensor) -> Tensor:
    """Return the (n_heads,) loss of log probabilities (B, n_heads, n_classes): of pictures, and of a neighbour of each.

    Neighbours should agree, and all classes be used equally (equation 2).
    """
    return pair_consistency(one, other).mean(0) - _ENTROPY * entropy(one.exp().mean(0))


def self_labelled(found: Classifiers, points: HeadPoints, generator: torch.Generator) -> Classifiers:
    """Return a classifier trained on its own confident predictions, all classes weighted equally.

    In place of strongly changed pictures it sees features half of which are dropped. If a class dies out, `found` is
    returned unchanged.
    """
    learnt, values = found.only(0), points.values

    def loss(batch: Tensor) -> Tensor:
        chosen = values[batch]
        with torch.no_grad():
            sure, labels = learnt(chosen)[:, 0].softmax(-1).max(-1)
        kept = torch.bernoulli(torch.full(chosen.shape, 0.5), generator=generator) * 2
        return self_labelling_loss(learnt(chosen * kept)[:, 0], labels, sure > _SURE)[None]

    train(learnt.parameters, loss, len(values), generator, steps=_LABELLING_STEPS, learning_rate=1e-3)
    before, after = (len(np.unique(each(values).argmax(-1).numpy())) for each in (found, learnt))
    return learnt if after >= before else found


def self_labelling_loss(logits: Tensor, labels: Tensor, sure: Tensor) -> Tensor:
    """Return the cross entropy of those (B, n_classes) logits that are `sure`, averaged over the classes."""
    losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")[sure]
    counts = torch.bincount(labels[sure], minlength=logits.shape[1])
    total: Tensor = (losses / counts[labels[sure]]).sum()
    return total / max(1, int((counts > 0).sum()))
