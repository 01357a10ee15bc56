"""Features of a pre-trained network, computed once, and a head that groups them: the usual start for photographs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from inspect import signature
from typing import Any, ClassVar, Literal, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from selfsort import heads
from selfsort.augment import Augmentation, views_from
from selfsort.data.image_set import ImageSet, as_image_set
from selfsort.data.input_spec import InputSpec, Resize
from selfsort.data.reading import Reading
from selfsort.errors import UserError
from selfsort.features.at_cut import at_cut
from selfsort.features.embedding import BATCH_SIZE, Features, embed
from selfsort.features.network import Extractor
from selfsort.heads.base import Groups
from selfsort.methods.base import NamedNet, TrainedEstimator
from selfsort.methods.stage import Context, Stage
from selfsort.models.base import Batch, Net, Output
from selfsort.models.cut import cut
from selfsort.models.pretrained import Pretrained, find, pretrained
from selfsort.training.data import FeatureData, TrainingData
from selfsort.training.recipe import Recipe, pick_device

_TRAINED_SHARE = 0.25  # share of a network's layers, at its end, that fine-tuning changes
_VIEWS = 4  # views of each picture in fine-tuning, the first one unchanged


class FrozenNet(Net):
    """A pre-trained network that computes features and has no loss of its own.

    Attributes
    ----------
    tuned : whether names were learnt into it, so that stored features are no longer valid for it

    """

    mean: Tensor
    std: Tensor
    tuned: Tensor

    def __init__(self, network: Pretrained):
        super().__init__()
        self.backbone = network.module
        for name, values in (("mean", network.input.mean), ("std", network.input.std)):
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1), persistent=False)

        self.register_buffer("tuned", torch.tensor(False))

    def forward(self, inputs: Tensor) -> Output:
        """Return the (B, D) features of (B, 3, side, side) pictures in [0, 1]."""
        return Output(cast(Tensor, self.backbone((inputs - self.mean) / self.std)))

    def loss(self, batch: Batch) -> Tensor:
        """Return 0: without names or a head it has nothing to learn."""
        return batch.inputs.new_zeros(())

    def train(self, mode: bool = True) -> Self:
        """Set the mode; the backbone keeps its own, because its running means would change as well."""
        super().train(mode)
        self.backbone.eval()
        return self

    def unfreeze(self) -> None:
        """Make the last stages trainable; the first ones detect edges and textures, which are the same everywhere."""
        parameters = list(self.backbone.parameters())
        for parameter in parameters[round(len(parameters) * (1 - _TRAINED_SHARE)) :]:
            parameter.requires_grad_(True)


class LastStages(Net):
    """The last stages of a pre-trained network, which learn names from the activations at the cut."""

    def __init__(self, tail: nn.Module):
        super().__init__()
        self.tail = tail.requires_grad_(True)

    def forward(self, inputs: Tensor) -> Output:
        """Return the (B, D) features for the activations at the cut."""
        return Output(cast(Tensor, self.tail(inputs)))

    def loss(self, batch: Batch) -> Tensor:
        """Return 0: it learns only from names."""
        return batch.inputs.new_zeros(())

    def train(self, mode: bool = True) -> Self:
        """Set the mode; the stages keep theirs, because their running means would change as well."""
        super().train(mode)
        self.tail.eval()
        return self


@dataclass(kw_only=True, eq=False, repr=False)
class Frozen(TrainedEstimator):
    """Pre-trained features, computed once, and groups in them: minutes for thousands of photographs.

    Parameters
    ----------
    backbone : "efficientnet-lite0" (comes with selfsort), "dinov2-small", "clip", a timm or torchvision name, a file
    head : finds the groups: "kmeans", "hierarchical" (rare kinds keep groups), "icce", "scan", "scp", "temi" or
        "turtle", each a file of `selfsort.heads`
    class_prior : for head "turtle": the k-th largest group is expected to hold a share of the pictures in proportion to
        k ** -class_prior; 0 means groups of equal size
    resize : how pictures are fitted to the network's square: "squash", which loses nothing at the edges, "crop" (the
        centre), "pad" (with black), or None for what the network was trained with
    n_classes : number of clusters; "auto" estimates it
    views : random changes while names are learnt into the network (fine-tuning)
    epochs : epochs of fine-tuning
    batch_size : pictures per step of fine-tuning
    learning_rate : peak learning rate of fine-tuning

    """

    backbone: str = "efficientnet-lite0"
    head: str = "kmeans"
    class_prior: float = 0.0
    resize: Resize | None = "squash"
    n_classes: int | Literal["auto"] = "auto"
    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 3e-4
    views: str | Augmentation = "natural"

    trains: ClassVar[bool] = False
    label_view: ClassVar[Literal["centred"]] = "centred"  # the same as for heads, so one layout serves both
    n_views = 1

    def check_params(self) -> None:
        """Check the hyper-parameters, and that the head and the network exist."""
        super().check_params()
        head = heads.find(self.head)
        if self.class_prior and "class_prior" not in signature(head.fit).parameters:
            raise UserError(f"class_prior={self.class_prior} is for head='turtle': {self.head!r} does not use it.")
        find(self.backbone)

    def input_of(self, images: ImageSet) -> InputSpec:
        """Return the network's own input, and how these pictures are read."""
        return replace(self._input(), reading=images.reading)

    def _input(self) -> InputSpec:
        own = find(self.backbone).input
        return own if self.resize is None else replace(own, resize=self.resize)

    def build(self, image_shape: tuple[int, int, int], n_images: int) -> Net:
        """Return the network with its weights."""
        return FrozenNet(pretrained(self.backbone, self._input()))

    def _outline(self, names: tuple[str, ...]) -> Net:
        """Return the whole network: only its name tells its size."""
        return self._checked_net(names, self._input().image_shape)

    def prepared(self, images: ImageSet, progress: bool) -> ImageSet:
        """Compute missing features, and return the pictures that can be read.

        This is done before the run starts: features are kept by the content of the pictures, so an interruption loses
        nothing.
        """
        how = (self.backbone, self._input(), images.reading, self.precision, self.device)
        before: Features | None = getattr(self, "_prepared", None)
        if before and before.images.originals is images.originals and getattr(self, "_prepared_how", None) == how:
            self._prepared = replace(before, images=images)  # prepared before `fit`, to report what could be read
        else:
            self._prepared, self._prepared_how = self._features(images, images.reading, progress), how
        return self._prepared.images

    def stages(self, images: ImageSet, context: Context) -> Iterator[Stage]:
        """Yield nothing: the network is not trained."""
        yield from ()

    def _outputs(self, images: ImageSet) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Return the features; missing ones are computed, and all of them if the network was fine-tuned."""
        if self._is_tuned:
            return super()._outputs(images)
        prepared: Features | None = getattr(self, "_prepared", None)
        features = prepared if prepared and prepared.images is images else self.features(images)
        return features.values, None

    @property
    def _is_tuned(self) -> bool:
        return bool(cast(FrozenNet, self.net_.net if isinstance(self.net_, NamedNet) else self.net_).tuned)

    def _outputs_of(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Return the features of (n, H, W, C) pixels, computed as those that are kept."""
        if self._is_tuned:
            return super()._outputs_of(pixels)
        if not hasattr(self, "_extract"):
            network = pretrained(self.backbone, replace(self._input(), reading=self.input_.reading))
            self._extract = Extractor(network, self.device, self.precision, BATCH_SIZE)
        return self._extract(pixels), None

    def features(self, images: ImageSet, progress: bool = False) -> Features:
        """Return the features of the pictures that can be read, computing missing ones."""
        known = getattr(self, "input_", None)
        return self._features(images, images.reading if known is None else known.reading, progress)

    def _features(self, images: ImageSet, reading: Reading | None, progress: bool) -> Features:
        spec = replace(self._input(), reading=reading)
        how: dict[str, Any] = {"device": self.device, "precision": self.precision}
        return embed(images, self.backbone, input_spec=spec, progress=progress, **how)

    def _cluster(self) -> Groups:
        options: dict[str, Any] = {"class_prior": self.class_prior} if self.class_prior else {}
        head = heads.find(self.head)
        return head.fit(self.embedding_, self.n_clusters_, random_state=self.random_state, **options)

    def clusters_from(self, state: Mapping[str, NDArray[np.generic]]) -> Groups:
        """Restore the head."""
        return heads.find(self.head).from_state(state)

    def refining_recipe(self) -> Recipe:
        """Return how to fine-tune: with weight decay, since a large network forgets quickly."""
        return replace(self.recipe(), optimizer="adamw", weight_decay=0.01)

    def learning_part(self, net: Net, images: ImageSet, progress: bool = False) -> tuple[Net, TrainingData]:
        """Return the last stages and the activations at the cut, or the whole network if it cannot be cut there."""
        net = cast(FrozenNet, net)
        net.tuned.fill_(True)
        spec = self.input_  # which also holds how the pictures are read
        parts = cut(net.backbone, spec.image_shape, _TRAINED_SHARE)
        if parts is None:
            net.unfreeze()
            return net, self.image_data(images)
        how: dict[str, Any] = {"device": self.device, "precision": self.precision, "random_state": self.random_state}
        rows = at_cut(images, parts.front, spec, views_from(self.views), _VIEWS, progress=progress, **how)
        return LastStages(parts.tail), FeatureData(rows, pick_device(self.device))

    def like_training(self, X: Any) -> ImageSet:
        """Return pictures of any size unchanged: they are decoded for the network while features are computed."""
        self._check_fitted()
        return as_image_set(X, self.input_.reading)

    def readable(self, images: ImageSet) -> ImageSet:
        """Return the pictures that can be read."""
        self._check_fitted()
        return self.features(images).images

    def _training_facts(self) -> dict[str, Any]:
        card = find(self.backbone)
        facts = {"backbone": card.full_name, "weights": card.source, "licence": card.licence, "head": self.head}
        return super()._training_facts() | facts
