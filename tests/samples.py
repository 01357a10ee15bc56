"""Small pictures and quick settings that several tests share."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfsort import methods
from selfsort.methods.autoencoder import PerceptualAutoencoder
from selfsort.methods.base import Estimator, TrainedEstimator


def pictures(n: int = 48, size: int = 16, channels: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    """Bars across, bars down and blocks, with noise: three kinds that a method can distinguish."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    kinds = [(y // 2) % 2, (x // 2) % 2, (y > size // 2) & (x > size // 2)]
    base = np.stack([kinds[i % 3] for i in range(n)])[..., None] * 160.0
    noise = rng.integers(0, 60, (n, size, size, channels))
    return (base + noise).astype(np.uint8)


def kinds(n: int = 48) -> NDArray[np.int64]:
    return np.arange(n, dtype=np.int64) % 3


def quick(name: str, **changes: Any) -> Estimator:
    """Return an estimator that trains in a moment."""
    cls = methods.find(name)
    settings: dict[str, Any] = {"n_classes": 3, "cluster_space": "embedding", "device": "cpu"}
    if issubclass(cls, TrainedEstimator):
        settings |= {"epochs": 2, "batch_size": 16, "views": "none:noise=0.05,rotation=10"}
    if issubclass(cls, PerceptualAutoencoder):
        settings |= {"perceptual_weights": "random", "perceptual_network": "squeezenet1_1", "perceptual_layer": 3}
    if name == "exemplar-cnn":
        settings |= {
            "patches": 4,
            "validation_patches": 1,
            "patch_size": 11,
            "network": "64-128-256",
            "learning_rate": 0.01,
        }
    if name == "conv-kmeans":
        settings |= {"filters": (8, 12), "n_windows": 100}
    if name in ("dcgan", "layerwise-ae", "swwae"):
        settings |= {"widths": (8, 16)}
    if name == "scae":
        settings |= {"parts": 4, "objects": 5, "template": 5, "features": 3, "width": 8}
    if name == "n2d":
        settings |= {"widths": (32, 16), "code_size": 4}
    if name == "scan":
        settings |= {"labelling_epochs": 2, "sure": 0.4, "n_neighbours": 5}
    return cls(**settings | changes)
