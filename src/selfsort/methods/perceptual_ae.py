"""Auto-encoder with the perceptual loss (paper 1, section 2.2)."""

from dataclasses import dataclass

from selfsort.methods.autoencoder import PerceptualAutoencoder


@dataclass(kw_only=True, eq=False, repr=False)
class PerceptualAE(PerceptualAutoencoder):
    """Auto-encoder with perceptual loss (paper 1, P-AE): reconstructs pictures, compared by a frozen network."""
