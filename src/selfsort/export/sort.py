"""Pictures sorted into one folder per cluster or name, as links or copies."""

import os
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
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
    """What `sort_images` did: the folder made, pictures per sub-folder, and the ids whose file was gone."""

    out: Path
    counts: Mapping[str, int]
    missing: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Give the counts and the missing ids as JSON holds them."""
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
    """Make the folder `out` with one sub-folder per cluster that links to, or holds copies of, its pictures.

    The sub-folders are called `cluster-00`, `cluster-01`, … or after `names`; clusters of the same name share one.
    Links are symbolic, with absolute targets; pictures that came without files are written as PNG, at their own size.
    Files of the same name from different folders become `a.jpg`, `a__1.jpg`, … in the order of the pictures, also where
    only upper and lower case differ. The folder appears whole or not at all; a file that is gone meanwhile is listed in
    the summary.

    Raises `UserError` if `out` holds anything already or cannot be written, or if there are no files to link to.
    """
    out = Path(out).resolve()
    check_target(out)
    if mode == "link" and images.files is None:
        raise UserError(
            f"The pictures of {images.source!r} are no single files to link to; use mode='copy' to write them."
        )
    if len(clusters) != len(images) or not set(np.unique(clusters)) <= set(range(n_clusters)):
        raise ValueError(f"Sorting needs one cluster from 0 to {n_clusters - 1} for each of {len(images)} pictures.")
    folders = folder_names(n_clusters, names or {})
    with atomic_path(out) as partial:
        remove(partial)  # a killed run of the same process id may have left one
        for folder in dict.fromkeys(folders):
            (partial / folder).mkdir(parents=True)
        placed, missing = _fill(partial, images, [folders[cluster] for cluster in clusters], mode)
    return SortSummary(out, {folder: placed[folder] for folder in dict.fromkeys(folders)}, tuple(missing))


def _fill(root: Path, images: ImageSet, folders: Sequence[str], mode: str) -> tuple[Counter[str], list[str]]:
    distinct: defaultdict[str, DistinctNames] = defaultdict(DistinctNames)
    placed: Counter[str] = Counter()
    missing = []
    for index, folder in enumerate(folders):
        if images.files is None:
            target = root / folder / distinct[folder].take(_png_stem(images.ids[index]), ".png")
            images.open(index).save(target, format="PNG")
        else:
            source = Path(os.path.abspath(images.files[index]))
            target = root / folder / distinct[folder].take(*stem_and_suffix(source.name))
            if not _placed(source, target, link if mode == "link" else shutil.copy2):
                missing.append(images.ids[index])
                continue
        placed[folder] += 1
    return placed, missing


def _placed(source: Path, target: Path, place: Callable[[Path, Path], object]) -> bool:
    """Say whether `source` could be read; an error in writing `target` is raised."""
    try:
        place(source, target)
    except OSError as error:
        # A failed write names the target too; only then is the place to blame, not the one picture.
        if error.filename != os.fspath(source) or error.filename2 is not None:
            raise
        return False
    return True


def _png_stem(image_id: str) -> str:
    leaf = re.split(r"[/\\]", image_id)[-1]
    return safe_name(Path(leaf).stem)
