"""Files of weights: read without running code, hashed, and kept as safetensors once converted."""

import hashlib
import json
import logging
import pickle
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from selfsort.errors import UserError
from selfsort.files import atomic_path, remove
from selfsort.models.weights.kept import WEIGHTS

_log = logging.getLogger(__name__)
_NESTED = ("state_dict", "model", "model_state", "state_dict_ema", "teacher")  # keys used by training programs


class Weights(NamedTuple):
    """Tensors by name, in the order of their file, and its SHA-256."""

    tensors: dict[str, Tensor]
    sha256: str


def read(path: Path, *, others: str = "") -> Weights:
    """Read a .safetensors file, or a PyTorch file, which is converted the first time.

    `others` ends the message for a missing file.

    Raises
    ------
    UserError
        If there is no such file, or it holds no named tensors; code in it is never run.

    """
    if not path.is_file():
        raise UserError(f"There are no weights {str(path)!r}: give a .safetensors, .pth or .pt file{others}.")
    try:
        sha256 = hash_of(path)
        if path.suffix == ".safetensors":
            return Weights(_read_safetensors(path), sha256)
        return Weights(_converted(path, sha256), sha256)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, SafetensorError, pickle.UnpicklingError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"Weights {str(path)!r} cannot be read: give a .safetensors, .pth or .pt file of named tensors."
        ) from error


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of tensors and their names, independent of their order and file format."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def matching(
    module: nn.Module, found: Mapping[str, Any], path: object, owner: str, prefixes: Iterable[str]
) -> dict[str, Tensor]:
    """Return the tensors that belong to a module, under its own names; others are ignored.

    `path` and `owner` name, in messages, the source of the tensors and the network they should belong to. Each name may
    begin with one of `prefixes`, the first of which is used in messages.

    Raises
    ------
    UserError
        If one is missing or has another shape.

    """
    first, *others = prefixes
    chosen = {}
    for name, own in module.state_dict().items():
        tensor = next((found[prefix + name] for prefix in (first, *others) if prefix + name in found), None)
        if tensor is None and name.endswith("num_batches_tracked"):
            tensor = own  # older files lack this count, and frozen networks do not read it
        if not isinstance(tensor, Tensor):
            raise UserError(f"Weights {str(path)!r} lack {first}{name}: give weights for {owner}.")
        if tensor.shape != own.shape:
            raise UserError(
                f"Weights {str(path)!r} are not those of {owner}: {first}{name} is {_size(tensor)} "
                f"instead of {_size(own)}."
            )
        chosen[name] = tensor
    return chosen


def _converted(path: Path, sha256: str) -> dict[str, Tensor]:
    """Return the tensors of a PyTorch file, from the cache if it was converted before."""
    kept = WEIGHTS.location() / f"{sha256}{WEIGHTS.suffix}"
    if kept.is_file():
        with suppress(OSError, ValueError, KeyError, SafetensorError):
            return _read_kept(kept)
        _log.warning("The converted weights %s are damaged and will be converted again.", kept)
        remove(kept)
    tensors = _unpickled(path)
    about = {"order": json.dumps(list(tensors)), "digest": digest_of(tensors)}
    try:
        with atomic_path(kept) as partial:
            save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, partial, about)
    except UserError as error:
        _log.info("Converted weights are not kept: %s", error)
    return tensors


def _unpickled(path: Path) -> dict[str, Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch warns about in a malformed file ends in an error
        content = torch.load(path, map_location="cpu", weights_only=True)
    nested = [content[key] for key in _NESTED if isinstance(content, Mapping) and isinstance(content.get(key), Mapping)]
    content = nested[0] if nested else content
    if not isinstance(content, Mapping):
        raise UserError(f"Weights {str(path)!r} hold no named tensors: give a network's state_dict.")
    return {name: tensor for name, tensor in content.items() if isinstance(tensor, Tensor)}


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)


def _read_kept(path: Path) -> dict[str, Tensor]:
    with safe_open(path, "pt") as file:
        about = file.metadata()
        tensors = {name: file.get_tensor(name) for name in json.loads(about["order"])}
    if digest_of(tensors) != about["digest"]:
        raise ValueError("its hash does not match")
    return tensors


def _size(tensor: Tensor) -> str:
    return "x".join(str(side) for side in tensor.shape) or "a single number"
