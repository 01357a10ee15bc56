"""Learning from labels some of which are wrong: trusted ones serve as labels, the others are replaced by guesses.

Berthelot et al., "MixMatch: a holistic approach to semi-supervised learning", 2019, as used by Park et al., "Improving
unsupervised image clustering with robust learning", 2021.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

_SHARPENING = 2.0  # 1 / MixMatch's temperature


def sharpened(shares: Tensor) -> Tensor:
    """Return (B, K) shares with larger ones made larger still, rows summing to 1."""
    return F.normalize(shares**_SHARPENING, p=1, dim=1)


def robust_loss(scores: Tensor, targets: Tensor, is_clean: Tensor, doubt_weight: float) -> Tensor:
    """Return the cross-entropy of clean rows of (B, K) scores, and the weighted squared error of the others' shares."""
    errors = -(targets * torch.log_softmax(scores, 1)).sum(1)
    squares = (torch.softmax(scores, 1) - targets).square().mean(1)
    n_clean, n_other = is_clean.sum().clamp_min(1), (~is_clean).sum().clamp_min(1)
    return (errors * is_clean).sum() / n_clean + doubt_weight * (squares * ~is_clean).sum() / n_other
