"""Code shared by two-stage methods: first another method's network, then what the method builds on it."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from torch import Tensor

from selfsort.data.image_set import ImageSet
from selfsort.data.input_spec import InputSpec
from selfsort.errors import UserError
from selfsort.methods.base import Estimator, NamedNet
from selfsort.methods.stage import Context, Stage
from selfsort.models.base import Net, Output
from selfsort.spelling import counted


@dataclass(kw_only=True, eq=False, repr=False)
class TwoStage(Estimator):
    """Base of the methods that start from another method's network.

    Parameters
    ----------
    encoder : a method, fitted or not, or its run folder, whose embedding to start from; "frozen" is pre-trained

    """

    encoder: Estimator | None = None

    usual_encoder: ClassVar[str] = ""  # used if none is given; trained with the settings of this method

    @property
    def first(self) -> Estimator | None:
        """Return the method that comes first, fitted or not; None if there is none."""
        if self.encoder is not None or not self.usual_encoder:
            return self.encoder
        from selfsort import methods

        cls = methods.find(self.usual_encoder)
        shared = {field.name for field in fields(cls)} & {field.name for field in fields(self)}
        return cls(**{name: getattr(self, name) for name in shared})

    def check_params(self) -> None:
        """Check the hyper-parameters, including the encoder's."""
        super().check_params()
        if self.encoder is not None:
            self.encoder.check_params()

    def check(self, images: ImageSet) -> None:
        """Check the hyper-parameters and the pictures, and that they fit both stages.

        Raises
        ------
        UserError
            If a fitted encoder saw pictures of another size, colour or, if it keeps data on each, another number of
            them.

        """
        super().check(images)
        first = self.first
        if first is None:
            return
        if not hasattr(first, "net_"):
            first.check(images)
        elif first.input_of(images) is None:
            _check_same_kind(first, images)

    def input_of(self, images: ImageSet) -> InputSpec | None:
        """Return the input prescribed by a pre-trained encoder; None means the size of the pictures."""
        return None if self.first is None else self.first.input_of(images)

    def first_net(self, image_shape: tuple[int, int, int], n_images: int) -> Net | None:
        """Return the first network: a copy of a fitted one, or an untrained one."""
        first = self.first
        if first is None or not hasattr(first, "net_"):
            return None if first is None else first.build(image_shape, n_images)
        return copy.deepcopy(first.net_.net if isinstance(first.net_, NamedNet) else first.net_)

    def first_stages(self, net: Net, images: ImageSet, context: Context) -> Iterator[Stage]:
        """Train the first network, if it is not fitted; its last stage is called "encoder"."""
        first = self.first
        if first is None or hasattr(first, "net_"):
            return
        trained: Estimator = clone(first)
        trained.net_ = net
        for stage in trained.stages(images, context):
            yield replace(
                stage, name=f"encoder-{stage.name}" if stage.name else "encoder", title=stage.title or "encoder"
            )

    def only_first_stages(self, net: Net, images: ImageSet, context: Context) -> Iterator[Stage]:
        """Train the first network, if it is not fitted, for a method that trains nothing else."""
        for stage in self.first_stages(net, images, context):
            yield replace(stage, name="" if stage.name == "encoder" else stage.name)

    def first_groups(self, net: Net, images: ImageSet) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the (N, D) embedding and (N, K) memberships of the pictures from the first method."""
        first = cast(Estimator, self.first)
        if hasattr(first, "net_"):
            return first.transform_and_predict(images)
        grouped: Estimator = clone(first)
        grouped.net_, grouped.input_, grouped.class_count_ = net, self.input_of(images) or images.input_spec, None
        grouped.embedding_, logits = grouped._outputs(images)
        grouped.clustering_ = grouped._cluster() if logits is None else None
        return grouped.embedding_, grouped._probabilities(grouped.embedding_, logits)


class Embedded(Net):
    """Another method's network without its own classes."""

    def __init__(self, net: Net):
        super().__init__()
        self.net: Net = net

    def forward(self, inputs: Tensor) -> Output:
        """Return the network's (B, D) embedding."""
        return Output(self.net(inputs).embedding)


def embedding_width(net: Net, image_shape: tuple[int, int, int]) -> int:
    """Return the width of a network's embedding of (height, width, channels) pictures, by a trial run."""
    height, width, channels = image_shape
    training = net.training
    with torch.no_grad():
        found = net.eval()(torch.zeros(1, channels, height, width)).embedding
    net.train(training)
    return found.shape[1]


def _check_same_kind(first: Estimator, images: ImageSet) -> None:
    (*size, channels), (*here, channels_here) = first.image_shape_, images.image_shape
    if channels != channels_here:
        kinds = {1: "grey", 3: "coloured"}
        seen, shown = (kinds.get(count, f"{count}-channel") for count in (channels, channels_here))
        raise UserError(
            f"The encoder was trained on {seen} pictures but these are {shown}: load them with channels={channels}."
        )
    if size != here:
        shapes = [f"{height}x{width}" for height, width in (size, here)]
        raise UserError(
            f"The encoder was trained on pictures of {shapes[0]} pixels but these have {shapes[1]}: "
            f"load them with size={size[0]}."
        )
    with torch.device("meta"):
        expected = first.build(images.image_shape, len(images)).state_dict()
    net = first.net_.net if isinstance(first.net_, NamedNet) else first.net_
    if any(expected[name].shape != tensor.shape for name, tensor in net.state_dict().items()):
        raise UserError(
            f"The encoder keeps data on each of its {counted(first.n_images_, 'picture')} but these are "
            f"{len(images):,}: fit both stages to the same pictures."
        )
