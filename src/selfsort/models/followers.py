"""A network that slowly follows another, like the target networks of MoCo and BYOL."""

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class Follower(AveragedModel):
    """The moving average of a network's weights, and of the statistics of its batch norms.

    It normalises by those averages, not by its batch, so that a picture's target reveals nothing about the other
    pictures (Cai et al., "Exponential moving average normalization for self-supervised and semi-supervised learning",
    2021). In the first hundreds of steps these averages are far off; a network that learns from its targets alone needs
    `by_batch`.

    Parameters
    ----------
    network : the network to follow; this one starts as a copy of it
    decay : the share of its own weights that it keeps in each step
    by_batch : normalise by the batch in training, as the network itself does

    """

    def __init__(self, network: nn.Module, decay: float, *, by_batch: bool = False):
        average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]  # PyTorch declares no types here
        super().__init__(network, multi_avg_fn=average, use_buffers=True)
        self.by_batch = by_batch
        self.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> "Follower":
        """Set how it normalises; it never learns by itself."""
        return super().train(mode and self.by_batch)
