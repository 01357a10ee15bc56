"""How to train: device, precision, optimiser, learning rate, seeds."""

import math
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import nn

from selfsort.errors import UserError
from selfsort.models.base import Net, ParameterGroup

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "32", "bf16"]
OptimizerName = Literal["sgd", "adam", "adamw", "lars"]
Schedule = Literal["constant", "cosine", "step"]
MILESTONES = ((0.6, 0.1), (0.8, 0.1))


@dataclass(frozen=True)
class Recipe:
    """How to train; the meaning of each field is in `TrainedEstimator`.

    Attributes
    ----------
    milestones : for the schedule "step": (share of the training, factor by which the rate is multiplied after it)

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


def pick_device(device: Device) -> torch.device:
    """Return the device that a name stands for; "auto" is CUDA if available."""
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device='cuda', but no CUDA device is available here: use device='cpu' or 'auto'.")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def pick_precision(precision: Precision, device: torch.device) -> Literal["32-true", "bf16-mixed"]:
    """Return Fabric's name of a precision; "auto" is bfloat16 if the hardware supports it."""
    wanted = precision == "bf16" or (precision == "auto" and _has_bf16(device))
    return "bf16-mixed" if wanted else "32-true"


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def seed_of(*parts: int) -> int:
    """Mix numbers into one seed; similar inputs give unrelated seeds."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


def make_optimizer(net: Net, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the optimiser for a network's parameter groups.

    The groups are those that the network defines; otherwise biases and normalisation layers have no weight decay and,
    with LARS, no adaptation.
    """
    groups = net.parameter_groups(recipe.weight_decay) or _parameter_groups(net, recipe)
    for group in groups:
        group["lr"] = recipe.learning_rate * group.get("rate", 1.0)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum)
    if recipe.optimizer == "lars":
        from timm.optim import Lars

        # timm adapts a group without weight decay only if told to.
        for group in groups:
            group["always_adapt"] = any(parameter.ndim > 1 for parameter in group["params"])
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


def make_schedule(
    optimizer: torch.optim.Optimizer, recipe: Recipe, steps_per_epoch: int, step: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Return the schedule of an optimiser's learning rates, starting at a step."""
    for group in optimizer.param_groups:
        group["initial_lr"] = recipe.learning_rate * group.get("rate", 1.0)
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda done: rate_factor(recipe, done, steps_per_epoch), last_epoch=step - 1
    )


def rate_factor(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Return a step's share of the peak learning rate: linear warm-up, then constant, cosine decay to 0, or steps."""
    warmup = recipe.warmup_epochs * steps_per_epoch
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1.0, recipe.epochs * steps_per_epoch - warmup)
    if recipe.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    if recipe.schedule == "step":
        return math.prod(factor for share, factor in recipe.milestones if done >= share)
    return 1.0
