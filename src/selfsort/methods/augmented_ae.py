"""Auto-encoder with simple data augmentation (paper 1, section 4.1, algorithm 2)."""

from dataclasses import dataclass

from selfsort.augment import Augmentation
from selfsort.methods.autoencoder import PerceptualAutoencoder


@dataclass(kw_only=True, eq=False, repr=False)
class AugmentedAE(PerceptualAutoencoder):
    """Auto-encoder of changed pictures (paper 1, SDA-AE): reconstructs these, compared by a frozen network."""

    views: str | Augmentation = "transformations:mnist"
