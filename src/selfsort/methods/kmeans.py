"""k-means on pixels, or on another method's embedding: the baseline that every other method has to beat."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from sklearn.base import clone
from torch import Tensor

from selfsort.data.image_set import ImageSet
from selfsort.errors import UserError
from selfsort.methods.base import Estimator
from selfsort.methods.stage import Context, Stage
from selfsort.models.base import Net, Output


class Pixels(Net):
    """The pixels themselves as embedding."""

    def forward(self, inputs: Tensor) -> Output:
        """Return (B, C * H * W) pixels in [0, 1]."""
        return Output(inputs.flatten(1))


@dataclass(kw_only=True, eq=False, repr=False)
class KMeans(Estimator):
    """k-means (Lloyd 1957) on pixels or on another method's embedding.

    Parameters
    ----------
    encoder : a method whose embedding to cluster, fitted or not; None takes the pixels

    """

    encoder: Estimator | None = None

    def check_params(self) -> None:
        """Check the hyper-parameters, the encoder's too."""
        super().check_params()
        if self.encoder is not None:
            self.encoder.check_params()

    def check(self, images: ImageSet) -> None:
        """Check the hyper-parameters, the encoder's too, and the pictures."""
        super().check(images)
        if self.encoder is None:
            return
        if not hasattr(self.encoder, "net_"):
            self.encoder.check(images)
        elif self.encoder.image_shape_ != images.image_shape:
            shapes = f"{self.encoder.image_shape_}, not {images.image_shape}"
            raise UserError(
                f"The encoder was trained on pictures of shape {shapes}: load them with its size and channels."
            )

    def build(self, image_shape: tuple[int, int, int], n_images: int) -> Net:
        """Return the encoder's network, or none but the pixels."""
        if self.encoder is None:
            return Pixels()
        net = self.encoder.net_ if hasattr(self.encoder, "net_") else self.encoder.build(image_shape, n_images)
        return _Embedder(net)

    def stages(self, images: ImageSet, context: Context) -> Iterator[Stage]:
        """Train the encoder if it is not fitted; k-means itself comes after."""
        if self.encoder is not None and not hasattr(self.encoder, "net_"):
            encoder: Estimator = clone(self.encoder)
            encoder.net_ = cast(_Embedder, self.net_).net
            yield from encoder.stages(images, context)


class _Embedder(Net):
    """Another method's network without its own classes, so that k-means makes them."""

    def __init__(self, net: Net):
        super().__init__()
        self.net: Net = net

    def forward(self, inputs: Tensor) -> Output:
        return Output(self.net(inputs).embedding)
