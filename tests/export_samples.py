"""What the tests of exports share: a disk that is full, sets of pictures with files and without."""

import resource
from pathlib import Path

import numpy as np
from PIL import Image

from selfsort.data.image_set import ImageSet


def folder_set(root: Path, names: list[str]) -> ImageSet:
    """Make a folder of small pictures that differ in their bytes."""
    files = []
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (number, 0, 0)).save(path, format="PNG")
        files.append(path)
    images = np.zeros((len(names), 4, 4, 3), np.uint8)
    return ImageSet(images, tuple(names), source=str(root), files=tuple(files))


def array_set(ids: list[str], channels: int = 3) -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 256, (len(ids), 5, 6, channels), np.uint8)
    return ImageSet(pixels, tuple(ids), source="some.zip")


def left_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


class small_files:
    """Let no file grow beyond so many bytes, as on a full disk."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __enter__(self):
        self.before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.before[1]))

    def __exit__(self, *_):
        resource.setrlimit(resource.RLIMIT_FSIZE, self.before)
