"""What the paths of pictures below a folder say: labels and splits."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from selfsort.errors import UserError

SPLITS = (("train",), ("test",), ("val", "valid", "validation"), ("unlabeled", "unlabelled"))
SPLIT_FOLDERS = frozenset(name for names in SPLITS for name in names)


def labels_of(ids: Sequence[str], split: str | None) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """Return (N,) labels and their names, from the first folder of every id: -1 without one, None if no id has one.

    A leading folder named for a split (train, test, val, unlabeled, …) is no label if `split` chose it, or if all
    leading folders are named so.

    >>> labels_of(["train/cat/1.jpg", "train/dog/2.jpg", "unlabeled/3.jpg"], None)
    (array([ 0,  1, -1]), ('cat', 'dog'))
    """
    folders = [name.split("/")[:-1] for name in ids]
    if split is not None or {parts[0].lower() for parts in folders if parts} <= SPLIT_FOLDERS:
        folders = [parts[1:] for parts in folders]
    names = sorted({parts[0] for parts in folders if parts})
    if not names:
        return None, ()
    numbers = {name: number for number, name in enumerate(names)}
    return np.array([numbers[parts[0]] if parts else -1 for parts in folders], np.int64), tuple(names)


def splits_of(ids: Sequence[str]) -> tuple[str, ...]:
    """Return the name (N,) of the split that each id begins with, "" where the leading folders are not all splits.

    >>> splits_of(["Train/cat/1.jpg", "test/2.jpg"]), splits_of(["train/1.jpg", "cats/2.jpg"])
    (('train', 'test'), ('', ''))
    """
    leading = [name.partition("/")[0].lower() if "/" in name else "" for name in ids]
    return tuple(leading) if {name for name in leading if name} <= SPLIT_FOLDERS else ("",) * len(leading)


def split_chooser(ids: Sequence[str], split: str | None, source: str) -> Callable[[str], bool]:
    """Return the test whether an id belongs to a split, that is, begins with the folder of its name.

    Raises `UserError` when none of `ids` does.
    """
    if split is None:
        return lambda name: True
    folders = next((names for names in SPLITS if split.lower() in names), ())

    def chosen(name: str) -> bool:
        first, slash, _ = name.partition("/")
        return bool(slash) and first.lower() in folders

    if not any(map(chosen, ids)):
        leading = {name.partition("/")[0] for name in ids if "/" in name}
        there = sorted(name for name in leading if name.lower() in SPLIT_FOLDERS)
        has = f"it has {', '.join(there)}" if there else "no folder in it is named for a split, so leave split out"
        raise UserError(f"{source!r} has no split {split!r}; {has}.")
    return chosen


def hidden(name: str) -> bool:
    """Tell whether a file or folder is none of the user's own pictures."""
    return name.startswith(".") or name == "__MACOSX"
