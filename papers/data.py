"""The pictures on which the papers compare: torchvision's data sets, or the same as folders of pictures."""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from selfsort.data.image_set import ImageSet
from selfsort.data.loading import load_images
from selfsort.data.sources.torchvision_sets import find
from selfsort.errors import UserError


class Parts(NamedTuple):
    """Pictures to learn from, whose labels only probes and references see, and pictures to score on."""

    train: ImageSet
    test: ImageSet


@lru_cache(maxsize=2)
def train_and_test(dataset: str, data_root: Path | None, subset: int | None = None, seed: int = 0) -> Parts:
    """Return a data set's two parts; a `subset` of the first is drawn with the seed.

    Pictures in `data_root/DATASET/train` and `.../test` are used if they exist, otherwise torchvision's files.

    Raises
    ------
    UserError
        If they are not there, or a subset is larger than the whole.

    """
    train, test = (load_part(dataset, data_root, split) for split in ("train", "test"))
    if subset is None:
        return Parts(train, test)
    if not 2 <= subset <= len(train):
        raise UserError(f"--subset {subset} must be from 2 to {len(train):,}, all of {dataset} to learn from.")
    chosen = np.random.default_rng((seed, 6)).permutation(len(train))[:subset]
    return Parts(train.subset(np.sort(chosen)), test)


def load_part(dataset: str, data_root: Path | None, split: str, fold: int | None = None) -> ImageSet:
    """Return a part of a data set: from `data_root/DATASET` if it exists, otherwise torchvision's.

    Raises
    ------
    UserError
        If it is not there.

    """
    folder = _folder(dataset, data_root)
    if folder is not None and (folder / split).is_dir():
        return load_images(folder, split=split, fold=fold)
    return load_images(dataset, split=split, fold=fold, data_root=data_root)


def is_folder(dataset: str, data_root: Path | None, split: str) -> bool:
    """Tell whether a part of a data set exists as a folder of pictures, which is used instead of torchvision's."""
    folder = _folder(dataset, data_root)
    return folder is not None and (folder / split).is_dir()


def _folder(dataset: str, data_root: Path | None) -> Path | None:
    """Return a data set's folder, if there is one; its name may be spelt differently, such as CIFAR-10."""
    if data_root is None or (data_root / dataset).is_dir() or not data_root.is_dir():
        return None if data_root is None else data_root / dataset
    return next((each for each in sorted(data_root.iterdir()) if find(each.name) == dataset and each.is_dir()), None)
