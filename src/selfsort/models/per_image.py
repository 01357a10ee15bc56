"""Data that belong to a picture and are looked up by its index."""

from torch import Tensor, nn


class PerImage(nn.Module):
    """One row for each picture of a data set: soft targets, surrogate classes, stored features, a memory bank.

    The rows follow the network from device to device. They are not weights: only those changed by training are saved.

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
        """Replace all rows by other (N, ...) rows."""
        self.rows = rows.to(self.rows.device)

    def put(self, indices: Tensor, rows: Tensor) -> None:
        """Put (B, ...) rows at (B,) positions; rows looked up before stay unchanged, for their gradients."""
        self.rows = self.rows.index_copy(0, indices, rows)
