"""Groups of duplicates, each with the one picture to keep."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selfsort.audit.duplicates import Similar, rotated_pairs, similar_pairs
from selfsort.audit.look import Looks
from selfsort.data.class_folders import SPLITS

TRAIN, TEST, VALIDATION, UNLABELLED = SPLITS


@dataclass(frozen=True, eq=False)
class DuplicateGroups:
    """For each picture, the one that it duplicates.

    Attributes
    ----------
    keepers : (N,) the picture to keep instead, or the picture itself if it is kept
    similarity : (N,) similarity to the keeper, 1 to itself
    exact : (N,) whether the file or all pixels equal the keeper's
    least : the smallest similarity that counted
    warning : which near duplicates may have been missed, "" if none

    """

    keepers: NDArray[np.int64]
    similarity: NDArray[np.float32]
    exact: NDArray[np.bool_]
    least: float
    warning: str = ""


def group(looks: Looks, splits: Sequence[str], comparable: NDArray[np.bool_], random_state: int = 0) -> DuplicateGroups:
    """Group exact duplicates and, among the `comparable` (N,), near ones.

    Every picture left out resembles its keeper, not just another picture that does. The keeper of a group is a test
    picture rather than a training one, then the one with most pixels inside its borders, then one without borders,
    then the largest file, then the first.
    """
    order = _preferred_first(looks, splits)
    keepers = _equals(looks, order)
    exact = keepers != np.arange(len(looks))
    near = _near_pairs(looks, order[(comparable & ~exact)[order]], random_state)
    similarity = np.ones(len(looks), np.float32)
    _choose(near, order, keepers, similarity)
    # An exact duplicate of a near duplicate gets the same keeper.
    twins = np.flatnonzero(exact)
    similarity[twins] = similarity[keepers[twins]]
    exact[twins] = keepers[keepers[twins]] == keepers[twins]
    keepers[twins] = keepers[keepers[twins]]
    return DuplicateGroups(keepers, similarity, exact, near.least, near.warning)


def _preferred_first(looks: Looks, splits: Sequence[str]) -> NDArray[np.intp]:
    ranks = {name: rank for rank, names in enumerate((TEST, VALIDATION, TRAIN, UNLABELLED)) for name in names}
    inside = looks.sizes - looks.borders[:, :2] - looks.borders[:, 2:]
    split = np.array([ranks.get(name, ranks[TRAIN[0]]) for name in splits], np.int64)
    area = inside.prod(1, dtype=np.int64)
    return np.lexsort((np.arange(len(looks)), -looks.n_bytes, looks.borders.any(1), -area, split))


def _equals(looks: Looks, order: NDArray[np.intp]) -> NDArray[np.int64]:
    """Return for each picture (N,) the first one in `order` with the same file or the same pixels."""
    keepers = np.arange(len(looks))
    first: dict[bytes, int] = {}
    for picture in order.tolist():
        names = [looks.file_digests[picture].tobytes()]
        if looks.pixel_digests[picture].any():
            names.append(b"pixels" + looks.pixel_digests[picture].tobytes())
        keepers[picture] = next((first[name] for name in names if name in first), picture)
        for name in names:
            first.setdefault(name, int(keepers[picture]))
    return keepers


def _near_pairs(looks: Looks, chosen: NDArray[np.intp], random_state: int) -> Similar:
    """Find near duplicates among pictures, preferred ones first, both with and without their borders."""
    bordered = np.flatnonzero(np.isin(looks.places[chosen], looks.bordered))
    inner = np.searchsorted(looks.bordered, looks.places[chosen[bordered]])
    owners = np.concatenate([chosen, chosen[bordered]])
    thumbnails = np.concatenate([looks.thumbnails[chosen], looks.inner[inner]])
    layouts = np.concatenate([looks.layouts[chosen], looks.inner_layouts[inner]])
    found = similar_pairs(thumbnails, random_state, layouts)
    first, second, similarity = owners[found.first], owners[found.second], found.similarity
    if looks.features is not None:
        rotated = rotated_pairs(looks.thumbnails[chosen], looks.layouts[chosen], looks.features[chosen], found.least)
        first = np.concatenate([first, chosen[rotated.first]])
        second = np.concatenate([second, chosen[rotated.second]])
        similarity = np.concatenate([similarity, rotated.similarity])
    other = first != second
    return found._replace(first=first[other], second=second[other], similarity=similarity[other])


def _choose(
    near: Similar, order: NDArray[np.intp], keepers: NDArray[np.int64], similarity: NDArray[np.float32]
) -> None:
    """Let the best picture stand for all that resemble it, then the best of the rest, and so on."""
    ones, others = np.concatenate([near.first, near.second]), np.concatenate([near.second, near.first])
    shares = np.concatenate([near.similarity, near.similarity])
    by_one = np.lexsort((shares, ones))  # if a pair occurs twice, as with borders, the larger share is last
    others, shares = others[by_one], shares[by_one]
    ends = np.cumsum(np.bincount(ones, minlength=len(order)))
    for picture in order.tolist():
        mine = slice(ends[picture - 1] if picture else 0, ends[picture])
        if mine.start < mine.stop and keepers[picture] == picture:
            free = keepers[others[mine]] == others[mine]
            similarity[others[mine][free]] = shares[mine][free]
            keepers[others[mine][free]] = picture
