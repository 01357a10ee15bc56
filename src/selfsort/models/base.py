"""What every network is: one pass that gives an embedding and, where it has classes of its own, scores; and a loss."""

from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor, nn

ParameterGroup = dict[str, Any]


class Output(NamedTuple):
    """What one pass through a network gives.

    Attributes
    ----------
    embedding : (B, D)
    logits : (B, K) class scores, of a network that has classes of its own

    """

    embedding: Tensor
    logits: Tensor | None = None


class Batch(NamedTuple):
    """What a method sees of some pictures; there is no field for labels.

    Attributes
    ----------
    inputs : (B, ...) what the network takes of each, as it is: pictures (B, C, H, W) in [0, 1], or features (B, D)
    views : random views of them, each of the shape of `inputs`
    indices : (B,) int64 positions in the data set

    """

    inputs: Tensor
    views: tuple[Tensor, ...]
    indices: Tensor


class Net(nn.Module):
    """What a method trains."""

    if TYPE_CHECKING:

        def __call__(self, inputs: Tensor) -> Output:  # what PyTorch declares gives Any
            """Return `forward(inputs)`."""

    def forward(self, inputs: Tensor) -> Output:
        """Return the embedding and, where the network has classes of its own, the class scores of (B, ...) inputs."""
        raise NotImplementedError

    def loss(self, batch: Batch) -> Tensor:
        """Return the scalar to minimise."""
        raise NotImplementedError

    def parameter_groups(self, weight_decay: float) -> list[ParameterGroup] | None:
        """Return PyTorch's groups, with "rate" for a factor of the learning rate, where layers learn differently."""
        return None
