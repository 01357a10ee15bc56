"""Decode many pictures on all cores, in order: into the cache, into memory, or block by block."""

import hashlib
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from selfsort.data import cache
from selfsort.data.arrays import refit
from selfsort.data.decoder import sample_values
from selfsort.data.eight_bit import to_image
from selfsort.data.input_spec import InputSpec
from selfsort.data.limits import Heavy, only_light, pillow_limits
from selfsort.data.listing import Open, Opened, Originals, Skipped, hash_content, summarise_skipped
from selfsort.data.object_store import StoredObject, opening
from selfsort.data.pixels import Fitted, read_header, read_image, to_pixels
from selfsort.data.reading import PLAIN, Facts, Reading
from selfsort.data.request import Request
from selfsort.data.unreadable import Unreachable, explain, require_reached
from selfsort.data.values import range_of_set
from selfsort.data.workers import TookTooLong, WorkerDied, Workers, cores
from selfsort.progress import ProgressBar

SAMPLE = 32
RANGE_SAMPLE = 48  # pictures sampled to find the range of their values
_SHALLOW = (".jpg", ".jpeg", ".webp", ".gif", ".bmp")
LARGEST_NATIVE_SIZE = 96
DEFAULT_SIZE = 64

_SECONDS_ALONE = 0.4  # roughly the cost of starting other processes
_FIRST_CHUNK, _LARGEST_CHUNK = 8, 256
_SECONDS_PER_CHUNK = 0.25
_BYTES_PER_CHUNK = 1 << 24

Result = TypeVar("Result")
Work = Callable[[Open, Sequence[Any], int], Result]
_log = logging.getLogger(__name__)


class Failure(NamedTuple):
    """A picture that could not be read: its position, and why."""

    position: int
    reason: str


class Decoded(NamedTuple):
    """Pictures (N, H, W, C), those that could not be read, and by position the facts about those that have any."""

    images: NDArray[np.uint8]
    failures: tuple[Failure, ...]
    facts: Mapping[int, Facts]


class Block(NamedTuple):
    """Consecutive pictures, decoded.

    `positions` (n,) of the readable ones, their `images` (n, H, W, C), `facts` (n,) and `content_hashes` (n,), which
    are empty unless requested; the `failures`, and whether any picture had `colour`.
    """

    positions: NDArray[np.intp]
    images: NDArray[np.uint8]
    content_hashes: tuple[str, ...]
    failures: tuple[Failure, ...]
    colour: bool
    facts: tuple[Facts, ...]


class _ColourFound(Exception):
    """A picture has colour although none in the sample had."""


class _Memory:
    """Collects pictures in one array allocated for `capacity` of them."""

    def __init__(self, capacity: int) -> None:
        self._capacity, self._filled = capacity, 0
        self._images = np.empty((0,), np.uint8)

    def append(self, block: NDArray[np.uint8]) -> None:
        """Append (n, H, W, C) pictures."""
        if not self._filled:
            self._images = np.empty((self._capacity, *block.shape[1:]), np.uint8)
        self._images[self._filled : self._filled + len(block)] = block
        self._filled += len(block)

    @property
    def images(self) -> NDArray[np.uint8]:
        return self._images[: self._filled]


def decode(originals: Originals, request: Request, spec: InputSpec | None = None) -> Decoded:
    """Decode pictures for a network, or else as `request` wants; or take them from the cache.

    The size, resizing and channels of `request` count only without a `spec`; what it leaves open too is settled by a
    sample of the pictures. Raises `NothingReadable` if none of them can be read.
    """
    originals = originals if spec is None else originals.read_as(spec.reading)
    if (rows := originals.array) is not None:
        images = refit(rows, spec or _spec_of_rows(rows, request))
        return Decoded(images, (), {})
    try:
        try:
            images, notes = _obtain(originals, request, spec, request.n_channels)
        except _ColourFound:
            images, notes = _obtain(originals, request, spec, 3)
    finally:
        originals.close()
    failures = tuple(Failure(int(position), reason) for position, reason in notes["failures"])
    facts = {position: Facts(*values) for values, positions in notes["facts"] for position in positions}
    return Decoded(images, failures, facts)


def stream(originals: Originals, spec: InputSpec, request: Request) -> Iterator[Block]:
    """Decode pictures for a network, on all cores, and yield them in order without keeping them.

    The memory needed does not grow with their number.
    """
    originals = originals.read_as(spec.reading)
    work = partial(decode_chunk, spec, originals.reading, request.max_pixels, True)
    most = max(1, _BYTES_PER_CHUNK // math.prod(spec.image_shape))
    try:
        with ProgressBar("Reading pictures", len(originals), shown=request.progress) as bar:
            for block in in_chunks(originals, work, partial(_crashed, spec), most):
                require_reached(reason for _, reason in block.failures)
                yield block
                bar.advance(len(block.images) + len(block.failures))
    finally:
        originals.close()


def content_hashes(originals: Originals) -> list[str | None]:
    """Return a hash of the content of each picture, on all cores; None for those that cannot be read."""
    try:
        found = list(chain.from_iterable(in_chunks(originals, _hash_chunk, _no_hash)))
    finally:
        originals.close()
    require_reached(reason for _, reason in found)
    return [content_hash for content_hash, _ in found]


def decode_chunk(
    spec: InputSpec,
    reading: Reading,
    max_pixels: int,
    hashed: bool,
    open_image: Open,
    refs: Sequence[Any],
    first: int,
) -> Block:
    """Decode consecutive pictures, the first of which is at position `first`."""
    images = np.empty((len(refs), *spec.image_shape), np.uint8)
    positions: list[int] = []
    hashes: list[str] = []
    facts: list[Facts] = []
    failures: list[Failure] = []
    any_colour = False
    with pillow_limits(max_pixels):
        for position, open_next in enumerate(opening(open_image, refs), first):
            try:
                found, content_hash = _decoded(open_next(), spec, reading, max_pixels, hashed)
            except Exception as error:  # whatever PIL's plug-ins and zip files raise on damaged data
                failures.append(Failure(position, explain(error)))
                if isinstance(error, Unreachable):  # nor will the others be, and each would be waited for
                    break
                continue
            images[len(positions)] = found.pixels
            positions.append(position)
            facts.append(found.facts)
            any_colour |= found.colour
            if content_hash is not None:
                hashes.append(content_hash)
    places = np.array(positions, np.intp)
    return Block(places, images[: len(positions)], tuple(hashes), tuple(failures), any_colour, tuple(facts))


def _decoded(
    opened: Opened, spec: InputSpec, reading: Reading, max_pixels: int, hashed: bool
) -> tuple[Fitted, str | None]:
    """Return a picture and, if `hashed`, the hash of its content."""
    if isinstance(opened, np.ndarray):
        found = Fitted(to_pixels(to_image(opened), spec), opened.shape[2] == 3, PLAIN)
        return found, hash_content(opened) if hashed else None
    with opened as stream:
        return read_image(stream, spec, max_pixels, reading), hash_content(stream) if hashed else None


def _hash_chunk(open_image: Open, refs: Sequence[Any], first: int) -> list[tuple[str | None, str]]:
    """Return a hash for each picture, or None and the reason why it cannot be read."""
    hashes: list[tuple[str | None, str]] = []
    for open_next in opening(open_image, refs):
        try:
            opened = open_next()
            with nullcontext() if isinstance(opened, np.ndarray) else opened:
                hashes.append((hash_content(opened), ""))
        except Exception as error:  # as in `decode_chunk`
            hashes.append((None, explain(error)))
            if isinstance(error, Unreachable):
                break
    return hashes


def _no_hash(position: int, reason: str) -> list[tuple[str | None, str]]:
    return [(None, reason)]


def _spec_of_rows(rows: NDArray[np.uint8], request: Request) -> InputSpec:
    height, width, channels = rows.shape[1:]
    shape = (height, width) if request.size is None else (request.size, request.size)
    return InputSpec.of_shape((*shape, request.n_channels or channels), request.resize)


def _obtain(
    originals: Originals, request: Request, spec: InputSpec | None, channels: int | None
) -> tuple[NDArray[np.uint8], cache.Notes]:
    def build(writer: cache.Writer) -> cache.Notes:
        return _decode_into(writer, originals, request, spec, channels)

    if request.cache and (key := _key(originals, request, spec, channels)) is not None:
        try:
            return cache.load(key, build)
        except cache.Unavailable as error:
            _log.info("Decoded pictures are kept in memory only: %s", error)
    memory = _Memory(len(originals))
    notes = build(memory)
    return memory.images, notes


def _decode_into(
    writer: cache.Writer, originals: Originals, request: Request, spec: InputSpec | None, channels: int | None
) -> cache.Notes:
    wanted = spec or _settled(originals, request, channels)
    sure = spec is not None or channels is not None
    failures: list[Failure] = []
    told: dict[Facts, list[int]] = {}
    work = partial(decode_chunk, wanted, originals.reading, request.max_pixels, False)
    crashed = partial(_crashed, wanted)
    most = max(1, _BYTES_PER_CHUNK // math.prod(wanted.image_shape))
    with ProgressBar("Reading pictures", len(originals), shown=request.progress) as bar:
        for block in in_chunks(originals, work, crashed, most):
            if block.colour and wanted.channels == 1 and not sure:
                raise _ColourFound
            require_reached(reason for _, reason in block.failures)
            writer.append(block.images)
            failures += block.failures
            for position, facts in zip(block.positions.tolist(), block.facts, strict=True):
                if facts != PLAIN:
                    told.setdefault(facts, []).append(position)
            bar.advance(len(block.images) + len(block.failures))
    if len(failures) == len(originals):
        reasons = summarise_skipped(Skipped("", reason) for _, reason in failures)
        raise NothingReadable(reasons)
    return {"failures": failures, "facts": list(told.items())}


class NothingReadable(Exception):
    """None of the pictures can be read; the message counts the reasons."""


def _settled(originals: Originals, request: Request, channels: int | None) -> InputSpec:
    """Settle the size and the channels that were not given, using the headers of a sample."""
    size = request.size
    if size is None or channels is None:
        headers = _sample_headers(originals, request.max_pixels)
        if size is None:
            shapes = {shape for shape, _ in headers}
            width, height = shapes.pop() if len(shapes) == 1 else (0, 0)
            size = width if 0 < width == height <= LARGEST_NATIVE_SIZE else DEFAULT_SIZE
        if channels is None:
            channels = 3 if any(colour for _, colour in headers) else 1
    return InputSpec(size, channels, request.resize)


def _sample_headers(originals: Originals, max_pixels: int) -> list[tuple[tuple[int, int], bool]]:
    count = len(originals)
    step = max(1, count // SAMPLE)
    spread = chain.from_iterable(range(first, count, step) for first in range(step))
    headers: list[tuple[tuple[int, int], bool]] = []
    with pillow_limits(max_pixels), only_light():
        for position in spread:
            try:
                headers.append(_header(originals, originals.refs[position], max_pixels))
            except (Exception, Heavy) as error:
                require_reached([str(error)] if isinstance(error, Unreachable) else [])
            if len(headers) == SAMPLE:
                break
    return headers


def _header(originals: Originals, ref: Any, max_pixels: int) -> tuple[tuple[int, int], bool]:
    opened = originals.open(ref)
    if isinstance(opened, np.ndarray):
        height, width, channels = opened.shape
        return (width, height), channels == 3
    with opened as file:
        return read_header(file, max_pixels, originals.reading)


def with_ranges(originals: Originals, max_pixels: int) -> Originals:
    """Return the pictures with the range of values of more than eight bits, found in a sample of the set."""
    reading = originals.reading
    if reading.value_range != "set" or not (chosen := _may_be_deep(originals)):
        return originals
    samples: dict[str, list[NDArray[Any]]] = {"integers": [], "floats": []}
    work = partial(_sample_chunk, reading, max_pixels)
    try:
        for found in in_chunks(originals.subset(np.array(chosen, np.intp)), work, _no_samples):
            for kind, sample in found:
                samples[kind].append(sample)
    finally:
        originals.close()
    integers, floats = (range_of_set(each, kind) for kind, each in samples.items())
    return replace(originals, reading=reading.knowing(integers, floats))


def _may_be_deep(originals: Originals) -> list[int]:
    """Return positions, spread over the set, of pictures whose names do not say that they have eight bits."""
    refs: Any = originals.refs
    if originals.array is not None:
        return []
    places: Sequence[int] = range(len(refs))
    if isinstance(refs, list) and refs and isinstance(refs[0], (str, StoredObject)):
        names = (each.url if isinstance(each, StoredObject) else each for each in refs)
        places = [place for place, name in enumerate(names) if not name.lower().endswith(_SHALLOW)]
    if not places:
        return []
    spread = np.unique(np.linspace(0, len(places) - 1, RANGE_SAMPLE).round().astype(int))
    return [places[place] for place in spread.tolist()]


def _sample_chunk(
    reading: Reading, max_pixels: int, open_image: Open, refs: Sequence[Any], first: int
) -> list[tuple[str, NDArray[Any]]]:
    found: list[tuple[str, NDArray[Any]]] = []
    with pillow_limits(max_pixels):
        for ref in refs:
            try:
                opened = open_image(ref)
                assert not isinstance(opened, np.ndarray)
                with opened as stream:
                    sample = sample_values(stream, reading, max_pixels)
            except Exception as error:  # what cannot be read is reported when it is decoded
                if isinstance(error, Unreachable):
                    break
                continue
            found += [] if sample is None else [sample]
    return found


def _no_samples(position: int, reason: str) -> list[tuple[str, NDArray[Any]]]:
    return []


def in_chunks(
    originals: Originals, work: Work[Result], crashed: Callable[[int, str], Result], most: int = _LARGEST_CHUNK
) -> Iterator[Result]:
    """Work on all pictures in order: for a moment in this process alone and, if that was not enough, in others.

    `work(open, refs, first)` is sent to other processes and takes up to `most` pictures, the first of which is at
    position `first`. `crashed(position, reason)` gives the result for a picture whose process died, or had to be killed
    after some seconds.
    """
    start, count, began = 0, len(originals), time.monotonic()
    first, most = min(_FIRST_CHUNK, most), min(_LARGEST_CHUNK, most)
    with suppress(Heavy):  # such a picture can be stopped only in another process
        while start < count and (time.monotonic() - began < _SECONDS_ALONE or cores() == 1):
            stop = start + first
            with only_light():
                result = work(originals.open, originals.refs[start:stop], start)
            yield result
            start = stop
    if start < count:
        chunk = round(start * _SECONDS_PER_CHUNK / (time.monotonic() - began)) or first
        chunks = range(start, count, max(1, min(chunk, most)))
        if (workers := _start_workers(len(chunks))) is None:
            yield from (work(originals.open, originals.refs[i : i + chunks.step], i) for i in chunks)
        else:
            yield from _by_workers(workers, originals, work, crashed, chunks)


def _start_workers(most: int) -> Workers | None:
    """Start up to `most` workers, one for each core; return None if that is impossible."""
    try:
        return Workers(min(cores(), most))
    except OSError as error:
        _log.info("Pictures are decoded in this process only: %s", error)
        return None


def _by_workers(
    workers: Workers, originals: Originals, work: Work[Result], crashed: Callable[[int, str], Result], starts: range
) -> Iterator[Result]:
    # Leaving early ends the workers first, and with them what the threads wait for.
    with ThreadPoolExecutor(len(workers)) as threads, workers:
        pending: deque[Future[list[Result]]] = deque()
        for start in starts:
            stop = start + starts.step
            pending.append(threads.submit(_by_worker, workers, originals, work, crashed, start, stop))
            if len(pending) > 4 * len(workers):  # enough to keep them busy; more would pile up in memory
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()


def _by_worker(
    workers: Workers,
    originals: Originals,
    work: Work[Result],
    crashed: Callable[[int, str], Result],
    start: int,
    stop: int,
) -> list[Result]:
    refs = originals.refs[start:stop]
    try:
        return [workers.run(work, originals.open, refs, start, seconds=originals.max_seconds)]
    except WorkerDied as error:
        if len(refs) == 1:
            slow = originals.remote and isinstance(error, TookTooLong) and error.by_clock
            return [crashed(start, explain(Unreachable(str(error)) if slow else error))]
    positions = range(start, start + len(refs))
    return [_by_worker(workers, originals, work, crashed, each, each + 1)[0] for each in positions]


def _crashed(spec: InputSpec, position: int, reason: str) -> Block:
    failure = Failure(position, reason)
    return Block(np.empty(0, np.intp), np.empty((0, *spec.image_shape), np.uint8), (), (failure,), False, ())


def _key(originals: Originals, request: Request, spec: InputSpec | None, channels: int | None) -> str | None:
    if (identity := originals.identity) is None:
        return None
    wanted: tuple[object, ...] = request.size, request.resize, channels, request.max_pixels
    if spec is not None:
        wanted = spec.image_shape, spec.resize, request.max_pixels
    return hashlib.blake2b(repr((cache.FORMAT, *wanted)).encode() + identity, digest_size=16).hexdigest()
