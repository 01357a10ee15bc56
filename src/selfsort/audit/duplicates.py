"""Near duplicates: candidates by a perceptual hash, each compared pixel by pixel after being laid over the other."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfsort.audit.look import SIDE
from selfsort.clustering.neighbours import nearest

Floats = NDArray[np.float32]

HASH_BITS = 128
LEAST_SIMILARITY = 0.86
# Where pictures are alike by nature, as handwritten digits are, pairs get rarer quickly towards a similarity of 1: of
# those above 0.86 one in 26 to 500 was above 0.97 (MNIST, Fashion-MNIST, digits), of real duplicates one in 1 to 3.
LEAST_AMONG_LOOKALIKES = 0.995
_HIGH, _LOOKALIKES_PER_HIGH, _LEAST_TO_TELL = 0.97, 8, 50
# Piles of nearly equal pictures, such as frames of a camera that does not move. Of the pictures within 16 bits of one
# that lies in a pile nearly all are above 0.95; where pictures are only alike by nature, at most two in three were.
_PILE, _PILE_RADIUS, _LEAST_IN_PILE, _SHARE_OF_PILE = 50, 16, 0.95, 0.8
_RADIUS = 28  # bits in which hashes of candidates may differ
_RADIUS_AMONG_LOOKALIKES = 8
_MOST_CANDIDATES = 100  # for each picture, on average; beyond, the radius shrinks
# Colours of a sixteenth of a picture that are told apart: by their distance in levels, and as a share of the stronger
# one. Compression to a JPEG quality of 10 left 32 levels, brightening by 60 % over 40 in 0.5 to 3 % of photographs,
# as highlights lose their colour; turning all hues by 45 degrees makes a share of 0.76.
_COLOUR_DISTANCE, _COLOUR_SHARE = 40, 0.75
_LARGEST_CONTRAST = 2.5  # times that of the other picture; beyond, one of them is another in grey
_HIGHEST = 12  # half waves across a picture that are compared: finer detail does not outlive compression and scaling
_QUERIES = 4096
_TURNED_NEIGHBOURS, _TURNED_DISTANCE = (
    5,
    1.2,
)  # of pictures that may be mirrored or turned copies; squared, features of length 1
_PAIRS_AT_ONCE = 4096
_SAMPLE = 20_000
_SAMPLED_IMAGES = 2000


class Similar(NamedTuple):
    """LikePairs of pictures, first < second, and how much of the second the first explains, all (P,).

    `least` is the smallest similarity that counted; `warning` says what may have been missed, "" where nothing.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    similarity: Floats
    least: float
    warning: str = ""


class Thumbnails(NamedTuple):
    """Thumbnails (N, 32, 32) and, where colours count, their mean colours (N, 4, 4, 3)."""

    thumbnails: NDArray[np.uint8]
    layouts: NDArray[np.uint8] | None

    def similarities(self, first: NDArray[Any], second: NDArray[Any]) -> Floats:
        """Return the similarity (P,) of pairs of rows, 0 where they differ in colour."""
        found = np.empty(len(first), np.float32)
        for start in range(0, len(first), _PAIRS_AT_ONCE):
            block = slice(start, start + _PAIRS_AT_ONCE)
            one, other = first[block], second[block]
            found[block] = similarity(self.thumbnails[one], self.thumbnails[other]) * self.same_colours(one, other)
        return found

    def same_colours(self, first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.bool_]:
        """Tell (P,) of pairs of rows whether they have the same colours."""
        if self.layouts is None:
            return np.ones(len(first), bool)
        return same_colours(self.layouts[first], self.layouts[second])


class LikePairs(NamedTuple):
    """LikePairs of pictures, and how much of the second the first explains, all (P,)."""

    first: NDArray[np.integer[Any]]
    second: NDArray[np.integer[Any]]
    similarity: Floats


class Pile(NamedTuple):
    """A picture, the nearly equal ones (M,) behind it, ascending, and how much of them it explains (M,)."""

    leader: int
    members: NDArray[np.int64]
    similarity: Floats


class _Candidates(NamedTuple):
    """LikePairs of pictures, first < second, and the bits in which their hashes differ, all (C,)."""

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    bits: NDArray[np.uint8]


def similar_pairs(
    thumbnails: NDArray[np.uint8], random_state: int = 0, layouts: NDArray[np.uint8] | None = None
) -> Similar:
    """Find the pairs of thumbnails (N, 32, 32) that show the same picture; see `similarity` and `same_colours`.

    Without the `layouts` (N, 4, 4, 3), which are their mean colours, colours do not count.
    In a set of pictures that are alike by nature only the most similar pairs count; a sample tells. Of a pile of
    nearly equal pictures each is paired with the first alone, and that with the pictures outside.
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


def turned_pairs(thumbnails: NDArray[np.uint8], layouts: NDArray[np.uint8], features: Floats, least: float) -> Similar:
    """Find the pairs of pictures of which one is the other mirrored, or turned by a quarter or half of a circle.

    Candidates are the nearest ones by the features (N, D) of a network, of unit length; they are compared as
    `similar_pairs` compares, and count from a similarity of `least` on.
    """
    squared, near = nearest(features, features, min(_TURNED_NEIGHBOURS + 1, len(features)))
    first, second = np.repeat(np.arange(len(near)), near.shape[1]), near.ravel()
    seen = np.asarray(features.any(1), bool)
    close = (squared.ravel() <= _TURNED_DISTANCE) & seen[first] & (first != second)
    pairs = np.unique(np.sort(np.stack([first[close], second[close]], 1), 1), axis=0)
    first, second = pairs[:, 0], pairs[:, 1]
    found = np.zeros(len(pairs), np.float32)
    for turn in _TURNS:
        other = Thumbnails(np.concatenate([thumbnails, turn(thumbnails)]), np.concatenate([layouts, turn(layouts)]))
        np.maximum(found, other.similarities(first, second + len(thumbnails)), out=found)
    enough = found >= least
    return Similar(first[enough], second[enough], np.minimum(found[enough], 1), least)


def _turn(quarters: int, mirrored: bool) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]]:
    """Return what turns pictures (N, H, W, ...), after mirroring them or not."""

    def turn(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.rot90(pictures[:, :, ::-1] if mirrored else pictures, quarters, axes=(1, 2))

    return turn


_TURNS = [_turn(quarters, mirrored) for mirrored in (False, True) for quarters in range(4) if mirrored or quarters]


def _alike(pictures: Thumbnails, candidates: _Candidates, most_bits: int, least: float) -> LikePairs:
    chosen = candidates.bits <= most_bits
    first, second = candidates.first[chosen], candidates.second[chosen]
    found = pictures.similarities(first, second)
    return LikePairs(first[found >= least], second[found >= least], found[found >= least])


def hashes(thumbnails: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the perceptual hashes (N, 16) of thumbnails (N, 32, 32): the signs of the 128 slowest cosine waves.

    Zauner (2010), "Implementation and benchmarking of perceptual image hash functions", with signs in place of a
    comparison with the median, and twice the bits.
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

    The second is written, by least squares, as a sum of the first and of how the first changes when it is shifted or
    stretched a little along either axis: what crops and borders of a few per cent do. Brightness and contrast cannot
    matter. All is compared as cosine waves, weighted with their frequency, as fine ones tell pictures apart; the finest
    are left out.
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
    """Tell for each pair of layouts (P, 4, 4, 3) whether (P,) they have the same colours.

    What is compared is how far the colours are from grey, in what direction. Brightness cannot matter, nor can contrast
    but where it takes the colours away.
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
    """Find the piles of nearly equal pictures, each behind the first of them, by a sample of the pictures."""
    index = _index(codes)
    free = np.ones(len(codes), bool)

    def around(row: int) -> tuple[NDArray[np.int64], Floats]:
        near = index.range_search(codes[row : row + 1], _PILE_RADIUS + 1)[2]
        near = np.sort(near[free[near] & (near != row)])
        near = near[pictures.same_colours(np.full(len(near), row), near)]
        few = near[:: 1 + len(near) // _PILE]  # enough to tell a pile from pictures that are alike by nature
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
    """Yield the pairs within piles, and of their members with what stands before their leader in a pair."""
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
            # Those that are unlike it, should it take their leader, still have one another.
            before, members = members[~alike][:1].tolist(), members[~alike][1:]


def _candidates(codes: NDArray[np.uint8], rows: NDArray[np.int64], random_state: int) -> tuple[_Candidates, int]:
    """Find the pairs of some rows whose hashes (N, 16) differ in few bits; also return in how many at most."""
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
    """Return the largest radius at which there are not too many candidates, by a sample; -1 where there is none."""
    n = min(len(codes), _SAMPLED_IMAGES)
    rows = np.random.default_rng(random_state).choice(len(codes), n, replace=False)
    within = -n * np.ones(_RADIUS + 1)  # each is a neighbour of its own
    for start in range(0, n, _PILE):  # few at once: of pictures alike by nature nearly all may be neighbours
        _, bits, _ = index.range_search(codes[rows[start : start + _PILE]], _RADIUS + 1)
        within += np.cumsum(np.bincount(bits.astype(int), minlength=_RADIUS + 1))
    return int(np.flatnonzero(within <= 2 * _MOST_CANDIDATES * n).max(initial=-1))


def _warning(radius: int, wanted: int) -> str:
    if radius >= wanted:
        return ""
    compared = f"whose hashes differ in at most {radius} of {HASH_BITS} bits instead of {wanted}"
    return (
        "So many pictures are alike without being nearly equal that, beside piles of nearly equal ones, only pairs "
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
