"""Training states on disk: safetensors and JSON, written whole or not at all, the last two kept."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
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
            path.write_bytes(save(tensors, metadata=header))  # save_file's errors are no OSError
        for old in self._all()[: -self.keep]:
            old.unlink()

    def restore(self, net: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, dict[str, Any]] | None:
        """Load the newest state, if there is one, into a network and its optimiser; return its step and progress."""
        files = self._all()
        if not files:
            return None
        try:
            data = files[-1].read_bytes()
            # The format begins with the length of a JSON header, in 8 bytes.
            fields = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            header = json.loads(fields["__metadata__"]["state"])
            state = _with_tensors(header["plain"], load(data))
            net.load_state_dict(state["net"])
            optimizer.load_state_dict(state["optimizer"])
        except (OSError, SafetensorError, KeyError, RuntimeError, ValueError) as error:
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


def _with_tensors(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict) and "tensor" in value:
        return tensors[value["tensor"]]
    if isinstance(value, dict):
        return {key: _with_tensors(item, tensors) for key, item in value["dict"]}
    if isinstance(value, list):
        return [_with_tensors(item, tensors) for item in value]
    return value
