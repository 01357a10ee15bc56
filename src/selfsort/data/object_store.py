"""Files in object stores, named by URLs such as "s3://bucket/folder", through fsspec.

fsspec finds credentials and addresses where the store's other programs do, and repeats requests that failed.
"""

import io
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from textwrap import shorten
from typing import Any, BinaryIO, NamedTuple

from selfsort.data.limits import MAX_BYTES, too_many_bytes
from selfsort.data.listing import Open, Opened
from selfsort.data.unreadable import Unreachable, Unreadable
from selfsort.errors import UserError

_URL = re.compile(r"[a-z][a-z0-9+.-]+://")
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
_VERSIONS = ("ETag", "etag", "md5Hash", "generation", "LastModified", "last_modified", "mtime", "created")
_AT_ONCE = 8  # objects that a process fetches at the same time: most of the time is spent waiting
_READ_AHEAD = 1 << 20  # bytes of a large object that are read at once
_LONGEST_REASON = 200


class StoredObject(NamedTuple):
    """An object in a store: its URL, its size in bytes, -1 if unknown, and a text that changes with its content."""

    url: str
    size: int
    version: str


def is_url(given: Any) -> bool:
    """Tell whether this is the text of a URL."""
    return isinstance(given, str) and _URL.match(given) is not None


def objects_below(url: str) -> tuple[str, list[StoredObject]]:
    """Return a URL as the store spells it, and all objects below it, or the one of this URL, in order.

    Raises `UserError` if the store or its library is not there.
    """
    with _listing(url):
        system, path = _system(url)
        found = system.find(path, detail=True)
        # Some programs create an empty object "folder/" for each folder.
        full = {system.unstrip_protocol(name): facts for name, facts in found.items() if not name.endswith("/")}
        return system.unstrip_protocol(path), [_stored(name, full[name]) for name in sorted(full)]


def facts_of(url: str) -> StoredObject:
    """Return one object; raise `UserError` if it is not there."""
    with _listing(url):
        system, path = _system(url)
        return _stored(url, system.info(path))


def open_object(ref: StoredObject) -> BinaryIO:
    """Read an object into memory, up to the size of the largest picture.

    Raises `Unreachable` if the store does not answer.
    """
    if ref.size > MAX_BYTES:
        raise too_many_bytes()
    if ref.size == 0:  # a store refuses to send a range of nothing
        return io.BytesIO()
    with _reaching(ref.url):
        system, path = _system(ref.url)
        data = system.cat_file(path, start=0, end=(MAX_BYTES if ref.size < 0 else ref.size) + 1)
    if ref.size < 0 and len(data) > MAX_BYTES:
        raise too_many_bytes()
    if 0 <= ref.size != len(data):
        raise Unreadable("changed since it was listed (start again)")
    return io.BytesIO(data)


def opening(open_picture: Open, refs: Sequence[Any]) -> Iterator[Callable[[], Opened]]:
    """Yield, for each of `refs`, a function that opens it; objects are fetched while earlier ones are being used."""
    if open_picture is not open_object:
        yield from (partial(open_picture, ref) for ref in refs)
        return
    threads = ThreadPoolExecutor(_AT_ONCE)
    try:
        waiting: deque[Future[Opened]] = deque()
        for ref in refs:
            waiting.append(threads.submit(open_picture, ref))
            if len(waiting) > _AT_ONCE:
                yield waiting.popleft().result
        while waiting:
            yield waiting.popleft().result
    finally:
        threads.shutdown(cancel_futures=True)


def write(url: str, data: bytes) -> None:
    """Write an object, which appears when all of it is there; raise `UserError` if that is impossible."""
    try:
        system, path = _system(url)
        system.pipe_file(path, data)
    except Exception as error:  # as in `_listing`
        raise UserError(
            f"Cannot write {url!r} ({_first_line(error)}); check your credentials and the network."
        ) from error


class StoredFile(io.RawIOBase):
    """A large object opened for reading from any place, of which a piece of 1 MiB is in memory.

    Raises `Unreadable` if the object is no longer the one that was listed, and `Unreachable`.
    """

    def __init__(self, ref: StoredObject) -> None:
        self._url = ref.url
        with _reaching(ref.url):
            system, path = _system(ref.url)
            self._file = system.open(path, "rb", block_size=_READ_AHEAD, cache_type="readahead")
            facts = getattr(self._file, "details", None) or system.info(path)
        if _stored(ref.url, facts) != ref:
            raise Unreadable("its shard has changed since it was listed (start again)")

    def readable(self) -> bool:
        """Tell that the object can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that it can be read from any place."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; nothing is read yet."""
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        """Return the place."""
        return int(self._file.tell())

    def read(self, size: int = -1) -> bytes:
        """Read at most `size` bytes."""
        with _reaching(self._url):
            return bytes(self._file.read(size))

    def close(self) -> None:
        """Forget what was read."""
        with suppress(Exception):
            self._file.close()
        super().close()


_lock = threading.Lock()  # any thread may open a picture, and reading one moves the place in the file
_kept: tuple[StoredObject, StoredFile] | None = None


def read_part(ref: StoredObject, offset: int, size: int) -> bytes:
    """Read a part of a large object, which is kept open for the next one; raise as `StoredFile` does."""
    global _kept
    with _lock:
        if _kept is None or _kept[0] != ref:
            _forget()
            _kept = ref, StoredFile(ref)
        _kept[1].seek(offset)
        return _kept[1].read(size)


def forget() -> None:
    """Close the object that is kept open."""
    with _lock:
        _forget()


def _forget() -> None:
    global _kept
    if _kept is not None:
        _kept[1].close()
    _kept = None


def _system(url: str) -> tuple[Any, str]:
    """Return fsspec's file system of a URL, one for each process, and the path in it."""
    from fsspec.core import url_to_fs

    # A kept listing would be out of date as soon as another program writes.
    system, path = url_to_fs(url, use_listings_cache=False)
    return system, path


def _stored(url: str, facts: dict[str, Any]) -> StoredObject:
    size = facts.get("size")
    version = next((f"{name} {facts[name]}" for name in _VERSIONS if facts.get(name)), "")
    return StoredObject(url, -1 if size is None else int(size), version)


@contextmanager
def _listing(url: str) -> Iterator[None]:
    """Turn what goes wrong into a sentence for the user."""
    try:
        yield
    except ImportError as error:
        kind = url.partition("://")[0].lower()
        way = f"pip install 'selfsort[{_EXTRAS.get(kind, 's3')}]'" if kind in _EXTRAS else _first_line(error)
        raise UserError(f"{url!r} needs another library: {way}.") from error
    except Exception as error:  # of fsspec, of the store's library, of the network
        raise UserError(
            f"{url!r} cannot be listed ({_first_line(error)}); check its name, your credentials and the network."
        ) from error


@contextmanager
def _reaching(url: str) -> Iterator[None]:
    """Tell an object that is gone or changed from a store that does not answer, which says nothing about it."""
    try:
        yield
    except FileNotFoundError as error:
        raise Unreadable("gone since it was listed (start again)") from error
    except Exception as error:
        if type(error).__name__ == "FileExpired":  # s3fs's own error
            raise Unreadable("changed since it was listed (start again)") from error
        raise Unreachable(f"{url}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return shorten(text.strip() or type(error).__name__, _LONGEST_REASON, placeholder=" …").rstrip(".")
