"""Training states on disk: safetensors and JSON, written whole or not at all, the last two kept."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from selfsort.errors import UserError
from selfsort.files import atomic_path


class Checkpoints:
    """The checkpoints of one run, named by step."""

    def __init__(self, folder: Path, keep: int = 2):
        self.folder, self.keep = folder, keep

    def save(self, step: int, net: nn.Module, optimizer: torch.optim.Optimizer, progress: Mapping[str, Any]) -> None:
        """Write the state after `step` steps and drop all but the newest."""
        tensors: dict[str, Tensor] = {}
        state = {"net": net.state_dict(), "optimizer": optimizer.state_dict()}
        plain = _without_tensors(state, "", tensors)
        header = {"state": json.dumps({"step": step, "progress": dict(progress), "plain": plain})}
        with atomic_path(self.folder / f"step-{step:09d}.safetensors") as path:
            save_file(tensors, path, metadata=header)
        for old in self._all()[: -self.keep]:
            old.unlink()

    def restore(self, net: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, dict[str, Any]] | None:
        """Load the newest state, if there is one, into a network and its optimiser; return its step and progress."""
        files = self._all()
        if not files:
            return None
        try:
            with safe_open(files[-1], "pt") as file:
                header = json.loads(file.metadata()["state"])
                state = _with_tensors(header["plain"], file)
            net.load_state_dict(state["net"])
            optimizer.load_state_dict(state["optimizer"])
        except (SafetensorError, KeyError, RuntimeError, ValueError) as error:
            raise UserError(
                f"Checkpoint {str(files[-1])!r} cannot be read: delete it to go on from the one before."
            ) from error
        return header["step"], header["progress"]

    def _all(self) -> list[Path]:
        return sorted(self.folder.glob("step-*.safetensors"))


def _without_tensors(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """Copy nested dicts and lists with every tensor moved to `tensors` and its path left in its place."""
    if isinstance(value, Tensor):
        tensors[path] = value.detach().cpu().contiguous().clone()
        return {"tensor": path}
    if isinstance(value, Mapping):
        return {"dict": [[key, _without_tensors(item, f"{path}.{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return [_without_tensors(item, f"{path}.{i}", tensors) for i, item in enumerate(value)]
    return value


def _with_tensors(value: Any, file: Any) -> Any:
    if isinstance(value, dict) and "tensor" in value:
        return file.get_tensor(value["tensor"])
    if isinstance(value, dict):
        return {key: _with_tensors(item, file) for key, item in value["dict"]}
    if isinstance(value, list):
        return [_with_tensors(item, file) for item in value]
    return value
