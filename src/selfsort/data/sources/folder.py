"""A folder of pictures, or a zip of one."""

import hashlib
import heapq
import io
import os
import stat
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfsort.data.decoding import Listing, Pictures, decode
from selfsort.data.image_set import ImageSet, Skipped
from selfsort.data.pixels import MAX_BYTES, Unreadable, explain
from selfsort.data.request import Request
from selfsort.errors import UserError

SPLITS = (("train",), ("test",), ("val", "valid", "validation"), ("unlabeled", "unlabelled"))
_SPLIT_FOLDERS = frozenset(name for names in SPLITS for name in names)


class Entry(NamedTuple):
    """A file below a folder: its path relative to it, with "/", and what changes when the file does."""

    id: str
    size: int
    changed: int


def load_folder(path: Path, request: Request) -> ImageSet:
    """Load the pictures anywhere below a folder; `labels_of` says which labels they get."""
    pictures, unlisted, *_ = list_folder(path, request)
    images, kept = _load(pictures, request)
    return replace(
        images,
        files=tuple(Path(pictures.refs[place]) for place in kept),
        skipped=tuple(sorted([*images.skipped, *unlisted])),
    )


def load_zip(path: Path, request: Request) -> ImageSet:
    """Load the pictures in a zip file as if it were unpacked, less a folder that all of them share."""
    try:
        return _load(list_zip(path, request).pictures, request)[0]
    finally:
        close_zips()


def list_folder(path: Path, request: Request) -> Listing:
    """Find the pictures that `load_folder` loads; their refs are the paths of the files."""
    root = str(path)
    found = list(walk(root))
    entries = sorted(entry for entry in found if isinstance(entry, Entry))
    left_out = names_left_out(request.exclude, {item.id for item in found}, root)
    chosen = _chooser([entry.id for entry in entries], request.split, root)
    entries = [entry for entry in entries if chosen(entry.id) and entry.id not in left_out]
    ids = [entry.id for entry in entries]
    pictures = Pictures(root, ids, [os.path.join(root, name) for name in ids], open_file, _stamp(root, *entries))
    unlisted = [item for item in found if isinstance(item, Skipped) and chosen(item.id) and item.id not in left_out]
    return Listing(_checked(pictures, request), tuple(unlisted), *labels_of(ids, request.split))


def list_zip(path: Path, request: Request) -> Listing:
    """Find the pictures that `load_zip` loads; `close_zips` has to follow when they have been read."""
    source = str(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename for info in archive.infolist() if not info.is_dir()}
        status = os.stat(path)
    except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
        raise UserError(f"{source!r} is not a readable zip file ({error}); pack it again.") from error
    members = {name for name in members if not any(map(_ignored, name.split("/")))}
    shared = _shared_folder(members)
    ids = {name: name[len(shared) :].lstrip("/") for name in members}
    left_out = names_left_out(request.exclude, ids.values(), source)
    chosen = _chooser([name[len(shared) :] for name in members], request.split, source)
    refs = sorted(name for name in members if chosen(name[len(shared) :]) and ids[name] not in left_out)
    stamp = _stamp(source, status.st_size, status.st_mtime_ns, request.split, sorted(left_out))
    pictures = Pictures(source, [ids[name] for name in refs], refs, partial(open_member, source), stamp)
    return Listing(_checked(pictures, request), (), *labels_of(pictures.ids, request.split))


def close_zips() -> None:
    """Close the zip file that was read last."""
    _archive.cache_clear()


def walk(root: str) -> Iterator[Entry | Skipped]:
    """Yield the files below `root` in no order, and what could not be looked at.

    Hidden files and folders are passed over. Links to folders are followed, but no folder is entered twice.
    """
    folders, links, seen = [""], list[str](), set[tuple[int, int]]()
    while folders or links:
        # Links come last, so that a file is found where it really lies rather than behind a link.
        folder = folders.pop() if folders else heapq.heappop(links)
        try:
            children = _children(os.path.join(root, folder), seen)
        except OSError as error:
            if not folder:
                raise UserError(f"The folder {root!r} cannot be read: {error.strerror}.") from error
            yield Skipped(folder, explain(error))
            continue
        for child in children:
            name = f"{folder}/{child.name}" if folder else child.name
            if _ignored(child.name):
                continue
            if not _is_folder(child):
                yield _entry(child, name)
            elif child.is_symlink():
                heapq.heappush(links, name)
            else:
                folders.append(name)


def labels_of(ids: Sequence[str], split: str | None) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """Return (N,) labels and their names, from the first folder of every id: -1 without one, None if no id has one.

    A leading folder named for a split (train, test, val, unlabeled, …) is no label if `split` chose it, or if all
    leading folders are named so.

    >>> labels_of(["train/cat/1.jpg", "train/dog/2.jpg", "unlabeled/3.jpg"], None)
    (array([ 0,  1, -1]), ('cat', 'dog'))
    """
    folders = [name.split("/")[:-1] for name in ids]
    if split is not None or {parts[0].lower() for parts in folders if parts} <= _SPLIT_FOLDERS:
        folders = [parts[1:] for parts in folders]
    names = sorted({parts[0] for parts in folders if parts})
    if not names:
        return None, ()
    places = {name: place for place, name in enumerate(names)}
    return np.array([places[parts[0]] if parts else -1 for parts in folders], np.int64), tuple(names)


def splits_of(ids: Sequence[str]) -> tuple[str, ...]:
    """Return the name (N,) of the split that each id begins with, "" where the leading folders are not all splits.

    >>> splits_of(["Train/cat/1.jpg", "test/2.jpg"]), splits_of(["train/1.jpg", "cats/2.jpg"])
    (('train', 'test'), ('', ''))
    """
    leading = [name.partition("/")[0].lower() if "/" in name else "" for name in ids]
    return tuple(leading) if {name for name in leading if name} <= _SPLIT_FOLDERS else ("",) * len(leading)


def open_file(path: str) -> BinaryIO:
    """Open a file for reading its bytes."""
    return open(path, "rb")


def open_member(archive: str, name: str) -> BinaryIO:
    """Open a file in a zip file, whole in memory."""
    with _archive(archive).open(name) as member:
        data = member.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise Unreadable("too many bytes")
    return io.BytesIO(data)


def _checked(pictures: Pictures, request: Request) -> Pictures:
    request.refuse(f"{pictures.source!r}", "fold")
    if not pictures.ids:
        left = "no other files than those left out" if request.exclude else "no files"
        raise UserError(f"{pictures.source!r} holds {left}; name a folder with pictures in it.")
    return pictures


def names_left_out(exclude: Sequence[str], ids: Collection[str], source: str) -> frozenset[str]:
    """Return the ids to leave out; raise `UserError` if one of them is not among `ids`."""
    if unknown := sorted(set(exclude) - set(ids)):
        raise UserError(
            f"{source!r} does not hold {len(unknown)} of the {len(exclude)} pictures to leave out, such as "
            f"{unknown[0]!r}; name those of this source, for example by a new audit of it."
        )
    return frozenset(exclude)


def _load(pictures: Pictures, request: Request) -> tuple[ImageSet, NDArray[np.intp]]:
    """Return the set, and which of the pictures are in it."""
    images, kept, skipped = decode(pictures, request)
    ids = tuple(pictures.ids[place] for place in kept)
    labels, names = labels_of(ids, request.split)
    size, channels = images.shape[2:]
    options = request.options("resize", "split", "max_pixels", "exclude", size=size, channels=channels)
    return ImageSet(images, ids, labels, names, pictures.source, options, skipped=skipped), kept


def _chooser(ids: Sequence[str], split: str | None, source: str) -> Callable[[str], bool]:
    """Return the test whether an id belongs to a split, that is, begins with the folder of its name."""
    if split is None:
        return lambda name: True
    folders = next((names for names in SPLITS if split.lower() in names), ())

    def chosen(name: str) -> bool:
        first, slash, _ = name.partition("/")
        return bool(slash) and first.lower() in folders

    if not any(map(chosen, ids)):
        leading = {name.partition("/")[0] for name in ids if "/" in name}
        there = sorted(name for name in leading if name.lower() in _SPLIT_FOLDERS)
        has = f"it has {', '.join(there)}" if there else "no folder in it is named for a split, so leave split out"
        raise UserError(f"{source!r} has no split {split!r}; {has}.")
    return chosen


def _stamp(*parts: object) -> bytes:
    return hashlib.blake2b(repr(parts).encode("utf-8", "surrogateescape")).digest()


def _children(path: str, seen: set[tuple[int, int]]) -> list[os.DirEntry[str]]:
    status = os.stat(path)
    identity = status.st_dev, status.st_ino
    if identity in seen:
        return []
    seen.add(identity)
    with os.scandir(path) as children:
        return list(children)


def _is_folder(child: os.DirEntry[str]) -> bool:
    try:
        return child.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _entry(child: os.DirEntry[str], name: str) -> Entry | Skipped:
    try:
        status = child.stat()
    except OSError as error:
        return Skipped(name, explain(error))
    if not stat.S_ISREG(status.st_mode):  # reading from a pipe would wait for ever
        return Skipped(name, "not a regular file")
    return Entry(name, status.st_size, status.st_mtime_ns)


def _ignored(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _shared_folder(names: Iterable[str]) -> str:
    """Return the folder, with its "/", in which all names lie, or "": the folder of a split is not left out."""
    first = {name.partition("/")[0] + "/" for name in names}
    folder = first.pop() if len(first) == 1 else ""
    shared = all(name.startswith(folder) for name in names) and folder[:-1].lower() not in _SPLIT_FOLDERS
    return folder if shared else ""


@lru_cache(maxsize=1)  # the directory of a zip file with many members takes long to read
def _archive(path: str) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)
