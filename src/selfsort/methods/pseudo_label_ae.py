"""Auto-encoder with pseudo-labels (paper 1, section 4.2, equation 9)."""

from dataclasses import dataclass

from selfsort.augment import Augmentation
from selfsort.methods.autoencoder import PerceptualAutoencoder


@dataclass(kw_only=True, eq=False, repr=False)
class PseudoLabelAE(PerceptualAutoencoder):
    """Pseudo-label auto-encoder (paper 1, PL-AE): reconstructs the original from a changed picture; then clusters."""

    views: str | Augmentation = "transformations:mnist"

    original = True
