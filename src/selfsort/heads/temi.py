"""TEMI: classifiers that maximise the mutual information between neighbours."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfsort.heads.learning import Classifiers, HeadPoints, LinearHead, NearPairs, pairs_of, points_of, train

_NEIGHBOURS = 20
_HEADS = 10
_STEPS = 1000
TEMPERATURE = 0.1
_MOMENTUM = 0.99  # of the teachers; the original uses 0.996 over tens of thousands of steps
_BETA = 0.6
_FORGOTTEN = 0.1  # share of the teachers' class frequencies forgotten in each step


@dataclass(frozen=True, eq=False)
class TemiHead(LinearHead):
    """Pointwise mutual information between neighbours, the best of several heads (Adaloglou et al., BMVC 2023)."""

    @classmethod
    def fit(cls, features: NDArray[np.float32], n_classes: int, *, random_state: int = 0) -> Self:
        """Find `n_classes` groups in (N, D) features."""
        points, generator = points_of(features, n_classes), torch.Generator().manual_seed(random_state)
        teachers, losses = fit_heads(points, pairs_of(points, _NEIGHBOURS, generator), n_classes, generator)
        weight, bias = teachers.head(int(losses.argmin()), 1 / TEMPERATURE)
        return cls(points.mean, points.axes, weight, bias)


def fit_heads(
    points: HeadPoints, pairs: NearPairs, n_classes: int, generator: torch.Generator
) -> tuple[Classifiers, Tensor]:
    """Return several teachers, and the (n_heads,) loss of each."""
    values = points.values
    students, teachers = (Classifiers(_HEADS, values.shape[1], n_classes, generator) for _ in range(2))
    teachers.follow(students, 0)
    shares = torch.full(students.shape, 1 / n_classes)

    def loss(batch: Tensor) -> Tensor:
        both = values[torch.cat([batch, pairs(batch)])]
        student = (students(both) / TEMPERATURE).log_softmax(-1)
        with torch.no_grad():
            teachers.follow(students, _MOMENTUM)
            teacher = (teachers(both) / TEMPERATURE).log_softmax(-1)
            shares.lerp_(teacher.exp().mean(0), _FORGOTTEN)
        (one, other), (first, second) = student.chunk(2), teacher.chunk(2)
        return (temi_loss(one, first, second, shares) + temi_loss(other, second, first, shares)) / 2

    losses = train(students.parameters, loss, len(values), generator, steps=_STEPS, learning_rate=1e-3)
    return teachers, losses


def temi_loss(student: Tensor, teacher: Tensor, neighbour: Tensor, shares: Tensor, beta: float = _BETA) -> Tensor:
    """Return the (n_heads,) loss for B pictures and a neighbour of each.

    `student` and `teacher` (B, n_heads, n_classes) are log probabilities of the pictures, `neighbour` the teachers' log
    probabilities of the neighbours; `shares` (n_heads, n_classes) are the teachers' class frequencies. A pair has more
    weight the more likely all teachers together put both pictures into one class.
    """
    information = torch.logsumexp(beta * (student + neighbour) - shares.clamp(min=1e-12).log(), -1)
    same = (teacher + neighbour).exp().sum(-1).mean(1)  # (B,)
    return -(same[:, None] * information).mean(0)
