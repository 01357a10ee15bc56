"""Near duplicates: candidates by a perceptual hash, each compared pixel by pixel after being laid over the other."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfsort.audit.look import SIDE

Floats = NDArray[np.float32]

HASH_BITS = 128
LEAST_SIMILARITY = 0.86
# Where pictures are alike by nature, as handwritten digits are, pairs get rarer quickly towards a similarity of 1: of
# those above 0.86 one in 26 to 500 was above 0.97 (MNIST, Fashion-MNIST, digits), of real duplicates one in 1 to 3.
LEAST_AMONG_LOOKALIKES = 0.995
_HIGH, _LOOKALIKES_PER_HIGH, _LEAST_TO_TELL = 0.97, 8, 50
_RADIUS = 28  # bits in which hashes of candidates may differ
_RADIUS_AMONG_LOOKALIKES = 8
_MOST_CANDIDATES = 100  # for each picture, on average; beyond, the radius shrinks
_HIGHEST = 12  # half waves across a picture that are compared: finer detail does not outlive compression and scaling
_QUERIES = 4096
_PAIRS_AT_ONCE = 4096
_SAMPLE = 20_000


class Similar(NamedTuple):
    """Pairs of pictures, first < second, and how much of the second the first explains, all (P,).

    `least` is the smallest similarity that counted.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    similarity: Floats
    least: float


class _Candidates(NamedTuple):
    """Pairs of pictures, first < second, and the bits in which their hashes differ, all (C,)."""

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    bits: NDArray[np.uint8]


def similar_pairs(thumbnails: NDArray[np.uint8], random_state: int = 0) -> Similar:
    """Find the pairs of thumbnails (N, 32, 32) that show the same picture; see `similarity`.

    In a set of pictures that are alike by nature only the most similar pairs count; a sample tells.
    """
    candidates = _candidates(hashes(thumbnails), random_state)
    sample = np.random.default_rng(random_state).permutation(len(candidates.first))[:_SAMPLE]
    sampled = _similarities(thumbnails, candidates, sample)
    alike, high = ((sampled >= least).sum() for least in (LEAST_SIMILARITY, _HIGH))
    if alike >= _LEAST_TO_TELL and alike > _LOOKALIKES_PER_HIGH * high:
        least, chosen = LEAST_AMONG_LOOKALIKES, np.flatnonzero(candidates.bits <= _RADIUS_AMONG_LOOKALIKES)
    else:
        least, chosen = LEAST_SIMILARITY, np.arange(len(candidates.first))
    found = _similarities(thumbnails, candidates, chosen)
    chosen, found = chosen[found >= least], found[found >= least]
    first, second = (column[chosen].astype(np.int64) for column in candidates[:2])
    return Similar(first, second, np.minimum(found, 1), least)


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


def _candidates(codes: NDArray[np.uint8], random_state: int) -> _Candidates:
    """Find the pairs of rows whose hashes (N, 16) differ in few bits."""
    import faiss

    index = faiss.IndexBinaryFlat(HASH_BITS)
    index.add(codes)
    radius = _fitting_radius(index, codes, random_state)
    blocks = []
    for start in range(0, len(codes), _QUERIES):
        limits, bits, neighbours = index.range_search(codes[start : start + _QUERIES], radius + 1)
        counts = limits[1:].astype(np.int64) - limits[:-1].astype(np.int64)
        rows = np.repeat(np.arange(start, start + len(counts)), counts)
        ahead = rows < neighbours
        columns = rows[ahead].astype(np.int32), neighbours[ahead].astype(np.int32), bits[ahead].astype(np.uint8)
        blocks.append(_Candidates(*columns))
    if not blocks:
        return _Candidates(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.uint8))
    return _Candidates(*(np.concatenate(column) for column in zip(*blocks, strict=True)))


def _fitting_radius(index: Any, codes: NDArray[np.uint8], random_state: int) -> int:
    """Return the largest radius at which there are not too many candidates, by a sample of the pictures."""
    n = min(len(codes), 2000)
    rows = np.random.default_rng(random_state).choice(len(codes), n, replace=False)
    _, bits, _ = index.range_search(codes[rows], _RADIUS + 1)
    within = np.cumsum(np.bincount(bits.astype(int), minlength=_RADIUS + 1)) - n
    return int(np.flatnonzero(within <= 2 * _MOST_CANDIDATES * n).max(initial=0))


def _similarities(thumbnails: NDArray[np.uint8], candidates: _Candidates, chosen: NDArray[np.intp]) -> Floats:
    found = np.empty(len(chosen), np.float32)
    for start in range(0, len(chosen), _PAIRS_AT_ONCE):
        block = chosen[start : start + _PAIRS_AT_ONCE]
        pairs = (thumbnails[column[block]] for column in candidates[:2])
        found[start : start + _PAIRS_AT_ONCE] = similarity(*pairs)
    return found


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
