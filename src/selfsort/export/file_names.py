"""Names of files and folders that any file system takes, and that differ within a folder."""

import os
import re
from collections.abc import Mapping
from itertools import count

_RESERVED = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
_DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
_LONGEST_STEM, _LONGEST_SUFFIX = 230, 16  # bytes: file systems take 255, and a number has to fit between


def folder_names(n_clusters: int, names: Mapping[int, str]) -> list[str]:
    """Give each cluster the name of its folder: its own name made safe for any file system, or its number.

    >>> folder_names(4, {1: "rose", 2: "a/b", 3: "a:b"})
    ['cluster-00', 'rose', 'a_b', 'a_b__1']
    """
    width = max(2, len(str(n_clusters - 1)))
    wanted = [names.get(cluster, "").strip() or cluster for cluster in range(n_clusters)]
    distinct, folders = DistinctNames(), dict[str | int, str]()
    # Numbers first, so that nobody's name takes the folder of another cluster.
    for name in sorted(set(wanted), key=lambda name: (isinstance(name, str), wanted.index(name))):
        folders[name] = distinct.take(safe_name(name) if isinstance(name, str) else f"cluster-{name:0{width}}")
    return [folders[name] for name in wanted]


def safe_name(name: str) -> str:
    """Return a name that any file system takes."""
    # Windows takes neither reserved characters nor device names, nor a dot or space at the end.
    name = _RESERVED.sub("_", shortened(name)).strip(". ") or "_"
    return f"_{name}" if _DEVICES.fullmatch(name) else name


def stem_and_suffix(file: str) -> tuple[str, str]:
    """Return the two parts of a file's name, so short that a number fits between them."""
    stem, suffix = os.path.splitext(file)
    return (shortened(stem), suffix) if len(os.fsencode(suffix)) <= _LONGEST_SUFFIX else (shortened(file), "")


def shortened(stem: str) -> str:
    """Return a name short enough that a number and a suffix fit behind it, whatever the locale's encoding."""
    stored = stem.encode("utf-8", "surrogateescape")
    end = min(len(stored), _LONGEST_STEM)
    while end < len(stored) and stored[end] & 0xC0 == 0x80:  # in the middle of a letter
        end -= 1
    return os.fsdecode(stored[:end])


class DistinctNames:
    """Hands out names for one folder that differ also where a file system ignores case."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def take(self, stem: str, suffix: str = "") -> str:
        """Return the first name that is free: itself, or with a number behind."""
        wanted = (stem + suffix).casefold()
        for number in count(self._next.get(wanted, 0)):
            name = f"{stem}__{number}{suffix}" if number else stem + suffix
            if name.casefold() not in self._taken:
                break
        self._next[wanted] = number + 1
        self._taken.add(name.casefold())
        return name
