"""Names of files and folders that any file system accepts and that are unique within a folder."""

import os
import re
from collections.abc import Mapping
from itertools import count

_RESERVED = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
_DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
_LONGEST_STEM, _LONGEST_SUFFIX = 230, 16  # bytes: file systems allow 255, and a number has to fit between


def folder_names(n_clusters: int, names: Mapping[int, str]) -> list[str]:
    """Return the path of each cluster's folder: its name, made safe for any file system, or its number.

    A name such as "bird/robin" gives nested folders.

    >>> folder_names(5, {1: "rose", 2: "a/b", 3: "a:b", 4: "a?b"})
    ['cluster-00', 'rose', 'a/b', 'a_b', 'a_b__1']
    """
    width = max(2, len(str(n_clusters - 1)))
    wanted = [names.get(cluster, "").strip() or cluster for cluster in range(n_clusters)]
    distinct, folders = DistinctNames(), dict[str | int, str]()
    # Numbers first, so that no name takes the folder of another cluster.
    for name in sorted(set(wanted), key=lambda name: (isinstance(name, str), wanted.index(name))):
        folders[name] = distinct.take(_path(name) if isinstance(name, str) else f"cluster-{name:0{width}}")
    return [folders[name] for name in wanted]


def _path(name: str) -> str:
    return "/".join(safe_name(part) for part in name.split("/") if part.strip()) or safe_name(name)


def safe_name(name: str) -> str:
    """Return a name that any file system accepts."""
    # Windows forbids reserved characters, device names, and a dot or space at the end.
    name = _RESERVED.sub("_", shortened(name)).strip(". ") or "_"
    return f"_{name}" if _DEVICES.fullmatch(name) else name


def stem_and_suffix(file: str) -> tuple[str, str]:
    """Return the two parts of a file's name, shortened so that a number fits between them."""
    stem, suffix = os.path.splitext(file)
    return (shortened(stem), suffix) if len(os.fsencode(suffix)) <= _LONGEST_SUFFIX else (shortened(file), "")


def shortened(stem: str) -> str:
    """Return a name short enough for a number and a suffix to follow, whatever the locale's encoding."""
    stored = stem.encode("utf-8", "surrogateescape")
    end = min(len(stored), _LONGEST_STEM)
    while end < len(stored) and stored[end] & 0xC0 == 0x80:  # in the middle of a letter
        end -= 1
    return os.fsdecode(stored[:end])


class DistinctNames:
    """Hands out names for one folder that are unique even on a file system that ignores case."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def take(self, stem: str, suffix: str = "") -> str:
        """Return the first free name: the given one, or the stem with a number appended."""
        wanted = (stem + suffix).casefold()
        for number in count(self._next.get(wanted, 0)):
            name = f"{stem}__{number}{suffix}" if number else stem + suffix
            if name.casefold() not in self._taken:
                break
        self._next[wanted] = number + 1
        self._taken.add(name.casefold())
        return name
