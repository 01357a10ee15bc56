"""The labels of a data set of the library `datasets`: by its folders, as for any other source, or from a column."""

import re
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfsort.data.class_folders import ClassesFrom, class_folders, listed, number_classes
from selfsort.errors import UserError

_SNAPSHOT = re.compile(r".*/snapshots/[^/]+/")  # above a file's path in its data set, in the hub's cache
_ARCHIVED = re.compile(r"[a-z0-9]+://(.*?)::(.*)")  # a file in an archive: its path there, and that of the archive
_KEY = "__key__"  # the path without suffix of a picture in a tar archive


class HubLabels(NamedTuple):
    """(N,) labels or None, their names, and lines about what they were taken from."""

    labels: NDArray[np.int64] | None
    names: tuple[str, ...]
    told: tuple[str, ...]


def hub_labels(
    splits: Mapping[str, Any], split: str, image: str, source: str, folder: str, classes_from: ClassesFrom
) -> HubLabels:
    """Find the labels of a split of a data set.

    A set made of files in folders follows `class_folders`, so the same tree has the same labels as a folder, as a zip
    and on a hub. Any other set has the labels of its first column of classes, or else of the folders in the paths that
    it stores. `classes_from` names another column, of classes, texts or whole numbers, or says which folders are the
    classes.

    `splits` holds the `datasets.Dataset` of each split, `image` is its column of pictures, `source` what the user calls
    the set, and `folder` where the files of a local set are.

    Raises `UserError` if `classes_from` is neither a column nor gives a class.
    """
    table = splits[split]
    columns = _columns_of_classes(table)
    if classes_from == "none":
        return HubLabels(None, (), ())
    if classes_from in set(table.features) - {image}:
        return _by_column(table, str(classes_from), source)
    paths = {name: _paths(each, image, folder) for name, each in splits.items()}
    in_folders = any("/" in path for path in chain.from_iterable(paths.values()))
    if _is_of_files(table) or in_folders and not (columns and classes_from in (None, "auto")):
        found = class_folders(list(chain.from_iterable(paths.values())), source, classes_from=classes_from)
        return HubLabels(*found.labels(paths[split]), found.told)
    if classes_from not in (None, "auto"):
        has = f"its columns of classes are {', '.join(columns)}" if columns else "it has no column of classes"
        raise UserError(f"classes_from={classes_from!r} gives no class of {source!r}: {has}, and no class folders.")
    return _by_column(table, columns[0], source) if columns else HubLabels(None, (), ())


def _columns_of_classes(table: Any) -> list[str]:
    from datasets import ClassLabel

    return [name for name, feature in table.features.items() if isinstance(feature, ClassLabel)]


def _is_of_files(table: Any) -> bool:
    """Tell whether the set is a tree of picture files."""
    return bool(table.info.builder_name == "imagefolder")


def _paths(table: Any, image: str, folder: str) -> list[str]:
    """Return the path of each picture within its data set, "" if it is not known; no picture is read."""
    if _KEY in table.column_names:
        return [str(key) for key in table.data.column(_KEY).to_pylist()]
    import pyarrow.compute

    stored = pyarrow.compute.struct_field(table.data.column(image), "path").to_pylist()
    return _without_common_archive([_within(path or "", folder) for path in stored])


def _within(path: str, folder: str) -> tuple[str, str]:
    """Return the name of the archive that holds a picture, "" for none, and the picture's path in it or in the set."""
    path = path.replace("\\", "/")
    if archived := _ARCHIVED.fullmatch(path):
        return PurePosixPath(archived[2]).stem, archived[1]
    above = f"{folder.rstrip('/')}/".replace("\\", "/")
    if path.startswith(above):
        return "", path[len(above) :]
    return "", _SNAPSHOT.sub("", path, count=1)


def _without_common_archive(places: Iterable[tuple[str, str]]) -> list[str]:
    """Join archives and paths: an archive is a folder, unless its pictures lie in a folder of that name already."""
    return [f"{archive}/{path}" if archive and not path.startswith(f"{archive}/") else path for archive, path in places]


def _by_column(table: Any, column: str, source: str) -> HubLabels:
    """Take the labels from one column: of classes, or of texts or whole numbers, of which each is a class."""
    from datasets import ClassLabel

    values = table.data.column(column).to_pylist()
    feature = table.features[column]
    if isinstance(feature, ClassLabel):
        names = tuple(feature.names)
        labels = np.array([-1 if value is None else value for value in values], np.int64)
    else:
        if not all(value is None or isinstance(value, str | int) for value in values):
            raise UserError(f"The column {column!r} of {source!r} has neither texts nor whole numbers; choose another.")
        labels, names = number_classes(["" if value is None else str(value) for value in values])
    return HubLabels(labels, names, (f"classes: {listed(names)} in column {column}",))
