"""Groups of duplicates, each with the picture of it that is proposed to be kept."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selfsort.audit.duplicates import Similar, similar_pairs, turned_pairs
from selfsort.audit.look import Looks
from selfsort.data.class_folders import SPLITS

TRAIN, TEST, VALIDATION, UNLABELLED = SPLITS


@dataclass(frozen=True, eq=False)
class DuplicateGroups:
    """What every picture is a duplicate of.

    Attributes
    ----------
    keepers : (N,) the picture to keep instead, each picture itself where it is one to keep
    similarity : (N,) to the keeper, 1 for itself
    exact : (N,) whether the file or all pixels equal the keeper's
    least : the smallest similarity that counted
    warning : what of the near ones may have been missed, "" where nothing

    """

    keepers: NDArray[np.int64]
    similarity: NDArray[np.float32]
    exact: NDArray[np.bool_]
    least: float
    warning: str = ""


def group(looks: Looks, splits: Sequence[str], comparable: NDArray[np.bool_], random_state: int = 0) -> DuplicateGroups:
    """Group exact duplicates and, among the `comparable` (N,), near ones.

    Every picture that is not to be kept is like its keeper, not just like one that is like it. Kept is, of a group, a
    test picture rather than a training one, then what has the most pixels inside its borders, then one without
    borders, then the largest file, then what comes first.
    """
    order = _preferred_first(looks, splits)
    keepers = _equals(looks, order)
    exact = keepers != np.arange(len(looks))
    near = _near_pairs(looks, order[(comparable & ~exact)[order]], random_state)
    similarity = np.ones(len(looks), np.float32)
    _choose(near, order, keepers, similarity)
    # An exact duplicate of a near one goes with it.
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
    """Return for each picture (N,) the first in `order` with the same file or the same pixels."""
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
    """Find near duplicates among pictures, the preferred first, with their borders and without."""
    bordered = np.flatnonzero(np.isin(looks.places[chosen], looks.bordered))
    inner = np.searchsorted(looks.bordered, looks.places[chosen[bordered]])
    owners = np.concatenate([chosen, chosen[bordered]])
    thumbnails = np.concatenate([looks.thumbnails[chosen], looks.inner[inner]])
    layouts = np.concatenate([looks.layouts[chosen], looks.inner_layouts[inner]])
    found = similar_pairs(thumbnails, random_state, layouts)
    first, second, similarity = owners[found.first], owners[found.second], found.similarity
    if looks.features is not None:
        turned = turned_pairs(looks.thumbnails[chosen], looks.layouts[chosen], looks.features[chosen], found.least)
        first = np.concatenate([first, chosen[turned.first]])
        second = np.concatenate([second, chosen[turned.second]])
        similarity = np.concatenate([similarity, turned.similarity])
    other = first != second
    return found._replace(first=first[other], second=second[other], similarity=similarity[other])


def _choose(
    near: Similar, order: NDArray[np.intp], keepers: NDArray[np.int64], similarity: NDArray[np.float32]
) -> None:
    """Let the best picture stand for all that are like it, then the best of those left, and so on."""
    ones, others = np.concatenate([near.first, near.second]), np.concatenate([near.second, near.first])
    shares = np.concatenate([near.similarity, near.similarity])
    by_one = np.lexsort((shares, ones))  # of a pair that is there twice, as with borders, the larger share is the last
    others, shares = others[by_one], shares[by_one]
    ends = np.cumsum(np.bincount(ones, minlength=len(order)))
    for picture in order.tolist():
        mine = slice(ends[picture - 1] if picture else 0, ends[picture])
        if mine.start < mine.stop and keepers[picture] == picture:
            free = keepers[others[mine]] == others[mine]
            similarity[others[mine][free]] = shares[mine][free]
            keepers[others[mine][free]] = picture
