"""Training goes on with the names that a person gave (paper 4, section 3.3, for every method)."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from selfsort.data.image_set import ImageSet
from selfsort.errors import UserError
from selfsort.labelling.core.session import Targets
from selfsort.methods.base import Estimator, NamedNet, TrainedEstimator
from selfsort.methods.stage import Context, Stage
from selfsort.models.base import Batch, Net, Output
from selfsort.models.per_image import PerImage
from selfsort.training.callbacks import History
from selfsort.training.data import ImageData
from selfsort.training.outputs import outputs
from selfsort.training.recipe import pick_device, seed_of

Progress = Callable[[int, int, float], None]

_HEAD_SAMPLE = 20_000  # pictures that a head on a frozen embedding is fitted to
_PENALTY = 0.005
_NEVER = -1e4
# A picture whose likeliest name has less than the one share is left out of the loss; from the other on it counts fully.
_OPEN, _SURE = 0.6, 0.95

E = TypeVar("E", bound=Estimator)


def refine(
    model: E,
    images: ImageSet,
    targets: Targets,
    *,
    epochs: int | None = None,
    frozen: bool | None = None,
    gamma: float | None = None,
    own_loss: bool = True,
    random_state: int = 0,
    progress: Progress | None = None,
) -> E:
    """Return a fitted model that classifies by name, trained on from `model`, which stays as it is.

    The loss is the method's own plus `gamma` times the weighted cross-entropy of a softmax head on the embedding
    (equation 3). From one epoch to the next the targets are mixed with what the network itself has come to think of
    each picture, so that the names of groups reach pictures that were grouped wrongly.

    `model` was fitted, or refined before, to the N `images`; `targets` are names, (N, K) soft targets and (N,)
    weights, as `Session.targets` gives them. There are `epochs` passes over the pictures: 3 when None, more for fewer
    than 20,000 pictures. `frozen` leaves the network as it is and fits the head alone, in seconds; None does so where
    fitting trains no network either. `gamma` is the weight of the cross-entropy, the method's `name_weight` when None;
    `own_loss` keeps the method's own loss.
    `progress` is called after each epoch with its number, the number of epochs and the loss.

    Raises
    ------
    UserError
        For fewer than two names that have pictures, or a loss that stops being finite.

    """
    check_targets(targets)
    images = images.unlabelled()
    started = time.monotonic()
    net = _named(model, targets.names)
    _fit_head(net, model.embedding_, targets, random_state)
    history = History()
    frozen = not model.trains if frozen is None else frozen
    if not frozen and isinstance(model, TrainedEstimator):
        model.unfreeze(net.net)
        learner = _Learner(net, targets, model.name_weight if gamma is None else gamma, own_loss)
        epochs = default_epochs(len(images)) if epochs is None else epochs
        history = _train(learner, model, images, epochs, random_state, progress)
    embedding = model.embedding_
    if history.rows:
        embedding = outputs(net, ImageData(images.pixels(model.input_), pick_device(model.device)))[0]
        _normalise_by(net, torch.tensor(embedding))
    facts = _facts(model, targets, history, time.monotonic() - started)
    return model.with_net(net, images, history, facts, embedding)


def default_epochs(n_images: int) -> int:
    """Return how many epochs a refinement takes: 3, or as many as make 60,000 pictures, but at most 30."""
    return max(3, min(30, 60_000 // max(1, n_images)))


def check_targets(targets: Targets) -> None:
    """Raise UserError unless at least two names have pictures."""
    named = np.unique(targets.soft.argmax(1)[targets.weights > 0]) if targets.names else ()
    if len(named) < 2:
        said = "Only one name has pictures" if len(named) else "No name has pictures"
        raise UserError(f"{said}: name groups of at least two kinds first.")


def _named(model: Estimator, names: tuple[str, ...]) -> NamedNet:
    """Return a copy of the model's network with a new head for these names."""
    net = copy.deepcopy(model.net_)
    with torch.random.fork_rng():
        torch.manual_seed(model.random_state)
        return NamedNet(net.net if isinstance(net, NamedNet) else net, model.image_shape_, names)


def _fit_head(net: NamedNet, embedding: NDArray[np.float32], targets: Targets, random_state: int) -> None:
    """Fit the head on the embedding as it is: a logistic regression on every name that a picture may have."""
    from sklearn.linear_model import LogisticRegression

    norm, linear = cast(nn.BatchNorm1d, net.head[0]), cast(nn.Linear, net.head[1])
    mean, variance = embedding.mean(0), embedding.var(0)
    evidence = targets.soft * targets.weights[:, None]
    if len(evidence) > _HEAD_SAMPLE:
        evidence = evidence * 1.0
        left_out = np.random.default_rng(random_state).permutation(len(evidence))[_HEAD_SAMPLE:]
        evidence[left_out] = 0
    rows, names = np.nonzero(evidence)
    points = (embedding[rows] - mean) / np.sqrt(variance + norm.eps)
    # The penalty is a share of the evidence, so that twice as many pictures do not make the head twice as sure.
    strength = _PENALTY * float(evidence.sum())
    fitted = LogisticRegression(C=1 / strength, max_iter=1000, tol=1e-3).fit(
        points, names, sample_weight=evidence[rows, names]
    )
    weight, bias = fitted.coef_, fitted.intercept_
    if len(fitted.classes_) == 2:
        weight, bias = (np.concatenate([-half, half]) for half in (weight / 2, bias / 2))
    with torch.no_grad():
        linear.weight.zero_()
        linear.bias.fill_(_NEVER)  # a name that no picture has any more
        linear.weight[fitted.classes_] = torch.from_numpy(weight).float()
        linear.bias[fitted.classes_] = torch.from_numpy(bias).float()
    _normalise_by(net, torch.tensor(embedding))


class _Learner(Net):
    """A named network with the targets it learns; they reach the loss by the pictures' indices."""

    def __init__(self, named: NamedNet, targets: Targets, weight: float, own_loss: bool):
        super().__init__()
        self.named, self.weight, self.own_loss = named, weight, own_loss
        evidence = torch.from_numpy(targets.soft * targets.weights[:, None])
        self.evidence, self.targets = PerImage(evidence), PerImage(evidence)

    def reconsider(self, shares: Tensor) -> None:
        """Mix the answers' evidence with the (N, K) shares that the network gives the names.

        A picture that both leave open counts for little, one that they agree on for 1.
        """
        mixed = self.evidence.rows + shares.to(self.evidence.rows.device)
        mixed = mixed / mixed.sum(1, keepdim=True)
        certainty = ((mixed.amax(1, keepdim=True) - _OPEN) / (_SURE - _OPEN)).clamp(0, 1)
        sharpened = mixed**2
        self.targets.replace(certainty * sharpened / sharpened.sum(1, keepdim=True))

    def loss(self, batch: Batch) -> Tensor:
        """Return the method's own loss plus the weighted cross-entropy with the targets."""
        log_shares = torch.log_softmax(cast(Tensor, self.named(batch.views[0]).logits).float(), 1)
        named = -self.weight * (self.targets[batch.indices] * log_shares).sum(1).mean()
        return named + self.named.loss(batch) if self.own_loss else named

    def forward(self, inputs: Tensor) -> Output:
        """Return the embedding and the scores of the names."""
        return self.named(inputs)


def _train(
    learner: _Learner,
    model: TrainedEstimator,
    images: ImageSet,
    epochs: int,
    random_state: int,
    progress: Progress | None,
) -> History:
    """Train a named network; after each epoch its own opinion enters the targets."""

    def on_epoch(history: History) -> None:
        epoch = len(history.rows)
        if epoch < epochs:
            learner.reconsider(_shares(learner, data))
        if progress:
            progress(epoch, epochs, history.rows[-1]["loss"])

    recipe = replace(model.refining_recipe(), epochs=epochs, warmup_epochs=0.0, seed=seed_of(random_state, 5))
    data = model.image_data(images)
    learner.reconsider(_shares(learner, data))
    return Context(on_epoch=on_epoch).train(iter([Stage(learner, data, recipe)]))


def _shares(learner: _Learner, data: ImageData, batch_size: int = 1024) -> Tensor:
    """Return the (N, K) shares that the network gives the names of all pictures."""
    learner.eval()
    batches = np.array_split(np.arange(len(data)), math.ceil(len(data) / batch_size))
    with torch.no_grad():
        embedding = torch.cat([learner(data.inputs(indices)).embedding.float() for indices in batches])
        _normalise_by(learner.named, embedding)
        return torch.softmax(learner.named.head(embedding).float(), 1)


def _normalise_by(net: NamedNet, embedding: Tensor) -> None:
    """Let the head normalise by the (N, D) embedding of all pictures.

    Its running means lag behind an embedding that changes, far behind in the few steps that few pictures make.
    """
    norm = cast(nn.BatchNorm1d, net.head[0])
    with torch.no_grad():
        cast(Tensor, norm.running_mean).copy_(embedding.mean(0))
        cast(Tensor, norm.running_var).copy_(embedding.var(0, unbiased=False))


def _facts(model: Estimator, targets: Targets, history: History, seconds: float) -> dict[str, Any]:
    before = model.run_.get("refined", {"rounds": 0, "epochs": 0, "minutes": 0.0})
    return {
        "refined": {
            "rounds": before["rounds"] + 1,
            "epochs": before["epochs"] + len(history.rows),
            "minutes": round(before["minutes"] + seconds / 60, 3),
            "pictures_named": int((targets.weights > 0).sum()),
        }
    }
