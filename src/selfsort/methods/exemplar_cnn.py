"""ExemplarCNN and its clustering (paper 3): tells apart the random patches of single pictures, or of small clusters.

Dosovitskiy et al., "Discriminative unsupervised feature learning with exemplar convolutional neural networks", 2016.
"""

import math
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from selfsort import ranks, runs
from selfsort.augment import Augmentation, views_from
from selfsort.augment.patches import PatchMaker
from selfsort.clustering.surrogates import check_cluster_distance, surrogate_classes
from selfsort.data.image_set import ImageSet
from selfsort.errors import UserError
from selfsort.files import atomic_path
from selfsort.memory import available_bytes
from selfsort.methods.base import Estimator, TrainedEstimator
from selfsort.methods.stage import Context, Stage
from selfsort.models.base import Batch, Net, Output, ParameterGroup
from selfsort.models.per_image import PerImage
from selfsort.models.split_batch import dropout
from selfsort.spelling import counted
from selfsort.tables import write_table
from selfsort.training.data import ImageData, TrainingData, ViewMaker
from selfsort.training.loop import Validate
from selfsort.training.recipe import OptimizerName, Recipe, Schedule, pick_device, seed_of

Network = Literal["64-128-256", "92-256-512"]
Rows = NDArray[np.int64]

_DENSE = {"64-128-256": 512, "92-256-512": 1024}
# Two poolings leave 2x2 of it; for a single pixel, oneDNN computes a wrong gradient of a 5x5 convolution in bfloat16.
_LEAST_PATCH = 11
_MOST_CLASSES = 16_000
_STATISTICS = 10_000  # patches from which mean and deviation are estimated if patches are drawn afresh
_BLOCK = 4096  # patches written at once
_PARTS = 32  # pictures embedded at once
_VALIDATED = 5000  # patches on which the network is validated after each epoch
_GIB = 1 << 30
_SPARE = 0.9  # of the free memory or disk space


class ExemplarNet(Net):
    """Three convolutions and two dense layers (table 1), with one output per surrogate class.

    Attributes
    ----------
    mean, deviation : (C, 1, 1) mean and standard deviation of the surrogate set
    classes : (M,) surrogate class of each patch, during training

    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, channels: int, patch_size: int, network: Network, n_classes: int):
        super().__init__()
        first, second, third = map(int, network.split("-"))
        self.conv1 = nn.Conv2d(channels, first, 5, padding=2)
        self.conv2 = nn.Conv2d(first, second, 5, padding=2)
        self.conv3 = nn.Conv2d(second, third, 5, padding=2)
        self.side = _pooled(_pooled(patch_size))
        self.dense1 = nn.Linear(third * self.side**2, _DENSE[network])
        self.dense2 = nn.Linear(_DENSE[network], n_classes)
        for layer in (self.conv1, self.conv2, self.conv3, self.dense1):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(cast(Tensor, layer.bias))
        nn.init.normal_(self.dense2.weight, std=0.01)
        nn.init.zeros_(self.dense2.bias)
        self.register_buffer("mean", torch.zeros(channels, 1, 1))
        self.register_buffer("deviation", torch.ones(channels, 1, 1))
        self.classes = PerImage(torch.zeros(0, dtype=torch.int64))

    def loss(self, batch: Batch) -> Tensor:
        """Return the cross-entropy between the patches' surrogate classes and the scores (section 4.1).

        Without patches, for example when names are learnt from whole pictures, the network has no loss of its own.
        """
        if not len(self.classes):
            return batch.inputs.new_zeros(())
        return F.cross_entropy(self.scores(batch.views[0]).float(), self.classes[batch.indices])

    def scores(self, patches: Tensor) -> Tensor:
        """Return (B, n_classes) scores of (B, C, patch_size, patch_size) patches in [0, 1]."""
        x = F.max_pool2d(F.relu(self.conv1(self._normalised(patches))), 3, 2)
        x = dropout(x, 0.25, self.training)
        x = dropout(F.max_pool2d(F.relu(self.conv2(x)), 3, 2), 0.25, self.training)
        x = dropout(F.relu(self.conv3(x)), 0.25, self.training)
        x = dropout(F.relu(self.dense1(x.flatten(1))), 0.5, self.training)
        return cast(Tensor, self.dense2(x))

    def forward(self, inputs: Tensor) -> Output:
        """Return the (B, D) features of (B, C, H, W) pictures (section 3.2.1).

        These are the largest values of each convolution's maps in each quarter of the picture (Dosovitskiy et al. 2016,
        section 4.2) and the outputs of both dense layers, the second without the softmax. The dense layers see windows
        of the size of a patch, half a patch apart; in a larger picture their largest values are used.
        """
        return Output(torch.cat([self._features(part) for part in torch.split(inputs, _PARTS)]))

    def _features(self, images: Tensor) -> Tensor:
        first = F.relu(self.conv1(self._normalised(images)))
        second = F.relu(self.conv2(F.max_pool2d(first, 3, 2)))
        third = F.relu(self.conv3(F.max_pool2d(second, 3, 2)))
        kernel = self.dense1.weight.view(-1, third.shape[1], self.side, self.side)
        hidden = F.relu(F.conv2d(third, kernel, self.dense1.bias, stride=(self.side + 1) // 2))
        scores = F.conv2d(hidden, self.dense2.weight[:, :, None, None], self.dense2.bias)
        quarters = [F.adaptive_max_pool2d(maps, 2).flatten(1) for maps in (first, second, third)]
        return torch.cat([*quarters, hidden.amax((2, 3)), scores.amax((2, 3))], 1)

    def _normalised(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.deviation

    def parameter_groups(self, weight_decay: float) -> list[ParameterGroup]:
        """Return the parameter groups of the optimiser (section 4.1).

        Biases learn twice as fast as weights, the last layer's weights at a quarter of the rate. Only the dense
        layers' weights decay, the last layer's four times as strongly.
        """
        biases = [parameter for parameter in self.parameters() if parameter.ndim == 1]
        convolutions = [self.conv1.weight, self.conv2.weight, self.conv3.weight]
        return [
            {"params": convolutions, "weight_decay": 0.0},
            {"params": [self.dense1.weight], "weight_decay": weight_decay},
            {"params": [self.dense2.weight], "weight_decay": 4 * weight_decay, "rate": 0.25},
            {"params": biases, "weight_decay": 0.0, "rate": 2.0},
        ]


def _pooled(side: int) -> int:
    return (side - 3) // 2 + 1


@dataclass(kw_only=True, eq=False, repr=False)
class ExemplarCNN(TrainedEstimator):
    """ExemplarCNN (paper 3): tells apart random patches of single pictures, or of small clusters; then clusters.

    Attributes
    ----------
    surrogate_classes_ : for each class, the positions of the pictures whose patches form it

    Parameters
    ----------
    surrogate_classes : number of classes; None means one per picture (or, if clustered, per two pictures), at most
        16,000
    patches : patches of each picture of a class to learn from
    validation_patches : patches of each picture of a class to measure how well new patches are recognised
    patch_size : side in pixels
    fresh : draw new patches in each epoch instead of making them all once
    network : channels of the convolutions: the paper's "92-256-512", or "64-128-256", which is three times as fast
    clustered : train again from scratch on classes of several pictures that look alike to the first network
    rounds : rounds of clustering and training again
    encoder : a fitted method, or its run folder, whose embedding the first round clusters, instead of training one
    cluster_distance : largest distance between the unit-length features of two pictures of a cluster
    largest_cluster : largest number of pictures in a cluster
    neighbours : held-out pictures added to each class that is not a cluster
    learning_rate : of weights; biases learn at twice, the last layer's weights at a quarter of it
    weight_decay : of the first dense layer's weights; four times as much for the last layer's, none for all others
    schedule : "constant", "cosine" to 0, or "step": the rate falls after 68, 77, 84 and 91 % of the epochs

    """

    surrogate_classes: int | None = None
    patches: int = 100
    validation_patches: int = 10
    patch_size: int = 32
    fresh: bool = False
    network: Network = "92-256-512"
    clustered: bool = False
    rounds: int = 1
    encoder: Estimator | None = None
    cluster_distance: float = 1.25
    largest_cluster: int = 7
    neighbours: int = 3
    epochs: int = 110
    batch_size: int = 128
    optimizer: OptimizerName = "sgd"
    learning_rate: float = 0.1
    weight_decay: float = 0.004
    schedule: Schedule = "step"
    views: str | Augmentation = "none"

    n_views = 1
    # Of 110 epochs, after the 75th, 85th, 92nd and 100th (section 4.1).
    milestones: ClassVar = ((75 / 110, 0.4), (85 / 110, 0.25), (92 / 110, 0.4), (100 / 110, 0.25))

    def check_params(self) -> None:
        """Check the hyper-parameters."""
        super().check_params()
        least = {"patches": 1, "validation_patches": 0, "patch_size": _LEAST_PATCH, "rounds": 1, "neighbours": 0}
        for name, low in (least | {"largest_cluster": 2}).items():
            if getattr(self, name) < low:
                raise UserError(f"{name}={getattr(self, name)} is too small: it must be at least {low}.")
        check_cluster_distance(self.cluster_distance)

    def check(self, images: ImageSet) -> None:
        """Check the hyper-parameters, that there are enough pictures, and that the network fits into memory."""
        super().check(images)
        height, width, _ = images.image_shape
        if min(height, width) < self.patch_size:
            raise UserError(
                f"The pictures are {height}x{width}, smaller than a patch of {self.patch_size}x{self.patch_size}: load "
                f"them with size={2 * self.patch_size}, or set patch_size."
            )
        self._check_encoder(images)
        self._check_classes(len(images))
        self._check_memory(images)

    def refining_recipe(self) -> Recipe:
        """Return how to learn names: the rates of section 4.1 apply only to patches and these layers."""
        return replace(super().refining_recipe(), optimizer="adam", learning_rate=1e-4, weight_decay=0.0)

    def _check_encoder(self, images: ImageSet) -> None:
        if self.encoder is None:
            return
        if not self.clustered:
            raise UserError("An encoder serves to find clusters: set clustered=True, or leave it out.")
        if not hasattr(self.encoder, "net_"):
            raise UserError(f"The encoder {self.encoder.method!r} is not fitted: give the folder of a finished run.")
        self.encoder.like_training(images)

    def _check_classes(self, n_images: int) -> None:
        wanted, most = self.surrogate_classes, self._most_classes(n_images)
        if wanted is not None and not 2 <= wanted <= most:
            why = "half of the pictures, since the other half is held out" if self.clustered else "one for each picture"
            raise UserError(f"surrogate_classes={wanted} must be from 2 to {most:,}, {why}.")
        if most < 2:
            raise UserError(f"{n_images} pictures are too few to be clustered: give at least 4, or clustered=False.")

    def _most_classes(self, n_images: int) -> int:
        return n_images // 2 if self.clustered else n_images

    def _n_surrogates(self, n_images: int) -> int:
        return self.surrogate_classes or min(self._most_classes(n_images), _MOST_CLASSES)

    def _check_memory(self, images: ImageSet) -> None:
        with torch.device("meta"):
            net = self.build(images.image_shape, len(images))
            features = net(torch.zeros(1, images.image_shape[2], *images.image_shape[:2])).embedding.shape[1]
        weights = sum(parameter.numel() for parameter in net.parameters())
        free = _free_memory(pick_device(self.device))
        # Weights, gradients and momentum, all float32.
        if 3 * 4 * weights > _SPARE * free:
            raise UserError(
                f"A network with {self._n_surrogates(len(images)):,} surrogate classes takes {12 * weights / _GIB:.3g} "
                f"GiB to train (weights, gradients, momentum) but only {free / _GIB:.3g} GiB are free: lower "
                "surrogate_classes."
            )
        # The clustered half is copied, scaled to unit length, and copied again to find close pairs.
        needed = 4 * features * len(images) * (3 if self.clustered else 1)
        if needed > _SPARE * (main := _free_memory(torch.device("cpu"))):
            raise UserError(
                f"The features of {counted(len(images), 'picture')}, {features:,} numbers each, take "
                f"{needed / _GIB:.3g} GiB but only {main / _GIB:.3g} GiB are free: lower surrogate_classes, "
                "or use fewer pictures."
            )

    def build(self, image_shape: tuple[int, int, int], n_images: int) -> ExemplarNet:
        """Return the untrained network."""
        return ExemplarNet(image_shape[2], self.patch_size, self.network, self._n_surrogates(n_images))

    def stages(self, images: ImageSet, context: Context) -> Iterator[Stage]:
        """Train `net_` on patches; if clustered, train several networks in turn, each on classes found by the last."""
        maker = PatchMaker(images.images, self.patch_size, pick_device(self.device))
        _warn_of_plain(images.images, context)
        rounds = self.rounds if self.clustered else 0
        classes = [np.array([row]) for row in self._chosen(len(images))]
        for number in range(rounds):
            if number == 0 and self.encoder is not None:
                classes = self._clustered(_embedded(self.encoder, images), images.ids, context)
                continue
            yield from self._round(number, maker, classes, context)
            classes = self._clustered(self._outputs(images)[0], images.ids, context)
            self.net_ = self._untrained(images)
        self.surrogate_classes_ = tuple(classes)
        yield from self._round(rounds, maker, classes, context)

    def _chosen(self, n_images: int) -> Rows:
        """Draw the pictures that form classes of their own."""
        rng = np.random.default_rng((self.random_state, 8))
        return np.sort(rng.permutation(n_images)[: self._n_surrogates(n_images)])

    def _clustered(self, features: NDArray[np.float32], ids: Sequence[str], context: Context) -> list[Rows]:
        return ranks.from_first(
            lambda: surrogate_classes(
                features,
                self._n_surrogates(len(features)),
                distance_threshold=self.cluster_distance,
                largest=self.largest_cluster,
                neighbours=self.neighbours,
                random_state=self.random_state,
                warn=context.warn,
                ids=ids,
            )
        )

    def _round(self, number: int, maker: PatchMaker, classes: Sequence[Rows], context: Context) -> Iterator[Stage]:
        """Train `net_` on the patches of surrogate classes; they are kept in a folder during the training."""
        net, last = cast(ExemplarNet, self.net_), number == (self.rounds if self.clustered else 0)
        name = "" if last else f"round-{number + 1}"
        rows, owners = np.concatenate(classes), np.repeat(np.arange(len(classes)), [len(each) for each in classes])
        with context.place(name) as place:
            seeds = [seed_of(self.random_state, 9, number, part) for part in range(3)]
            held_out, made = place / "patches-to-validate.npy", place / "patches.npy"
            known = _make_patches(held_out, maker, rows, self.validation_patches, seeds[0])
            patches = self._patches(made, maker, rows, seeds[1])
            with torch.random.fork_rng():
                torch.manual_seed(seeds[2])
                net.mean, net.deviation = mean_and_deviation(patches, every=not self.fresh)
            net.classes.replace(torch.from_numpy(np.repeat(owners, self.patches)))
            answers = np.repeat(owners, self.validation_patches)
            validate = _validation(net, known, answers, maker.device) if len(known) else None
            title = self._title(number, classes)
            yield Stage(net, patches, self.recipe(), name=name, title=title, validate=validate)
            net.classes.replace(torch.zeros(0, dtype=torch.int64))
            context.remove(held_out)
            context.remove(made)

    def _title(self, number: int, classes: Sequence[Rows]) -> str:
        if not self.clustered:
            return ""
        what = f"{counted(len(classes), 'class', 'classes')} of {counted(sum(map(len, classes)), 'picture')}"
        return f"training {number + 1} of {self.rounds + 1}: {what}"

    def _patches(self, path: Path, maker: PatchMaker, rows: Rows, seed: int) -> TrainingData:
        view = views_from(self.views)
        if self.fresh:
            return _FreshPatches(maker, rows, self.patches, view)
        return ImageData(_make_patches(path, maker, rows, self.patches, seed), maker.device, view, self.n_views)

    def _write(self, folder: Path, ids: tuple[str, ...]) -> None:
        if hasattr(self, "surrogate_classes_"):  # a model with another network put in has none
            rows = ((number, ids[row]) for number, rows in enumerate(self.surrogate_classes_) for row in rows)
            write_table(runs.RunFolder(folder).surrogate_classes, ["class", "id"], rows)
        super()._write(folder, ids)

    @classmethod
    def restore(cls, folder: Path, run: Mapping[str, Any], params: Mapping[str, Any]) -> Self:
        """Return the fitted model that was saved in a folder, with its surrogate classes."""
        model = super().restore(folder, run, params)
        files = runs.RunFolder(folder)
        if files.surrogate_classes.exists():
            places = {name: row for row, name in enumerate(model.ids_)}
            found: dict[str, list[int]] = {}
            for row in runs.read_rows(files.surrogate_classes, ("class", "id")):
                found.setdefault(row["class"], []).append(places.get(row["id"], -1))
            if any(-1 in rows for rows in found.values()):
                raise files.damaged(files.surrogate_classes, "it names a picture that the run does not have")
            model.surrogate_classes_ = tuple(np.array(rows, np.int64) for rows in found.values())
        return model


def _embedded(encoder: Estimator, images: ImageSet) -> NDArray[np.float32]:
    """Return a fitted method's embedding of pictures, already computed if it was trained on them."""
    same = encoder.run_["data"]["fingerprint"] == images.fingerprint()
    return encoder.embedding_ if same else encoder.transform(images)


class _FreshPatches:
    """Patches drawn on demand."""

    def __init__(self, maker: PatchMaker, rows: Rows, count: int, make_view: ViewMaker):
        self.maker, self.rows, self.count, self.device = maker, rows, count, maker.device
        self.make_view = make_view

    def __len__(self) -> int:
        return len(self.rows) * self.count

    def inputs(self, indices: Rows) -> Tensor:
        return self.maker.draw(self.rows[indices // self.count], 1)

    def batch(self, indices: Rows) -> Batch:
        patches = self.inputs(indices)
        return Batch(patches, (self.make_view(patches),), torch.from_numpy(indices).to(self.device))


def _make_patches(path: Path, maker: PatchMaker, rows: Rows, count: int, seed: int) -> NDArray[np.uint8]:
    """Return (len(rows) * count, size, size, C) patches, mapped from a file, which is made if it is missing."""
    channels = maker.images.shape[3]
    shape = (len(rows) * count, maker.size, maker.size, channels)
    if not len(rows) * count:
        return np.empty(shape, np.uint8)
    with ranks.first_ahead():
        if not path.exists():
            _write_patches(path, shape, maker, rows, count, torch.Generator(maker.device).manual_seed(seed))
    return cast(NDArray[np.uint8], np.load(path, mmap_mode="r"))


def _write_patches(
    path: Path, shape: tuple[int, ...], maker: PatchMaker, rows: Rows, count: int, generator: torch.Generator
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    _check_disk(path.parent, shape)
    at_once = max(1, _BLOCK // count)
    with atomic_path(path) as partial, open(partial, "wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(rows), at_once):
            drawn = maker.draw(rows[start : start + at_once], count, generator)
            pixels = drawn.mul_(255).round_().to(torch.uint8).permute(0, 2, 3, 1)
            file.write(pixels.cpu().contiguous().numpy().data)


def _check_disk(folder: Path, shape: tuple[int, ...]) -> None:
    needed, free = math.prod(shape), shutil.disk_usage(folder).free
    if needed > _SPARE * free:
        raise UserError(
            f"The {shape[0]:,} patches take {needed / _GIB:.3g} GiB but only {free / _GIB:.3g} GiB are free in "
            f"{str(folder)!r}: lower patches or surrogate_classes, set fresh=True, or choose another place."
        )


def mean_and_deviation(patches: TrainingData, every: bool) -> tuple[Tensor, Tensor]:
    """Return the (C, 1, 1) mean and standard deviation of `every` patch, or else of ten thousand."""
    count = len(patches) if every else min(len(patches), _STATISTICS)
    places = np.linspace(0, len(patches) - 1, count).astype(np.int64)
    total, squares = torch.zeros(2, dtype=torch.float64).unbind()
    seen = 0
    for indices in np.array_split(places, math.ceil(count / _BLOCK)):
        pixels = patches.inputs(indices)
        total = total + pixels.sum((0, 2, 3), dtype=torch.float64).cpu()
        squares = squares + pixels.square().sum((0, 2, 3), dtype=torch.float64).cpu()
        seen += pixels.numel() // pixels.shape[1]
    mean = total / seen
    deviation = (squares / seen - mean**2).clamp(min=0).sqrt()
    # Patches of one colour have no deviation, but must not be divided by 0.
    return mean.float()[:, None, None], deviation.clamp(min=1 / 255).float()[:, None, None]


def _validation(net: ExemplarNet, patches: NDArray[np.uint8], answers: Rows, device: torch.device) -> Validate:
    """Return a function that measures the accuracy on patches not used for training."""
    held_out = ImageData(patches, device)
    places = np.unique(np.linspace(0, len(patches) - 1, min(len(patches), _VALIDATED)).astype(np.int64))

    def accuracy() -> dict[str, float]:
        net.eval()
        with torch.no_grad():
            parts = np.array_split(places, math.ceil(len(places) / 256))
            found = np.concatenate([net.scores(held_out.inputs(part)).argmax(1).cpu().numpy() for part in parts])
        net.train()
        return {"patch_accuracy": float((found == answers[places]).mean())}

    return accuracy


def _warn_of_plain(images: NDArray[np.uint8], context: Context) -> None:
    """Warn about pictures of one colour, which have no edges at which to draw patches."""
    blocks = (images[start : start + _BLOCK] for start in range(0, len(images), _BLOCK))
    plain = sum(int((block.min((1, 2)) == block.max((1, 2))).all(1).sum()) for block in blocks)
    if plain:
        has = "has" if plain == 1 else "have"
        many = counted(len(images), "picture")
        context.warn(f"{plain:,} of {many} {has} only one colour: their patches are drawn anywhere.")


def _free_memory(device: torch.device) -> int:
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else available_bytes() or sys.maxsize
