"""The perceptual loss: pictures compared by the features of a frozen network (paper 1, section 2.2).

`networks` takes the layers from a torchvision network and loads their weights, `windows` computes only what a picture
can influence, `loss` compares.
"""

from selfsort.losses.perceptual.loss import PerceptualLoss
from selfsort.losses.perceptual.networks import feature_layers, load_weights

__all__ = ["PerceptualLoss", "feature_layers", "load_weights"]
