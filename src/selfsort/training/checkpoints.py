"""Training states on disk: safetensors and JSON, written whole or not at all, the last two kept."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from safetensors.torch import load, save
from torch import Tensor, nn

from selfsort.errors import UserError
from selfsort.files import atomic_path
from selfsort.models.weights.files import digest_of
from selfsort.schema import Invalid, checked, parsed


@dataclass
class Progress:
    """How far a training has got: the sum of the losses of the epoch so far, and its history."""

    loss_sum: float = 0.0
    seconds: float = 0.0
    rows: list[dict[str, float]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass
class _State:
    """What a checkpoint holds besides its tensors; `plain` notes where they belong."""

    step: Annotated[int, Field(ge=0)]
    progress: Progress
    plain: Any


@dataclass
class _Header:
    """The header before the tensors; checkpoints of earlier versions have no digest."""

    state: str
    digest: str = ""


class Checkpoints:
    """The checkpoints of one run, named by step."""

    def __init__(self, folder: Path, keep: int = 2):
        self.folder, self.keep = folder, keep

    def save(self, step: int, net: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
        """Write the state after `step` steps and delete all but the newest."""
        tensors: dict[str, Tensor] = {}
        state = {"net": net.state_dict(), "optimizer": optimizer.state_dict()}
        plain = _without_tensors(state, "", tensors)
        header = {"state": json.dumps({"step": step, "progress": asdict(progress), "plain": plain})}
        header["digest"] = _digest(header["state"], tensors)
        with atomic_path(self.folder / f"step-{step:09d}.safetensors") as path:
            path.write_bytes(save(tensors, metadata=header))  # save_file does not raise OSError
        for old in self._all()[: -self.keep]:
            old.unlink()

    def restore(self, net: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, Progress] | None:
        """Load the newest state, if there is one, into a network and its optimiser; return its step and progress."""
        files = self._all()
        if not files:
            return None
        try:
            found, state = _read(files[-1].read_bytes())
            net.load_state_dict(state["net"])
            optimizer.load_state_dict(state["optimizer"])
        except Exception as error:  # PyTorch raises various errors for a malformed state
            raise UserError(
                f"Checkpoint {str(files[-1])!r} cannot be read: delete it to resume from the one before."
            ) from error
        return found.step, found.progress

    def _all(self) -> list[Path]:
        return sorted(self.folder.glob("step-*.safetensors"))


def _read(data: bytes) -> tuple[_State, dict[str, Any]]:
    """Return the state of a checkpoint, and those of the network and its optimiser."""
    # The format begins with the length of a JSON header, in 8 bytes.
    header = checked(_Header, parsed(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"])
    tensors = load(data)
    if header.digest not in ("", _digest(header.state, tensors)):
        raise Invalid("it was changed after it was written")
    found = checked(_State, parsed(header.state))
    return found, _with_tensors(found.plain, tensors)


def _digest(state: str, tensors: Mapping[str, Tensor]) -> str:
    return hashlib.sha256((state + digest_of(tensors)).encode()).hexdigest()


def _without_tensors(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """Copy nested dicts and lists with every tensor moved to `tensors` and replaced by its path."""
    if isinstance(value, Tensor):
        tensors[path] = value.detach().cpu().contiguous().clone()
        return {"tensor": path}
    if isinstance(value, Mapping):
        return {"dict": [[key, _without_tensors(item, f"{path}.{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return [_without_tensors(item, f"{path}.{i}", tensors) for i, item in enumerate(value)]
    return value


def _with_tensors(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict) and "tensor" in value:
        return tensors[value["tensor"]]
    if isinstance(value, dict):
        return {key: _with_tensors(item, tensors) for key, item in value["dict"]}
    if isinstance(value, list):
        return [_with_tensors(item, tensors) for item in value]
    return value
