"""The data sets that torchvision reads, by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import platformdirs
from numpy.typing import NDArray

from selfsort.data.listing import Listing, numbered, of_rows
from selfsort.data.request import Request
from selfsort.errors import UserError

ORDER = 30

_TRAIN_TEST = {"train": {"train": True}, "test": {"train": False}}
_DIGITS = tuple("0123456789")


class DataSet(NamedTuple):
    """How a data set is loaded: torchvision's class, its arguments for each split, the label names, its own folds."""

    loader: str
    splits: dict[str, dict[str, Any]]
    label_names: tuple[str, ...] = ()
    folds: int = 0


def _named(*splits: str) -> dict[str, dict[str, Any]]:
    return {split: {"split": split} for split in splits}


_SETS = {
    "mnist": DataSet("MNIST", _TRAIN_TEST, _DIGITS),
    "fashion-mnist": DataSet("FashionMNIST", _TRAIN_TEST),
    "kmnist": DataSet("KMNIST", _TRAIN_TEST),
    "usps": DataSet("USPS", _TRAIN_TEST, _DIGITS),
    "cifar10": DataSet("CIFAR10", _TRAIN_TEST),
    "cifar100": DataSet("CIFAR100", _TRAIN_TEST),
    "svhn": DataSet("SVHN", _named("train", "test", "extra"), _DIGITS),
    "stl10": DataSet("STL10", _named("train", "test", "unlabeled", "train+unlabeled"), folds=10),
}
NAMES = tuple(_SETS)


def find(name: str) -> str | None:
    """Return the data set that `name` means, however it is spelt, or None.

    >>> find("FashionMNIST"), find("CIFAR-10"), find("photos")
    ('fashion-mnist', 'cifar10', None)
    """
    return next((known for known in _SETS if _plain(known) == _plain(name)), None)


def n_folds(source: str) -> int:
    """Return the number of folds into which a data set divides its training pictures; 0 for any other source.

    >>> n_folds("STL-10"), n_folds("cifar10"), n_folds("photos")
    (10, 0, 0)
    """
    name = find(source)
    return 0 if name is None else _SETS[name].folds


def claims(given: Any) -> bool:
    """Tell whether this is the name of a data set."""
    return isinstance(given, (str, Path)) and find(str(given)) is not None


def list_source(given: Any, request: Request) -> Listing:
    """List a data set in `data_root`, by default a folder of the user's, downloading it there if requested."""
    name = str(find(str(given)))
    known = _SETS[name]
    split = (request.split or "train").lower().replace("unlabelled", "unlabeled")
    if split not in known.splits:
        raise UserError(f"{name!r} has no split {request.split!r}; it has {', '.join(known.splits)}.")
    request.refuse(f"The set {name!r}", "classes_from")
    if not known.folds:
        request.refuse(f"The set {name!r}", "fold")
    elif request.fold is not None and not split.startswith("train"):
        raise UserError(f"The folds of {name!r} are parts of its split 'train', not of {split!r}; leave one out.")
    data = _open(name, known, split, request)
    images, labels = _channel_last(data.data), _labels(data)
    ids = f"{name}/{split}" if request.fold is None else f"{name}/{split}/fold{request.fold}"
    names = known.label_names or tuple(getattr(data, "classes", ()))
    options = request.options("split", "fold", "data_root")
    return Listing(name, numbered(ids, len(images)), of_rows(images), labels, names, options)


def _open(name: str, known: DataSet, split: str, request: Request) -> Any:
    from torchvision import datasets

    root = request.data_root or platformdirs.user_data_path("selfsort") / "datasets"
    folds = {"folds": request.fold} if known.folds else {}
    loader: Callable[..., Any] = getattr(datasets, known.loader)
    try:
        return loader(root, download=request.download, **known.splits[split], **folds)
    except Exception as error:  # torchvision raises whatever its parsers run into in a damaged file
        problem = " ".join(str(error).split()).partition(". ")[0]
        first = "check the network" if request.download else "fetch it with download=True"
        raise UserError(
            f"The split {split!r} of {name!r} cannot be read from {str(root)!r} ({problem}); {first}, or name the "
            "folder that torchvision keeps it in by data_root=…."
        ) from error


def _channel_last(data: Any) -> NDArray[np.uint8]:
    images = np.asarray(data)
    if images.ndim == 3:
        return images[:, :, :, None]
    if images.shape[1] == 3:
        images = images.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images)


def _labels(data: Any) -> NDArray[np.int64]:
    return np.asarray(data.labels if hasattr(data, "labels") else data.targets).astype(np.int64)


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")
