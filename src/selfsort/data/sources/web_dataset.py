"""Tars of pictures: a folder that was packed, or shards in the convention of WebDataset.

By that convention files of one key belong together: "cat/1.jpg", "cat/1.cls", "cat/1.json" all have the key "cat/1",
their path up to the first dot of the name. A picture is read from its place in the tar, so nothing is unpacked.
"""

import io
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from sys import intern
from typing import Any, BinaryIO

import numpy as np

from selfsort.data.archives import parts_of, why_passed_over
from selfsort.data.limits import MAX_BYTES, too_many_bytes
from selfsort.data.listing import Listing, Skipped
from selfsort.data.object_store import forget
from selfsort.data.request import Request
from selfsort.data.shards import MOST_PICTURES, Content, Shard, Shards, find, is_named, list_shards
from selfsort.data.tar_headers import TarHeaders, TarMember
from selfsort.data.unreadable import Unreadable, explain

ORDER = 33
TAKES = "a .tar file"

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".tar.zst")
_COMPRESSED = (b"\x1f\x8b", b"\xfd7zXZ\0", b"BZh", b"\x28\xb5\x2f\xfd")  # how gzip, xz, bzip2 and zstd files begin
# Any other file of a picture's key belongs to the picture, and any other file of another key may be a picture.
_PICTURES = frozenset("jpg jpeg jpe jfif png webp avif heic heif bmp gif tif tiff ppm pgm pbm pnm img image".split())
_LONGEST = {"cls": 1 << 10, "json": 1 << 20}  # bytes that are read for a label
_ENTRIES = ("label", "class")  # of the JSON, in this order
_LONGEST_NAME = 256


def claims(given: Any) -> bool:
    """Tell whether this is a tar, a pattern such as "a-{000..012}.tar", or a folder of tars without pictures."""
    return is_named(given, SUFFIXES)


def list_source(given: Any, request: Request) -> Listing:
    """List the pictures in tars.

    Their labels are the texts or numbers in `.cls` files, or else "label" or "class" in the `.json` files, or else the
    folders of their paths, as in a zip.
    """
    return list_found(find(given, SUFFIXES), request)


def list_found(shards: Shards, request: Request) -> Listing:
    """List the pictures in tars that were found."""
    read = partial(_read, request.classes_from in (None, "auto"))
    listing = list_shards(shards, read, open_member, request)
    return replace(listing, originals=replace(listing.originals, close=forget))


def open_member(ref: tuple[Shard, int, int]) -> BinaryIO:
    """Read a file of a tar into memory: `size` bytes from `offset`."""
    shard, offset, size = ref
    if size > MAX_BYTES:
        raise too_many_bytes()
    data = shard.read(offset, size)
    if len(data) < size:
        raise Unreadable("truncated")
    return io.BytesIO(data)


def _read(labelled: bool, shard: Shard) -> Content:
    """Find the pictures of a tar and, if it is `labelled`, the classes stored with them."""
    found, damage = _Files(labelled), ""
    with shard.open() as file:
        if file.read(6).startswith(_COMPRESSED):
            raise Unreadable("compressed (unpack it, or decompress it to a .tar, of which parts can be read)")
        headers = TarHeaders(file, shard.size)
        try:
            while (member := headers.next_member()) is not None:
                found.add(member, file)
        except (Unreadable, OSError) as error:
            damage = explain(error)
    return found.content(damage)


class _Files:
    """The files of one tar."""

    def __init__(self, labelled: bool) -> None:
        self._kinds = _LONGEST if labelled else {}
        self._places: dict[str, tuple[int, int]] = {}
        self._classes: dict[str, dict[str, str]] = {kind: {} for kind in _LONGEST}  # by key
        self._left_out: list[Skipped] = []

    def add(self, member: TarMember, tar: BinaryIO) -> None:
        """Note a file, and read the class that it stores."""
        path = "/".join(part for part in member.path.split("/") if part not in ("", "."))
        if why := why_passed_over(parts_of(path), "tar") or member.why_not or ("" if path else "without a name"):
            self._left_out.append(Skipped(member.path, why))
            return
        if path in self._places:
            self._left_out.append(Skipped(path, "another file of this path follows it in the tar"))
        if len(self._places) > MOST_PICTURES:
            raise Unreadable(f"too large (more than {MOST_PICTURES:,} files; divide it)")
        self._places[path] = member.offset, member.size
        key, kind = _divided(path)
        if member.size <= self._kinds.get(kind, -1):
            tar.seek(member.offset)
            self._classes[kind][key] = _class_in(tar.read(member.size), kind)

    def content(self, damage: str) -> Content:
        """Return what was found; pictures in the order of their paths."""
        samples = defaultdict[str, list[str]](list)
        for path in self._places:
            samples[_divided(path)[0]].append(path)
        paths: list[str] = []
        for files in samples.values():
            pictures, left_out = _pictures_of(files)
            paths += pictures
            self._left_out += left_out
        paths.sort()
        places = np.array([self._places[path] for path in paths], np.int64).reshape(-1, 2)
        kind = next((kind for kind, known in self._classes.items() if any(known.values())), "")
        known = self._classes.get(kind, {})
        classes = [known.get(_divided(path)[0], "") for path in paths] if kind else []
        return Content(paths, (), places, classes, f"stored in .{kind} files", self._left_out, damage)


def _divided(path: str) -> tuple[str, str]:
    """Return the key of a file and the rest of its name, in lower case.

    >>> _divided("a.b/1.seg.PNG")
    ('a.b/1', 'seg.png')
    """
    folder, slash, name = path.rpartition("/")
    stem, _, extension = name.partition(".")
    return folder + slash + stem, extension.lower()


def _pictures_of(files: Sequence[str]) -> tuple[Sequence[str], Iterable[Skipped]]:
    """Return which files of one key may be its pictures, and what is left out, such as a mask "1.seg.png"."""
    extensions = {path: _divided(path)[1] for path in files}
    pictures = [path for path in files if extensions[path].rpartition(".")[2] in _PICTURES]
    if len(pictures) == len(files):  # not in WebDataset's convention: "IMG.1.jpg" is as good as "IMG.jpg"
        return pictures, ()
    if not pictures:
        others = [path for path in files if extensions[path] not in _LONGEST]
        return others, [Skipped(path, "of a sample without a picture") for path in files if path not in others]
    main = [path for path in pictures if "." not in extensions[path]] or pictures
    return main, [Skipped(path, "another picture of its sample") for path in pictures if path not in main]


def _class_in(data: bytes, kind: str) -> str:
    """Return the class that a file stores, "" for none."""
    try:
        text = data.decode("utf-8")
        if kind == "json":
            stored = json.loads(text)
            values = [stored.get(name) for name in _ENTRIES] if isinstance(stored, dict) else []
            text = next((str(value) for value in values if type(value) in (str, int)), "")
    except (ValueError, RecursionError):
        return ""
    name = " ".join(text.split())
    return intern(name) if len(name) <= _LONGEST_NAME else ""  # a name for each of a million pictures
