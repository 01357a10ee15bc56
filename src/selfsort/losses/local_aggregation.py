"""Local Aggregation: embeddings of pictures in the same clusters attract each other, other near ones repel.

Zhuang, Zhai and Yamins, "Local aggregation for unsupervised learning of visual embeddings", 2019; named in paper 2 as
its next step.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from selfsort.clustering.kmeans import kmeans
from selfsort.models.per_image import PerImage
from selfsort.models.split_batch import gathered
from selfsort.ranks import from_first

_ITERATIONS = 20  # of each k-means; clusters are recomputed after each epoch, so they need not converge


def local_aggregation_loss(
    embedding: Tensor, indices: Tensor, bank: Tensor, clusters: Tensor, neighbours: int, temperature: float
) -> Tensor:
    """Return the mean of -log P(close and background | v) / P(background | v) (section 3.1, equations 3 to 6).

    The background are the `neighbours` pictures most similar to v in the memory; close pictures are those that share a
    cluster with v's own picture in any of the clusterings. A picture is its own neighbour, so there is always a close
    one.

    `embedding` (B, D) are unit vectors v of the pictures at `indices` (B,); `bank` (N, D) are unit vectors remembered
    for all pictures; `clusters` (H, N) are their clusters in each of H clusterings.
    """
    similarity = embedding @ bank.T  # (B, N)
    ranked = similarity.detach().scatter(1, indices[:, None], torch.inf)
    background = ranked.topk(min(neighbours, len(bank)), sorted=False).indices  # (B, K)
    close = (clusters[:, background] == clusters[:, indices, None]).any(0)  # (B, K)
    # P(i | v) is exp(v_i v / temperature) over a sum that cancels in the ratio.
    logits = similarity.gather(1, background) / temperature
    return (logits.logsumexp(1) - logits.masked_fill(~close, -torch.inf).logsumexp(1)).mean()


class LocalAggregation(nn.Module):
    """The loss with its memory of all pictures' embeddings, and their clusters, which are recomputed after each epoch.

    Attributes
    ----------
    bank : (N, D) running means of unit embeddings, normalised to unit length; 0 for pictures not seen yet
    clusters : (H, N) clusters of the memory in each clustering
    steps : batches seen

    """

    clusters: Tensor
    steps: Tensor

    def __init__(
        self,
        n_images: int,
        dim: int,
        *,
        neighbours: int,
        clusterings: int,
        cluster_size: int,
        temperature: float,
        momentum: float,
    ):
        super().__init__()
        self.neighbours, self.temperature, self.momentum = neighbours, temperature, momentum
        self.n_clusters = max(2, n_images // cluster_size)
        self.bank = PerImage(torch.zeros(n_images, dim), trained=True)
        self.register_buffer("clusters", torch.zeros(clusterings, n_images, dtype=torch.int32))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, embedding: Tensor, indices: Tensor) -> Tensor:
        """Return the loss of (B, D) embeddings of the pictures at (B,) positions, and remember them.

        It is 0 in the first epoch, while the memory fills.
        """
        everyone = gathered(indices)
        epoch, step = divmod(int(self.steps), len(self.bank) // len(everyone))
        with torch.autocast(embedding.device.type, enabled=False):  # cosines near 1 need full precision
            unit = F.normalize(embedding.float())
            loss = unit.new_zeros(())
            if epoch:
                if step == 0:
                    self._cluster()
                loss = local_aggregation_loss(
                    unit, indices, self.bank.rows, self.clusters, self.neighbours, self.temperature
                )
        self._remember(gathered(unit.detach()), everyone)
        return loss

    def _remember(self, unit: Tensor, indices: Tensor) -> None:
        # The loss needs the old memory, so it must not change in place before the gradient is computed.
        mean = (1 - self.momentum) * self.bank[indices] + self.momentum * unit
        self.bank.put(indices, F.normalize(mean))
        self.steps += 1

    def _cluster(self) -> None:
        # The training loop seeds torch's generator at each step, so a resumed run makes the same clusters.
        seeds = torch.randint(2**31, (len(self.clusters),)).tolist()
        found = from_first(lambda: self._found(self.bank.rows.cpu().numpy(), seeds))
        self.clusters.copy_(torch.from_numpy(found))

    def _found(self, points: NDArray[np.float32], seeds: Sequence[int]) -> NDArray[np.int64]:
        options: dict[str, Any] = {"restarts": 1, "iterations": _ITERATIONS}
        return np.stack([kmeans(points, self.n_clusters, random_state=seed, **options).labels for seed in seeds])
