"""Code shared by the methods whose convolutional layers each halve the pictures."""

from dataclasses import dataclass
from typing import ClassVar

from selfsort.augment import Augmentation
from selfsort.data.image_set import ImageSet
from selfsort.errors import UserError
from selfsort.methods.base import TrainedEstimator


@dataclass(kw_only=True, eq=False, repr=False)
class Halving(TrainedEstimator):
    """Base of the methods that learn from one view, by layers each of which halves the pictures.

    Parameters
    ----------
    widths : channels of the layers, each of which halves the pictures

    """

    widths: tuple[int, ...] = (32, 64, 128)
    views: str | Augmentation = "none"

    n_views = 1
    rounds_down: ClassVar[bool] = False  # whether an odd side may lose a row

    def check_params(self) -> None:
        """Check the hyper-parameters."""
        super().check_params()
        if not self.widths or min(self.widths) < 1:
            raise UserError(f"widths={self.widths}: at least one layer is needed, each with at least 1 channel.")

    def check(self, images: ImageSet) -> None:
        """Check the hyper-parameters and that the pictures can be halved that often."""
        super().check(images)
        height, width, _ = images.image_shape
        least = 2 ** len(self.widths)
        if min(height, width) >= least and (self.rounds_down or not (height % least or width % least)):
            return
        nearest = max(least, round(height / least) * least)
        fitting = f"of at least {least}" if self.rounds_down else f"that is a multiple of {least}, such as {nearest}"
        raise UserError(
            f"{self.method} halves pictures {len(self.widths)} times and cannot take {height}x{width}: "
            f"use a size {fitting}."
        )
