"""What the paths of pictures tell: splits and labels, by one rule for folders, zips and hubs.

A folder that contains all pictures tells nothing, so it does not matter how deeply a source is nested. The folders in
it that are named for splits (train, test, val, unlabeled, …) are splits if all are so named, or if two kinds of split
are among them; pictures outside the splits have no label. The folders within are the classes, except one that contains
all pictures. Two names that differ only in case, spaces and invisible characters are one class, called by the more
frequent name; single letters that differ in case are two classes.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from selfsort.errors import UserError
from selfsort.spelling import counting_order, folded, visible

SPLITS = (("train", "training"), ("test", "testing"), ("val", "valid", "validation"), ("unlabeled", "unlabelled"))
SPLIT_FOLDERS = frozenset(name for names in SPLITS for name in names)
_KINDS = {name: kind for kind, names in enumerate(SPLITS) for name in names}
_LISTED = 8  # names shown in a line

# Files that lie beside pictures without being pictures. Any other file may be a picture, whatever its name.
_NO_PICTURES = frozenset(
    "txt md rst csv tsv json jsonl xml yaml yml toml ini cfg htm html css js pdf doc docx xls xlsx ppt pptx odt ods "
    "rtf tex bib log db sqlite sql pkl pickle npy npz mat h5 hdf5 parquet arrow zip tar gz tgz bz2 xz 7z rar py ipynb "
    "sh bat mp3 wav mp4 mov avi mkv exe dll lnk url".split()
)
_NOTES = frozenset("readme license licence notice changelog authors citation manifest version makefile".split())

Folder = tuple[str, ...]
ClassesFrom = str | int | None


@dataclass(frozen=True)
class ClassFolders:
    """Which folders of a source are splits and classes.

    Attributes
    ----------
    splits : the split, in lower case, of each folder that holds pictures of one
    classes : the class of each folder whose pictures have one
    told : what was taken as splits and classes, one line each
    separator : what separates the folders in a path

    """

    splits: Mapping[str, str]
    classes: Mapping[str, str]
    told: tuple[str, ...]
    separator: str

    def split(self, path: str) -> str:
        """Return the split that a picture belongs to, "" for none."""
        return self.splits.get(path.rpartition(self.separator)[0], "")

    def is_in(self, path: str, split: str | None) -> bool:
        """Tell whether a picture belongs to a split, under any of its names; with None, every picture does."""
        return split is None or _KINDS.get(self.split(path)) == _KINDS[split.lower()]

    def labels(self, paths: Iterable[str]) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
        """Return (N,) labels and their names: -1 for no class, None if no picture has one."""
        classes = [self.classes.get(path.rpartition(self.separator)[0], "") for path in paths]
        labels, names = number_classes(classes)
        return labels if names else None, names


def number_classes(
    classes: Sequence[str], names: Sequence[str] | None = None
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return labels (N,), numbers of the N classes among `names`, by default theirs in counting order; -1 for none.

    >>> number_classes(["10", "", "9"])
    (array([ 1, -1,  0]), ('9', '10'))
    """
    names = sorted(set(classes) - {""}, key=counting_order) if names is None else names
    numbers = {name: number for number, name in enumerate(names)}
    return np.array([numbers.get(name, -1) for name in classes], np.int64), tuple(names)


def class_folders(
    paths: Collection[str], source: str, split: str | None = None, classes_from: ClassesFrom = None
) -> ClassFolders:
    r"""Find out which folders of a source are splits and classes, from the paths of all its files.

    `classes_from` says what the classes are: what the rule finds ("auto" or None), the folder that directly holds a
    picture ("parent"), the folder at a level of its path (1 for the first), the folders below a given one, or nothing
    ("none"). In paths without any "/", "\" separates folders.

    Raises `UserError` if no picture is in `split`, or if `classes_from` gives no class.

    >>> found = class_folders(["x/train/Cat/1.jpg", "x/train/cat/2.jpg", "x/test/dog/3.jpg", "x/README"], "photos")
    >>> found.told
    ('splits: train, test below x/; classes: Cat, dog', "'Cat', 'cat' are one class")
    >>> found.labels(["x/train/cat/2.jpg", "x/test/dog/3.jpg", "x/README"])
    (array([ 0,  1, -1]), ('Cat', 'dog'))
    """
    separator = "\\" if not any("/" in path for path in paths) and any("\\" in path for path in paths) else "/"
    folders = {folder: _parts(folder, separator) for folder in {path.rpartition(separator)[0] for path in paths}}
    pictures = Counter(path.rpartition(separator)[0] for path in _pictures(paths, separator))
    tree = _Tree.of([folders[name] for name in pictures], source, split)
    given = {name: tree.class_name(folder, classes_from) for name, folder in folders.items()}
    counts = Counter[str]()
    for name, count in pictures.items():
        counts[given[name]] += count
    del counts[""]
    if not counts and classes_from not in (None, "auto", "none"):
        raise UserError(
            f"classes_from={classes_from!r} gives no class: no picture of {source!r} lies in such a folder; "
            "choose another value, or leave it out."
        )
    spelt = _spelt(counts)
    return ClassFolders(
        {name: found for name, folder in folders.items() if (found := tree.split(folder))},
        {name: spelt.get(class_name, class_name) for name, class_name in given.items()},
        tuple(_told(tree, spelt, classes_from, [folders[name] for name in pictures])),
        separator,
    )


class _Tree(NamedTuple):
    """How the folders of pictures are nested: `around` contains all, `splits` lie in it, `inside` in each split."""

    around: Folder
    splits: frozenset[str]
    inside: Folder

    @classmethod
    def of(cls, folders: Iterable[Folder], source: str, split: str | None) -> Self:
        around = _shared(folders)
        below = [folder[len(around) :] for folder in folders]
        splits = _splits({folder[0] for folder in below if folder}, source, split)
        return cls(around, splits, _shared([folder[1:] for folder in below if folder and folder[0] in splits]))

    def split(self, folder: Folder) -> str:
        rest = _below(folder, self.around)
        return rest[0].lower() if rest and rest[0] in self.splits else ""

    def class_name(self, folder: Folder, classes_from: ClassesFrom) -> str:
        """Return the name of the folder that is the class of the pictures in `folder`, "" for none."""
        if classes_from in (None, "auto"):
            rest = _below(folder, self.around)
            if self.splits:
                rest = _below(rest[1:], self.inside) if self.split(folder) else ()
        elif classes_from == "parent":
            rest = () if self.split(folder) and len(folder) == len(self.around) + 1 else folder[-1:]
        elif isinstance(classes_from, int):
            rest = folder[classes_from - 1 :]
        else:
            rest = () if classes_from == "none" else _below(folder, _named_folder(str(classes_from)))
        return rest[0] if rest else ""


def split_named(text: str) -> str:
    """Return the one word of a text that is the name of a split, in lower case; "" for none or several.

    >>> split_named("data/train-00000-of-00002"), split_named("00000")
    ('train', '')
    """
    found = {word for word in re.split(r"[\W\d_]+", text.lower()) if word in SPLIT_FOLDERS}
    return found.pop() if len(found) == 1 else ""


def same_split(one: str, other: str) -> bool:
    """Tell whether two names are names of the same split, such as "val" and "validation"."""
    return one.lower() in _KINDS and _KINDS[one.lower()] == _KINDS.get(other.lower())


def _parts(folder: str, separator: str) -> Folder:
    return tuple(folder.split(separator)) if folder else ()


def _named_folder(name: str) -> Folder:
    return tuple(part for part in name.split("/") if part not in ("", "."))


def _below(folder: Folder, above: Folder) -> Folder:
    return folder[len(above) :] if folder[: len(above)] == above else ()


def _pictures(paths: Collection[str], separator: str) -> Collection[str]:
    """Return the files that may be pictures, as far as their names tell; all files if none may be."""
    found = [path for path in paths if not is_other_file(path.rpartition(separator)[2])]
    return found or paths


def is_other_file(name: str) -> bool:
    """Tell whether a file's name is that of something else than a picture."""
    name = name.lower()
    stem, dot, suffix = name.rpartition(".")
    return suffix in _NO_PICTURES if dot and stem else name in _NOTES


def _shared(folders: Iterable[Folder]) -> Folder:
    """Return the innermost folder that contains all others, stopping before one that is named for a split."""
    shared: Folder = ()
    known = set(folders)
    while known and () not in known and len(first := {folder[0] for folder in known}) == 1:
        (name,) = first
        if name.lower() in _KINDS:
            break
        shared, known = (*shared, name), {folder[1:] for folder in known}
    return shared


def _splits(names: Collection[str], source: str, wanted: str | None) -> frozenset[str]:
    found = frozenset(name for name in names if name.lower() in _KINDS)
    kinds = {_KINDS[name.lower()] for name in found}
    if wanted is None:
        return found if found == set(names) or len(kinds) > 1 else frozenset()
    if _KINDS.get(wanted.lower()) not in kinds:
        none = "no folder in it is named for a split, so leave split out"
        has = f"it has {', '.join(sorted(found))}" if found else none
        raise UserError(f"{source!r} has no split {wanted!r}; {has}.")
    return found


def _spelt(counts: Mapping[str, int]) -> dict[str, str]:
    """Map the name of each folder to its class: the most frequent of the names that people take for the same."""
    classes: dict[str, str] = {}
    spelt: dict[str, str] = {}
    for name in sorted(counts, key=lambda name: (-counts[name], counting_order(name))):
        seen = visible(name)
        same = seen if len(seen) == 1 else folded(name) or name
        spelt[name] = classes.setdefault(same, seen or name)
    return spelt


def _told(tree: _Tree, spelt: Mapping[str, str], classes_from: ClassesFrom, folders: Iterable[Folder]) -> Iterator[str]:
    """Say what was taken as splits and classes."""
    auto = classes_from in (None, "auto")
    splits = ", ".join(sorted(tree.splits, key=lambda name: (_KINDS[name.lower()], name)))
    parts = [f"splits: {splits}{_at('below', tree.around)}"] if splits else []
    if spelt:
        found = _at("in", tree.inside) if tree.splits else _at("below", tree.around)
        parts.append(f"classes: {listed(set(spelt.values()))}{found if auto else _where(classes_from)}")
    if parts:
        yield "; ".join(parts)
    for name in sorted(set(spelt.values()), key=counting_order):
        if len(same := sorted(other for other in spelt if spelt[other] == name)) > 1:
            yield f"{', '.join(map(repr, same))} are one class"
    if auto and tree.splits:
        if beside := {folder[0] for each in folders if (folder := _below(each, tree.around))} - tree.splits:
            yield f"not splits, so without labels: {listed(beside)}"


def _at(where: str, folder: Folder) -> str:
    return f" {where} {'/'.join(map(visible, folder))}/" if folder else ""


def _where(classes_from: ClassesFrom) -> str:
    """Say where the caller asked for classes to be looked for."""
    if classes_from == "parent":
        return ", the folders that pictures lie in"
    return f" at level {classes_from}" if isinstance(classes_from, int) else f" below {classes_from}"


def listed(names: Collection[str]) -> str:
    """Write the first names, in counting order, for one line."""
    shown = [visible(name) or repr(name) for name in sorted(names, key=counting_order)]
    more = f" … ({len(shown):,})" if len(shown) > _LISTED else ""
    return ", ".join(shown[:_LISTED]) + more
