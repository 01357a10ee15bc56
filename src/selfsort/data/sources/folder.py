"""A folder of pictures."""

import heapq
import os
import stat
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from selfsort.data.class_folders import class_folders
from selfsort.data.listing import Listing, Originals, Skipped, digest, open_file
from selfsort.data.other_files import passed_over
from selfsort.data.request import Request
from selfsort.data.sources import path_of
from selfsort.data.unreadable import explain
from selfsort.errors import UserError

ORDER = 35
TAKES = "a folder"
FILES = True

_LINK, _BELOW_LINK = "a link", "below a link"
_VIRTUAL = "of the kernel, not on a disk"
_VIRTUAL_KINDS = frozenset(
    "proc sysfs cgroup cgroup2 debugfs tracefs securityfs configfs pstore bpf efivarfs devpts mqueue binfmt_misc "
    "fusectl selinuxfs nsfs rpc_pipefs".split()
)


class FoundFile(NamedTuple):
    """A file within a folder: its relative path, with "/", its size and time of change, and whether it is a link."""

    id: str
    size: int
    changed: int
    remark: str


class PassedOver(NamedTuple):
    """A file or folder that is not looked at because it is none of the user's pictures, and why."""

    id: str
    reason: str


Found = FoundFile | Skipped | PassedOver


def claims(given: Any) -> bool:
    """Tell whether this is a folder."""
    path = path_of(given)
    return path is not None and os.path.isdir(path)


def list_source(given: Any, request: Request) -> Listing:
    """List the files anywhere below a folder; `class_folders` says their labels."""
    root = str(path_of(given))
    request.refuse(f"{root!r}", "fold")
    found = list(walk(root, request.listing))
    files = sorted(entry for entry in found if isinstance(entry, FoundFile))
    folders = class_folders([entry.id for entry in files], root, request.split, request.classes_from)
    entries = [entry for entry in files if folders.is_in(entry.id, request.split)]
    stamps = [f"{entry.id} {entry.size} {entry.changed}" for entry in entries]
    ids = tuple(entry.id for entry in entries)
    skipped = [entry for entry in found if isinstance(entry, Skipped)]
    names = [entry.id for entry in files] + [entry.id for entry in skipped]
    return Listing(
        root,
        ids,
        Originals([os.path.join(root, name) for name in ids], open_file, digest(root), stamps),
        *folders.labels(ids),
        options=request.options("split", "max_pixels", "max_seconds", "classes_from", "listing"),
        skipped=tuple(entry for entry in skipped if folders.is_in(entry.id, request.split)),
        passed_over=tuple(sorted(Skipped(*entry) for entry in found if isinstance(entry, PassedOver))),
        elsewhere=[name for name in names if not folders.is_in(name, request.split)],
        remarks={entry.id: entry.remark for entry in entries if entry.remark},
        told=folders.told,
        label=folders.labels,
        split=folders.split,
    )


def walk(root: str, listing: int = 2) -> Iterator[Found]:
    """Yield the files below `root` in no order, what could not be looked at, and what was passed over.

    Links to folders are followed, but no folder is entered twice.
    """
    folders, links = [("", "")], list[str]()
    entered, virtual = dict[tuple[int, int], str](), _virtual_devices()
    while folders or links:
        # Links come last, so that a file is found where it really is rather than behind a link.
        folder, remark = folders.pop() if folders else (heapq.heappop(links), _BELOW_LINK)
        try:
            status = os.stat(os.path.join(root, folder))
            why = _not_entered(status, entered, virtual)
            if why and not folder:
                raise UserError(f"{root!r} is a folder of the kernel, not on a disk; name one that holds pictures.")
            if why:
                yield PassedOver(folder, why)
                continue
            entered[status.st_dev, status.st_ino] = folder or "."
            children = _children(os.path.join(root, folder))
        except OSError as error:
            if not folder:
                raise UserError(f"The folder {root!r} cannot be read: {error.strerror}.") from error
            yield Skipped(folder, explain(error))
            continue
        for child in children:
            name = f"{folder}/{child.name}" if folder else child.name
            if why := passed_over(child.name, listing):
                yield PassedOver(name, why)
            elif not _is_folder(child):
                yield _entry(child, name, remark, virtual)
            elif child.is_symlink():
                heapq.heappush(links, name)
            else:
                folders.append((name, remark))


def _not_entered(status: os.stat_result, entered: Mapping[tuple[int, int], str], virtual: Collection[int]) -> str:
    """Return why a folder is not searched, "" if it is."""
    if status.st_dev in virtual:
        return _VIRTUAL
    first = entered.get((status.st_dev, status.st_ino))
    return "" if first is None else f"a second way to a folder ({first})"


def _children(path: str) -> list[os.DirEntry[str]]:
    with os.scandir(path) as children:
        return list(children)


def _is_folder(child: os.DirEntry[str]) -> bool:
    try:
        return child.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _entry(child: os.DirEntry[str], name: str, remark: str, virtual: Collection[int]) -> Found:
    try:
        status = child.stat()
    except OSError as error:
        return Skipped(name, explain(error))
    if status.st_dev in virtual:
        return PassedOver(name, _VIRTUAL)
    if not stat.S_ISREG(status.st_mode):  # reading from a pipe could block for ever
        return Skipped(name, "not a regular file")
    return FoundFile(name, status.st_size, status.st_mtime_ns, _LINK if child.is_symlink() else remark)


def _virtual_devices() -> frozenset[int]:
    """Return the devices of the kernel's virtual file systems: reading some of their files blocks for ever."""
    try:
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:  # not Linux
        return frozenset()
    found = set()
    for line in lines:
        mount, _, kind = line.partition(b" - ")
        if kind.split()[0].decode() in _VIRTUAL_KINDS:
            major, minor = mount.split()[2].split(b":")
            found.add(os.makedev(int(major), int(minor)))
    return frozenset(found)
