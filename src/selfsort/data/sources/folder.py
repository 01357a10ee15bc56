"""A folder of pictures."""

import heapq
import os
import stat
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

from selfsort.data.class_folders import hidden, labels_of, split_chooser
from selfsort.data.listing import Listing, Originals, Skipped, digest, open_file
from selfsort.data.request import Request
from selfsort.data.sources import path_of
from selfsort.data.unreadable import explain
from selfsort.errors import UserError

ORDER = 35
TAKES = "a folder"
FILES = True


class FoundFile(NamedTuple):
    """A file below a folder: its path relative to it, with "/", and what changes when the file does."""

    id: str
    size: int
    changed: int


def claims(given: Any) -> bool:
    """Tell whether this is a folder."""
    path = path_of(given)
    return path is not None and path.is_dir()


def list_source(given: Any, request: Request) -> Listing:
    """List the files anywhere below a folder; `labels_of` says which labels they get."""
    root = str(path_of(given))
    request.refuse(f"{root!r}", "fold")
    found = list(walk(root))
    files = sorted(entry for entry in found if isinstance(entry, FoundFile))
    chosen = split_chooser([entry.id for entry in files], request.split, root)
    entries = [entry for entry in files if chosen(entry.id)]
    stamps = [f"{entry.id} {entry.size} {entry.changed}" for entry in entries]
    ids = tuple(entry.id for entry in entries)
    label = partial(labels_of, split=request.split)
    return Listing(
        root,
        ids,
        Originals([os.path.join(root, name) for name in ids], open_file, digest(root), stamps),
        *label(ids),
        options=request.options("split", "max_pixels"),
        skipped=tuple(item for item in found if isinstance(item, Skipped) and chosen(item.id)),
        elsewhere=[item.id for item in found if not chosen(item.id)],
        label=label,
    )


def walk(root: str) -> Iterator[FoundFile | Skipped]:
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
            if hidden(child.name):
                continue
            if not _is_folder(child):
                yield _entry(child, name)
            elif child.is_symlink():
                heapq.heappush(links, name)
            else:
                folders.append(name)


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


def _entry(child: os.DirEntry[str], name: str) -> FoundFile | Skipped:
    try:
        status = child.stat()
    except OSError as error:
        return Skipped(name, explain(error))
    if not stat.S_ISREG(status.st_mode):  # reading from a pipe would wait for ever
        return Skipped(name, "not a regular file")
    return FoundFile(name, status.st_size, status.st_mtime_ns)
