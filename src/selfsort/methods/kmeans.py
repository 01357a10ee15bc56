"""k-means on pixels, or on another method's embedding: the baseline for all other methods."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from selfsort.data.image_set import ImageSet
from selfsort.methods.stage import Context, Stage
from selfsort.methods.two_stage import Embedded, TwoStage
from selfsort.models.base import Net, Output


class Pixels(Net):
    """The raw pixels as embedding."""

    def forward(self, inputs: Tensor) -> Output:
        """Return (B, C * H * W) pixels in [0, 1]."""
        return Output(inputs.flatten(1))


@dataclass(kw_only=True, eq=False, repr=False)
class KMeans(TwoStage):
    """k-means (Lloyd 1957) on pixels or on another method's embedding.

    Parameters
    ----------
    encoder : a method whose embedding to cluster, fitted or not; None uses the pixels

    """

    def build(self, image_shape: tuple[int, int, int], n_images: int) -> Net:
        """Return the encoder's network, or one that returns the pixels."""
        net = self.first_net(image_shape, n_images)
        return Pixels() if net is None else Embedded(net)

    def stages(self, images: ImageSet, context: Context) -> Iterator[Stage]:
        """Train the encoder if it is not fitted; k-means itself runs afterwards."""
        if isinstance(self.net_, Embedded):
            yield from self.only_first_stages(self.net_.net, images, context)
