"""Near duplicates: candidates by a perceptual hash, then compared pixel by pixel after aligning one with the other."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfsort.audit.corners import without_corners
from selfsort.audit.look import SIDE
from selfsort.clustering.near_duplicates import nearest_in_clusters
from selfsort.clustering.neighbours import nearest

Floats = NDArray[np.float32]

HASH_BITS = 128
LEAST_SIMILARITY = 0.86
# If pictures are naturally alike, as handwritten digits are, pairs quickly get rarer towards a similarity of 1: of
# those above 0.86, one in 26 to 500 was above 0.97 (MNIST, Fashion-MNIST, digits); of real duplicates, one in 1 to 3.
LEAST_AMONG_LOOKALIKES = 0.995
_HIGH, _LOOKALIKES_PER_HIGH, _LEAST_TO_TELL = 0.97, 8, 50
# Piles of nearly equal pictures, such as frames of a camera that does not move. Of the pictures within 16 bits of one
# in a pile, nearly all have a similarity above 0.95; where pictures are only naturally alike, at most two in three did.
_PILE, _PILE_RADIUS, _LEAST_IN_PILE, _SHARE_OF_PILE = 50, 16, 0.95, 0.8
_RADIUS = 28  # bits by which hashes of candidates may differ
_RADIUS_AMONG_LOOKALIKES = 8
_MOST_CANDIDATES = 100  # per picture, on average; with more, the radius shrinks
# Thresholds for different colours in a sixteenth of a picture: distance in levels, and as a share of the stronger
# colour. JPEG compression with quality 10 changed up to 32 levels; brightening by 60 % changed over 40 levels in 0.5 to
# 3 % of photographs, as highlights lose their colour; rotating all hues by 45 degrees gives a share of 0.76.
_COLOUR_DISTANCE, _COLOUR_SHARE = 40, 0.75
_LARGEST_CONTRAST = 2.5  # times that of the other picture; beyond, one is a grey version of the other
_HIGHEST = 12  # half waves across a picture to compare: finer detail does not survive compression and scaling
_QUERIES = 4096
# Candidates for mirrored or rotated copies: this many neighbours, within this squared distance of unit-length features.
_ROTATED_NEIGHBOURS, _ROTATED_DISTANCE = 5, 1.2
_ALL_COMPARED = 100_000  # of more pictures, the work for all neighbours is too much: they are looked for in clusters
_PAIRS_AT_ONCE = 4096
_SAMPLE = 20_000
_SAMPLED_IMAGES = 2000


class Similar(NamedTuple):
    """Pairs of pictures, first < second, and how much of the second the first explains, all (P,).

    `least` is the smallest similarity that counted; `warning` says what may have been missed, "" if nothing.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    similarity: Floats
    least: float
    warning: str = ""


class Thumbnails(NamedTuple):
    """Thumbnails (N, 32, 32) and, if colours count, their mean colours (N, 4, 4, 3)."""

    thumbnails: NDArray[np.uint8]
    layouts: NDArray[np.uint8] | None

    def similarities(self, first: NDArray[Any], second: NDArray[Any]) -> Floats:
        """Return the similarity (P,) of pairs of rows, 0 if they differ in colour."""
        found = np.empty(len(first), np.float32)
        for start in range(0, len(first), _PAIRS_AT_ONCE):
            block = slice(start, start + _PAIRS_AT_ONCE)
            one, other = first[block], second[block]
            shares = similarity(self.thumbnails[one], self.thumbnails[other]) * self.same_colours(one, other)
            alike = np.flatnonzero(shares >= LEAST_SIMILARITY)
            if len(alike):
                inside = without_corners(self.thumbnails[one[alike]], self.thumbnails[other[alike]])
                shares[alike] = np.minimum(shares[alike], similarity(*inside))
            found[block] = shares
        return found

    def same_colours(self, first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.bool_]:
        """Tell (P,) whether pairs of rows have the same colours."""
        if self.layouts is None:
            return np.ones(len(first), bool)
        return same_colours(self.layouts[first], self.layouts[second])


class LikePairs(NamedTuple):
    """Pairs of pictures, and how much of the second the first explains, all (P,)."""

    first: NDArray[np.integer[Any]]
    second: NDArray[np.integer[Any]]
    similarity: Floats


class Pile(NamedTuple):
    """A leader, the nearly equal pictures (M,) after it in ascending order, and how much of each it explains (M,)."""

    leader: int
    members: NDArray[np.int64]
    similarity: Floats


class _Candidates(NamedTuple):
    """Pairs of pictures, first < second, and the number of bits by which their hashes differ, all (C,)."""

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    bits: NDArray[np.uint8]


def similar_pairs(
    thumbnails: NDArray[np.uint8], random_state: int = 0, layouts: NDArray[np.uint8] | None = None
) -> Similar:
    """Find the pairs of thumbnails (N, 32, 32) that show the same picture; see `similarity` and `same_colours`.

    Without `layouts` (N, 4, 4, 3), the thumbnails' mean colours, colours do not count. If the pictures are naturally
    alike, as judged by a sample, only the most similar pairs count. In a pile of nearly equal pictures, each is paired
    only with the first, and the first with pictures outside the pile.
    """
    pictures, codes = Thumbnails(thumbnails, layouts), hashes(thumbnails)
    piles = _piles(pictures, codes, random_state)
    outside = np.ones(len(codes), bool)
    for pile in piles:
        outside[pile.members] = False
    candidates, radius = _candidates(codes, np.flatnonzero(outside), random_state)
    sample = np.random.default_rng(random_state).permutation(len(candidates.first))[:_SAMPLE]
    sampled = pictures.similarities(candidates.first[sample], candidates.second[sample])
    alike, high = ((sampled >= least).sum() for least in (LEAST_SIMILARITY, _HIGH))
    if alike >= _LEAST_TO_TELL and alike > _LOOKALIKES_PER_HIGH * high:
        least, wanted = LEAST_AMONG_LOOKALIKES, _RADIUS_AMONG_LOOKALIKES
    else:
        least, wanted = LEAST_SIMILARITY, _RADIUS
    pairs = _alike(pictures, candidates, wanted, least)
    pairs = LikePairs(*map(np.concatenate, zip(pairs, *pairs_of_piles(pictures, piles, pairs), strict=True)))
    first, second = (column.astype(np.int64) for column in pairs[:2])
    least = min(least, _LEAST_IN_PILE) if piles else least
    return Similar(first, second, np.minimum(pairs.similarity, 1), least, _warning(radius, wanted))


def rotated_pairs(thumbnails: NDArray[np.uint8], layouts: NDArray[np.uint8], features: Floats, least: float) -> Similar:
    """Find the pairs of pictures where one is the other mirrored, or rotated by a multiple of 90 degrees.

    Candidates are nearest neighbours by a network's unit-length features (N, D), in the nearest clusters if there are
    many pictures; they are compared as in `similar_pairs`, and count if their similarity is at least `least`.
    """
    if len(features) <= _ALL_COMPARED:
        squared, near = nearest(features, features, min(_ROTATED_NEIGHBOURS + 1, len(features)))
    else:
        squared, near = nearest_in_clusters(features, _ROTATED_NEIGHBOURS)
    first, second = np.repeat(np.arange(len(near)), near.shape[1]), near.ravel()
    seen = np.asarray(features.any(1), bool)
    close = (squared.ravel() <= _ROTATED_DISTANCE) & seen[first] & (first != second)
    pairs = np.unique(np.sort(np.stack([first[close], second[close]], 1), 1), axis=0)
    first, second = pairs[:, 0], pairs[:, 1]
    found = np.zeros(len(pairs), np.float32)
    for rotate in _ROTATIONS:
        other = Thumbnails(np.concatenate([thumbnails, rotate(thumbnails)]), np.concatenate([layouts, rotate(layouts)]))
        np.maximum(found, other.similarities(first, second + len(thumbnails)), out=found)
    enough = found >= least
    return Similar(first[enough], second[enough], np.minimum(found[enough], 1), least)


def _rotation(quarters: int, mirrored: bool) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]]:
    """Return a function that rotates pictures (N, H, W, ...), mirroring them first if `mirrored`."""

    def rotate(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.rot90(pictures[:, :, ::-1] if mirrored else pictures, quarters, axes=(1, 2))

    return rotate


_ROTATIONS = [
    _rotation(quarters, mirrored) for mirrored in (False, True) for quarters in range(4) if mirrored or quarters
]


def _alike(pictures: Thumbnails, candidates: _Candidates, most_bits: int, least: float) -> LikePairs:
    chosen = candidates.bits <= most_bits
    first, second = candidates.first[chosen], candidates.second[chosen]
    found = pictures.similarities(first, second)
    return LikePairs(first[found >= least], second[found >= least], found[found >= least])


def hashes(thumbnails: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the perceptual hashes (N, 16) of thumbnails (N, 32, 32): the signs of the 128 slowest cosine waves.

    Zauner (2010), "Implementation and benchmarking of perceptual image hash functions", with signs instead of
    comparisons with the median, and twice as many bits.
    """
    slow = np.add.outer(np.arange(SIDE), np.arange(SIDE)).ravel().argsort(kind="stable")[1 : HASH_BITS + 1]
    rows, columns = np.divmod(slow, SIDE)
    waves = _waves(int(max(rows.max(), columns.max())) + 1)
    packed = np.empty((len(thumbnails), HASH_BITS // 8), np.uint8)
    for start in range(0, len(thumbnails), _QUERIES):
        block = thumbnails[start : start + _QUERIES].astype(np.float32)
        packed[start : start + _QUERIES] = np.packbits((waves @ block @ waves.T)[:, rows, columns] > 0, axis=1)
    return packed


def similarity(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Floats:
    """Return for each pair of thumbnails (P, 32, 32) the share (P,) of the second that the first explains.

    The second is fitted, by least squares, as a sum of the first and of the changes in the first under a small shift or
    stretch along either axis, as by crops and borders of a few per cent. Brightness and contrast do not matter. The
    comparison is between cosine waves weighted by their frequency, as fine detail distinguishes pictures; the finest
    waves are left out.
    """
    across = ((np.arange(SIDE) - (SIDE - 1) / 2) / (SIDE / 2)).astype(np.float32)
    reference = first.astype(np.float32)
    down, right = np.gradient(reference, axis=1), np.gradient(reference, axis=2)
    terms = np.stack([reference, down, right, down * across[:, None], right * across], 1)  # (P, 5, 32, 32)
    explaining, explained = _spectrum(terms), _spectrum(second.astype(np.float32))
    explaining /= np.maximum(np.linalg.norm(explaining, axis=2, keepdims=True), 1e-6)
    products = explaining @ explained[:, :, None]  # (P, 5, 1)
    ridge = 1e-4 * np.eye(5, dtype=np.float32)  # the terms of a constant picture are 0
    weights = np.linalg.solve(explaining @ explaining.transpose(0, 2, 1) + ridge, products)
    share: Floats = (products * weights).sum((1, 2)) / np.maximum((explained * explained).sum(1), 1e-6)
    return share


def same_colours(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tell (P,) whether the two layouts in each pair (P, 4, 4, 3) have the same colours.

    Compared are the colours' distances from grey and their directions. Brightness does not matter, and contrast only if
    it removes the colours.
    """
    one, other = (each.reshape(-1, 16, 3).astype(np.float32) for each in (first, second))
    one, other = one - one.mean(2, keepdims=True), other - other.mean(2, keepdims=True)
    strengths = [np.linalg.norm(each.reshape(-1, 48), axis=1) for each in (one, other)]
    contrast = np.clip(strengths[1] / np.maximum(strengths[0], 1e-3), 1 / _LARGEST_CONTRAST, _LARGEST_CONTRAST)
    one, other = one * np.sqrt(contrast)[:, None, None], other / np.sqrt(contrast)[:, None, None]
    distance = np.linalg.norm(one - other, axis=2)  # (P, 16)
    stronger = np.maximum(np.linalg.norm(one, axis=2), np.linalg.norm(other, axis=2))
    differ = (distance > _COLOUR_DISTANCE) & (distance > _COLOUR_SHARE * stronger)
    return ~np.asarray(differ.any(1), bool)


def _piles(pictures: Thumbnails, codes: NDArray[np.uint8], random_state: int) -> list[Pile]:
    """Find piles of nearly equal pictures, each led by its first picture, from a sample of the pictures."""
    index = _index(codes)
    free = np.ones(len(codes), bool)

    def around(row: int) -> tuple[NDArray[np.int64], Floats]:
        near = index.range_search(codes[row : row + 1], _PILE_RADIUS + 1)[2]
        near = np.sort(near[free[near] & (near != row)])
        near = near[pictures.same_colours(np.full(len(near), row), near)]
        few = near[:: 1 + len(near) // _PILE]  # enough to distinguish a pile from naturally alike pictures
        if len(near) < _PILE or (shares_of(row, few) >= _LEAST_IN_PILE).mean() < _SHARE_OF_PILE:
            return near[:0], np.zeros(0, np.float32)
        shares = shares_of(row, near)
        return near[shares >= _LEAST_IN_PILE], shares[shares >= _LEAST_IN_PILE]

    def shares_of(row: int, others: NDArray[np.int64]) -> Floats:
        return pictures.similarities(np.full(len(others), row), others)

    piles = []
    for row in np.random.default_rng(random_state).permutation(len(codes))[:_SAMPLED_IMAGES].tolist():
        members, shares = around(row) if free[row] else (np.zeros(0, np.int64), np.zeros(0, np.float32))
        if len(members) and members[0] < row and len((found := around(int(members[0])))[0]):
            row, (members, shares) = int(members[0]), found
        behind = members > row
        if behind.any():
            piles.append(Pile(row, members[behind], shares[behind]))
            free[[row, *members[behind]]] = False
    return piles


def pairs_of_piles(pictures: Thumbnails, piles: list[Pile], pairs: LikePairs) -> Iterator[LikePairs]:
    """Yield the pairs within piles, and those of their members with pictures paired with, and before, their leader."""
    to_leaders = np.isin(pairs.second, [pile.leader for pile in piles])
    first, second = pairs.first[to_leaders], pairs.second[to_leaders]
    for leader, members, shares in piles:
        yield LikePairs(np.full(len(members), leader), members, shares)
        before = first[second == leader].tolist()
        while before and len(members):
            one = np.full(len(members), min(before))
            shares = pictures.similarities(one, members)
            alike = shares >= _LEAST_IN_PILE
            yield LikePairs(one[alike], members[alike], shares[alike])
            # If that picture becomes the leader's keeper, the members unlike it still have one another.
            before, members = members[~alike][:1].tolist(), members[~alike][1:]


def _candidates(codes: NDArray[np.uint8], rows: NDArray[np.int64], random_state: int) -> tuple[_Candidates, int]:
    """Find the pairs among some rows whose hashes (N, 16) differ by few bits; also return the limit in bits."""
    codes = codes[rows]
    index = _index(codes)
    radius = _fitting_radius(index, codes, random_state)
    blocks = [_Candidates(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.uint8))]
    for start in range(0, len(codes), _QUERIES):
        limits, bits, neighbours = index.range_search(codes[start : start + _QUERIES], radius + 1)
        counts = limits[1:].astype(np.int64) - limits[:-1].astype(np.int64)
        queries = np.repeat(np.arange(start, start + len(counts)), counts)
        ahead = queries < neighbours
        first, second = rows[queries[ahead]].astype(np.int32), rows[neighbours[ahead]].astype(np.int32)
        blocks.append(_Candidates(first, second, bits[ahead].astype(np.uint8)))
    return _Candidates(*(np.concatenate(column) for column in zip(*blocks, strict=True))), radius


def _index(codes: NDArray[np.uint8]) -> Any:
    import faiss

    index = faiss.IndexBinaryFlat(HASH_BITS)
    index.add(codes)
    return index


def _fitting_radius(index: Any, codes: NDArray[np.uint8], random_state: int) -> int:
    """Return the largest radius that does not give too many candidates, judged by a sample; -1 if there is none."""
    n = min(len(codes), _SAMPLED_IMAGES)
    rows = np.random.default_rng(random_state).choice(len(codes), n, replace=False)
    within = -n * np.ones(_RADIUS + 1)  # each is its own neighbour
    for start in range(0, n, _PILE):  # few at once: nearly all naturally alike pictures may be neighbours
        _, bits, _ = index.range_search(codes[rows[start : start + _PILE]], _RADIUS + 1)
        within += np.cumsum(np.bincount(bits.astype(int), minlength=_RADIUS + 1))
    return int(np.flatnonzero(within <= 2 * _MOST_CANDIDATES * n).max(initial=-1))


def _warning(radius: int, wanted: int) -> str:
    if radius >= wanted:
        return ""
    compared = f"whose hashes differ by at most {radius} of {HASH_BITS} bits, instead of {wanted}"
    return (
        "So many pictures are alike without being nearly equal that, apart from piles of nearly equal ones, only pairs "
        f"{compared if radius >= 0 else 'that are equal'} were compared: near duplicates may have been missed."
    )


def _spectrum(pictures: Floats) -> Floats:
    """Return the weighted waves (…, W) of pictures (…, 32, 32)."""
    waves, steps = _waves(_HIGHEST + 1), np.arange(_HIGHEST + 1)
    frequency = np.sqrt(np.add.outer(steps**2, steps**2)).ravel()
    kept = np.flatnonzero((frequency > 0) & (frequency <= _HIGHEST))
    spectrum = (waves @ pictures @ waves.T).reshape(*pictures.shape[:-2], -1)
    return np.asarray(spectrum[..., kept] * frequency[kept].astype(np.float32), np.float32)


def _waves(count: int) -> Floats:
    """Return the `count` slowest cosine waves (count, 32) of length 1: the discrete cosine transform II."""
    place = np.arange(SIDE) + 0.5
    waves = np.cos(np.pi / SIDE * np.outer(np.arange(count), place)) * np.sqrt(2 / SIDE)
    waves[0] /= np.sqrt(2)
    return np.asarray(waves, np.float32)
