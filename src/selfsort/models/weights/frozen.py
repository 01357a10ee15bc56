"""Frozen weights in a run: by name and hash if they can be fetched again, otherwise by value."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from selfsort.errors import UserError
from selfsort.models.weights.files import digest_of

References = dict[str, dict[str, str]]
_architecture_only: ContextVar[bool] = ContextVar("architecture_only", default=False)


@dataclass(frozen=True)
class FrozenWeights:
    """How to fetch the weights of a module again; kept as the module's attribute `frozen_weights`.

    Attributes
    ----------
    name : name of the weights, for messages
    load : loads them into the module
    sha256 : of the module's tensors when they were loaded, "" before that

    """

    name: str
    load: Callable[[nn.Module], None]
    sha256: str = ""


@contextmanager
def architecture_only() -> Iterator[None]:
    """Build networks without loading weights in this block, because those of a run are loaded later."""
    token = _architecture_only.set(True)
    try:
        yield
    finally:
        _architecture_only.reset(token)


def is_architecture_only() -> bool:
    """Tell whether networks are to be built without loading weights."""
    return _architecture_only.get()


def mark_frozen(module: nn.Module, name: str, load: Callable[[nn.Module], None], sha256: str = "") -> None:
    """Record how to fetch the weights of a module again, and their `digest_of` if it has them already."""
    module.frozen_weights = FrozenWeights(name, load, sha256)  # type: ignore[assignment]


def split_state(net: nn.Module) -> tuple[dict[str, Tensor], References]:
    """Return the tensors of a network that a run has to keep, and references to those that can be fetched again.

    Weights trained since they were loaded are kept by value, as are those without a source.
    """
    tensors, references = dict(net.state_dict()), References()
    for path, module in net.named_modules(remove_duplicate=False):
        frozen = _frozen(module)
        inside = any(path.startswith(f"{outer}.") for outer in references)
        if frozen is None or inside or frozen.sha256 != digest_of(module.state_dict()):
            continue
        references[path] = {"name": frozen.name, "sha256": frozen.sha256}
        tensors = {name: tensor for name, tensor in tensors.items() if not _is_under(path, name)}
    return tensors, references


def fill_state(net: nn.Module, tensors: Mapping[str, Tensor], references: Mapping[str, Mapping[str, str]]) -> None:
    """Load into a network the result of `split_state`; a run without references holds all tensors by value.

    Raises
    ------
    UserError
        If weights can no longer be obtained, or have changed.

    """
    state = dict(tensors)
    for path, reference in references.items():
        module = dict(net.named_modules()).get(path)
        frozen = None if module is None else _frozen(module)
        if module is None or frozen is None:
            raise UserError(f"The model's weights {reference['name']!r} belong to another network: train it again.")
        if frozen.sha256 != reference["sha256"]:
            frozen.load(module)
        own = module.state_dict()
        if digest_of(own) != reference["sha256"]:
            raise UserError(
                f"The weights {reference['name']!r} have changed since the model was trained with them: train it again."
            )
        mark_frozen(module, frozen.name, frozen.load, reference["sha256"])
        state |= {f"{path}.{name}" if path else name: tensor for name, tensor in own.items()}
    net.load_state_dict(state)


def _is_under(path: str, name: str) -> bool:
    return not path or name.startswith(f"{path}.")


def _frozen(module: nn.Module) -> FrozenWeights | None:
    found: Any = getattr(module, "frozen_weights", None)
    return found if isinstance(found, FrozenWeights) else None
