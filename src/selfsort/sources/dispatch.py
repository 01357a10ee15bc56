"""The choice of the kind of source."""

import difflib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from selfsort.errors import UserError
from selfsort.images import ImageSet, as_image_set
from selfsort.sources.decoding import Listing
from selfsort.sources.folder import list_folder, list_zip, load_folder, load_zip, names_left_out
from selfsort.sources.request import Request

_HUGGING_FACE = "hf:"


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
            from selfsort.sources.hugging_face import list_hugging_face

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
    from selfsort.sources import torchvision_sets

    text = str(source)
    named = text.startswith(_HUGGING_FACE) or text.lower() == "digits" or torchvision_sets.find(text) is not None
    return None if named else Path(source).expanduser().absolute()


def _load_named(name: str, request: Request) -> ImageSet:
    if name.startswith(_HUGGING_FACE):
        from selfsort.sources.hugging_face import load_hugging_face

        return load_hugging_face(name, request)
    if name.lower() == "digits":
        from selfsort.sources.digits import load_digits

        return load_digits(request)
    from selfsort.sources import torchvision_sets

    return torchvision_sets.load_set(str(torchvision_sets.find(name)), request)


def _without(images: ImageSet, exclude: Sequence[str]) -> ImageSet:
    left_out = names_left_out(exclude, images.ids, images.source)
    kept = images.subset([name not in left_out for name in images.ids])
    return replace(kept, options=images.options | {"exclude": tuple(exclude)})


def _load_array(array: Any, request: Request) -> ImageSet:
    from selfsort.sources.arrays import refit

    request.refuse("An array", "split", "fold")
    images = as_image_set(array)
    return replace(images, images=refit(images.images, request.size, request.resize, request.channels))


def _load_path(path: Path, given: str, request: Request) -> ImageSet:
    if not given or not path.exists():
        raise UserError(_unknown(given))
    if path.is_dir():
        return load_folder(path, request)
    if path.suffix.lower() == ".zip":
        return load_zip(path, request)
    if path.suffix.lower() in (".npy", ".npz"):
        from selfsort.sources.arrays import load_file

        images = load_file(path, request)
        return _without(images, request.exclude) if request.exclude else images
    raise UserError(f"{given!r} is neither a folder nor a .zip, .npy or .npz file; name the folder that it is in.")


def _unknown(given: str) -> str:
    from selfsort.sources.torchvision_sets import NAMES

    names = ["digits", *NAMES]
    ways_out = f"name a folder, a .zip, .npy or .npz file, or one of {', '.join(names)}."
    if close := difflib.get_close_matches(given.lower(), names, n=1):
        ways_out = f"did you mean {close[0]!r}?"
    return f"There is no file, folder or data set {given!r}; {ways_out}"
