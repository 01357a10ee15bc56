"""The work on a set of pictures, shard by shard: what is finished is kept, and only the rest is computed.

A shard is a fixed number of consecutive pictures. Which shards there are, and what is in them, does not depend on who
computes them.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from selfsort.data.image_set import ImageSet
from selfsort.errors import UserError
from selfsort.progress import ProgressBar
from selfsort.sharded.folder import FORMAT, FinishedShard, ShardFolder
from selfsort.sharded.tasks import Compute, Task

SHARD_SIZE = 1000
ENGINES = ("local", "ray")


class Part(NamedTuple):
    """The pictures of one shard."""

    number: int
    images: ImageSet


@dataclass
class Worker:
    """Computes shards and writes them; it can be sent to another process, and loads the network with the first."""

    task: Task
    folder: ShardFolder
    _compute: Compute | None = field(default=None, init=False)

    def __call__(self, part: Part) -> FinishedShard:
        """Compute and write one shard; raise `UserError` if that is impossible."""
        self._compute = self._compute or self.task.start()
        return self.folder.write(part.number, self._compute(part.images))


class ShardEngine(Protocol):
    """A module in `selfsort.sharded.engines`."""

    def run(self, worker: Worker, parts: Iterator[Part], count: int, workers: int | None) -> Iterator[FinishedShard]:
        """Have `count` parts computed, by that many processes, and yield what is known of each, in any order."""


class Done(NamedTuple):
    """The result of a job.

    Attributes
    ----------
    images : the pictures that could be read; the others are in `images.skipped`
    counts : (K,) pictures of each cluster; empty for features
    shards : how many there are
    computed : how many of them were computed this time

    """

    images: ImageSet
    counts: NDArray[np.int64]
    shards: int
    computed: int


def run(
    command: str,
    images: ImageSet,
    task: Task,
    out: str,
    *,
    shard_size: int = SHARD_SIZE,
    engine: str = "local",
    workers: int | None = None,
    progress: bool = False,
) -> Done:
    """Compute what is missing in the folder `out`, a path or the URL of a folder in an object store.

    Raises
    ------
    UserError
        If the folder holds something else, no picture can be read, or a shard cannot be computed; finished ones are
        kept, and the same call continues.

    """
    chosen = _engine(engine, workers)
    folder, count = ShardFolder(out), math.ceil(len(images) / shard_size)
    with folder.opened(_manifest(command, images, task, shard_size)):
        known = {shard.number: shard for shard in folder.finished(count)}
        missing = [number for number in range(count) if number not in known]
        parts = (Part(number, _pictures(images, number, shard_size)) for number in missing)
        with ProgressBar("Computing shards", len(images), shown=progress) as bar:
            bar.show(sum(shard.rows + len(shard.failures) for shard in known.values()))
            for shard in chosen.run(Worker(task, folder), parts, len(missing), workers) if missing else ():
                known[shard.number] = shard
                bar.advance(shard.rows + len(shard.failures))
        return _done(folder, images, [known[number] for number in range(count)], shard_size, len(missing))


def _engine(name: str, workers: int | None) -> ShardEngine:
    if name not in ENGINES:
        raise UserError(f"engine={name!r} must be one of {', '.join(ENGINES)}.")
    if name == "local" and workers is not None:
        raise UserError(f"workers={workers} is for engine='ray': this process alone uses all cores.")
    for library, extra in {"pyarrow": "parquet", **({"ray": "ray"} if name == "ray" else {})}.items():
        if find_spec(library) is None:
            raise UserError(f"Shards by engine={name!r} need the library {library!r}: pip install 'selfsort[{extra}]'.")
    return cast(ShardEngine, import_module(f"selfsort.sharded.engines.{name}_engine"))


def _manifest(command: str, images: ImageSet, task: Task, shard_size: int) -> dict[str, Any]:
    stamp = images.stamps_fingerprint() or images.content_fingerprint()
    return {
        "format": FORMAT,
        "command": command,
        "source": images.source,
        "pictures": len(images),
        "stamp": stamp,
        "shard_size": shard_size,
        "task": dict(task.facts()),
    }


def _pictures(images: ImageSet, number: int, shard_size: int) -> ImageSet:
    return images.detached(number * shard_size, min((number + 1) * shard_size, len(images)))


def _done(
    folder: ShardFolder, images: ImageSet, shards: Sequence[FinishedShard], shard_size: int, computed: int
) -> Done:
    failures = [
        (shard.number * shard_size + position, reason) for shard in shards for position, reason in shard.failures
    ]
    if len(failures) == len(images):
        raise UserError(f"No picture in {images.source!r} could be read ({failures[0][1]}); check its files.")
    folder.write_skipped((images.ids[position], reason) for position, reason in failures)
    counts = np.array([shard.counts for shard in shards], np.int64).sum(0)
    return Done(images.without(failures), counts, len(shards), computed)
