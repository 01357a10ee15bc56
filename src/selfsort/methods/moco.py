"""MoCo: views of a picture attract each other, one of them encoded by a slowly updated network; earlier keys repel.

He, Fan, Wu, Xie and Girshick, "Momentum contrast for unsupervised visual representation learning", 2020; the projection
head is that of Chen, Fan, Girshick and He, "Improved baselines with momentum contrastive learning", 2020.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsort.errors import UserError
from selfsort.methods.base import TrainedEstimator
from selfsort.models.backbones import Backbone, make_backbone
from selfsort.models.base import Batch, Net, Output
from selfsort.models.followers import Follower
from selfsort.models.split_batch import gathered


def info_nce(queries: Tensor, keys: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """Return the cross-entropy of (B, D) queries with their own keys against (K, D) others; unit vectors (eq. 1)."""
    positives = (queries * keys).sum(1, keepdim=True)
    scores = torch.cat([positives, queries @ queue.T], 1) / temperature
    return F.cross_entropy(scores, torch.zeros(len(queries), dtype=torch.int64, device=queries.device))


class MoCoNet(Net):
    """A backbone with a projection head, a moving average of both, and a queue of keys of earlier batches.

    Attributes
    ----------
    queue : (K, D) keys of unit length, the oldest at `oldest`

    """

    queue: Tensor
    oldest: Tensor

    def __init__(self, backbone: Backbone, projection_dim: int, queue_size: int, temperature: float, decay: float):
        super().__init__()
        width = backbone.width
        self.backbone, self.temperature = backbone, temperature
        self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, projection_dim))
        self.target = Follower(nn.Sequential(self.backbone, self.head), decay)
        self.register_buffer("queue", F.normalize(torch.randn(queue_size, projection_dim)))
        self.register_buffer("oldest", torch.tensor(0))

    def loss(self, batch: Batch) -> Tensor:
        """Return InfoNCE of the first views with the second views' keys, which then replace the oldest keys."""
        online = nn.Sequential(self.backbone, self.head)
        queries = F.normalize(online(batch.views[0]).float())
        with torch.no_grad():
            if self.training:
                self.target.update_parameters(online)
            keys = F.normalize(self.target(batch.views[1]).float())
        loss = info_nce(queries, keys, self.queue.clone(), self.temperature)
        if self.training:
            self._put(gathered(keys))
        return loss

    def _put(self, keys: Tensor) -> None:
        keys = keys[: len(self.queue)]
        self.queue[(self.oldest + torch.arange(len(keys), device=keys.device)) % len(self.queue)] = keys
        self.oldest.copy_((self.oldest + len(keys)) % len(self.queue))

    def forward(self, inputs: Tensor) -> Output:
        """Return the (B, D) features before the projection head, of unit length."""
        return Output(F.normalize(self.backbone(inputs)))


@dataclass(kw_only=True, eq=False, repr=False)
class MoCo(TrainedEstimator):
    """MoCo (He et al. 2020): views of a picture attract each other, pictures of earlier batches repel; then clusters.

    Parameters
    ----------
    backbone : "small-conv", "small-resnet18", "small-alexnet", or as in `models.pretrained`
    weights : initial weights of the backbone: None for random ones, "pretrained" for its own, or a file
    projection_dim : outputs of the projection head
    temperature : temperature of the similarities; the second paper uses 0.2
    queue_size : number of earlier keys that repel, at most half the number of pictures
    target_decay : the share of itself that the slow copy, which makes the keys, keeps in each step; the paper's 0.999
        is for many more steps than a small set needs

    """

    backbone: str = "small-conv"
    weights: str | None = None
    projection_dim: int = 128
    temperature: float = 0.2
    queue_size: int = 4096
    target_decay: float = 0.99

    def check_params(self) -> None:
        """Check the hyper-parameters."""
        super().check_params()
        if self.projection_dim < 1 or self.queue_size < 1:
            raise UserError(
                f"projection_dim={self.projection_dim}, queue_size={self.queue_size}: both must be at least 1."
            )
        if not self.temperature > 0:
            raise UserError(f"temperature={self.temperature} must be a positive number.")
        if not 0 <= self.target_decay < 1:
            raise UserError(f"target_decay={self.target_decay} must be from 0 to less than 1.")

    def build(self, image_shape: tuple[int, int, int], n_images: int) -> MoCoNet:
        """Return the untrained network."""
        backbone = make_backbone(self.backbone, image_shape, self.weights)
        queue_size = min(self.queue_size, max(1, n_images // 2))
        return MoCoNet(backbone, self.projection_dim, queue_size, self.temperature, self.target_decay)
