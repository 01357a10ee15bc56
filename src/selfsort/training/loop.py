"""The one training loop, on Lightning Fabric.

Everything random in a step follows from (seed, step) and the order of an epoch from (seed, epoch), so a run that was
killed and resumed goes on to the same weights as one that was not. No labels exist here: a `Batch` has no field for
them.
"""

import logging
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from selfsort.errors import UserError
from selfsort.evaluation.metrics import class_use, effective_rank
from selfsort.files import write_table
from selfsort.memory import keep_freed_memory
from selfsort.training.checkpoints import Checkpoints

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "32", "bf16"]
OptimizerName = Literal["sgd", "adam", "adamw", "lars"]
Schedule = Literal["constant", "cosine", "step"]
ViewMaker = Callable[[Tensor], Tensor]
ParameterGroup = dict[str, Any]
MILESTONES = ((0.6, 0.1), (0.8, 0.1))


@dataclass(frozen=True)
class Batch:
    """What a method sees of some pictures; there is no field for labels.

    Attributes
    ----------
    images : (B, C, H, W) float32 in [0, 1], as they are
    views : random views of them, each (B, C, H, W)
    indices : (B,) int64 positions in the data set

    """

    images: Tensor
    views: tuple[Tensor, ...]
    indices: Tensor


class Net(nn.Module):
    """What a method trains: a loss and an embedding, and `logits` where it classifies by itself."""

    def loss(self, batch: Batch) -> Tensor:
        """Return the scalar to minimise."""
        raise NotImplementedError

    def embed(self, images: Tensor) -> Tensor:
        """Return the (B, D) embedding of (B, C, H, W) pictures in [0, 1]."""
        raise NotImplementedError

    logits: Callable[[Tensor], Tensor]  # only where the network classifies by itself: (B, K) scores
    # Only where its layers learn differently: PyTorch's groups, with "rate" for a factor of the learning rate.
    parameter_groups: Callable[["Recipe"], list["ParameterGroup"]]


@dataclass(frozen=True)
class Recipe:
    """How to train; the meaning of each field is in `TrainedEstimator`.

    Attributes
    ----------
    milestones : of the schedule "step": after which share of the training the rate is multiplied by which factor

    """

    epochs: int
    batch_size: int
    optimizer: OptimizerName
    learning_rate: float
    momentum: float
    weight_decay: float
    schedule: Schedule
    warmup_epochs: float
    device: Device
    precision: Precision
    checkpoint_minutes: float
    seed: int
    milestones: tuple[tuple[float, float], ...] = MILESTONES


@dataclass
class History:
    """What happened: one row of figures per epoch, and the warnings of the collapse gauge."""

    rows: list[dict[str, float]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0


OnEpoch = Callable[[History], None]


def write_metrics(path: Path, history: History) -> None:
    """Write a history as CSV, one row per epoch; nothing for a method that does not learn."""
    if history.rows:
        write_table(path, list(history.rows[0]), [list(row.values()) for row in history.rows])


def pick_device(device: Device) -> torch.device:
    """Return the device that a name stands for; "auto" is CUDA where there is one."""
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device='cuda', but no CUDA device is available here: use device='cpu' or 'auto'.")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def pick_precision(precision: Precision, device: torch.device) -> Literal["32-true", "bf16-mixed"]:
    """Return Fabric's name of a precision; "auto" is bfloat16 where the hardware computes in it."""
    wanted = precision == "bf16" or (precision == "auto" and _has_bf16(device))
    return "bf16-mixed" if wanted else "32-true"


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def seed_of(*parts: int) -> int:
    """Mix numbers into one seed; near inputs give unrelated seeds."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


class Pictures:
    """uint8 pictures that hand out whole float batches, resident on the device when they fit there."""

    def __init__(self, images: NDArray[np.uint8], device: torch.device):
        self.images = images
        self.device = device
        self.resident: Tensor | None = None
        if device.type == "cuda" and images.nbytes < 0.5 * torch.cuda.mem_get_info(device)[0]:
            self.resident = torch.from_numpy(np.ascontiguousarray(images)).to(device)

    def __len__(self) -> int:
        """Return how many pictures there are."""
        return len(self.images)

    def batch(self, indices: NDArray[np.int64]) -> Tensor:
        """Return the (B, C, H, W) float32 pictures in [0, 1] at (B,) positions."""
        if self.resident is not None:
            chosen = self.resident[torch.from_numpy(indices).to(self.device)]
        else:
            chosen = torch.from_numpy(self.images[indices]).to(self.device)
        return chosen.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format).div_(255)


def in_batches(
    net: Net,
    function: Literal["embed", "logits"],
    images: NDArray[np.uint8],
    device: Device = "auto",
    batch_size: int | None = None,
) -> NDArray[np.float32]:
    """Return what a function of a network, in evaluation mode, makes of (N, H, W, C) uint8 pictures."""
    # In float32 whatever the training's precision: the same picture gets the same cluster on every machine.
    keep_freed_memory()
    pictures = Pictures(images, pick_device(device))
    # The maps of more pictures at once leave a processor's cache: small networks are a third slower with 256.
    batch_size = batch_size or (128 if pictures.device.type == "cpu" else 256)
    net = net.to(pictures.device).to(memory_format=torch.channels_last).eval()
    batches = np.array_split(np.arange(len(images)), math.ceil(len(images) / batch_size))
    found: NDArray[np.float32] | None = None
    with torch.inference_mode():
        for indices in batches:
            part = getattr(net, function)(pictures.batch(indices)).float().cpu().numpy()
            if found is None:
                found = np.empty((len(images), *part.shape[1:]), np.float32)
            found[indices] = part
    assert found is not None
    return found


def train(
    net: Net,
    images: NDArray[np.uint8] | Pictures,
    make_view: ViewMaker,
    n_views: int,
    recipe: Recipe,
    *,
    run_dir: Path | None = None,
    resume: bool = False,
    progress: bool = False,
    on_epoch: OnEpoch | None = None,
    validate: Callable[[], Mapping[str, float]] | None = None,
) -> History:
    """Train `net` in place on (N, H, W, C) uint8 pictures, or on `Pictures` that lie on the recipe's device.

    With a `run_dir`, `metrics.csv`, TensorBoard logs and checkpoints are kept there, and `resume` goes on from the
    last one. `on_epoch` is called with what happened so far after each epoch, to which `validate` adds figures.

    Raises
    ------
    UserError
        When the loss stops being a finite number.
    KeyboardInterrupt
        After Ctrl-C, once the state is saved.

    """
    from lightning.fabric import Fabric

    # Fabric announces the precision of every run; what it has to warn of still comes through.
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    keep_freed_memory()
    device = pick_device(recipe.device)
    fabric = Fabric(accelerator=device.type, devices=1, precision=pick_precision(recipe.precision, device))
    net.to(memory_format=torch.channels_last)
    module, optimizer = fabric.setup(net, make_optimizer(net, recipe))
    for name in ("loss", "embed", "logits"):
        if hasattr(net, name):
            module.mark_forward_method(name)
    loop = _Loop(
        net=cast(Net, module),
        optimizer=optimizer,
        autocast=fabric.autocast,
        backward=fabric.backward,
        pictures=images if isinstance(images, Pictures) else Pictures(images, fabric.device),
        make_view=make_view,
        n_views=n_views,
        recipe=recipe,
        checkpoints=Checkpoints(run_dir / "checkpoints") if run_dir else None,
        on_epoch=on_epoch,
        validate=validate,
    )
    with torch.random.fork_rng(), _Log(run_dir, recipe, progress) as log, _deferred_interrupt() as interrupted:
        if resume:
            loop.restore()
        loop.run(log, interrupted)
    return loop.history


def make_optimizer(net: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the optimiser of a network's groups of parameters.

    They are those that it names itself; else biases and normalisation have no weight decay and, with LARS, no
    adaptation.
    """
    own: Callable[[Recipe], list[ParameterGroup]] | None = getattr(net, "parameter_groups", None)
    groups = _parameter_groups(net, recipe) if own is None else own(recipe)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum)
    if recipe.optimizer == "lars":
        from timm.optim import Lars

        return cast(torch.optim.Optimizer, Lars(groups, lr=recipe.learning_rate, momentum=recipe.momentum))
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, lr=recipe.learning_rate)


def _parameter_groups(net: nn.Module, recipe: Recipe) -> list[ParameterGroup]:
    trainable = [p for p in net.parameters() if p.requires_grad]
    groups: list[ParameterGroup] = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Return a step's learning rate: linear warm-up, then constant, cosine to 0, or falling in steps."""
    warmup = recipe.warmup_epochs * steps_per_epoch
    total = recipe.epochs * steps_per_epoch
    if step < warmup:
        return recipe.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1.0, total - warmup)
    if recipe.schedule == "cosine":
        return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
    if recipe.schedule == "step":
        return recipe.learning_rate * math.prod(factor for share, factor in recipe.milestones if done >= share)
    return recipe.learning_rate


@dataclass
class _Loop:
    net: Net
    optimizer: torch.optim.Optimizer
    autocast: Callable[[], AbstractContextManager[None]]
    backward: Callable[[Tensor], None]
    pictures: Pictures
    make_view: ViewMaker
    n_views: int
    recipe: Recipe
    checkpoints: Checkpoints | None
    on_epoch: OnEpoch | None = None
    validate: Callable[[], Mapping[str, float]] | None = None
    history: History = field(default_factory=History)
    step: int = 0

    def __post_init__(self) -> None:
        # Summed on the device: asking for each step's loss would make the CPU wait for it.
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=self.pictures.device)
        self.batch_size = min(self.recipe.batch_size, len(self.pictures))
        # The last pictures of an order that do not fill a batch wait for the next epoch's order.
        self.steps_per_epoch = len(self.pictures) // self.batch_size
        self.total_steps = self.recipe.epochs * self.steps_per_epoch

    def run(self, log: "_Log", interrupted: threading.Event) -> None:
        self.net.train()
        saved = time.monotonic()
        while self.step < self.total_steps:
            started = time.monotonic()
            self.one_step()
            self.history.seconds += time.monotonic() - started
            if self.step % self.steps_per_epoch == 0:
                self.end_epoch(log)
                self.save()
                saved = time.monotonic()
            log.advance(self)
            if interrupted.is_set():
                self.save()
                raise KeyboardInterrupt
            if time.monotonic() - saved > 60 * self.recipe.checkpoint_minutes:
                self.save()
                saved = time.monotonic()

    def one_step(self) -> None:
        torch.manual_seed(seed_of(self.recipe.seed, 1, self.step))
        batch = self.batch()
        rate = learning_rate(self.recipe, self.step, self.steps_per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("rate", 1.0)
        with self.autocast():  # Fabric casts in `forward` only, which methods do not use
            loss = self.net.loss(batch)
        self.backward(loss)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.loss_sum += loss.detach()
        self.step += 1

    def batch(self) -> Batch:
        epoch, position = divmod(self.step, self.steps_per_epoch)
        if position == 0 or not hasattr(self, "order"):
            self.order = np.random.default_rng((self.recipe.seed, 2, epoch)).permutation(len(self.pictures))
        indices = self.order[position * self.batch_size : (position + 1) * self.batch_size]
        images = self.pictures.batch(indices)
        views = tuple(self.make_view(images) for _ in range(self.n_views))
        return Batch(images, views, torch.from_numpy(indices).to(images.device))

    def end_epoch(self, log: "_Log") -> None:
        epoch = self.step // self.steps_per_epoch
        loss = self.loss_sum.item() / self.steps_per_epoch
        self.loss_sum.zero_()
        with self.autocast():
            gauge = measure_collapse(self.net, self.pictures, self.batch_size)
            gauge |= self.validate() if self.validate else {}
        # A last step can ruin the weights while the mean loss of the epoch is still a number.
        if not (math.isfinite(loss) and math.isfinite(gauge["effective_rank"])):
            raise UserError(
                f"Training diverged in epoch {epoch} (its loss is {loss:g}): lower learning_rate "
                f"(now {self.recipe.learning_rate:g}) or use precision='32'."
            )
        seconds = self.history.seconds - sum(row["seconds"] for row in self.history.rows)
        rate = self.optimizer.param_groups[0]["lr"]
        self.history.rows.append({"epoch": epoch, "loss": loss, "learning_rate": rate, "seconds": seconds, **gauge})
        warning = collapse_warning(epoch, gauge) if epoch > 1 else None
        if warning:
            self.history.warnings.append(warning)
        log.epoch(self.history, warning)
        if self.on_epoch:
            self.on_epoch(self.history)
            self.net.train()

    def save(self) -> None:
        if self.checkpoints:
            progress: dict[str, Any] = {"loss_sum": self.loss_sum.item(), "seconds": self.history.seconds}
            progress |= {"rows": self.history.rows, "warnings": self.history.warnings}
            self.checkpoints.save(self.step, self.net, self.optimizer, progress)

    def restore(self) -> None:
        found = self.checkpoints.restore(self.net, self.optimizer) if self.checkpoints else None
        if found:
            self.step, progress = found
            self.loss_sum.fill_(progress["loss_sum"])
            self.history = History(progress["rows"], progress["warnings"], progress["seconds"])


def measure_collapse(net: Net, pictures: Pictures, batch_size: int) -> dict[str, float]:
    """Measure on a fixed sample how many dimensions and classes the network uses.

    Returns `effective_rank` (Roy and Vetterli 2007; NaN for an embedding that is not finite) and, for a net with
    `logits`, `class_entropy` (0 to 1) and the shares of pictures in the `largest_class` and the `smallest_class`.
    """
    # A tenth of the pictures, 256 to 2,048: enough to see a collapse, at a few per cent of an epoch's work.
    size = min(len(pictures), max(256, min(2048, len(pictures) // 10)))
    sample = np.linspace(0, len(pictures) - 1, size).astype(np.int64)
    embeddings, classes = [], []
    net.eval()
    with torch.no_grad():
        for indices in np.array_split(sample, math.ceil(size / batch_size)):
            images = pictures.batch(indices)
            embeddings.append(net.embed(images).float().cpu().numpy())
            if hasattr(net, "logits"):
                classes.append(net.logits(images).float().cpu().numpy())
    net.train()
    embedding = np.concatenate(embeddings)
    figures = {"effective_rank": effective_rank(embedding) if np.isfinite(embedding).all() else math.nan}
    if classes:
        logits = np.concatenate(classes)
        use = class_use(logits.argmax(1), logits.shape[1])
        figures |= {"class_entropy": use.entropy, "largest_class": use.largest, "smallest_class": use.smallest}
    return figures


def collapse_warning(epoch: int, gauge: Mapping[str, float]) -> str | None:
    """Say in plain language what has collapsed, or return None."""
    advice = "try a lower learning rate, a larger batch or weaker views"
    if gauge["effective_rank"] < 2:
        rank = gauge["effective_rank"]
        return f"Epoch {epoch}: all pictures look nearly alike to the network (effective rank {rank:.1f}); {advice}."
    if gauge.get("class_entropy", 1.0) < 0.5:
        share = gauge["largest_class"]
        return f"Epoch {epoch}: {share:.0%} of the pictures fall into one class, so the classes mean little; {advice}."
    return None


@contextmanager
def _deferred_interrupt() -> Iterator[threading.Event]:
    """Let Ctrl-C wait for the end of a step, so that what is saved is whole; a second Ctrl-C does not wait."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return

    def note(signum: int, frame: FrameType | None) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()

    before = signal.signal(signal.SIGINT, note)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)


class _Log:
    """Progress on the terminal, `metrics.csv` and TensorBoard."""

    def __init__(self, run_dir: Path | None, recipe: Recipe, progress: bool):
        self.run_dir, self.recipe = run_dir, recipe
        self.lines = progress and not sys.stderr.isatty()
        self.drawn = progress and sys.stderr.isatty()
        self.bar: Any = nullcontext()
        self.board: Any = None
        self.task: Any = None

    def __enter__(self) -> "_Log":
        if self.drawn:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

            columns = [TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()]
            self.bar = Progress(*columns, console=Console(stderr=True), refresh_per_second=2)
        self.bar.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self.bar.__exit__(*exception)
        if self.board:
            self.board.close()

    def advance(self, loop: _Loop) -> None:
        if not self.drawn:
            return
        if self.task is None:
            self.task = self.bar.add_task("training", total=loop.total_steps)
        epoch = min(self.recipe.epochs, 1 + loop.step // loop.steps_per_epoch)
        last = f" loss {loop.history.rows[-1]['loss']:.4f}" if loop.history.rows else ""
        self.bar.update(self.task, completed=loop.step, description=f"epoch {epoch}/{self.recipe.epochs}{last}")

    def epoch(self, history: History, warning: str | None) -> None:
        row = history.rows[-1]
        if self.run_dir:
            write_metrics(self.run_dir / "metrics.csv", history)
            self._to_tensorboard(self.run_dir, row)
        if self.lines:
            print(f"epoch {row['epoch']}/{self.recipe.epochs} loss {row['loss']:.4f}", file=sys.stderr, flush=True)
        if warning and (self.lines or self.drawn):
            print(warning, file=sys.stderr, flush=True)

    def _to_tensorboard(self, run_dir: Path, row: Mapping[str, float]) -> None:
        if self.board is None:
            from torch.utils.tensorboard import SummaryWriter

            # What a killed run logged beyond its last checkpoint is logged again.
            self.board = SummaryWriter(str(run_dir / "tensorboard"), purge_step=int(row["epoch"]))
        for name, value in row.items():
            if name != "epoch":
                self.board.add_scalar(name, value, int(row["epoch"]))
