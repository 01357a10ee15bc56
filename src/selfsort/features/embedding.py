"""Features of all pictures of a source from a pre-trained network, computed once and kept as a memory map."""

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from selfsort.data import cache, decoding
from selfsort.data.decoding import Block
from selfsort.data.image_set import ImageSet
from selfsort.data.input_spec import InputSpec
from selfsort.data.listing import Skipped, summarise_skipped
from selfsort.data.loading import list_images
from selfsort.data.reading import PLAIN, Facts
from selfsort.errors import UserError
from selfsort.features import store
from selfsort.features.network import Extractor
from selfsort.features.store import Chunk, Entry
from selfsort.models import pretrained as networks
from selfsort.progress import ProgressBar
from selfsort.training.recipe import Device, Precision

BATCH_SIZE = 64

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Features:
    """The output of a pre-trained network for pictures.

    Attributes
    ----------
    values : (N, D) float32 features, a read-only memory map if they could be kept
    images : the N pictures that could be read; the others are in `images.skipped`
    card : the network, its input, licence and source
    computed : how many of the pictures went through the network this time; those of the others were kept

    """

    values: NDArray[np.float32]
    images: ImageSet
    card: networks.Card
    computed: int

    @property
    def ids(self) -> tuple[str, ...]:
        """Return the (N,) ids of the pictures."""
        return self.images.ids


def embed(
    source: str | Path | ImageSet | ArrayLike,
    backbone: str = networks.DEFAULT,
    *,
    input_spec: InputSpec | None = None,
    device: Device = "auto",
    precision: Precision = "auto",
    batch_size: int = BATCH_SIZE,
    cache: bool = True,
    progress: bool = False,
    **options: Any,
) -> Features:
    """Return the features of all pictures of a source from a pre-trained network.

    Pictures are decoded from their files at the network's input size, on all cores, and streamed through the network.
    The features are kept: next time only new or changed pictures are computed, and interrupted work is resumed. A
    picture's features do not depend on the other pictures.

    `source` and `options` are those of `list_images`: a folder, a file, a data set, an array or an `ImageSet`.
    `backbone` is a name from `selfsort.models.pretrained`; `input_spec` replaces the input that the network was trained
    with. `device` and `precision` "auto" use CUDA and bfloat16 if the hardware has them. `batch_size` pictures go
    through the network at a time. Without `cache` nothing is kept on disk. `progress` draws a bar on standard error.

    Raises
    ------
    UserError
        If the source or the network cannot be obtained, no picture can be read, or the disk is full.

    """
    images = source if isinstance(source, ImageSet) and not options else list_images(source, **options)
    if batch_size < 1:
        raise UserError(f"batch_size={batch_size} must be at least 1.")
    network = networks.pretrained(backbone, input_spec)
    job = _Job(images, Extractor(network, device, precision, batch_size), progress)
    if not cache:
        return job.in_memory(network.card)
    return job.kept(network)


def computed(
    images: ImageSet, extract: Extractor, on_progress: Callable[[int], None] = lambda count: None
) -> tuple[NDArray[np.float32], list[decoding.Failure], dict[int, Facts]]:
    """Return the features (n, D) of the pictures that can be read, the failures, and by position facts about pictures.

    Nothing is kept. `on_progress` is called with the number of pictures of each block.
    """
    rows = [np.empty((0, extract.width), np.float32)]
    failures: list[decoding.Failure] = []
    facts: dict[int, Facts] = {}
    for block in in_batches(images.blocks(extract.spec), extract.batch_size):
        rows.append(extract(block.images))
        failures += block.failures
        facts |= _facts_of(block)
        on_progress(len(block.images) + len(block.failures))
    return np.concatenate(rows), failures, facts


class _Job:
    """The features of one set of pictures by one network."""

    def __init__(self, images: ImageSet, extract: Extractor, progress: bool):
        self.images, self.extract, self.progress = images, extract, progress

    def kept(self, network: networks.Pretrained) -> Features:
        """Return features from the cache, after adding those that are missing."""
        stamps = self._stamps()
        try:
            with store.opened(self._key(network, stamps), self.extract.width) as entry:
                return self._completed(entry, stamps, network.card)
        except cache.Unavailable as error:
            _log.warning("Features are kept in memory only: %s", error)
            return self.in_memory(network.card)

    def in_memory(self, card: networks.Card) -> Features:
        """Return features without keeping any."""
        with self._bar(len(self.images)) as bar:
            values, failures, facts = computed(self.images, self.extract, bar)
        self._require_some(len(failures), [reason for _, reason in failures])
        images = self.images.noted(facts).without(failures)
        values.flags.writeable = False
        return Features(values, images, card, len(values))

    def _completed(self, entry: Entry, stamps: Sequence[str], card: networks.Card) -> Features:
        known = entry.by_stamp.keys() | entry.failures.keys()
        missing = np.array([i for i, each in enumerate(stamps) if each not in known], np.intp)
        computed = self._compute(entry, missing, stamps) if len(missing) else 0
        failures = [(i, entry.failures[each]) for i, each in enumerate(stamps) if each not in entry.by_stamp]
        self._require_some(len(failures), [reason for _, reason in failures])
        places = np.array([entry.by_stamp[each] for each in stamps if each in entry.by_stamp], np.int64)
        facts = {i: entry.facts[each] for i, each in enumerate(stamps) if each in entry.facts}
        images = self.images.noted(facts).without(failures)
        return Features(entry.rows(places), images, card, computed)

    def _compute(self, entry: Entry, missing: NDArray[np.intp], stamps: Sequence[str]) -> int:
        """Add the features of pictures that an entry lacks, and return how many went through the network."""
        part, computed = self.images.subset(missing), 0
        with self._bar(len(missing)) as bar:
            for block in in_batches(part.blocks(self.extract.spec), self.extract.batch_size):
                names = [stamps[missing[position]] for position in block.positions]
                failed = [(stamps[missing[position]], reason) for position, reason in block.failures]
                rows, new = self._rows(entry, block)
                facts = [(stamps[missing[place]], each) for place, each in _facts_of(block).items()]
                entry.append(Chunk(rows, names, block.content_hashes, failed, facts))
                computed += new
                bar(len(block.images) + len(block.failures))
        return computed

    def _rows(self, entry: Entry, block: Block) -> tuple[NDArray[np.float32], int]:
        """Return the features of a block, and how many of its pictures were not known under another stamp."""
        new = np.array([each not in entry.by_hash for each in block.content_hashes], bool)
        rows = np.empty((len(new), self.extract.width), np.float32)
        rows[new] = self.extract(block.images[new])
        for i in np.flatnonzero(~new):
            rows[i] = entry.row(entry.by_hash[block.content_hashes[i]])
        return rows, int(new.sum())

    def _stamps(self) -> list[str]:
        """Return a text for each picture that changes when it does: the hash of its content if there is no other."""
        if self.images.originals.stamps is not None:
            return list(self.images.originals.stamps)
        found = decoding.content_hashes(self.images.originals)
        return [each or f"unreadable {name}" for each, name in zip(found, self.images.ids, strict=True)]

    def _key(self, network: networks.Pretrained, stamps: Sequence[str]) -> str:
        """Return the entry's name, made from the network and its weights, its input, how it runs, and the source."""
        extract, images = self.extract, self.images
        how: tuple[object, ...] = (
            store.FORMAT,
            network.card.network,
            network.sha256,
            replace(network.input, reading=images.reading.over(network.input.reading)).to_json(),
            str(extract.dtype),
        )
        how += () if extract.engine == "torch" else (extract.engine,)
        where = images.source if images.originals.array is None else sorted(stamps)
        parts = repr((*how, extract.device.type, extract.batch_size, where))
        return hashlib.blake2b(parts.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()

    def _require_some(self, failed: int, reasons: Sequence[str]) -> None:
        if failed == len(self.images):
            counted = summarise_skipped(Skipped("", reason) for reason in reasons)
            raise UserError(f"No picture in {self.images.source!r} could be read: {counted}; check its files.")

    def _bar(self, total: int) -> "_Rate":
        return _Rate(total, self.progress)


class _Rate:
    """A progress bar that shows the rate."""

    def __init__(self, total: int, shown: bool):
        self.bar, self.began = ProgressBar("Computing features", total, shown=shown), time.monotonic()

    def __enter__(self) -> "_Rate":
        self.bar.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self.bar.__exit__(*exception)

    def __call__(self, count: int) -> None:
        done = self.bar.done + count
        rate = done / max(1e-9, time.monotonic() - self.began)
        self.bar.show(done, f"Computing features, {rate:,.0f} pictures/s")


def _facts_of(block: Block) -> dict[int, Facts]:
    """Return the facts of those pictures of a block that have any, by position."""
    found = zip(block.positions.tolist(), block.facts, strict=True)
    return {position: facts for position, facts in found if facts != PLAIN}


def in_batches(blocks: Iterator[Block], size: int) -> Iterator[Block]:
    """Cut and join blocks so that all but the last have `size` readable pictures, or a multiple of it."""
    waiting: list[Block] = []
    for block in blocks:
        waiting.append(block)
        count = sum(len(each.images) for each in waiting)
        if count >= size:
            joined = _joined(waiting)
            whole = count // size * size
            yield part_of(joined, 0, whole)
            waiting = [part_of(joined, whole, count)._replace(failures=())]
    if waiting:
        yield _joined(waiting)


def _joined(blocks: Sequence[Block]) -> Block:
    return Block(
        np.concatenate([block.positions for block in blocks]),
        np.concatenate([block.images for block in blocks]),
        tuple(each for block in blocks for each in block.content_hashes),
        tuple(each for block in blocks for each in block.failures),
        any(block.colour for block in blocks),
        tuple(each for block in blocks for each in block.facts),
    )


def part_of(block: Block, start: int, stop: int) -> Block:
    """Return some of the readable pictures of a block."""
    return block._replace(
        positions=block.positions[start:stop],
        images=block.images[start:stop],
        content_hashes=block.content_hashes[start:stop],
        facts=block.facts[start:stop],
    )
