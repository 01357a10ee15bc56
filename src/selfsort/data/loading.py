"""The choice of the source: what `load_images` does first."""

import difflib
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from numpy.typing import ArrayLike

from selfsort.data.decoding import Listing
from selfsort.data.image_set import ImageSet, as_image_set
from selfsort.data.input_spec import Resize
from selfsort.data.pixels import MAX_PIXELS
from selfsort.data.request import Request
from selfsort.data.sources.folder import list_folder, list_zip, load_folder, load_zip, names_left_out
from selfsort.errors import UserError

_HUGGING_FACE = "hf:"


def load_images(
    source: str | Path | ImageSet | ArrayLike,
    *,
    size: int | None = None,
    resize: Resize = "crop",
    channels: Literal[1, 3] | None = None,
    split: str | None = None,
    fold: int | None = None,
    data_root: str | Path | None = None,
    download: bool = False,
    cache: bool = True,
    max_pixels: int = MAX_PIXELS,
    progress: bool = False,
    exclude: Iterable[str] = (),
) -> ImageSet:
    """Load a set of images as `uint8`.

    `source` is a folder of pictures, a zip of one, an `.npy` or `.npz` file, the name of a data set ("digits", "mnist",
    "fashion-mnist", "kmnist", "usps", "cifar10", "cifar100", "svhn", "stl10"), "hf:owner/name" on the Hugging Face hub,
    or an array. A name wins over a folder of the same name; write "./digits" for the folder.

    `size` is the side, in pixels, of the square that every picture is brought to by `resize`: "crop" (the centre),
    "pad" (with black) or "squash". By default arrays and data sets keep theirs, and so do files that are all square, of
    one size, and at most 96 pixels; other files become 64. `channels` is 1 or 3, by default 1 if every picture is grey.
    `split` chooses a part of the source, by default the training split of torchvision's and the hub's sets and all of
    any other source; `fold` is one of STL-10's ten. `data_root` is torchvision's folder of data sets, filled when
    `download` is true. Decoded pictures are kept in a cache on disk unless `cache` is false.
    Pictures with more than `max_pixels` pixels are skipped. `progress` draws a bar on standard error. `exclude` names
    the ids of pictures to leave out.

    Raises `UserError` when the source cannot be read, nothing readable is in it, or it lacks an id of `exclude`.
    """
    return load(
        source,
        Request(
            size=size,
            resize=resize,
            channels=channels,
            split=split,
            fold=fold,
            data_root=None if data_root is None else os.path.abspath(os.path.expanduser(data_root)),
            download=download,
            cache=cache,
            max_pixels=max_pixels,
            progress=progress,
            exclude=tuple(exclude),
        ),
    )


def load(source: Any, request: Request) -> ImageSet:
    """Load `source` as `load_images` describes."""
    if isinstance(source, (str, Path)) and (path := _path(source)) is not None:
        return _load_path(path, str(source), request)
    images = _load_named(str(source), request) if isinstance(source, (str, Path)) else _load_array(source, request)
    return _without(images, request.exclude) if request.exclude else images


def list_pictures(source: Any, request: Request) -> Listing | ImageSet:
    """Return the pictures in a source as they are, still to be decoded; or, where they are an array already, that."""
    if isinstance(source, (str, Path)):
        if str(source).startswith(_HUGGING_FACE):
            from selfsort.data.sources.hugging_face import list_hugging_face

            return list_hugging_face(str(source), request)
        path = _path(source)
        if path is not None and path.is_dir():
            return list_folder(path, request)
        if path is not None and path.suffix.lower() == ".zip" and path.exists():
            return list_zip(path, request)
    return load(source, request)


def has_files(source: str | Path) -> bool:
    """Tell whether the pictures of a source, if it is one at all, are files of their own: whether it is a folder."""
    path = _path(source)
    return path is not None and not (path.is_file() and path.suffix.lower() in (".zip", ".npy", ".npz"))


def _path(source: str | Path) -> Path | None:
    """Return the path that a source is, or None where it is the name of a data set."""
    from selfsort.data.sources import torchvision_sets

    text = str(source)
    named = text.startswith(_HUGGING_FACE) or text.lower() == "digits" or torchvision_sets.find(text) is not None
    return None if named else Path(source).expanduser().absolute()


def _load_named(name: str, request: Request) -> ImageSet:
    if name.startswith(_HUGGING_FACE):
        from selfsort.data.sources.hugging_face import load_hugging_face

        return load_hugging_face(name, request)
    if name.lower() == "digits":
        from selfsort.data.sources.digits import load_digits

        return load_digits(request)
    from selfsort.data.sources import torchvision_sets

    return torchvision_sets.load_set(str(torchvision_sets.find(name)), request)


def _without(images: ImageSet, exclude: Sequence[str]) -> ImageSet:
    left_out = names_left_out(exclude, images.ids, images.source)
    kept = images.subset([name not in left_out for name in images.ids])
    return replace(kept, options=images.options | {"exclude": tuple(exclude)})


def _load_array(array: Any, request: Request) -> ImageSet:
    from selfsort.data.arrays import refit

    request.refuse("An array", "split", "fold")
    images = as_image_set(array)
    options = images.options | request.options("size", "resize", "channels")
    fitted = refit(images.images, request.size, request.resize, request.channels)
    return replace(images, images=fitted, options=options)


def _load_path(path: Path, given: str, request: Request) -> ImageSet:
    if not given or not path.exists():
        raise UserError(_unknown(given))
    if path.is_dir():
        return load_folder(path, request)
    if path.suffix.lower() == ".zip":
        return load_zip(path, request)
    if path.suffix.lower() in (".npy", ".npz"):
        from selfsort.data.sources.arrays import load_file

        images = load_file(path, request)
        return _without(images, request.exclude) if request.exclude else images
    raise UserError(f"{given!r} is neither a folder nor a .zip, .npy or .npz file; name the folder that it is in.")


def _unknown(given: str) -> str:
    from selfsort.data.sources.torchvision_sets import NAMES

    names = ["digits", *NAMES]
    ways_out = f"name a folder, a .zip, .npy or .npz file, or one of {', '.join(names)}."
    if close := difflib.get_close_matches(given.lower(), names, n=1):
        ways_out = f"did you mean {close[0]!r}?"
    return f"There is no file, folder or data set {given!r}; {ways_out}"
