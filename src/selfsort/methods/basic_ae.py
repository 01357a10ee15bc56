"""Basic auto-encoder (paper 1, section 2.1): reconstructs pictures pixel by pixel."""

from dataclasses import dataclass

from selfsort.methods.autoencoder import TiledAutoencoder


@dataclass(kw_only=True, eq=False, repr=False)
class BasicAE(TiledAutoencoder):
    """Basic auto-encoder (paper 1, B-AE): reconstructs pictures, compared pixel by pixel; then clusters."""
