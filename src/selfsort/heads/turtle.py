"""TURTLE: the labelling that a linear classifier can learn with the largest margin."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfsort.errors import UserError
from selfsort.heads.learning import Classifiers, LinearHead, points_of, train

_HEADS = 5
_STEPS = 600
_INNER_STEPS = 10
_ENTROPY = 10.0
_RATE = 3e-3
_INNER_RATE = 0.1


@dataclass(frozen=True, eq=False)
class TurtleHead(LinearHead):
    """The labelling that a linear classifier can learn with the largest margin (Gadetsky et al., ICML 2024)."""

    @classmethod
    def fit(
        cls, features: NDArray[np.float32], n_classes: int, *, random_state: int = 0, class_prior: float = 0.0
    ) -> Self:
        """Find `n_classes` groups in (N, D) features.

        The k-th largest group is expected to hold a share of the pictures in proportion to k ** -class_prior (the
        power law of PET-TURTLE, arXiv 2601.03237): 0 means groups of equal size, 1 very unequal ones.
        """
        if not 0 <= class_prior <= 10:
            raise UserError(f"class_prior={class_prior} must be from 0 (groups of equal size) to 10.")
        points, generator = points_of(features, n_classes), torch.Generator().manual_seed(random_state)
        values, prior = points.values, power_law(n_classes, class_prior)
        task = Classifiers(_HEADS, values.shape[1], n_classes, generator)

        def loss(batch: Tensor) -> Tensor:
            chosen = values[batch]
            labels = task(chosen).softmax(-1)
            return turtle_loss(learnt(chosen, labels.detach()), labels, prior)

        losses = train(task.parameters, loss, len(values), generator, steps=_STEPS, learning_rate=_RATE)
        return cls(points.mean, points.axes, *task.head(int(losses.argmin())))


def power_law(n_classes: int, exponent: float) -> Tensor:
    """Return the (n_classes,) shares of groups, proportional to k ** -exponent, the largest first."""
    shares = torch.arange(1, n_classes + 1, dtype=torch.float32) ** -exponent
    return shares / shares.sum()


def learnt(points: Tensor, labels: Tensor) -> Tensor:
    """Return the logits (B, n_heads, n_classes) of classifiers on (B, d) points after a few steps towards soft labels.

    They start from zero each time and follow the gradient of their cross entropy: the fewer steps are needed, the
    larger the margin between the classes.
    """
    weight = points.new_zeros(points.shape[1] + 1, labels[0].numel())
    wider = torch.cat([points, points.new_ones(len(points), 1)], 1)
    for _ in range(_INNER_STEPS):
        error = (wider @ weight).view_as(labels).softmax(-1) - labels
        weight -= _INNER_RATE / len(points) * wider.T @ error.flatten(1)
    return (wider @ weight).view_as(labels)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the (n_heads,) cross entropy of soft labels, both (B, n_heads, n_classes)."""
    return -(labels * logits.log_softmax(-1)).sum(-1).mean(0)


def turtle_loss(logits: Tensor, labels: Tensor, prior: Tensor) -> Tensor:
    """Return the (n_heads,) loss of soft labels (B, n_heads, n_classes) for which a classifier learnt `logits`.

    It is the classifier's cross entropy plus the divergence of the groups' sizes from the prior, the largest first;
    for equal sizes that is the paper's entropy, up to a constant.
    """
    sizes = labels.mean(0).sort(-1, descending=True).values
    divergence = (sizes * (sizes.clamp(min=1e-12).log() - prior.log())).sum(-1)
    return cross_entropy(logits, labels) + _ENTROPY * divergence
