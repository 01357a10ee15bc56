"""What every method inherits: scikit-learn's fit, transform and predict, and saving without pickle."""

import copy
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, cast, get_type_hints

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin, clone
from sklearn.exceptions import NotFittedError
from torch import Tensor, nn

from selfsort import ranks, runs
from selfsort.augment import Augmentation, resolved, views_from
from selfsort.clustering.assign import Clustering, fit_clustering
from selfsort.clustering.class_count import ClassCount, estimate_class_count
from selfsort.clustering.space import View
from selfsort.data.decoding import Failure
from selfsort.data.image_set import ImageSet, as_image_set
from selfsort.data.input_spec import InputSpec
from selfsort.errors import UserError
from selfsort.evaluation.group_quality import GroupQuality, judge_groups
from selfsort.features.embedding import in_batches
from selfsort.heads.base import Groups
from selfsort.methods.stage import Context, Stage
from selfsort.models.base import Batch, Net, Output
from selfsort.models.weights.frozen import References, architecture_only, fill_state, split_state
from selfsort.parameters import matches, plain_params, readable
from selfsort.schema import Invalid
from selfsort.training.callbacks import History, OnEpoch, write_metrics
from selfsort.training.data import ImageData, TrainingData
from selfsort.training.outputs import outputs
from selfsort.training.processes import check_alike
from selfsort.training.recipe import (
    MILESTONES,
    Device,
    OptimizerName,
    Precision,
    Recipe,
    Schedule,
    pick_device,
    seed_of,
)

STREAMED = 128  # pictures whose predictions are computed together
_PLAIN_SIDE = 16  # side of the pictures whose raw pixels the groups are compared with

ClusterSpace = Literal["embedding", "umap", "pca"]


class NotFitted(UserError, NotFittedError):  # type: ignore[misc]
    """Something was requested that only a fitted method has."""


class NamedNet(Net):
    """A method's network with a softmax head on its embedding, one output per name (paper 4, figure 1).

    Attributes
    ----------
    net : the method's own network, whose embedding has `dim` columns
    names : names of the outputs

    """

    def __init__(self, net: Net, dim: int, names: tuple[str, ...]):
        super().__init__()
        self.net, self.names = net, names
        # Embeddings differ in scale: normalised, they can all be learnt with one learning rate.
        self.head = nn.Sequential(nn.BatchNorm1d(dim, affine=False), nn.Linear(dim, len(names)))

    def loss(self, batch: Batch) -> Tensor:
        """Return the method's own loss."""
        return self.net.loss(batch)

    def forward(self, inputs: Tensor) -> Output:
        """Return the method's own (B, D) embedding and the (B, K) scores of the names."""
        embedding = self.net(inputs).embedding
        return Output(embedding, cast(Tensor, self.head(embedding)))

    def shares(self, embedding: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the (N, K) shares of the names for (N, D) embedded pictures, rows summing to 1."""
        head = copy.deepcopy(self.head).cpu().eval()
        with torch.inference_mode():
            return torch.softmax(head(torch.from_numpy(np.require(embedding, requirements="W"))), 1).numpy()


@dataclass(kw_only=True, eq=False, repr=False)
class Estimator(ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Base of all methods: an embedding, and clusters of it.

    Pictures are an `ImageSet`, or arrays or tensors of uint8 or of floats in [0, 1]: (N, H, W), (N, H, W, C) or, for
    tensors, (N, C, H, W).

    Parameters
    ----------
    n_classes : number of clusters; "auto" estimates it from the embedding
    cluster_space : where k-means looks for them: the "embedding" itself, or a "pca" or "umap" reduction of it
    device : "auto" uses CUDA if available
    random_state : seed of everything random

    Attributes
    ----------
    labels_ : (N,) int64 cluster of each training picture
    probabilities_ : (N, n_classes) float32 membership of each training picture
    names_ : names of the classes, if a person has given any; then there are as many classes as names
    classes_ : the classes that `predict` returns: the names, or else the numbers of the clusters
    embedding_ : (N, D) float32 embedding of each training picture
    net_ : the network
    input_ : the network's input; pictures of any other shape are fitted to it
    clustering_ : the clusters in the embedding; None if the network classifies by itself
    class_count_ : the estimate of the number of clusters, its range and its curve; None if it was given
    history_ : one row of figures per epoch, and warnings
    skipped_ : the training pictures that could not be read, and why
    run_dir_ : the run folder that it was fitted in or loaded from, or None
    run_ : facts about the run: data, versions, training

    """

    n_classes: int | Literal["auto"] = 10
    cluster_space: ClusterSpace = "embedding"
    device: Device = "auto"
    random_state: int = 0

    method: ClassVar[str]
    # Whether fitting trains a network.
    trains: ClassVar[bool] = False
    # Weights that had another name in runs of earlier versions: old name and new.
    renamed: ClassVar[Mapping[str, str]] = {}
    # Settings for naming groups: where they are looked for, in which view of the embedding, and the weight of the
    # names in the loss.
    label_space: ClassVar[ClusterSpace] = "umap"
    label_view: ClassVar[View] = "embedding"
    name_weight: ClassVar[float] = 1.0

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Name the method after its file."""
        super().__init_subclass__(**kwargs)
        cls.method = cls.__module__.rpartition(".")[2].replace("_", "-")

    def build(self, image_shape: tuple[int, int, int], n_images: int) -> Net:
        """Return the network for (height, width, channels) pictures, untrained."""
        raise NotImplementedError

    @property
    def names_(self) -> tuple[str, ...]:
        """Return the names of the classes, if a person has given any; see `selfsort.LabelSession`."""
        net = getattr(self, "net_", None)
        return net.names if isinstance(net, NamedNet) else ()

    @property
    def image_shape_(self) -> tuple[int, int, int]:
        """Return the (height, width, channels) of the network's input."""
        return self.input_.image_shape

    @property
    def n_classes_(self) -> int:
        """Return the number of classes of `predict_proba`: the names, or else the clusters."""
        return len(self.names_) or int(self.probabilities_.shape[1])

    @property
    def n_clusters_(self) -> int:
        """Return the number of clusters found, whatever was named since."""
        count = getattr(self, "class_count_", None)
        return cast(int, self.n_classes) if count is None else count.estimate

    @property
    def classes_(self) -> NDArray[Any]:
        """Return the (n_classes_,) classes in the order of `predict_proba`: the names, or else int64 numbers."""
        self._check_fitted()
        return np.array(self.names_) if self.names_ else np.arange(self.n_classes_, dtype=np.int64)

    @property
    def _n_features_out(self) -> int:
        self._check_fitted()
        return int(self.embedding_.shape[1])

    def _check_fitted(self) -> None:
        if not hasattr(self, "net_"):
            raise NotFitted(f"This {type(self).__name__} is not fitted yet: call fit first.")

    def with_net(
        self,
        net: Net,
        images: ImageSet,
        history: History,
        facts: Mapping[str, Any],
        embedding: NDArray[np.float32] | None = None,
    ) -> Self:
        """Return a copy of this fitted model with another network, such as one that learnt names.

        `images` are the pictures that this model was fitted to, `history` and `facts` the results of the other
        network's training, `embedding` the pictures' embedding if it is known.
        """
        model: Self = clone(self)
        model.input_, model.n_images_, model.ids_ = self.input_, self.n_images_, self.ids_
        model.class_count_ = self.class_count_
        model.net_, model.history_ = net, history
        model.embedding_, logits = (embedding, None) if embedding is not None else model._outputs(images)
        model.clustering_ = None if isinstance(net, NamedNet) else self.clustering_
        model.probabilities_ = model._probabilities(model.embedding_, logits)
        model.labels_ = model.probabilities_.argmax(1)
        model.run_ = {**self.run_, "names": list(model.names_), **facts}
        return model

    def fit(
        self,
        X: Any,
        y: object = None,
        *,
        run_dir: str | Path | None = None,
        resume: bool = False,
        progress: bool = False,
        on_epoch: OnEpoch | None = None,
    ) -> Self:
        """Learn from pictures; `y` is ignored, since no method may see a label.

        With a `run_dir`, metrics and checkpoints, and at the end the model, are kept in that new folder; `resume`
        continues an interrupted run there. `on_epoch` is called after each epoch with the history so far; `transform`
        can be used by then.
        """
        # From here on the methods' own code runs, and it must not see labels.
        images = as_image_set(X).unlabelled()
        progress = progress and ranks.is_first()
        with ranks.first_ahead():
            self.check(images)
            images = self.prepared(images, progress)
        facts = runs.describe(self.method, self._params(), images, self.input_of(images))
        facts |= {"labelling": {"space": self.label_space, "view": self.label_view}}
        check_alike(runs.essentials(facts))
        opened = runs.open_run(run_dir, facts, images, resume) if run_dir else nullcontext()
        with ranks.first_enters(opened, Path(run_dir) if run_dir else None) as folder:
            self._fit(images, folder, resume, progress, on_epoch)
            self.run_ = facts | {"training": self._training_facts()}
            self.run_dir_ = Path(run_dir) if run_dir else None
            if folder:
                self.run_["training"] |= {"groups": ranks.from_first(lambda: self.group_quality(images).to_json())}
                ranks.from_first(partial(self._write, folder, images.ids))
        return self

    def prepared(self, images: ImageSet, progress: bool) -> ImageSet:
        """Do what has to be done before a run starts, and return its pictures."""
        return images

    def input_of(self, images: ImageSet) -> InputSpec | None:
        """Return the network's input if the method prescribes one; None means the size of the pictures."""
        return None

    def group_quality(self, images: ImageSet | None = None) -> GroupQuality:
        """Judge without labels whether the groups of the training pictures are meaningful; see `judge_groups`.

        Given the `images` that it was fitted to, it also compares the groups with those from raw pixels.
        """
        self._check_fitted()

        def pixels(rows: NDArray[np.int64]) -> NDArray[np.uint8]:
            assert images is not None
            shown = images.subset(rows).pixels(InputSpec(_PLAIN_SIDE, self.input_.channels))
            return shown.reshape(len(shown), -1)

        return judge_groups(
            self.embedding_,
            self.labels_,
            pixels=None if images is None else pixels,
            n_classes=self.n_classes_,
            random_state=self.random_state,
        )

    def _params(self) -> dict[str, Any]:
        """Return the hyper-parameters as stored in a run."""
        return plain_params(self)

    def _fit(
        self, images: ImageSet, folder: Path | None, resume: bool, progress: bool, on_epoch: OnEpoch | None
    ) -> None:
        started = time.monotonic()
        self.input_, self.n_images_, self.ids_ = self.input_of(images) or images.input_spec, len(images), images.ids
        self.skipped_ = images.skipped
        self.net_ = self._untrained(images)
        self.history_ = self.train_stages(images, Context(folder, resume, progress, on_epoch))
        self.embedding_, logits = self._outputs(images)
        _finite(self.embedding_)
        self.class_count_ = ranks.from_first(self._class_count)
        self.clustering_ = ranks.from_first(self._cluster) if logits is None else None
        self.probabilities_ = self._probabilities(self.embedding_, logits)
        self.labels_ = self.probabilities_.argmax(1)
        # The time of a resumed run includes its earlier parts.
        self.minutes_ = max(time.monotonic() - started, self.history_.seconds) / 60

    def _untrained(self, images: ImageSet) -> Net:
        """Return a network whose initial weights depend only on the seed."""
        with torch.random.fork_rng():
            torch.manual_seed(seed_of(self.random_state, 0))
            return self.build((self.input_of(images) or images.input_spec).image_shape, len(images))

    def train_stages(self, images: ImageSet, context: Context | None = None) -> History:
        """Train `net_` in all stages of the method, in place."""
        context = context or Context()
        return context.train(self.stages(images, context))

    def stages(self, images: ImageSet, context: Context) -> Iterator[Stage]:
        """Yield what is to be trained, one stage after the other: each is trained before the next is requested.

        A stage may therefore build on what the previous one has learnt. A method that does not learn yields none.
        """
        yield from ()

    def _cluster(self) -> Groups:
        space, seed = self.cluster_space, self.random_state
        return fit_clustering(self.embedding_, self.n_clusters_, space=space, random_state=seed)

    def _class_count(self) -> ClassCount | None:
        if self.n_classes != "auto":
            return None
        return estimate_class_count(self.embedding_, random_state=self.random_state)

    def clusters_from(self, state: Mapping[str, NDArray[np.generic]]) -> Groups:
        """Restore the clusters from the arrays that their `state` returned."""
        return Clustering.from_state(state)

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Return the (N, D) float32 embedding of pictures; `set_output` can make it a data frame."""
        return _finite(self._outputs(self.like_training(X))[0])

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """Return (N, n_classes) float32 memberships, rows summing to 1; they order pictures but are not calibrated."""
        return self.transform_and_predict(X)[1]

    def transform_and_predict(self, X: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the (N, D) embedding and the (N, n_classes) memberships of pictures, embedding them once."""
        embedding, logits = self._outputs(self.like_training(X))
        return embedding, self._probabilities(embedding, logits)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the (N,) classes of pictures, without refitting: names if a person has given any, else numbers."""
        best = self.predict_proba(X).argmax(1)
        return cast(NDArray[Any], self.classes_[best])

    def _outputs(self, images: ImageSet) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Return the embedding and, if the network classifies by itself, the logits of pictures, in one pass."""
        return self._outputs_of(images.pixels(self.input_))

    def predict_streamed(self, images: ImageSet) -> tuple[NDArray[np.float32], list[Failure]]:
        """Return the (n, n_classes) memberships of the pictures that can be read, and the position of each other one.

        Pictures are decoded block by block and not kept, in memory or on the disk.
        """
        self._check_fitted()
        parts: list[NDArray[np.float32]] = []
        failures: list[Failure] = []
        for block in in_batches(images.blocks(self.input_), STREAMED):
            failures += block.failures
            # One batch at a time: how many blocks come together depends on time.
            for start in range(0, len(block.images), STREAMED):
                parts.append(self._probabilities(*self._outputs_of(block.images[start : start + STREAMED])))
        return np.concatenate([np.empty((0, self.n_classes_), np.float32), *parts]), failures

    def _outputs_of(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Return the embedding and, if the network classifies by itself, the logits of (n, H, W, C) pixels."""
        return outputs(self.net_, ImageData(pixels, pick_device(self.device)))

    def _probabilities(self, embedding: NDArray[np.float32], logits: NDArray[np.float32] | None) -> NDArray[np.float32]:
        embedding = _finite(embedding)
        if self.clustering_ is not None:
            return _finite(self.clustering_.predict_proba(embedding))
        if isinstance(self.net_, NamedNet):
            return _finite(self.net_.shares(embedding))
        assert logits is not None
        return _finite(torch.softmax(torch.from_numpy(logits), 1).numpy())

    def like_training(self, X: Any) -> ImageSet:
        """Return pictures of any size as an `ImageSet` with the pixels that the network takes.

        They are made from the originals, not from reduced pixels of the set. Raises `UserError` for
        arrays that hold no pictures, and for pictures that cannot be read.
        """
        self._check_fitted()
        return as_image_set(X, self.input_.reading).fitted(self.input_)

    def readable(self, images: ImageSet) -> ImageSet:
        """Return the pictures that can be read, with the pixels that the network takes."""
        self._check_fitted()
        return images.decoded(self.input_)

    def check(self, images: ImageSet) -> None:
        """Check the hyper-parameters and the pictures.

        Raises
        ------
        UserError
            If any is wrong; it names the first.

        """
        self.check_params()
        if len(images) < 2:
            raise UserError(f"There is only 1 picture in {images.source!r}: give at least as many as classes.")
        self._check_n_classes(len(images))

    def check_params(self) -> None:
        """Check the hyper-parameters as far as no pictures are needed; raise `UserError` naming the first wrong one."""
        hints = get_type_hints(type(self))
        for name in self.get_params(deep=False):
            value = getattr(self, name)
            if not matches(value, hints[name]):
                raise UserError(f"{name}={value!r} is not valid for {self.method}: it must be {readable(hints[name])}.")
        if not 0 <= self.random_state < 2**32:
            raise UserError(f"random_state={self.random_state} must be from 0 to {2**32 - 1}.")

    def _check_n_classes(self, n_images: int) -> None:
        if isinstance(self.n_classes, int) and not 2 <= self.n_classes <= n_images:
            raise UserError(f"n_classes={self.n_classes}: choose between 2 and the number of pictures, {n_images}.")

    def _training_facts(self) -> dict[str, Any]:
        epochs = self.history_.rows
        facts = {"minutes": round(self.minutes_, 3), "epochs": len(epochs), "warnings": self.history_.warnings}
        facts |= {"device": pick_device(self.device).type, "threads": torch.get_num_threads()}
        facts |= {"processes": ranks.size()} if ranks.size() > 1 else {}
        return facts if self.class_count_ is None else facts | {"class_count": self.class_count_.to_json()}

    def save(self, path: str | Path) -> None:
        """Save the fitted model in a new folder as safetensors, NumPy arrays and JSON, without pickle.

        Raises
        ------
        UserError
            If the folder exists and is not empty, or cannot be written.

        """
        if not hasattr(self, "run_"):
            raise NotFitted(f"This {type(self).__name__} is not fitted yet: call fit before save.")
        with runs.new_folder(Path(path)) as folder:
            write_metrics(runs.RunFolder(folder).metrics, self.history_)
            self._write(folder, self.ids_)

    def label(self, images: Any = None, **options: Any) -> Any:
        """Open the page on which the groups are named, in a frame of a notebook or in a tab; see `notebook.label`."""
        from importlib import import_module

        # The page is a layer above the methods, which work without it.
        return import_module("selfsort.labelling.server.notebook").label(self, images, **options)

    def _write(self, folder: Path, ids: tuple[str, ...]) -> None:
        weights, references = split_state(self.net_)
        tensors = {f"net.{name}": tensor for name, tensor in weights.items()}
        if self.clustering_ is not None:
            state = self.clustering_.state()
            tensors |= {f"clustering.{name}": torch.from_numpy(array) for name, array in state.items()}
        # Not the references of the run that it was refined from, whose weights may have changed since.
        run = {name: value for name, value in self.run_.items() if name != "weights"}
        run |= {"weights": references} if references else {}
        runs.write_model(folder, tensors, self.embedding_, self.probabilities_, ids, run)

    @classmethod
    def restore(cls, folder: Path, run: Mapping[str, Any], params: Mapping[str, Any]) -> Self:
        """Return the fitted model that was saved in a folder; `selfsort.load` finds the method and calls this."""
        files = runs.RunFolder(folder)
        model = cls(**params)
        model.embedding_, model.probabilities_, model.ids_ = runs.read_training_arrays(folder)
        model.run_, model.run_dir_, model.n_images_ = dict(run), folder, len(model.ids_)
        with files.reading(files.manifest):
            model._check_stored_params()
            model.input_ = InputSpec.of_run(run)
            count = run["training"].get("class_count")
            model.class_count_ = None if count is None else ClassCount.from_json(count)
        tensors = runs.read_tensors(files.model)
        weights = {cls.renamed.get(name, name): tensor for name, tensor in _under("net.", tensors).items()}
        clustering = {name: tensor.numpy() for name, tensor in _under("clustering.", tensors).items()}
        with files.reading(files.model):
            model._restore_net(weights, run.get("weights", {}), tuple(run.get("names", ())))
            model.clustering_ = model.clusters_from(clustering) if clustering else None
            model._check_groups()
        model.labels_ = model.probabilities_.argmax(1)
        model.history_ = History(runs.read_metrics(folder), run["training"]["warnings"])
        return model

    def _check_stored_params(self) -> None:
        try:
            self.check_params()
            self._check_n_classes(self.n_images_)
        except UserError as error:
            raise Invalid(str(error).rstrip(".")) from error

    def _restore_net(self, weights: Mapping[str, Tensor], references: References, names: tuple[str, ...]) -> None:
        """Build the network and load its weights; raise `Invalid` if they do not belong to it."""
        with architecture_only():
            net = self._outline(names)
            if weights.keys() >= net.state_dict().keys():
                references = {}  # a fine-tuned run of an earlier version refers to weights that it holds itself
            _check_shapes(net, weights, references)
            if any(tensor.is_meta for tensor in net.state_dict().values()):
                net = self._with_head(self.build(self.image_shape_, self.n_images_), names)
        fill_state(net, weights, references)
        self.net_ = net

    def _with_head(self, net: Net, names: tuple[str, ...]) -> Net:
        return NamedNet(net, self.embedding_.shape[1], names) if names else net

    def _outline(self, names: tuple[str, ...]) -> Net:
        """Return the network without allocating memory, checked against the arrays of the run."""
        with torch.device("meta"):
            return self._checked_net(names, self.image_shape_)

    def _checked_net(self, names: tuple[str, ...], image_shape: tuple[int, int, int]) -> Net:
        """Return the network after checking, on one picture, that its output fits the arrays of the run."""
        height, width, channels = image_shape
        try:
            net = self._with_head(self.build(image_shape, self.n_images_), names)
            with torch.no_grad():
                found = net.eval()(torch.zeros(1, channels, height, width))
        except UserError:
            raise
        except Exception as error:  # sizes that its method never checks make a network fail with various errors
            raise Invalid(f"{self.method} cannot be built as its run.json says") from error
        if found.embedding.shape[1] != self.embedding_.shape[1]:
            raise Invalid(f"its embedding has {found.embedding.shape[1]} columns, not {self.embedding_.shape[1]}")
        self._n_outputs = None if found.logits is None else found.logits.shape[1]
        return net

    def _check_groups(self) -> None:
        """Raise `Invalid` if the groups are not those of the stored memberships."""
        columns = self._n_outputs
        if self.clustering_ is not None:
            columns = self.clustering_.predict_proba(self.embedding_[:1]).shape[1]
        if columns != self.probabilities_.shape[1]:
            raise Invalid(f"it has {columns or 0} groups, not {self.probabilities_.shape[1]}")


@dataclass(kw_only=True, eq=False, repr=False)
class TrainedEstimator(Estimator):
    """Base of the methods that learn.

    Parameters
    ----------
    epochs : passes over the pictures
    batch_size : pictures per step
    optimizer : "sgd", "adam", "adamw" or "lars"
    learning_rate : peak learning rate
    momentum : momentum of "sgd" and "lars"
    weight_decay : weight decay of all weights except biases and normalisation
    schedule : learning rate after warm-up: "constant", "cosine" to 0, or "step" to a tenth after 60 % and 80 %
    warmup_epochs : epochs over which the learning rate rises from 0
    views : random changes: a preset, optionally with strengths ("digits:rotation=30"), or "transformations:" and a list
    precision : "auto" computes in bfloat16 if the hardware supports it
    checkpoint_minutes : a run with a folder saves its state this often, and after every epoch

    """

    epochs: int = 100
    batch_size: int = 256
    optimizer: OptimizerName = "adam"
    learning_rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: Schedule = "cosine"
    warmup_epochs: float = 0.0
    views: str | Augmentation = "natural"
    precision: Precision = "auto"
    checkpoint_minutes: float = 5.0

    trains: ClassVar[bool] = True
    n_views: ClassVar[int] = 2
    milestones: ClassVar[tuple[tuple[float, float], ...]] = MILESTONES
    # Whether the loss spreads each batch over `n_classes` classes of the network's own.
    classifies: ClassVar[bool] = False

    def check_params(self) -> None:
        """Check the hyper-parameters, including their ranges."""
        super().check_params()
        if self.classifies:
            self._check_own_classes()
        views_from(self.views)
        least = {
            "epochs": 1,
            "batch_size": 2,
            "momentum": 0,
            "weight_decay": 0,
            "warmup_epochs": 0,
            "checkpoint_minutes": 0,
        }
        for name, low in least.items():
            if not getattr(self, name) >= low:
                raise UserError(f"{name}={getattr(self, name)} is too small: it must be at least {low}.")
            if getattr(self, name) == math.inf:
                raise UserError(f"{name}={getattr(self, name)} must be finite.")
        if not 0 < self.learning_rate < math.inf:
            raise UserError(f"learning_rate={self.learning_rate} must be a positive number.")

    def _check_own_classes(self) -> None:
        if self.n_classes == "auto":
            raise UserError(f"n_classes='auto' is for methods that cluster; {self.method} needs a number of classes.")
        if self.batch_size < self.n_classes:
            raise UserError(
                f"batch_size={self.batch_size} is smaller than n_classes={self.n_classes}: {self.method} spreads each "
                "batch over all classes, so give at least as many."
            )

    def recipe(self) -> Recipe:
        """Return how to train."""
        values = {field.name: getattr(self, field.name) for field in fields(Recipe) if field.name != "seed"}
        return Recipe(**values, seed=self.random_state)

    def _params(self) -> dict[str, Any]:
        kept = super()._params()
        return kept | {"views": resolved(self.views)} if isinstance(self.views, str) else kept

    def refining_recipe(self) -> Recipe:
        """Return how to train further with names that a person gave; the number of epochs is set elsewhere."""
        return self.recipe()

    def learning_part(self, net: Net, images: ImageSet, progress: bool = False) -> tuple[Net, TrainingData]:
        """Return the part of a network that learns names, sharing the network's weights, and the data it learns from.

        If the whole network learns, these are the network and the pictures.
        """
        return net, self.image_data(images)

    def stages(self, images: ImageSet, context: Context) -> Iterator[Stage]:
        """Train `net_` once, on random views of the pictures."""
        yield Stage(self.net_, self.image_data(images), self.recipe())

    def image_data(self, images: ImageSet) -> ImageData:
        """Return pictures with the method's random views, as its network trains on them."""
        # A network can also be trained on its own, without `fit`.
        spec = getattr(self, "input_", None) or self.input_of(images) or images.input_spec
        return ImageData(images.pixels(spec), pick_device(self.device), views_from(self.views), self.n_views)


def _finite(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a network's output, if all of its numbers are finite."""
    if not runs.is_finite(values):
        raise UserError(
            "The network's output is not finite: train it again with a lower learning_rate or precision='32'."
        )
    return values


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _check_shapes(net: Net, weights: Mapping[str, Tensor], references: References) -> None:
    """Raise `Invalid` if weights do not belong to a network, except those kept by reference."""
    expected = {
        name: tensor
        for name, tensor in net.state_dict().items()
        if not any(name.startswith(f"{owner}.") for owner in references)
    }
    for name in sorted(expected.keys() | weights.keys()):
        here, there = expected.get(name), weights.get(name)
        if there is None:
            problem = f"it lacks {name!r}"
        elif here is None:
            problem = f"it holds {name!r}, which this method does not have"
        elif here.shape != there.shape:
            problem = f"it holds {name!r} of shape {tuple(there.shape)} instead of {tuple(here.shape)}"
        elif here.dtype != there.dtype:
            problem = f"it holds {name!r} as {there.dtype} instead of {here.dtype}"
        else:
            continue
        raise Invalid(problem)
