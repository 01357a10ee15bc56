"""Refine a model: continue its training with the names that people gave (paper 4, section 3.3, for every method)."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeGuard, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from selfsort.data.image_set import ImageSet
from selfsort.errors import UserError
from selfsort.labelling.core.head import HeadSpace, NameHead
from selfsort.labelling.core.session import Targets
from selfsort.labelling.learning.held_out import HeldOut, HeldOutComparison
from selfsort.methods.base import Estimator, NamedNet, TrainedEstimator
from selfsort.methods.stage import Context, Stage
from selfsort.models.base import Batch, Net, Output
from selfsort.models.per_image import PerImage
from selfsort.training.callbacks import History
from selfsort.training.data import ImageData, TrainingData
from selfsort.training.outputs import outputs
from selfsort.training.recipe import pick_device, seed_of

Progress = Callable[[int, int, float], None]

# A picture whose most likely name has a smaller share than the first is left out of the loss; from the second on it
# counts fully.
_OPEN, _SURE = 0.6, 0.95
_LAST = 5  # if answers are held out, the last of this many parts of the epochs learns from all answers

E = TypeVar("E", bound=Estimator)


def refine(
    model: E,
    images: ImageSet,
    targets: Targets,
    *,
    held_out: HeldOut | None = None,
    epochs: int | None = None,
    frozen: bool | None = None,
    gamma: float | None = None,
    own_loss: bool = True,
    random_state: int = 0,
    progress: Progress | None = None,
) -> E:
    """Return a model that classifies by name, obtained by further training of `model`, which is not changed.

    The loss is the method's own plus `gamma` times the weighted cross-entropy of a softmax head on the embedding
    (equation 3). After each epoch the targets are mixed with the network's own predictions, so that the names of groups
    also reach pictures that were grouped wrongly.

    `model` was fitted to, or refined on, the N `images`; `targets` are names, (N, K) soft targets and (N,) weights, as
    returned by `Session.targets`. With `held_out` answers, a network first learns from the others alone; if it then
    agrees less with those held out than before, it stays as it was, and `run_["refined"]` says so. `epochs` is the
    number of passes over the pictures, by default 3, or more for fewer than 20,000 pictures. `frozen` keeps the network
    and fits only the head, in seconds; None does so if fitting trains no network either. `gamma` is the weight of the
    cross-entropy, by default the method's `name_weight`; `own_loss` includes the method's own loss. `progress` is
    called after each epoch with its number, the number of epochs and the loss.

    Raises
    ------
    UserError
        If no name has pictures, or a loss is no longer finite.

    """
    check_targets(targets)
    images = images.unlabelled()
    started = time.monotonic()
    net = _named(model, targets.names)
    space = HeadSpace(model.embedding_)
    _fit_head(net, space, targets, random_state)
    history = History()
    comparison, embedding = None, model.embedding_
    if _trains_on(model, targets, frozen):
        epochs = default_epochs(len(images)) if epochs is None else epochs
        training = _Training(model, images, model.name_weight if gamma is None else gamma, own_loss, epochs, progress)
        trained, comparison = training.run(net, space, targets, held_out, random_state)
        history = training.history
        if trained is not net:
            net = trained
            embedding = outputs(net, ImageData(images.pixels(model.input_), pick_device(model.device)))[0]
            _normalise_by(net.head, torch.tensor(embedding))
    facts = _facts(model, targets, history, comparison, time.monotonic() - started)
    return model.with_net(net, images, history, facts, embedding)


def default_epochs(n_images: int) -> int:
    """Return the number of epochs of a refinement: 3, or as many as process 60,000 pictures, but at most 30."""
    return max(3, min(30, 60_000 // max(1, n_images)))


def check_targets(targets: Targets) -> None:
    """Raise `UserError` if no name has pictures."""
    if not _names_given(targets):
        raise UserError("No name has pictures: name a group first.")


def _trains_on(model: Estimator, targets: Targets, frozen: bool | None) -> TypeGuard[TrainedEstimator]:
    """Tell whether a refinement also trains the network, which cannot learn anything from a single name."""
    frozen = not model.trains if frozen is None else frozen
    return not frozen and isinstance(model, TrainedEstimator) and _names_given(targets) > 1


def _names_given(targets: Targets) -> int:
    """Return how many names have pictures."""
    return len(np.unique(targets.soft.argmax(1)[targets.weights > 0])) if targets.names else 0


def _named(model: Estimator, names: tuple[str, ...]) -> NamedNet:
    """Return a copy of the model's network with a new head for these names."""
    net = copy.deepcopy(model.net_)
    with torch.random.fork_rng():
        torch.manual_seed(model.random_state)
        return NamedNet(net.net if isinstance(net, NamedNet) else net, model.embedding_.shape[1], names)


def _fit_head(net: NamedNet, space: HeadSpace, targets: Targets, random_state: int) -> NameHead:
    """Fit the head, a logistic regression over all possible names, to the current embedding."""
    head = space.fit(targets, random_state)
    linear = cast(nn.Linear, net.head[1])
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(head.weight))
        linear.bias.copy_(torch.from_numpy(head.bias))
    _normalise(net.head, torch.from_numpy(space.mean), torch.from_numpy(space.variance))
    return head


class NameLearner(Net):
    """The learning part of a named network, with the targets, which the loss looks up by picture index."""

    def __init__(self, part: Net, head: nn.Sequential, targets: Targets, weight: float, own_loss: bool):
        super().__init__()
        self.part, self.head, self.weight, self.own_loss = part, head, weight, own_loss
        evidence = torch.from_numpy(targets.soft * targets.weights[:, None])
        self.evidence, self.targets = PerImage(evidence), PerImage(evidence)

    def reconsider(self, shares: Tensor) -> None:
        """Mix the answers' evidence with the (N, K) shares that the network gives the names.

        A picture on which both are uncertain counts little; one on which they agree counts fully.
        """
        mixed = self.evidence.rows + shares.to(self.evidence.rows.device)
        mixed = mixed / mixed.sum(1, keepdim=True)
        certainty = ((mixed.amax(1, keepdim=True) - _OPEN) / (_SURE - _OPEN)).clamp(0, 1)
        sharpened = mixed**2
        self.targets.replace(certainty * sharpened / sharpened.sum(1, keepdim=True))

    def loss(self, batch: Batch) -> Tensor:
        """Return the method's own loss plus the weighted cross-entropy with the targets."""
        log_shares = torch.log_softmax(cast(Tensor, self(batch.views[0]).logits).float(), 1)
        named = -self.weight * (self.targets[batch.indices] * log_shares).sum(1).mean()
        return named + self.part.loss(batch) if self.own_loss else named

    def forward(self, inputs: Tensor) -> Output:
        """Return the embedding and the scores of the names."""
        embedding = self.part(inputs).embedding
        return Output(embedding, cast(Tensor, self.head(embedding)))


class _Training:
    """The training of a network in a refinement; after each epoch its own predictions enter the targets.

    Attributes
    ----------
    history : history of all epochs so far

    """

    def __init__(
        self,
        model: TrainedEstimator,
        images: ImageSet,
        weight: float,
        own_loss: bool,
        epochs: int,
        progress: Progress | None,
    ):
        self.model, self.images, self.weight, self.own_loss = model, images, weight, own_loss
        self.epochs, self.progress, self.history = epochs, progress, History()

    def run(
        self, net: NamedNet, space: HeadSpace, targets: Targets, held_out: HeldOut | None, random_state: int
    ) -> tuple[NamedNet, HeldOutComparison | None]:
        """Return a trained copy of a network whose head was fitted, or the network itself if training made it worse."""
        trained, comparison = copy.deepcopy(net), None
        self.part, self.data = self.model.learning_part(trained.net, self.images)
        if held_out is not None and self.epochs > 1:
            head = _fit_head(trained, space, held_out.rest, random_state)
            before = space.probabilities(head).argmax(1)
            first = self.epochs - max(1, self.epochs // _LAST)
            shares = self._train(trained, held_out.rest, first, seed_of(random_state, 5))
            after = shares.argmax(1).cpu().numpy()
            comparison = HeldOutComparison(held_out.answers, held_out.agreement(before), held_out.agreement(after))
            if not comparison.is_better:
                return net, comparison
            # The network has learnt its own predictions for the held-out pictures: restart from the answers about them.
            _fit_head(trained, HeadSpace(_embedding(self.part, self.data).cpu().numpy()), targets, random_state)
        self._train(
            trained, targets, self.epochs - len(self.history.rows), seed_of(random_state, 5, len(self.history.rows))
        )
        return trained, comparison

    def _train(self, net: NamedNet, targets: Targets, epochs: int, seed: int) -> Tensor:
        """Train for some epochs and return the (N, K) shares that the network then gives the names."""
        learner = NameLearner(self.part, net.head, targets, self.weight, self.own_loss)
        done = len(self.history.rows)

        def on_epoch(history: History) -> None:
            epoch = len(history.rows)
            if epoch < epochs:
                learner.reconsider(_shares(learner, self.data))
            if self.progress:
                self.progress(done + epoch, self.epochs, history.rows[-1]["loss"])

        recipe = replace(self.model.refining_recipe(), epochs=epochs, warmup_epochs=0.0, seed=seed)
        learner.reconsider(_shares(learner, self.data))
        history = Context(on_epoch=on_epoch).train(iter([Stage(learner, self.data, recipe)]))
        self.history.rows += [row | {"epoch": done + row["epoch"]} for row in history.rows]
        self.history.warnings += history.warnings
        self.history.seconds += history.seconds
        return _shares(learner, self.data)


def _shares(learner: NameLearner, data: TrainingData) -> Tensor:
    """Return the (N, K) shares that the network gives the names for all pictures."""
    learner.eval()
    embedding = _embedding(learner.part, data)
    _normalise_by(learner.head, embedding)
    with torch.no_grad():
        return torch.softmax(learner.head(embedding).float(), 1)


def _embedding(part: Net, data: TrainingData, batch_size: int = 1024) -> Tensor:
    """Return the (N, D) embedding of all pictures."""
    part.eval()
    batches = np.array_split(np.arange(len(data)), math.ceil(len(data) / batch_size))
    with torch.no_grad():
        return torch.cat([part(data.inputs(indices)).embedding.float() for indices in batches])


def _normalise_by(head: nn.Sequential, embedding: Tensor) -> None:
    """Make the head normalise by the (N, D) embedding of all pictures."""
    _normalise(head, embedding.mean(0), embedding.var(0, unbiased=False))


def _normalise(head: nn.Sequential, mean: Tensor, variance: Tensor) -> None:
    """Make the head normalise by the mean and the variance (D,) of all pictures.

    Its running statistics lag behind a changing embedding, especially in the few steps of a small set of pictures.
    """
    norm = cast(nn.BatchNorm1d, head[0])
    with torch.no_grad():
        cast(Tensor, norm.running_mean).copy_(mean)
        cast(Tensor, norm.running_var).copy_(variance)


def _facts(
    model: Estimator, targets: Targets, history: History, comparison: HeldOutComparison | None, seconds: float
) -> dict[str, Any]:
    before = model.run_.get("refined", {"rounds": 0, "epochs": 0, "minutes": 0.0})
    return {
        "refined": {
            "rounds": before["rounds"] + 1,
            "epochs": before["epochs"] + len(history.rows),
            "minutes": round(before["minutes"] + seconds / 60, 3),
            "pictures_named": int((targets.weights > 0).sum()),
            **({} if comparison is None else comparison.to_json()),
        }
    }
