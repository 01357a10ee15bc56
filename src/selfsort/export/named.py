"""Pictures with the names that people gave them, and how they are exported from a run."""

import os
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfsort.data.image_set import ImageSet
from selfsort.errors import UserError
from selfsort.export import formats
from selfsort.export.sort import SortSummary, sort_images
from selfsort.files import atomic_path

FOLDERS = "folders"
UNNAMED = "unnamed"


class Said(NamedTuple):
    """What people and the model say about N pictures, as positions in the names.

    Attributes
    ----------
    said : (N,) the name that somebody gave the picture or its group, -1 if nobody did
    single : (N,) whether it was given to the picture by itself
    sure : (N,) how sure that person was, 1 to 5; 0 if nobody said anything
    model : (N,) the name that the model gives, -1 without a model
    probability : (N,) chance that the model's name is right

    """

    said: NDArray[np.int64]
    single: NDArray[np.bool_]
    sure: NDArray[np.int64]
    model: NDArray[np.int64]
    probability: NDArray[np.float32]


class NamedPicture(NamedTuple):
    """What is exported for a picture; None where nothing is known."""

    id: str
    name: str | None
    confidence: float | None
    given: bool
    said: str | None
    by: str | None
    sure: int | None
    model: str | None
    probability: float | None


class NamedPictures(NamedTuple):
    """N pictures and their names.

    Attributes
    ----------
    ids : (N,) ids of the pictures
    names : the K names
    name_of : (N,) position of each picture's name in `names`, -1 without a name
    confidence : (N,) confidence of the name
    given : (N,) whether somebody gave the name, rather than it having spread
    said : what people and the model say
    images : the pictures themselves, for formats that contain them or their sizes
    about : further facts about a name, such as its note
    chances : (N, K) chance of each name by heads that did not learn from the picture's own answer, for formats that
        need it; rows without an answer are 0

    """

    ids: Sequence[str]
    names: Sequence[str]
    name_of: NDArray[np.int64]
    confidence: NDArray[np.float32]
    given: NDArray[np.bool_]
    said: Said
    images: ImageSet | None = None
    about: Mapping[str, Mapping[str, Any]] = {}
    chances: NDArray[np.float32] | None = None

    def rows(self) -> Iterator[NamedPicture]:
        """Yield what is exported for each picture."""
        names = [*self.names, None]  # so that -1 means no name
        columns = (column.tolist() for column in (self.name_of, self.confidence, self.given, *self.said))
        for image_id, number, confidence, given, said, single, sure, model, probability in zip(
            self.ids, *columns, strict=True
        ):
            yield NamedPicture(
                image_id,
                names[number],
                confidence if number >= 0 else None,
                given,
                names[said],
                ("picture" if single else "group") if said >= 0 else None,
                sure or None,
                names[model],
                probability if model >= 0 else None,
            )

    def only_given(self) -> "NamedPictures":
        """Return the same pictures with only the names that people gave."""
        said = self.said.said
        return self._replace(name_of=said, confidence=(self.said.sure / 5).astype(np.float32), given=said >= 0)

    def pictures(self) -> ImageSet:
        """Return the pictures themselves; raise `UserError` if they were not given."""
        if self.images is None:
            raise UserError("This format needs the pictures themselves: give them as images.")
        return self.images

    def folders(self) -> tuple[NDArray[np.int64], dict[int, str]]:
        """Return the number of each picture's folder (N,), and the names of the folders."""
        names = dict(enumerate(self.names))
        bare = self.name_of < 0
        return np.where(bare, len(names), self.name_of), names | ({len(names): UNNAMED} if bare.any() else {})


@cache
def file_formats() -> dict[str, ModuleType]:
    """Return the modules that write names to a file, by the name of the format."""
    found = [import_module(f"{formats.__name__}.{each.name}") for each in pkgutil.iter_modules(formats.__path__)]
    return {module.NAME: module for module in found}


def names_format(out: str | Path, wanted: str | None = None) -> str:
    """Return the format for a path: the `wanted` one, or that of its suffix; a path without a suffix is a folder.

    Raises `UserError` for an unknown format or suffix.
    """
    known = file_formats()
    if wanted is not None:
        if wanted not in (*known, FOLDERS):
            raise UserError(f"There is no format {wanted!r}: choose one of {', '.join((*known, FOLDERS))}.")
        return wanted
    endings = {module.SUFFIX: name for name, module in known.items()}
    file = Path(out).name.lower()
    found = [ending for ending in endings if file.endswith(ending)]
    if found:
        return endings[max(found, key=len)]  # .coco.json is also a .json
    if Path(out).suffix:
        raise UserError(
            f"Cannot tell the format of {str(out)!r} from its name: end it in {', '.join(sorted(endings))}, leave out "
            "the ending for folders, or give the format."
        )
    return FOLDERS


def write_named(
    named: NamedPictures, out: str | Path, *, format: str | None = None, copy: bool = False
) -> SortSummary | None:
    """Write names as a file in one of the formats of `file_formats`, or as "folders" of links or, with `copy`, copies.

    If `format` is None, the suffix of `out` decides. An existing file is replaced; a folder must be new or empty.
    Returns a summary for folders, None for a file.

    Raises
    ------
    UserError
        For an unknown format, a folder that is not empty, a path that cannot be written, or a format that needs
        pictures that were not given.

    """
    kind = names_format(out, format)
    if kind == FOLDERS:
        clusters, names = named.folders()
        mode: Any = "copy" if copy else "link"
        return sort_images(named.pictures(), clusters, out, mode=mode, n_clusters=len(names), names=names)
    if os.path.isdir(out):
        raise UserError(f"{str(out)!r} is a folder: choose the name of a file.")
    with atomic_path(out) as partial, open(partial, "wb") as file:
        file.writelines(file_formats()[kind].chunks(named))
    return None
