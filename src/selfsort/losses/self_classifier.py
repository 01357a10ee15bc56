"""The loss of Self-Classifier: the cross-entropy between the classes of two views, under a uniform prior (paper 5).

Amrani, Karlinsky and Bronstein, "Self-supervised classification network", 2021.
"""

import math
from collections.abc import Sequence
from itertools import permutations

import torch
from torch import Tensor

_LARGE = 2  # number of large views


def self_classifier_loss(views: Sequence[Tensor], row: float, column: float) -> Tensor:
    """Return the mean cross-entropy between the (B, C) class scores of pairs of views (paper 5, section 5.1).

    The first two views are large; further ones are small views of the same pictures, and each pair with at least one
    large view counts, in both directions. The target of one view is a softmax over the batch at temperature `column`,
    normalised over classes; the prediction of the other is a softmax over classes at temperature `row`, normalised
    over the batch and scaled by B / C. So a class that takes all pictures gains nothing, and no other term is needed
    against collapse.
    """
    targets = [_target(scores, column) for scores in views]
    predictions = [_log_prediction(scores, row) for scores in views]
    pairs = [(i, j) for i, j in permutations(range(len(views)), 2) if min(i, j) < _LARGE]
    return torch.stack([-(targets[i] * predictions[j]).sum(1).mean() for i, j in pairs]).mean()


def _target(scores: Tensor, column: float) -> Tensor:
    share = torch.log_softmax(scores / column, 0)  # over the batch
    return torch.softmax(share, 1)  # the L1 normalisation of exp(share) over classes


def _log_prediction(scores: Tensor, row: float) -> Tensor:
    batch, classes = scores.shape
    log_class = torch.log_softmax(scores / row, 1)  # over classes
    return log_class - log_class.logsumexp(0) + math.log(batch / classes)
