"""The one training loop, on Lightning Fabric.

Everything random in a step follows from (seed, step), and the order of an epoch from (seed, epoch), so a run that was
killed and resumed arrives at the same weights as one that was not. No labels exist here: a `Batch` has no field for
them.
"""

import math
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from selfsort import ranks
from selfsort.errors import UserError
from selfsort.memory import keep_freed_memory
from selfsort.models.base import Batch, Net
from selfsort.models.split_batch import (
    average_gradients,
    batch_norm_of_all,
    mean_of_all,
    same_as_first,
    share,
    splitting,
)
from selfsort.runs import RunFolder
from selfsort.training.callbacks import History, Log, OnEpoch, deferred_interrupt
from selfsort.training.checkpoints import Checkpoints, Progress
from selfsort.training.collapse import add_warning, collapse_warning, measure_collapse
from selfsort.training.data import TrainingData
from selfsort.training.processes import make_fabric
from selfsort.training.recipe import Recipe, make_optimizer, make_schedule, pick_device, pick_precision, seed_of

Validate = Callable[[], Mapping[str, float]]


def train(
    net: Net,
    data: TrainingData,
    recipe: Recipe,
    *,
    run_dir: Path | None = None,
    resume: bool = False,
    progress: bool = False,
    on_epoch: OnEpoch | None = None,
    validate: Validate | None = None,
) -> History:
    """Train `net` in place on data on the recipe's device.

    With a `run_dir`, `metrics.csv`, TensorBoard logs and checkpoints are kept there, and `resume` continues from the
    last checkpoint. `on_epoch` is called after each epoch with the history so far, to which `validate` adds figures.

    Raises
    ------
    UserError
        If the loss stops being a finite number.
    KeyboardInterrupt
        After Ctrl-C, once the state is saved.

    """
    keep_freed_memory()
    device = pick_device(recipe.device)
    fabric = make_fabric(device, pick_precision(recipe.precision, device))
    net.to(memory_format=torch.channels_last)
    same_as_first(net)
    optimizer = make_optimizer(net, recipe)
    step_loss, fabric_optimizer = fabric.setup(_StepLoss(net), optimizer)
    loop = Loop(
        net=net,
        step_loss=step_loss,
        optimizer=optimizer,
        optimizer_step=fabric_optimizer.step,
        autocast=fabric.autocast,
        backward=fabric.backward,
        data=data,
        recipe=recipe,
        checkpoints=Checkpoints(RunFolder(run_dir).checkpoints) if run_dir else None,
        on_epoch=on_epoch,
        validate=validate,
    )
    log = Log(run_dir, recipe.epochs, progress) if ranks.is_first() else Log(None, recipe.epochs, False)
    with torch.random.fork_rng(), batch_norm_of_all(net), log, deferred_interrupt() as interrupted:
        if resume:
            loop.restore()
        loop.run(log, interrupted)
    return loop.history


class _StepLoss(nn.Module):
    """The loss as a forward pass, in which Fabric sets the precision, and after which it averages gradients.

    The batch is passed as a function: a bare one would be cast to bfloat16 before views and targets are made from it.
    """

    def __init__(self, net: Net):
        super().__init__()
        self.net = net

    def forward(self, drawn: Callable[[], Batch]) -> Tensor:
        return self.net.loss(drawn())


@dataclass
class Loop:
    """A training in progress: where it is, and what one step and the end of an epoch do."""

    net: Net
    step_loss: Callable[[Callable[[], Batch]], Tensor]
    optimizer: torch.optim.Optimizer
    optimizer_step: Callable[[], Any]
    autocast: Callable[[], AbstractContextManager[None]]
    backward: Callable[[Tensor], None]
    data: TrainingData
    recipe: Recipe
    checkpoints: Checkpoints | None
    on_epoch: OnEpoch | None = None
    validate: Validate | None = None
    history: History = field(default_factory=History)
    step: int = 0
    rate: float = 0.0

    def __post_init__(self) -> None:
        # Summed on the device: reading each step's loss would make the CPU wait for it.
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=self.data.device)
        self.batch_size = min(self.recipe.batch_size, len(self.data))
        if self.batch_size % ranks.size():
            raise UserError(
                f"A batch of {self.batch_size} pictures cannot be split evenly among {ranks.size()} processes: use "
                f"batch_size={self.batch_size // ranks.size() * ranks.size() or ranks.size()}."
            )
        # The last pictures of an epoch's order, too few for a batch, are left out until the next epoch.
        self.steps_per_epoch = len(self.data) // self.batch_size
        self.total_steps = self.recipe.epochs * self.steps_per_epoch

    def run(self, log: Log, interrupted: threading.Event) -> None:
        """Take all remaining steps; save after each epoch, at intervals, and when interrupted."""
        schedule = make_schedule(self.optimizer, self.recipe, self.steps_per_epoch, self.step)
        self.net.train()
        saved = time.monotonic()
        while self.step < self.total_steps:
            started = time.monotonic()
            self.one_step()
            schedule.step()
            self.history.seconds += time.monotonic() - started
            if self.step % self.steps_per_epoch == 0:
                self.end_epoch(log)
                self.save()
                saved = time.monotonic()
            log.advance(self.step, self.steps_per_epoch, self.history)
            # The others cannot stop at the same step; they end with the first.
            if interrupted.is_set() and ranks.is_first():
                self.save()
                raise KeyboardInterrupt
            if time.monotonic() - saved > 60 * self.recipe.checkpoint_minutes:
                self.save()
                saved = time.monotonic()

    def one_step(self) -> None:
        """Learn from one batch."""
        torch.manual_seed(seed_of(self.recipe.seed, 1, self.step))
        self.rate = self.optimizer.param_groups[0]["lr"]
        with splitting():
            batch = self.batch()
            loss = self.step_loss(lambda: batch)
            self.backward(loss)
            average_gradients(self.net)
            self.loss_sum += mean_of_all(loss.detach())
        self.optimizer_step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1

    def batch(self) -> Batch:
        """Return this process's share of the next batch of the epoch's order."""
        epoch, position = divmod(self.step, self.steps_per_epoch)
        if position == 0 or not hasattr(self, "order"):
            self.order = np.random.default_rng((self.recipe.seed, 2, epoch)).permutation(len(self.data))
        return self.data.batch(share(self.order[position * self.batch_size : (position + 1) * self.batch_size]))

    def end_epoch(self, log: Log) -> None:
        """Measure the results of the epoch and report them."""
        epoch = self.step // self.steps_per_epoch
        loss = self.loss_sum.item() / self.steps_per_epoch
        self.loss_sum.zero_()
        with self.autocast():
            gauge = measure_collapse(self.net, self.data, self.batch_size)
            gauge |= self.validate() if self.validate else {}
        # A last step can ruin the weights while the mean loss of the epoch is still a number.
        if not all(map(math.isfinite, (loss, *gauge.values()))):
            raise self._diverged(epoch, loss)
        seconds = self.history.seconds - sum(row["seconds"] for row in self.history.rows)
        row = {"epoch": epoch, "loss": loss, "learning_rate": self.rate, "seconds": seconds, **gauge}
        self.history.rows.append(row)
        warning = collapse_warning(epoch, gauge) if epoch > 1 else None
        is_new = warning is not None and add_warning(self.history.warnings, warning)
        log.epoch(self.history, warning if is_new else None)
        if self.on_epoch:
            self.on_epoch(self.history)
            self.net.train()

    def save(self) -> None:
        """Write a checkpoint, if there is a folder for it."""
        if self.checkpoints is None or not ranks.is_first():
            return
        if not math.isfinite(loss_sum := self.loss_sum.item()):
            raise self._diverged(1 + self.step // self.steps_per_epoch, loss_sum)
        progress = Progress(loss_sum, self.history.seconds, self.history.rows, self.history.warnings)
        self.checkpoints.save(self.step, self.net, self.optimizer, progress)

    def _diverged(self, epoch: int, loss: float) -> UserError:
        return UserError(
            f"Training diverged in epoch {epoch} (its loss is {loss:g}): lower learning_rate "
            f"(now {self.recipe.learning_rate:g}) or use precision='32'."
        )

    def restore(self) -> None:
        """Continue from the newest checkpoint, if there is one."""
        found = self.checkpoints.restore(self.net, self.optimizer) if self.checkpoints else None
        if found:
            self.step, progress = found
            self.loss_sum.fill_(progress.loss_sum)
            self.history = History(progress.rows, progress.warnings, progress.seconds)
