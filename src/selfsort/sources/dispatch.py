"""The choice of the kind of source."""

import difflib
from dataclasses import replace
from pathlib import Path
from typing import Any

from selfsort.errors import UserError
from selfsort.images import ImageSet, as_image_set
from selfsort.sources.request import Request


def load(source: Any, request: Request) -> ImageSet:
    """Load `source` as `load_images` describes."""
    if not isinstance(source, (str, Path)):
        return _load_array(source, request)
    text = str(source)
    if text.startswith("hf:"):
        from selfsort.sources.hugging_face import load_hugging_face

        return load_hugging_face(text, request)
    if text.lower() == "digits":
        from selfsort.sources.digits import load_digits

        return load_digits(request)
    from selfsort.sources import torchvision_sets

    if (name := torchvision_sets.find(text)) is not None:
        return torchvision_sets.load_set(name, request)
    return _load_path(Path(source).expanduser().absolute(), text, request)


def _load_array(array: Any, request: Request) -> ImageSet:
    from selfsort.sources.arrays import refit

    request.refuse("An array", "split", "fold")
    images = as_image_set(array)
    return replace(images, images=refit(images.images, request.size, request.resize, request.channels))


def _load_path(path: Path, given: str, request: Request) -> ImageSet:
    if not given or not path.exists():
        raise UserError(_unknown(given))
    if path.is_dir():
        from selfsort.sources.folder import load_folder

        return load_folder(path, request)
    if path.suffix.lower() in (".npy", ".npz"):
        from selfsort.sources.arrays import load_file

        return load_file(path, request)
    if path.suffix.lower() == ".zip":
        from selfsort.sources.folder import load_zip

        return load_zip(path, request)
    raise UserError(f"{given!r} is neither a folder nor a .zip, .npy or .npz file; name the folder that it is in.")


def _unknown(given: str) -> str:
    from selfsort.sources.torchvision_sets import NAMES

    names = ["digits", *NAMES]
    ways_out = f"name a folder, a .zip, .npy or .npz file, or one of {', '.join(names)}."
    if close := difflib.get_close_matches(given.lower(), names, n=1):
        ways_out = f"did you mean {close[0]!r}?"
    return f"There is no file, folder or data set {given!r}; {ways_out}"
