"""What every network has: one forward pass to an embedding and, if it has classes of its own, scores; and a loss."""

from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor, nn

ParameterGroup = dict[str, Any]


class Output(NamedTuple):
    """The result of one forward pass.

    Attributes
    ----------
    embedding : (B, D)
    logits : (B, K) class scores, if the network has classes of its own

    """

    embedding: Tensor
    logits: Tensor | None = None


class Batch(NamedTuple):
    """What a method sees of a batch of pictures; there is no field for labels.

    Attributes
    ----------
    inputs : (B, ...) the network's input for each, unchanged: pictures (B, C, H, W) in [0, 1], or features (B, D)
    views : random views of the pictures, each with the shape of `inputs`, or smaller ones after these
    indices : (B,) int64 positions in the data set

    """

    inputs: Tensor
    views: tuple[Tensor, ...]
    indices: Tensor


class Net(nn.Module):
    """A network that a method trains."""

    if TYPE_CHECKING:

        def __call__(self, inputs: Tensor) -> Output:  # PyTorch declares Any
            """Return `forward(inputs)`."""

    def forward(self, inputs: Tensor) -> Output:
        """Return the embedding and, if the network has classes of its own, the class scores of (B, ...) inputs."""
        raise NotImplementedError

    def loss(self, batch: Batch) -> Tensor:
        """Return the scalar to minimise."""
        raise NotImplementedError

    def parameter_groups(self, weight_decay: float) -> list[ParameterGroup] | None:
        """Return PyTorch's parameter groups, with "rate" as a factor of the learning rate; None if all learn alike."""
        return None
