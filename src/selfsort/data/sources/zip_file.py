"""A zip of a folder of pictures, listed as if it were unpacked, less a folder that all of them share."""

import io
import os
import zipfile
from collections.abc import Iterable
from functools import lru_cache, partial
from typing import Any, BinaryIO

from selfsort.data.class_folders import SPLIT_FOLDERS, hidden, labels_of, split_chooser
from selfsort.data.listing import Listing, Originals, digest
from selfsort.data.pixels import MAX_BYTES
from selfsort.data.request import Request
from selfsort.data.sources import path_of
from selfsort.data.unreadable import Unreadable
from selfsort.errors import UserError

ORDER = 40
TAKES = "a .zip file"


def claims(given: Any) -> bool:
    """Tell whether this is a file whose name ends in .zip."""
    path = path_of(given)
    return path is not None and path.suffix.lower() == ".zip" and path.exists() and not path.is_dir()


def list_source(given: Any, request: Request) -> Listing:
    """List the files in a zip file."""
    source = str(path_of(given))
    request.refuse(f"{source!r}", "fold")
    members, changed = _members(source)
    shared = _shared_folder(members)
    ids = {name: name[len(shared) :].lstrip("/") for name in members}
    chosen = split_chooser([name[len(shared) :] for name in members], request.split, source)
    refs = sorted(name for name in members if chosen(name[len(shared) :]))
    stamps = [f"{members[name].file_size} {members[name].CRC:08x}" for name in refs]
    label = partial(labels_of, split=request.split)
    listed = tuple(ids[name] for name in refs)
    return Listing(
        source,
        listed,
        Originals(refs, partial(open_member, source), digest(source, changed), stamps, _archive.cache_clear),
        *label(listed),
        options=request.options("split", "max_pixels"),
        elsewhere=[ids[name] for name in members if not chosen(name[len(shared) :])],
        label=label,
    )


def open_member(archive: str, name: str) -> BinaryIO:
    """Open a file in a zip file, whole in memory."""
    with _archive(archive).open(name) as member:
        data = member.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise Unreadable("too many bytes")
    return io.BytesIO(data)


def _members(source: str) -> tuple[dict[str, zipfile.ZipInfo], tuple[int, int]]:
    """Return the files in a zip file by name, and what changes when that does."""
    try:
        with zipfile.ZipFile(source) as archive:
            members = {info.filename: info for info in archive.infolist() if not info.is_dir()}
        status = os.stat(source)
    except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
        raise UserError(f"{source!r} is not a readable zip file ({error}); pack it again.") from error
    shown = {name: info for name, info in members.items() if not any(map(hidden, name.split("/")))}
    return shown, (status.st_size, status.st_mtime_ns)


def _shared_folder(names: Iterable[str]) -> str:
    """Return the folder, with its "/", in which all names lie, or "": the folder of a split is not left out."""
    first = {name.partition("/")[0] + "/" for name in names}
    folder = first.pop() if len(first) == 1 else ""
    shared = all(name.startswith(folder) for name in names) and folder[:-1].lower() not in SPLIT_FOLDERS
    return folder if shared else ""


@lru_cache(maxsize=1)  # the directory of a zip file with many members takes long to read
def _archive(path: str) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)
