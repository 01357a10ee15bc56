"""What belongs to a picture and is looked up by its index."""

from torch import Tensor, nn


class PerImage(nn.Module):
    """A row for each picture of a data set: soft targets, surrogate classes, stored features, a memory bank.

    The rows follow the network from device to device. They are no weights: only what training changes is saved.

    Attributes
    ----------
    rows : (N, ...)

    """

    rows: Tensor

    def __init__(self, rows: Tensor, *, trained: bool = False):
        """Keep `rows`; `trained` makes them part of the state that is saved."""
        super().__init__()
        self.register_buffer("rows", rows, persistent=trained)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: Tensor) -> Tensor:
        return self.rows[indices]

    def replace(self, rows: Tensor) -> None:
        """Put other (N, ...) rows in the place of these."""
        self.rows = rows.to(self.rows.device)

    def put(self, indices: Tensor, rows: Tensor) -> None:
        """Put (B, ...) rows at (B,) positions; what was looked up before stays as it was, for its gradient."""
        self.rows = self.rows.index_copy(0, indices, rows)
