"""Code shared by heads that learn: points, pairs of neighbours, linear classifiers, a training loop."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfsort.clustering.kmeans import check_n_clusters
from selfsort.clustering.neighbours import as_points, nearest_others
from selfsort.clustering.space import centred, unit_rows
from selfsort.schema import check_arrays

_COMPONENTS = 64  # principal components kept; the others are mostly noise and take five times the work
_BATCH_SIZE = 512
_NEIGHBOURS = 20  # neighbours paired with each point, for heads that learn only from pairs
_PAIR_STEPS = 800


@dataclass(frozen=True, eq=False)
class LinearHead:
    """A linear classifier of the principal components of features, less their mean and of unit length.

    Attributes
    ----------
    mean : (D,) mean of the features
    axes : (D, d), scaled so that a component's mean square is about 1
    weight, bias : (d, n_classes) and (n_classes,) parameters of the classifier

    """

    mean: NDArray[np.float32]
    axes: NDArray[np.float32]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def predict_proba(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the (M, n_classes) probabilities for (M, D) features."""
        logits = unit_rows(features - self.mean) @ self.axes @ self.weight + self.bias
        return torch.from_numpy(logits).softmax(1).numpy()

    def state(self) -> Mapping[str, NDArray[np.generic]]:
        """Return everything that `from_state` needs, as plain arrays."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[np.generic]]) -> Self:
        """Restore what `state` returned; raise `Invalid` if it cannot have returned these arrays."""
        check_arrays(state, {"mean": "D", "axes": "Dd", "weight": "dK", "bias": "K"})
        return cls(**{name: np.asarray(array, np.float32) for name, array in state.items()})


class HeadPoints(NamedTuple):
    """The training data of a head: (N, d) principal components, and how they are computed from features."""

    values: Tensor
    mean: NDArray[np.float32]
    axes: NDArray[np.float32]


def points_of(features: NDArray[np.float32], n_classes: int) -> HeadPoints:
    """Return the principal components of (N, D) features, less their mean and of unit length.

    Raises
    ------
    UserError
        If there are fewer features than classes, or values are not finite.

    """
    rows, mean = centred(as_points(features))
    check_n_clusters(n_classes, len(rows))
    count = min(_COMPONENTS, *rows.shape)
    _, vectors = np.linalg.eigh(rows.T.astype(np.float64) @ rows)
    axes = np.ascontiguousarray(vectors[:, ::-1][:, :count] * np.sqrt(count), np.float32)
    return HeadPoints(torch.from_numpy(rows @ axes), mean, axes)


class NearPairs:
    """Draws a random neighbour for each picture."""

    def __init__(self, neighbours: NDArray[np.int64], counts: NDArray[np.int64], generator: torch.Generator):
        """Set up draws from the first `counts` (N,) of the `neighbours` (N, K), which are sorted by distance."""
        self.neighbours, self.counts = torch.from_numpy(neighbours), torch.from_numpy(counts)
        self.generator = generator

    def __call__(self, indices: Tensor) -> Tensor:
        """Return the position of a neighbour for each of the (B,) positions."""
        drawn = torch.rand(len(indices), generator=self.generator) * self.counts[indices]
        return self.neighbours[indices, drawn.long()]


def pairs_of(points: HeadPoints, count: int, generator: torch.Generator) -> NearPairs:
    """Pair each point with its `count` nearest others."""
    _, indices = nearest_others(points.values.numpy(), count)
    return NearPairs(indices, np.full(len(indices), indices.shape[1]), generator)


def agreeing(
    points: HeadPoints,
    n_classes: int,
    n_heads: int,
    loss: Callable[[Tensor, Tensor], Tensor],
    generator: torch.Generator,
) -> "Classifiers":
    """Return the one of `n_heads` classifiers with the smallest loss on pairs of neighbours.

    `loss` maps log probabilities (B, n_heads, n_classes) of pictures and of a neighbour of each to (n_heads,) losses.
    """
    pairs, values = pairs_of(points, _NEIGHBOURS, generator), points.values
    heads = Classifiers(n_heads, values.shape[1], n_classes, generator)

    def of_pairs(batch: Tensor) -> Tensor:
        return loss(*heads(values[torch.cat([batch, pairs(batch)])]).log_softmax(-1).chunk(2))

    losses = train(heads.parameters, of_pairs, len(values), generator, steps=_PAIR_STEPS, learning_rate=2e-3)
    return heads.only(int(losses.argmin()))


class Classifiers:
    """Several linear classifiers of the same points, computed together."""

    def __init__(self, n_heads: int, width: int, n_classes: int, generator: torch.Generator, scale: float = 0.01):
        self.shape = n_heads, n_classes
        self.weight = torch.randn(width, n_heads * n_classes, generator=generator).mul_(scale).requires_grad_()
        self.bias = torch.zeros(n_heads * n_classes, requires_grad=True)

    @property
    def parameters(self) -> list[Tensor]:
        """Return the parameters."""
        return [self.weight, self.bias]

    def __call__(self, points: Tensor) -> Tensor:
        """Return (B, n_heads, n_classes) logits for (B, width) points."""
        return torch.addmm(self.bias, points, self.weight).view(len(points), *self.shape)

    def only(self, number: int) -> "Classifiers":
        """Return a copy of one classifier."""
        copy = Classifiers.__new__(Classifiers)
        weight, bias = self.head(number)
        copy.shape = 1, self.shape[1]
        copy.weight, copy.bias = (torch.from_numpy(each).requires_grad_() for each in (weight, bias))
        return copy

    def follow(self, other: "Classifiers", momentum: float) -> None:
        """Update the parameters as a moving average of another's."""
        with torch.no_grad():
            for own, new in zip(self.parameters, other.parameters, strict=True):
                own.lerp_(new, 1 - momentum)

    def head(self, number: int, scale: float = 1) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return weight (width, n_classes) and bias (n_classes,) of one, with its logits multiplied by `scale`."""
        weight = self.weight.detach().view(-1, *self.shape)[:, number] * scale
        return weight.numpy().copy(), (self.bias.detach().view(self.shape)[number] * scale).numpy().copy()


def train(
    parameters: list[Tensor],
    loss: Callable[[Tensor], Tensor],
    n_points: int,
    generator: torch.Generator,
    *,
    steps: int,
    learning_rate: float,
    batch_size: int = _BATCH_SIZE,
) -> Tensor:
    """Minimise the sum of (n_heads,) losses on batches of positions; return their means over the last tenth of steps.

    Uses Adam with cosine decay of the rate; every point is drawn once before any is drawn again.
    """
    optimizer = torch.optim.Adam(parameters, learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    order, kept = torch.empty(0, dtype=torch.long), []
    for step in range(steps):
        if len(order) < min(batch_size, n_points):
            order = torch.randperm(n_points, generator=generator)
        batch, order = order[:batch_size], order[batch_size:]
        losses = loss(batch)
        optimizer.zero_grad()
        losses.sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if step >= 0.9 * steps:
            kept.append(losses.detach())
    return torch.stack(kept).mean(0)


def entropy(probabilities: Tensor) -> Tensor:
    """Return the entropy of distributions (..., n_classes), in nats."""
    found: Tensor = torch.special.entr(probabilities).sum(-1)
    return found


def pair_consistency(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Return -log <p, q> of pairs of distributions (..., n_classes): 0 if both are certain of the same class."""
    return -torch.logsumexp(log_p + log_q, -1)
