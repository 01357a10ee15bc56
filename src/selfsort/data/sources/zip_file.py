"""A zip of a folder of pictures, listed as if it were unpacked, without a folder that contains all of them."""

import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from typing import Any, BinaryIO, NamedTuple

from selfsort.data.archives import parts_of, shared_folder, why_passed_over
from selfsort.data.class_folders import class_folders
from selfsort.data.limits import MAX_BYTES, too_many_bytes
from selfsort.data.listing import Listing, Originals, Skipped, digest
from selfsort.data.request import Request
from selfsort.data.sources import is_file, path_of
from selfsort.data.unreadable import Unreadable
from selfsort.errors import UserError

ORDER = 40
TAKES = "a .zip file"

_BLOCK = 1 << 20
_UTF_8, _ENCRYPTED = 0x800, 0x1  # flags of a member
_UNICODE_PATH = 0x7075  # a field that accompanies a name not in UTF-8


class Member(NamedTuple):
    """A file in a zip: its path, its name in the zip, and a remark."""

    path: str
    info: zipfile.ZipInfo
    remark: str


def claims(given: Any) -> bool:
    """Tell whether this is a file whose name ends in .zip."""
    path = path_of(given)
    return path is not None and path.suffix.lower() == ".zip" and is_file(path)


def list_source(given: Any, request: Request) -> Listing:
    """List the files in a zip file."""
    source = str(path_of(given))
    request.refuse(f"{source!r}", "fold")
    infos, changed = _infos(source)
    found, left_out = _members(infos, request.listing)
    members, replaced = _by_id(found)
    ids = sorted(members, key=lambda name: members[name].info.filename if request.listing == 1 else name)
    folders = class_folders(ids, source, request.split, request.classes_from)
    listed = tuple(name for name in ids if folders.is_in(name, request.split))
    refs = [members[name].info.filename for name in listed]
    stamps = [f"{members[name].info.file_size} {members[name].info.CRC:08x}" for name in listed]
    return Listing(
        source,
        listed,
        Originals(refs, partial(open_member, source), digest(source, changed), stamps, _archive.cache_clear),
        *folders.labels(listed),
        options=request.options("split", "max_pixels", "max_seconds", "classes_from", "listing"),
        passed_over=tuple(sorted([*left_out, *replaced])),
        elsewhere=[name for name in ids if not folders.is_in(name, request.split)],
        remarks={name: remark for name in listed if (remark := members[name].remark)},
        told=folders.told,
        label=folders.labels,
        split=folders.split,
    )


def open_member(archive: str, name: str) -> BinaryIO:
    """Read a whole file of a zip into memory."""
    opened = _archive(archive)
    info = opened.getinfo(name)
    if info.flag_bits & _ENCRYPTED:
        raise Unreadable("encrypted (unpack the zip with its password)")
    if info.file_size > MAX_BYTES:
        raise too_many_bytes()
    data = io.BytesIO()
    with opened.open(info) as member:
        while block := member.read(_BLOCK):  # never more than the directory says, however far the file expands
            data.write(block)
    data.seek(0)
    return data


def _infos(source: str) -> tuple[list[zipfile.ZipInfo], tuple[int, int]]:
    """Return what is in a zip file, and the zip's size and time of change."""
    try:
        with zipfile.ZipFile(source) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
        status = os.stat(source)
    except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
        raise UserError(f"{source!r} is not a readable zip file ({error}); pack it again.") from error
    return infos, (status.st_size, status.st_mtime_ns)


def _members(infos: Iterable[zipfile.ZipInfo], listing: int) -> tuple[list[Member], list[Skipped]]:
    """Return the files that may be pictures, in the order of the zip, and what is left out."""
    members: list[Member] = []
    left_out: list[Skipped] = []
    for info in infos:
        name, remark = _name(info, listing)
        parts = parts_of(name)
        link = "a link in a zip" if stat.S_ISLNK(info.external_attr >> 16) else ""
        if why := why_passed_over(parts, "zip", listing) or link:
            left_out.append(Skipped(name, why))
        else:
            members.append(Member("/".join(parts) if "." in name.split("/") else name, info, remark))
    return members, left_out


def _by_id(members: Sequence[Member]) -> tuple[dict[str, Member], list[Skipped]]:
    """Return the files by their ids, and the others: of several with one id the last counts, as if unpacked."""
    shared = len(shared_folder([member.path for member in members]))
    found: dict[str, Member] = {}
    replaced: list[Skipped] = []
    for member in members:
        name = member.path[shared:].lstrip("/")
        if name in found:
            replaced.append(Skipped(name, "another file of this path follows it in the zip"))
        found[name] = member
    return found, replaced


def _name(info: zipfile.ZipInfo, listing: int) -> tuple[str, str]:
    """Return the name of a file in a zip, and a remark.

    Names may be UTF-8 even if the zip does not say so; cp437, Python's assumption, would fit anything.
    """
    name = info.filename
    if listing == 1 or info.flag_bits & _UTF_8 or name.isascii():
        return name, ""
    stored = name.encode("cp437")
    try:
        return _unicode_path(info.extra, stored) or stored.decode("utf-8"), ""
    except UnicodeDecodeError:
        return name, "its name is in an unknown encoding, read as cp437"


def _unicode_path(extra: bytes, stored: bytes) -> str:
    """Return the UTF-8 name that a zip gives besides one in an older encoding, "" if there is none."""
    while len(extra) >= 4:
        kind, size = struct.unpack("<HH", extra[:4])
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == _UNICODE_PATH and len(field) > 5 and struct.unpack("<I", field[1:5])[0] == zlib.crc32(stored):
            return field[5:].decode("utf-8")
    return ""


@lru_cache(maxsize=1)  # reading the directory of a zip with many members takes long
def _archive(path: str) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)
