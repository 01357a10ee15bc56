"""The gauge that detects, without labels, whether training collapses."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from selfsort.evaluation.metrics import class_use, effective_rank
from selfsort.models.base import Net
from selfsort.training.data import TrainingData
from selfsort.training.outputs import one_pass


def measure_collapse(net: Net, data: TrainingData, batch_size: int) -> dict[str, float]:
    """Measure on a fixed sample how many dimensions and classes the network uses.

    Returns `effective_rank` (Roy and Vetterli 2007; NaN for an embedding that is not finite) and, for a network that
    has classes of its own, `class_entropy` (0 to 1) and the shares of pictures in the `largest_class` and the
    `smallest_class`.
    """
    # A tenth of the pictures, 256 to 2,048: enough to see a collapse, at a few per cent of an epoch's work.
    size = min(len(data), max(256, min(2048, len(data) // 10)))
    sample = np.linspace(0, len(data) - 1, size).astype(np.int64)
    net.eval()
    with torch.no_grad():
        embedding, logits = one_pass(net, data, np.array_split(sample, math.ceil(size / batch_size)))
    net.train()
    figures = {"effective_rank": effective_rank(embedding) if np.isfinite(embedding).all() else math.nan}
    if logits is not None:
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


def add_warning(warnings: list[str], new: str) -> bool:
    """Add an epoch's warning, merged with others of its kind; tell whether it is the first of its kind.

    >>> warnings = ["Epoch 2: they look alike (rank 1.5)."]
    >>> add_warning(warnings, "Epoch 3: they look alike (rank 1.4).")
    False
    >>> warnings
    ['Epochs 2 to 3 (2 of them): they look alike (rank 1.4).']
    """
    epoch = _epochs(new)
    for place, earlier in enumerate(warnings):
        if epoch and (known := _epochs(earlier)) and _kind(earlier) == _kind(new):
            said = f"Epochs {known.first} to {epoch.last} ({known.number + 1:,} of them)"
            warnings[place] = f"{said}:{new.partition(':')[2]}"
            return False
    warnings.append(new)
    return True


def of_final_model(warnings: Sequence[str], n_epochs: int) -> list[str]:
    """Return those of a run's warnings that concern its final model, not only earlier epochs."""
    passed = map(_epochs, warnings)
    return [text for text, epochs in zip(warnings, passed, strict=True) if not epochs or epochs.last >= n_epochs]


class _Epochs(NamedTuple):
    """The epochs that a warning is about."""

    first: int
    last: int
    number: int


def _epochs(warning: str) -> _Epochs | None:
    if found := re.match(r"Epochs (\d+) to (\d+) \(([\d,]+) of them\):", warning):
        return _Epochs(int(found[1]), int(found[2]), int(found[3].replace(",", "")))
    found = re.match(r"Epoch (\d+):", warning)
    return _Epochs(int(found[1]), int(found[1]), 1) if found else None


def _kind(warning: str) -> str:
    return re.sub(r"[\d.,%]+", "", warning.partition(":")[2])
