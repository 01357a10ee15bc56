"""Shards computed one after the other in this process, with pictures decoded on all cores."""

from collections.abc import Iterator

from selfsort.sharded.folder import FinishedShard
from selfsort.sharded.job import Part, Worker


def run(worker: Worker, parts: Iterator[Part], count: int, workers: int | None) -> Iterator[FinishedShard]:
    """Compute the parts and yield what is known of each."""
    yield from map(worker, parts)
