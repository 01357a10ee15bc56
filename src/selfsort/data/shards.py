"""Sets of pictures in a few large files ("shards"): finding the files, and listing the pictures in them."""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, product
from math import prod
from typing import Any, BinaryIO, NamedTuple, cast, overload

import numpy as np
from numpy.typing import NDArray

from selfsort.data.archives import shared_folder
from selfsort.data.class_folders import ClassFolders, class_folders, is_other_file, number_classes, split_named
from selfsort.data.class_folders import listed as shown
from selfsort.data.listing import Labels, Listing, Open, Originals, Skipped, digest
from selfsort.data.object_store import StoredFile, StoredObject, is_url, read_part
from selfsort.data.other_files import passed_over
from selfsort.data.request import Request
from selfsort.data.sources import is_file, path_of
from selfsort.data.sources.folder import FoundFile, PassedOver, walk
from selfsort.data.unreadable import Unreadable, explain, require_reached
from selfsort.errors import UserError
from selfsort.spelling import counted

_MOST_SHARDS = 100_000
MOST_PICTURES = 50_000_000  # more would not fit into the memory, and a damaged file may declare any number
_BRACES = re.compile(r"\{(\d{1,9})\.\.(\d{1,9})\}|\{([^{}]*,[^{}]*)\}")


class Shard(NamedTuple):
    """A file that holds pictures: its path, its size in bytes and its time of change.

    An object in a store has a URL as its path, and a text that changes with its content.
    """

    path: str
    size: int
    changed: int | str

    def open(self, buffering: int = -1) -> BinaryIO:
        """Open it; raise `Unreadable` if it is no longer the one that was listed, and `OSError`."""
        if isinstance(self.changed, str):
            return cast(BinaryIO, StoredFile(self._stored))
        file = open(self.path, "rb", buffering)
        status = os.fstat(file.fileno())
        if (status.st_size, status.st_mtime_ns) != (self.size, self.changed):
            file.close()
            raise Unreadable("its shard has changed since it was listed (start again)")
        return file

    def read(self, offset: int, size: int) -> bytes:
        """Read a part of it; raise as `open` does."""
        if isinstance(self.changed, str):
            return read_part(self._stored, offset, size)
        with self.open(buffering=0) as file:
            file.seek(offset)
            return file.read(size)

    @property
    def _stored(self) -> StoredObject:
        return StoredObject(self.path, self.size, str(self.changed))


@dataclass(frozen=True)
class Shards:
    """The shards of a source by their paths below the folder that holds them all, and what else lies there."""

    source: str
    files: Mapping[str, Shard]
    skipped: tuple[Skipped, ...] = ()
    passed_over: tuple[Skipped, ...] = ()


class Content(NamedTuple):
    """The N pictures of one shard.

    Attributes
    ----------
    paths : (N,) within the shard, "" if unknown
    names : (N,) what they are called within the shard if the paths do not distinguish all pictures; empty for the paths
    places : (N, K), numbers that say where they are
    classes : (N,) stored for them, "" for none; empty if the shard stores no classes
    stored_in : where these are stored
    passed_over : what is not one of the pictures
    damage : why the rest of the shard cannot be read, "" if all of it can

    """

    paths: Sequence[str] = ()
    names: Sequence[str] = ()
    places: NDArray[np.int64] = np.empty((0, 0), np.int64)
    classes: Sequence[str] = ()
    stored_in: str = ""
    passed_over: Sequence[Skipped] = ()
    damage: str = ""


class Refs(Sequence[tuple[Any, ...]]):
    """What identifies each of N pictures in shards: its shard, and K numbers that say where in it."""

    def __init__(self, shards: Sequence[Shard], numbers: NDArray[np.int32], places: NDArray[np.int64]) -> None:
        self._shards, self._numbers, self._places = shards, numbers, places

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, place: int) -> tuple[Any, ...]: ...
    @overload
    def __getitem__(self, place: slice) -> list[tuple[Any, ...]]: ...
    def __getitem__(self, place: int | slice) -> Any:
        if isinstance(place, slice):
            rows = zip(self._numbers[place].tolist(), self._places[place].tolist(), strict=True)
            return [(self._shards[number], *where) for number, where in rows]
        return (self._shards[self._numbers[place]], *self._places[place].tolist())


def is_named(given: Any, suffixes: tuple[str, ...]) -> bool:
    """Tell whether a caller names shards: a file, a pattern such as "a-{000..012}.tar", or a folder of only these."""
    path = path_of(given)
    if path is None:
        return False
    if os.path.isdir(path):
        return _holds_only(str(path), suffixes)
    return str(path).lower().endswith(suffixes) and (is_file(path) or _BRACES.search(str(path)) is not None)


def find(given: Any, suffixes: tuple[str, ...]) -> Shards:
    """Find the shards that a caller names; raise `UserError` if one is missing."""
    source = str(path_of(given))
    if os.path.isdir(source):
        return _in_folder(source, suffixes)
    paths = [source] if os.path.exists(source) else expanded(source)
    if missing := [path for path in paths if not os.path.isfile(path)]:
        raise UserError(
            f"{source!r} names {counted(len(paths), 'shard')}, but {len(missing):,} of them are not there, such as "
            f"{missing[0]!r}; name those that are."
        )
    above = os.path.commonpath([os.path.dirname(path) for path in paths])
    return Shards(source, {os.path.relpath(path, above): _shard(path) for path in paths})


def list_shards(
    shards: Shards,
    read: Callable[[Shard], Content],
    open_picture: Open,
    request: Request,
    class_names: Sequence[str] | None = None,
) -> Listing:
    """List the pictures of all shards.

    The classes that are stored with them are the labels, numbered as in `class_names` if that is given. If there are
    none, the folders in their paths are the classes. If each shard is named for a split, such as "train-0.tar", and not
    all for the same, these are the splits.

    Raises `UserError` if nothing in any of the shards can be read, or if they declare too many pictures.
    """
    request.refuse(f"{shards.source!r}", "fold")
    contents, damaged = _read_all(shards, read)
    contents = _without_shared_folder(contents)
    paths = _paths(contents)
    ids = _ids(contents)
    classes = list(chain.from_iterable(each.classes or [""] * len(each.paths) for each in contents.values()))
    stored = any(classes)
    folders = class_folders(paths, shards.source, request.split, "none" if stored else request.classes_from)
    by_id = _ById(folders, {} if ids == paths else dict(zip(ids, paths, strict=True)))
    kept = [place for place, path in enumerate(paths) if folders.is_in(path, request.split)]
    listing = Listing(
        shards.source,
        tuple(ids[place] for place in kept),
        _originals(shards, contents, open_picture).subset(np.array(kept, np.intp)),
        options=request.options("split", "max_pixels", "max_seconds", "classes_from"),
        skipped=tuple(sorted([*shards.skipped, *damaged])),
        passed_over=tuple(sorted(chain(shards.passed_over, *(each.passed_over for each in contents.values())))),
        elsewhere=[name for name in ids if not folders.is_in(by_id.path(name), request.split)],
        told=(*folders.told, *_told(contents)),
        split=by_id.split,
    )
    if stored:
        labels, names = number_classes([classes[place] for place in kept], class_names)
        where = " and ".join(dict.fromkeys(each.stored_in for each in contents.values() if each.classes))
        told = (*listing.told, f"classes: {shown(names)} {where}")
        return replace(listing, labels=labels, label_names=names, told=told)
    labels_of_folders, names = by_id.labels(listing.ids)
    return replace(listing, labels=labels_of_folders, label_names=names, label=by_id.labels)


class _ById(NamedTuple):
    """The folders of pictures, looked up by ids; `paths` are those of ids that are not paths."""

    folders: ClassFolders
    paths: Mapping[str, str]

    def path(self, name: str) -> str:
        return self.paths.get(name, name)

    def split(self, name: str) -> str:
        return self.folders.split(self.path(name))

    def labels(self, names: Sequence[str]) -> Labels:
        return self.folders.labels([self.path(name) for name in names])


def _read_all(shards: Shards, read: Callable[[Shard], Content]) -> tuple[dict[str, Content], list[Skipped]]:
    """Return the content of each shard, and the damaged ones."""
    contents: dict[str, Content] = {}
    count = 0
    for name, shard in shards.files.items():
        try:
            contents[name] = read(shard)
        except (OSError, Unreadable) as error:
            contents[name] = Content(damage=explain(error))
            require_reached([contents[name].damage])
        count += len(contents[name].paths)
        if count > MOST_PICTURES:
            raise UserError(f"{shards.source!r} holds more than {MOST_PICTURES:,} pictures; name fewer of its shards.")
    damaged = [Skipped(name, content.damage) for name, content in contents.items() if content.damage]
    if damaged and not count:
        which = "it" if len(contents) == 1 else f"{damaged[0].id!r}"
        raise UserError(f"{shards.source!r} cannot be read: {which} is {damaged[0].reason}.")
    return contents, damaged


def _told(contents: Mapping[str, Content]) -> Iterator[str]:
    """Say what is damaged, and what of it is used."""
    for name, content in contents.items():
        if content.damage:
            used = (
                f"{counted(len(content.paths), 'picture')} before that are used"
                if content.paths
                else "nothing of it is used"
            )
            yield f"{name} is {content.damage}: {used}"


def _paths(contents: Mapping[str, Content]) -> list[str]:
    """Return all paths, in folders for splits if the shards are named for different ones."""
    splits = {name: split_named(name) for name in contents}
    if "" in splits.values() or len(set(splits.values())) == 1:
        return [path for content in contents.values() for path in content.paths]
    return [f"{splits[name]}/{path}" for name, content in contents.items() for path in content.paths]


def _ids(contents: Mapping[str, Content]) -> list[str]:
    """Return the ids: the paths if they distinguish the pictures, or else the name of the shard and that within it."""
    paths = [path for content in contents.values() for path in content.paths]
    if all(paths) and len(set(paths)) == len(paths):
        return paths
    return [
        f"{os.path.splitext(name)[0]}/{own}"
        for name, content in contents.items()
        for own in content.names or content.paths
    ]


def _without_shared_folder(contents: Mapping[str, Content]) -> dict[str, Content]:
    """Drop the folder that contains the pictures of all shards, as for a zip."""
    length = len(shared_folder([path for content in contents.values() for path in content.paths]))
    if not length:
        return dict(contents)
    return {name: each._replace(paths=[path[length:] for path in each.paths]) for name, each in contents.items()}


def _originals(shards: Shards, contents: Mapping[str, Content], open_picture: Open) -> Originals:
    counts = [len(content.paths) for content in contents.values()]
    places = [content.places for content in contents.values() if len(content.paths)]
    numbers = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    refs = Refs(list(shards.files.values()), numbers, np.concatenate(places) if places else Content().places)
    stamps = [
        f"{name} {shard.size} {shard.changed} {' '.join(map(str, where))}"
        for (name, shard), content in zip(shards.files.items(), contents.values(), strict=True)
        for where in content.places.tolist()
    ]
    remote = any(is_url(shard.path) for shard in shards.files.values())
    return Originals(refs, open_picture, digest(shards.source), stamps, remote=remote)


def _holds_only(root: str, suffixes: tuple[str, ...]) -> bool:
    """Tell whether a folder holds shards and no pictures; as soon as there is a picture, nothing more is looked at."""

    def may_be_picture(name: str) -> bool:
        return not (name.lower().endswith(suffixes) or is_other_file(name) or passed_over(name))

    found = False
    try:
        with os.scandir(root) as children:  # `walk` would first list all files of a folder, perhaps a million
            if any(child.is_file() and may_be_picture(child.name) for child in children):
                return False
        for entry in walk(root):
            if isinstance(entry, FoundFile):
                if may_be_picture(os.path.basename(entry.id)):
                    return False
                found |= entry.id.lower().endswith(suffixes)
    except (OSError, UserError):  # the folder cannot be read, as whoever lists it will say
        return False
    return found


def _in_folder(root: str, suffixes: tuple[str, ...]) -> Shards:
    found = list(walk(root))
    names = sorted(entry.id for entry in found if isinstance(entry, FoundFile))
    shards = [name for name in names if name.lower().endswith(suffixes)]
    others = [Skipped(name, "not a shard") for name in names if name not in set(shards)]
    passed_over = [Skipped(*entry) for entry in found if isinstance(entry, PassedOver)]
    return Shards(
        root,
        {name: _shard(os.path.join(root, name)) for name in shards},
        tuple(entry for entry in found if isinstance(entry, Skipped)),
        tuple([*others, *passed_over]),
    )


def _shard(path: str) -> Shard:
    status = os.stat(path)
    return Shard(path, status.st_size, status.st_mtime_ns)


def expanded(pattern: str) -> list[str]:
    """Return the paths that a pattern with braces means, as in a shell.

    >>> expanded("{train,val}-{08..10}.tar")[1:4]
    ['train-09.tar', 'train-10.tar', 'val-08.tar']
    """
    parts: list[Sequence[str]] = []
    end = 0
    for braces in _BRACES.finditer(pattern):
        parts += [
            [pattern[end : braces.start()]],
            braces[3].split(",") if braces[3] else _counted(braces[1], braces[2]),
        ]
        end = braces.end()
    if prod(map(len, parts)) > _MOST_SHARDS:
        raise UserError(f"{pattern!r} names more than {_MOST_SHARDS:,} shards; name fewer.")
    return ["".join(each) for each in product(*parts, [pattern[end:]])]


def _counted(first: str, last: str) -> list[str]:
    """Return the numbers from `first` to `last`, with as many digits; no more of them than shards are allowed."""
    digits = max(len(first), len(last)) if "0" in (first[0], last[0]) else 1
    start, stop = int(first), int(last)
    step = 1 if start <= stop else -1
    return [f"{number:0{digits}}" for number in range(start, stop + step, step)[: _MOST_SHARDS + 1]]
