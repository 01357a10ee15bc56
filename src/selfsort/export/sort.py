"""Sort pictures into one folder per cluster or name, as links or copies."""

import io
import os
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from selfsort.data.image_set import ImageSet
from selfsort.errors import UserError
from selfsort.export.file_names import DistinctNames, folder_names, safe_name, stem_and_suffix
from selfsort.export.links import check_target, link
from selfsort.files import atomic_path, remove


@dataclass(frozen=True)
class SortSummary:
    """What `sort_images` did: the new folder, pictures per subfolder, and the ids whose file was missing."""

    out: Path
    counts: Mapping[str, int]
    missing: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the counts and the missing ids as plain values for JSON."""
        return {"folders": dict(self.counts), "missing": list(self.missing)}


def sort_images(
    images: ImageSet,
    clusters: NDArray[np.integer[Any]],
    out: str | Path,
    *,
    mode: Literal["link", "copy"],
    n_clusters: int,
    names: Mapping[int, str] | None = None,
) -> SortSummary:
    """Make the folder `out` with one subfolder per cluster, which holds links to its pictures or copies of them.

    The subfolders are called `cluster-00`, `cluster-01`, … or after `names`; clusters of the same name share one.
    Links are symbolic, with absolute targets; pictures that are not files are written as PNG, at their own size.
    Files of the same name from different folders become `a.jpg`, `a__1.jpg`, … in the order of the pictures, even if
    the names differ in case. The folder appears complete or not at all; files that have disappeared meanwhile are
    listed in the summary.

    Raises `UserError` if `out` is not empty or cannot be written, or if there are no files to link to.
    """
    out = Path(out).resolve()
    check_target(out)
    if mode == "link" and images.files is None:
        raise UserError(
            f"The pictures of {images.source!r} are not separate files to link to: use mode='copy' to write them."
        )
    if len(clusters) != len(images) or not set(np.unique(clusters)) <= set(range(n_clusters)):
        raise ValueError(f"Sorting needs one cluster from 0 to {n_clusters - 1} for each of {len(images)} pictures.")
    folders = folder_names(n_clusters, names or {})
    with atomic_path(out) as partial:
        remove(partial)  # a killed process with the same id may have left one
        for folder in dict.fromkeys(folders):
            (partial / folder).mkdir(parents=True)
        placed, missing = _fill(partial, images, [folders[cluster] for cluster in clusters], mode)
    return SortSummary(out, {folder: placed[folder] for folder in dict.fromkeys(folders)}, tuple(missing))


def _fill(root: Path, images: ImageSet, folders: Sequence[str], mode: str) -> tuple[Counter[str], list[str]]:
    placed: Counter[str] = Counter()
    missing = []
    files = images.files
    for index, (folder, name) in enumerate(_file_names(images, folders)):
        target = root / folder / name
        if files is None:
            images.open(index).save(target, format="PNG")
        else:
            source = Path(os.path.abspath(files[index]))
            if not _placed(source, target, link if mode == "link" else shutil.copy2):
                missing.append(images.ids[index])
                continue
        placed[folder] += 1
    return placed, missing


def _file_names(images: ImageSet, folders: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the folder of each picture and the unique name of its file there."""
    distinct: defaultdict[str, DistinctNames] = defaultdict(DistinctNames)
    for parent, leaf in sorted(_folders_in_others(set(folders))):
        distinct[parent].take(leaf)  # so that no picture takes the name of a subfolder
    files = images.files
    for index, folder in enumerate(folders):
        named = (_png_stem(images.ids[index]), ".png") if files is None else stem_and_suffix(files[index].name)
        yield folder, distinct[folder].take(*named)


def _folders_in_others(paths: Iterable[str]) -> set[tuple[str, str]]:
    """Return each folder inside another, such as "bird/robin", as its parent's path and its own name."""
    parts = [path.split("/") for path in paths]
    return {("/".join(each[:depth]), each[depth]) for each in parts for depth in range(1, len(each))}


def places_in_folders(
    images: ImageSet, clusters: NDArray[np.integer[Any]], n_clusters: int, names: Mapping[int, str]
) -> Iterator[tuple[int, str]]:
    """Yield each picture's position and its path, separated by "/", in the folders that `sort_images` would make."""
    folders = folder_names(n_clusters, names)
    for index, (folder, name) in enumerate(_file_names(images, [folders[cluster] for cluster in clusters])):
        yield index, f"{folder}/{name}"


def contents(images: ImageSet) -> Callable[[int], bytes]:
    """Return a function that reads the bytes of a picture's file, or encodes a picture without a file as PNG.

    It raises `OSError` for a missing file.
    """
    files = images.files
    return (lambda index: _as_png(images, index)) if files is None else lambda index: files[index].read_bytes()


def _as_png(images: ImageSet, index: int) -> bytes:
    with io.BytesIO() as file:
        images.open(index).save(file, format="PNG")
        return file.getvalue()


def _placed(source: Path, target: Path, place: Callable[[Path, Path], object]) -> bool:
    """Tell whether `source` could be read; errors in writing `target` are raised."""
    try:
        place(source, target)
    except OSError as error:
        # A failed write names the target too: then the destination is at fault, not this one picture.
        if error.filename != os.fspath(source) or error.filename2 is not None:
            raise
        return False
    return True


def _png_stem(image_id: str) -> str:
    leaf = re.split(r"[/\\]", image_id)[-1]
    return safe_name(Path(leaf).stem)
