"""Many pictures: decoded on all cores, in order, into the cache or into memory."""

import hashlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, BinaryIO, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from selfsort.data import cache
from selfsort.data.image_set import Skipped, summarise_skipped
from selfsort.data.pixels import Target, explain, pillow_limits, read_header, read_picture
from selfsort.data.request import Request
from selfsort.data.workers import WorkerDied, Workers
from selfsort.errors import UserError
from selfsort.progress import ProgressBar

SAMPLE = 32
LARGEST_NATIVE_SIZE = 96
DEFAULT_SIZE = 64

_SECONDS_ALONE = 0.4  # about what starting other processes costs
_FIRST_CHUNK, _LARGEST_CHUNK = 8, 256
_SECONDS_PER_CHUNK = 0.25
CRASHED = "damaged (it made the decoder crash)"

Result = TypeVar("Result")
Open = Callable[[Any], BinaryIO]
Work = Callable[[Open, Sequence[Any], int], Result]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pictures:
    """Pictures that are still to be decoded.

    `open` opens one of `refs`, for example a path, as a binary stream; it and slices of `refs` are sent to other
    processes. `stamp` names everything that decides what the pictures look like: it changes when one of them does.
    """

    source: str
    ids: Sequence[str]
    refs: Sequence[Any]
    open: Open
    stamp: bytes


class Listing(NamedTuple):
    """The pictures in a source, what could not even be looked at, and the labels as in `ImageSet`."""

    pictures: Pictures
    unlisted: tuple[Skipped, ...]
    labels: NDArray[np.int64] | None
    label_names: tuple[str, ...]


class Decoded(NamedTuple):
    """Pictures (N, H, W, C), where in `Pictures` they stood (N,), and those that could not be read."""

    images: NDArray[np.uint8]
    kept: NDArray[np.intp]
    skipped: tuple[Skipped, ...]


class Block(NamedTuple):
    """Some pictures decoded: the readable ones, (place, reason) of the others, and whether one had colour."""

    images: NDArray[np.uint8]
    failures: list[tuple[int, str]]
    colour: bool


class _ColourFound(Exception):
    """A picture has colour although the sample had none."""


class _Memory:
    """Collects pictures in one array made for `capacity` of them."""

    def __init__(self, capacity: int) -> None:
        self._capacity, self._filled = capacity, 0
        self._images = np.empty((0,), np.uint8)

    def append(self, block: NDArray[np.uint8]) -> None:
        """Add (n, H, W, C) pictures behind those already there."""
        if not self._filled:
            self._images = np.empty((self._capacity, *block.shape[1:]), np.uint8)
        self._images[self._filled : self._filled + len(block)] = block
        self._filled += len(block)

    @property
    def images(self) -> NDArray[np.uint8]:
        return self._images[: self._filled]


def decode(pictures: Pictures, request: Request) -> Decoded:
    """Decode pictures as `request` wants them, or take them from the cache.

    Raises `UserError` if none of them can be read.
    """
    try:
        images, notes = _obtain(pictures, request, request.channels)
    except _ColourFound:
        images, notes = _obtain(pictures, request, 3)
    failures = {int(place): reason for place, reason in notes["failures"]}
    kept = np.array([place for place in range(len(pictures.ids)) if place not in failures])
    return Decoded(images, kept, tuple(Skipped(pictures.ids[place], failures[place]) for place in failures))


def decode_chunk(target: Target, open_picture: Open, refs: Sequence[Any], first: int) -> Block:
    """Decode pictures one after the other, the first of which stands in place `first`."""
    images = np.empty((len(refs), target.size, target.size, target.channels), np.uint8)
    failures: list[tuple[int, str]] = []
    any_colour = False
    with pillow_limits(target.max_pixels):
        for place, ref in enumerate(refs, first):
            try:
                with open_picture(ref) as stream:
                    images[place - first - len(failures)], colour = read_picture(stream, target)
                any_colour |= colour
            except Exception as error:  # whatever PIL's plug-ins and zip files raise on damaged data
                failures.append((place, explain(error)))
    return Block(images[: len(refs) - len(failures)], failures, any_colour)


def _obtain(pictures: Pictures, request: Request, channels: int | None) -> tuple[NDArray[np.uint8], cache.Notes]:
    def build(writer: cache.Writer) -> cache.Notes:
        return _decode_into(writer, pictures, request, channels)

    if request.cache:
        try:
            return cache.load(_key(pictures, request), build)
        except cache.Unavailable as error:
            _log.info("Decoded pictures are kept in memory only: %s", error)
    memory = _Memory(len(pictures.ids))
    notes = build(memory)
    return memory.images, notes


def _decode_into(writer: cache.Writer, pictures: Pictures, request: Request, channels: int | None) -> cache.Notes:
    target = _target(pictures, request, channels)
    failures: list[tuple[int, str]] = []
    with ProgressBar("Reading pictures", len(pictures.ids), shown=request.progress) as bar:
        for block in in_chunks(pictures, partial(decode_chunk, target), partial(_crashed, target)):
            if block.colour and target.channels == 1 and channels is None:
                raise _ColourFound
            writer.append(block.images)
            failures += block.failures
            bar.advance(len(block.images) + len(block.failures))
    if len(failures) == len(pictures.ids):
        reasons = summarise_skipped(Skipped("", reason) for _, reason in failures)
        raise UserError(f"No picture in {pictures.source!r} could be read ({reasons}); check the folder or its files.")
    return {"failures": failures}


def _target(pictures: Pictures, request: Request, channels: int | None) -> Target:
    """Settle the size and the channels that were not given, from the headers of a sample."""
    size = request.size
    if size is None or channels is None:
        headers = _sample_headers(pictures, request.max_pixels)
        if size is None:
            shapes = {shape for shape, _ in headers}
            width, height = shapes.pop() if len(shapes) == 1 else (0, 0)
            size = width if 0 < width == height <= LARGEST_NATIVE_SIZE else DEFAULT_SIZE
        if channels is None:
            channels = 3 if any(colour for _, colour in headers) else 1
    return Target(size, request.resize, channels, request.max_pixels)


def _sample_headers(pictures: Pictures, max_pixels: int) -> list[tuple[tuple[int, int], bool]]:
    count = len(pictures.ids)
    step = max(1, count // SAMPLE)
    spread = chain.from_iterable(range(first, count, step) for first in range(step))
    headers: list[tuple[tuple[int, int], bool]] = []
    with pillow_limits(max_pixels):
        for place in spread:
            with suppress(Exception), pictures.open(pictures.refs[place]) as stream:
                headers.append(read_header(stream, max_pixels))
            if len(headers) == SAMPLE:
                break
    return headers


def in_chunks(pictures: Pictures, work: Work[Result], crashed: Callable[[int], Result]) -> Iterator[Result]:
    """Work on all pictures in order: for a moment in this process alone and, if that was not enough, on all cores.

    `work(open, refs, first)`, which is sent to other processes, takes some pictures, the first of which stands in place
    `first`. `crashed(place)` is the result for one that ended the process it was worked on in.
    """
    start, count, began = 0, len(pictures.ids), time.monotonic()
    while start < count and time.monotonic() - began < _SECONDS_ALONE:
        stop = start + _FIRST_CHUNK
        yield work(pictures.open, pictures.refs[start:stop], start)
        start = stop
    if start < count:
        chunk = round(start * _SECONDS_PER_CHUNK / (time.monotonic() - began))
        chunks = range(start, count, max(1, min(chunk, _LARGEST_CHUNK)))
        if (workers := _start_workers(len(chunks))) is None:
            yield from (work(pictures.open, pictures.refs[i : i + chunks.step], i) for i in chunks)
        else:
            yield from _by_workers(workers, pictures, work, crashed, chunks)


def _start_workers(most: int) -> Workers | None:
    """Start a worker for each core, if there are several."""
    from joblib import cpu_count  # knows what containers and schedulers allow

    count = min(cpu_count(), most)
    try:
        return Workers(count) if count > 1 else None
    except OSError as error:
        _log.info("Pictures are decoded on one core only: %s", error)
        return None


def _by_workers(
    workers: Workers, pictures: Pictures, work: Work[Result], crashed: Callable[[int], Result], starts: range
) -> Iterator[Result]:
    # Whatever ends this early ends the workers first, and with them what the threads wait for.
    with ThreadPoolExecutor(len(workers)) as threads, workers:
        pending: deque[Future[list[Result]]] = deque()
        for start in starts:
            stop = start + starts.step
            pending.append(threads.submit(_by_worker, workers, pictures, work, crashed, start, stop))
            if len(pending) > 4 * len(workers):  # enough to keep them busy; more would pile up in memory
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()


def _by_worker(
    workers: Workers, pictures: Pictures, work: Work[Result], crashed: Callable[[int], Result], start: int, stop: int
) -> list[Result]:
    refs = pictures.refs[start:stop]
    try:
        return [workers.run(work, pictures.open, refs, start)]
    except WorkerDied:
        if len(refs) == 1:
            return [crashed(start)]
    places = range(start, start + len(refs))
    return [_by_worker(workers, pictures, work, crashed, place, place + 1)[0] for place in places]


def _crashed(target: Target, place: int) -> Block:
    return Block(np.empty((0, target.size, target.size, target.channels), np.uint8), [(place, CRASHED)], False)


def _key(pictures: Pictures, request: Request) -> str:
    wanted = (cache.FORMAT, request.size, request.resize, request.channels, request.max_pixels)
    return hashlib.blake2b(repr(wanted).encode() + pictures.stamp, digest_size=16).hexdigest()
