"""Tables of predictions, pictures sorted into one folder per cluster, and those that an audit keeps."""

import errno
import os
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from selfsort.audit import Audit
from selfsort.data.image_set import ImageSet
from selfsort.errors import UserError
from selfsort.files import atomic_path, cell_text, remove, write_table

_RESERVED = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
_DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
_LONGEST_STEM = 230  # bytes: file systems take 255, and a number and a suffix have to fit behind


def check_table(path: str | Path) -> None:
    """Raise `UserError` if `path` is a folder or ends in a suffix that `write_predictions` cannot write."""
    suffix = Path(path).suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise UserError(f"Cannot tell the format of {str(path)!r} from its name; end it in .csv or .parquet.")
    if suffix == ".parquet" and find_spec("pyarrow") is None:
        raise UserError(f"{str(path)!r} needs the library 'pyarrow': pip install 'selfsort[parquet]', or write a .csv.")
    if Path(path).is_dir():
        raise UserError(f"{str(path)!r} is a folder; choose the name of a file.")


def write_predictions(
    path: str | Path, ids: Sequence[str], probabilities: NDArray[np.floating[Any]], names: Sequence[str] = ()
) -> None:
    """Write id, cluster, confidence and p0 … p{K-1} for probabilities (N, K), as `.csv` or `.parquet` by the suffix.

    With the `names` (K,) of the clusters, there is a column `name` after `cluster`.
    In CSV, numbers have six significant digits, bytes of an id that are no UTF-8 stay as they are, and names that a
    spreadsheet would compute begin with an apostrophe; Parquet holds text only, so such bytes become backslash escapes
    there. Raises `UserError` for another suffix or a path that cannot be written.
    """
    path = Path(path)
    check_table(path)
    if len(ids) != len(probabilities):
        raise ValueError(f"{len(ids)} ids do not fit {len(probabilities)} rows of probabilities.")
    if path.suffix.lower() == ".csv":
        named = ["name"] if names else []
        header = ["id", "cluster", *named, "confidence", *(f"p{k}" for k in range(probabilities.shape[1]))]
        write_table(path, header, _prediction_rows(ids, probabilities, names))
    else:
        _write_parquet(path, ids, probabilities, names)


def _prediction_rows(
    ids: Sequence[str], probabilities: NDArray[np.floating[Any]], names: Sequence[str]
) -> Iterator[list[Any]]:
    for picture_id, row in zip(ids, probabilities, strict=True):
        best = int(row.argmax())
        values = [float(f"{value:.6g}") for value in row.tolist()]
        yield [picture_id, best, *([cell_text(names[best])] if names else []), values[best], *values]


def _write_parquet(
    path: Path, ids: Sequence[str], probabilities: NDArray[np.floating[Any]], names: Sequence[str]
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    best = probabilities.argmax(axis=1)
    columns: dict[str, Any] = {
        "id": pa.array([name.encode("utf-8", "backslashreplace").decode() for name in ids], pa.string()),
        "cluster": pa.array(best, pa.int64()),
    }
    if names:
        columns["name"] = pa.array([names[cluster] for cluster in best], pa.string())
    columns["confidence"] = pa.array(probabilities.max(axis=1))
    columns |= {f"p{k}": pa.array(column) for k, column in enumerate(np.ascontiguousarray(probabilities.T))}
    # An open file, as pyarrow takes no path that is not UTF-8.
    with atomic_path(path) as partial, open(partial, "wb") as file:
        pq.write_table(pa.table(columns), file)


@dataclass(frozen=True)
class SortSummary:
    """What `sort_pictures` did: the folder made, pictures per sub-folder, and the ids whose file was gone."""

    out: Path
    counts: Mapping[str, int]
    missing: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Give the counts and the missing ids as JSON can hold them."""
        missing = [name.encode("utf-8", "backslashreplace").decode() for name in self.missing]
        return {"folders": dict(self.counts), "missing": missing}


def sort_pictures(
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
    Links are symbolic, with absolute targets; pictures that came without files are written as PNG. Files of the same
    name from different folders become `a.jpg`, `a__1.jpg`, … in the order of the images, also where only upper and
    lower case differ. The folder appears whole or not at all; a file that is gone meanwhile is listed in the summary.

    Raises `UserError` if `out` holds anything already or cannot be written, or if there are no files to link to.
    """
    out = Path(out).resolve()
    check_target(out)
    if mode == "link" and images.files is None:
        raise UserError(f"The pictures of {images.source!r} are no single files to link to; use --copy to write them.")
    if len(clusters) != len(images) or not set(np.unique(clusters)) <= set(range(n_clusters)):
        raise ValueError(f"Sorting needs one cluster from 0 to {n_clusters - 1} for each of {len(images)} images.")
    folders = folder_names(n_clusters, names or {})
    with atomic_path(out) as partial:
        remove(partial)  # a killed run of the same process id may have left one
        for folder in dict.fromkeys(folders):
            (partial / folder).mkdir(parents=True)
        placed, missing = _fill(partial, images, [folders[cluster] for cluster in clusters], mode)
    return SortSummary(out, {folder: placed[folder] for folder in dict.fromkeys(folders)}, tuple(missing))


def check_linkable(source: str, has_files: bool) -> None:
    """Raise `UserError` unless the pictures of a source are files of their own, to which `link_kept` can link."""
    if not has_files:
        raise UserError(f"The pictures of {source!r} are no single files to link to; unpack or save them first.")


def link_kept(audit: Audit, out: str | Path) -> int:
    """Make a folder of symbolic links to the pictures that an audit keeps, below the folders that they came in.

    Returns how many. Raises `UserError` if `out` holds anything or cannot be written, or if there are no files to link
    to.
    """
    out = Path(out).absolute()
    check_linkable(audit.source, audit.has_files)
    check_target(out)
    kept = np.flatnonzero(~audit.rejected).tolist()
    with atomic_path(out) as partial:
        partial.mkdir()
        for picture in kept:
            target = partial.joinpath(*audit.id(picture).split("/"))
            target.parent.mkdir(parents=True, exist_ok=True)
            _link(Path(audit.file(picture)), target, "choose another place")
    return len(kept)


def check_target(out: Path) -> None:
    """Raise UserError if a folder to be made exists and holds anything."""
    try:
        taken = out.exists() and not (out.is_dir() and next(out.iterdir(), None) is None)
    except OSError as error:
        raise UserError(f"Cannot look into {str(out)!r}: {error.strerror}; choose another folder.") from error
    if taken:
        raise UserError(f"{str(out)!r} exists and is not an empty folder; choose a new one, nothing is overwritten.")


def folder_names(n_clusters: int, names: Mapping[int, str]) -> list[str]:
    """Give each cluster the name of its folder: its own name made safe for any file system, or its number.

    >>> folder_names(4, {1: "rose", 2: "a/b", 3: "a:b"})
    ['cluster-00', 'rose', 'a_b', 'a_b__1']
    """
    width = max(2, len(str(n_clusters - 1)))
    wanted = [names.get(cluster, "").strip() or cluster for cluster in range(n_clusters)]
    distinct, folders = _DistinctNames(), dict[str | int, str]()
    # Numbers first, so that nobody's name takes the folder of another cluster.
    for name in sorted(set(wanted), key=lambda name: (isinstance(name, str), wanted.index(name))):
        folders[name] = distinct.take(_safe(name) if isinstance(name, str) else f"cluster-{name:0{width}}")
    return [folders[name] for name in wanted]


def _safe(name: str) -> str:
    # Windows takes neither reserved characters nor device names, nor a dot or space at the end.
    name = _RESERVED.sub("_", _cut(name)).strip(". ") or "_"
    return f"_{name}" if _DEVICES.fullmatch(name) else name


def _cut(stem: str) -> str:
    stored = stem.encode("utf-8", "surrogateescape")
    return stem if len(stored) <= _LONGEST_STEM else stored[:_LONGEST_STEM].decode("utf-8", "ignore")


class _DistinctNames:
    """Hands out names for one folder that differ also where a file system ignores case."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def take(self, stem: str, suffix: str = "") -> str:
        wanted = (stem + suffix).casefold()
        for number in count(self._next.get(wanted, 0)):
            name = f"{stem}__{number}{suffix}" if number else stem + suffix
            if name.casefold() not in self._taken:
                break
        self._next[wanted] = number + 1
        self._taken.add(name.casefold())
        return name


def _fill(root: Path, images: ImageSet, folders: Sequence[str], mode: str) -> tuple[Counter[str], list[str]]:
    distinct: defaultdict[str, _DistinctNames] = defaultdict(_DistinctNames)
    placed: Counter[str] = Counter()
    missing = []
    for index, folder in enumerate(folders):
        if images.files is None:
            target = root / folder / distinct[folder].take(_png_stem(images.ids[index]), ".png")
            _write_png(images.images[index], target)
        else:
            source = Path(os.path.abspath(images.files[index]))
            target = root / folder / distinct[folder].take(_cut(source.stem), source.suffix)
            if not _placed(source, target, _link if mode == "link" else shutil.copy2):
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


def _link(source: Path, target: Path, way_out: str = "use --copy") -> None:
    source.stat()
    try:
        target.symlink_to(source)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP):
            message = f"The file system of {str(target.parents[2])!r} takes no symbolic links; {way_out}."
            raise UserError(message) from error
        raise


def _png_stem(picture_id: str) -> str:
    leaf = re.split(r"[/\\]", picture_id)[-1]
    return _safe(Path(leaf).stem)


def _write_png(pixels: NDArray[np.uint8], target: Path) -> None:
    from PIL import Image

    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(target, format="PNG")
