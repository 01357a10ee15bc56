"""Queues of embeddings of earlier batches: the newest rows replace the oldest."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class NeighbourQueue(nn.Module):
    """Embeddings of earlier batches, in which each picture finds its nearest neighbour among other pictures.

    Dwibedi et al., "With a little help from my friends: nearest-neighbor contrastive learning of visual
    representations", 2021, section 3.2. As in the code of Self-Classifier's authors, it is used once it is full, and a
    picture's own embeddings are no neighbours of it.

    Attributes
    ----------
    rows : (K, D) embeddings of unit length
    pictures : (K,) int64 index of the picture of each, -1 while there is none
    oldest : the row that is replaced next

    """

    rows: Tensor
    pictures: Tensor
    oldest: Tensor

    def __init__(self, size: int, dim: int):
        super().__init__()
        self.register_buffer("rows", torch.zeros(size, dim))
        self.register_buffer("pictures", torch.full((size,), -1))
        self.register_buffer("oldest", torch.tensor(0))

    def __len__(self) -> int:
        return len(self.rows)

    def nearest(self, embeddings: Tensor, indices: Tensor) -> Tensor:
        """Return (B, D) nearest rows by cosine of (B, D) embeddings of the pictures at (B,) indices.

        They have no gradient. A picture whose neighbours are not known yet keeps its embedding.
        """
        with torch.no_grad():
            own = self.pictures == indices[:, None]  # (B, K)
            similarity = (F.normalize(embeddings) @ self.rows.to(embeddings.dtype).T).masked_fill(own, -torch.inf)
            best, place = similarity.max(1)
            known = torch.isfinite(best) & (self.pictures >= 0).all()
            found = self.rows[place].to(embeddings.dtype)
        return torch.where(known[:, None], found, embeddings)

    def put(self, embeddings: Tensor, indices: Tensor) -> None:
        """Replace the oldest rows by (B, D) embeddings of the pictures at (B,) indices."""
        size = min(len(embeddings), len(self))
        places = (self.oldest + torch.arange(size, device=self.rows.device)) % len(self)
        self.rows[places] = F.normalize(embeddings.detach().float())[:size]
        self.pictures[places] = indices[:size]
        self.oldest.copy_((self.oldest + size) % len(self))
