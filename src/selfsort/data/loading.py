"""From what the caller names to a set of pictures: find the source that recognises it."""

import difflib
import os
import pkgutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import numpy as np
from numpy.typing import ArrayLike

from selfsort.data import sources as package
from selfsort.data.decoding import with_ranges
from selfsort.data.image_set import ImageSet
from selfsort.data.input_spec import InputSpec, Resize
from selfsort.data.limits import MAX_PIXELS, MAX_SECONDS
from selfsort.data.listing import Listing, Skipped
from selfsort.data.reading import Page, ValueRange
from selfsort.data.request import Request
from selfsort.errors import UserError
from selfsort.files import is_there


def load_images(
    source: str | Path | ImageSet | ArrayLike,
    *,
    size: int | None = None,
    resize: Resize = "crop",
    channels: Literal[1, 3] | tuple[int, ...] | None = None,
    split: str | None = None,
    fold: int | None = None,
    data_root: str | Path | None = None,
    download: bool = False,
    cache: bool = True,
    max_pixels: int = MAX_PIXELS,
    max_seconds: float = MAX_SECONDS,
    progress: bool = False,
    exclude: Iterable[str] = (),
    classes_from: str | int | None = None,
    listing: int = 2,
    value_range: ValueRange | None = None,
    page: Page | None = None,
) -> ImageSet:
    """Load a set of pictures as `uint8`.

    `source` is a folder of pictures, a zip or tar of one, `.tar` files in WebDataset's convention or `.parquet` files
    (one, a folder of them, or "a-{000..012}.tar"), the URL of any of these in an object store, such as
    "s3://bucket/photos", an `.npy` or `.npz` file, the name of a data set ("digits", "mnist", "fashion-mnist",
    "kmnist", "usps", "cifar10", "cifar100", "svhn", "stl10"), "hf:owner/name" on the Hugging Face hub, an array, or a
    list of PIL images. A data set wins over a folder of the same name; write "./digits" for the folder.

    `size` is the side, in pixels, of the square to which `resize` fits every picture: "crop" (the centre), "pad" (with
    black) or "squash". By default arrays and data sets keep their size, and so do files that are all square, of one
    size, and at most 96 pixels wide; other files become 64 pixels wide. `channels` is 1 or 3, by default 1 if every
    picture is grey. `split` chooses a part of the source, by default the training split of torchvision's and the hub's
    sets and all of any other source; `fold` is one of STL-10's ten. `data_root` is torchvision's folder of data sets,
    filled if `download` is true. Decoded pictures are kept in a cache on disk unless `cache` is false. Pictures with
    more than `max_pixels` pixels are skipped, and so are those that take more than `max_seconds` of CPU time.
    `progress` draws a bar on standard error. `exclude` lists the ids of pictures to leave out.

    `classes_from` says which folders are the labels: by default, or with "auto", those below the folder that contains
    all pictures and below splits (`ImageSet.told` says which); "parent", the one that a picture lies in; a number, the
    one at that level of its id; a path, those below this folder; "none", no labels. For a set on the hub it names the
    column, and so it may for `.parquet` files. `listing` 1 lists files as version 0.1 did, for a run of that version.

    `value_range` says which values become black and white if there are more than eight bits: "set" (the default), the
    range found over the set, the same for all of its pictures; "picture", the range of each picture; "type", the range
    that their type stands for; or (low, high). `page` is the number of a page, slice or frame, counted from 0, or "max"
    for the largest values over all of them. `channels` may also name up to three channels, such as (0, 2, 4).

    Raises `UserError` if the source cannot be read, nothing readable is in it, or it lacks an id of `exclude`.
    """
    return list_images(
        source,
        size=size,
        resize=resize,
        channels=channels,
        split=split,
        fold=fold,
        data_root=data_root,
        download=download,
        cache=cache,
        max_pixels=max_pixels,
        max_seconds=max_seconds,
        progress=progress,
        exclude=exclude,
        classes_from=classes_from,
        listing=listing,
        value_range=value_range,
        page=page,
    ).decoded()


def list_images(
    source: str | Path | ImageSet | ArrayLike,
    *,
    size: int | None = None,
    resize: Resize = "crop",
    channels: Literal[1, 3] | tuple[int, ...] | None = None,
    split: str | None = None,
    fold: int | None = None,
    data_root: str | Path | None = None,
    download: bool = False,
    cache: bool = True,
    max_pixels: int = MAX_PIXELS,
    max_seconds: float = MAX_SECONDS,
    progress: bool = False,
    exclude: Iterable[str] = (),
    classes_from: str | int | None = None,
    listing: int = 2,
    value_range: ValueRange | None = None,
    page: Page | None = None,
) -> ImageSet:
    """List a set of pictures, with their ids and labels, without decoding any.

    The arguments are those of `load_images`, which returns the same as `list_images(…).decoded()`. Pixels are made when
    they are needed, and only then does it turn out which pictures cannot be read: `ImageSet.decoded` and
    `ImageSet.without` leave these out.

    Raises `UserError` if the source cannot be listed, nothing is in it, or it lacks an id of `exclude`.
    """
    request = Request(
        size=size,
        resize=resize,
        channels=tuple(channels) if isinstance(channels, list) else channels,
        split=split,
        fold=fold,
        data_root=None if data_root is None else os.path.abspath(os.path.expanduser(data_root)),
        download=download,
        cache=cache,
        max_pixels=max_pixels,
        max_seconds=max_seconds,
        progress=progress,
        exclude=tuple(exclude),
        classes_from=classes_from,
        listing=listing,
        value_range=tuple(value_range) if isinstance(value_range, list) else value_range,
        page=page,
    )
    if isinstance(source, ImageSet):
        return _apply_request(source, request)
    return ImageSet.listed(_prepared(source_of(source).list_source(source, request), request), request)


class Source(Protocol):
    """A module in `selfsort.data.sources`; see there."""

    ORDER: int

    def claims(self, given: Any) -> bool:
        """Tell whether the source recognises what the caller gave."""

    def list_source(self, given: Any, request: Request) -> Listing:
        """List the pictures without decoding any."""


@lru_cache(maxsize=1)
def sources() -> tuple[Source, ...]:
    """Return the kinds of source, in the order in which they are asked."""
    names = [f"{package.__name__}.{module.name}" for module in pkgutil.iter_modules(package.__path__)]
    return tuple(sorted((cast(Source, import_module(name)) for name in names), key=lambda source: source.ORDER))


def source_of(given: Any) -> Source:
    """Return the source that recognises what the caller gave; raise `UserError` if none does."""
    found = next((source for source in sources() if source.claims(given)), None)
    if found is None:
        raise UserError(_unknown(str(given)))
    return found


def has_files(given: Any) -> bool:
    """Tell whether the pictures of a source are separate files."""
    return bool(getattr(source_of(given), "FILES", False))


def is_gone(source: str) -> bool:
    """Tell whether a source's absolute path is not there; a pattern such as "a-{000..012}.tar" is no path."""
    return Path(source).is_absolute() and not is_there(source) and not any(each.claims(source) for each in sources())


def _prepared(listing: Listing, request: Request) -> Listing:
    """Leave out what the caller excludes, and note the arguments that list the same pictures again."""
    options = listing.options | request.options("size", "resize", "channels", "exclude", "value_range", "page")
    listing = replace(listing, options=options)
    if listing.originals.array is None:
        listing = replace(
            listing, originals=replace(listing.originals, reading=request.reading, max_seconds=request.max_seconds)
        )
    else:
        request.refuse(f"{listing.source!r}", "page")
    if request.exclude:
        left_out = _left_out(listing, request.exclude)
        listing = listing.keep(np.flatnonzero([name not in left_out for name in listing.ids]))
        skipped = tuple(item for item in listing.skipped if item.id not in left_out)
        asked = [Skipped(name, "left out as asked for") for name in sorted(left_out)]
        listing = replace(listing, skipped=skipped, passed_over=tuple(sorted([*listing.passed_over, *asked])))
    if not listing.ids:
        left = "no other files than those left out" if request.exclude else "no files"
        raise UserError(f"{listing.source!r} holds {left}; name a folder with pictures in it.")
    return _with_ranges(listing, request)


def _with_ranges(listing: Listing, request: Request) -> Listing:
    """Find the range of values beyond eight bits, and note it, so that the same range is used again."""
    originals = with_ranges(listing.originals, request.max_pixels)
    reading = originals.reading
    found = {name: each for name, each in (("integers", reading.integers), ("floats", reading.floats)) if each}
    if not found:
        return listing
    lines = [f"{name} from {low:,g} to {high:,g} become black to white" for name, (low, high) in found.items()]
    line = f"more than 8 bits: {' and '.join(lines)}, the same in all pictures; choose another range with value_range=…"
    options = {"value_range": next(iter(found.values()))} if len(found) == 1 else {}
    told = (*listing.told, line)
    return replace(listing, originals=originals, options=listing.options | options, told=told)


def _left_out(listing: Listing, exclude: Sequence[str]) -> frozenset[str]:
    known = {*listing.ids, *listing.elsewhere, *(item.id for item in listing.skipped)}
    if unknown := sorted(set(exclude) - known):
        raise UserError(
            f"{listing.source!r} does not hold {len(unknown)} of the {len(exclude)} pictures to leave out, such as "
            f"{unknown[0]!r}; name those of this source, for example by a new audit of it."
        )
    return frozenset(exclude)


def _apply_request(images: ImageSet, request: Request) -> ImageSet:
    """Apply a request to pictures that are a set already."""
    request.refuse("An ImageSet", "split", "fold", "classes_from", "page", "value_range")
    if request.reading.channels:
        raise UserError(f"channels={request.channels} cannot be chosen for an ImageSet, only when loading pictures.")
    if request.exclude:
        left_out = _left_out(images.listing, request.exclude)
        images = images.subset([name not in left_out for name in images.ids])
    if request.size is None and request.n_channels is None:
        return images
    height, width, channels = images.image_shape
    shape = (height, width) if request.size is None else (request.size, request.size)
    return images.decoded(InputSpec.of_shape((*shape, request.n_channels or channels), request.resize))


def _unknown(given: str) -> str:
    names = [name for source in sources() for name in getattr(source, "NAMES", ())]
    takes = [source.TAKES for source in sources() if hasattr(source, "TAKES")]
    takes.sort(key=lambda what: what != "a folder")  # first what most people have
    if given and is_there(os.path.expanduser(given)):
        return f"{given!r} is neither {' nor '.join(takes)}; name the folder that it is in."
    ways_out = f"name {', '.join(takes)}, or one of {', '.join(names)}."
    if close := difflib.get_close_matches(given.lower(), names, n=1):
        ways_out = f"did you mean {close[0]!r}?"
    return f"There is no file, folder or data set {given!r}; {ways_out}"
