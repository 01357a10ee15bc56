"""Where the files in a tar lie, found by reading its headers only.

Python's `tarfile` parses each header, but it does not read the tar: it would keep a record of every file in memory,
read names and sparse maps of any declared size, and end at a damaged header as if that were the end.
"""

import tarfile
from collections.abc import Mapping
from typing import BinaryIO, NamedTuple

from selfsort.data.unreadable import Unreadable

_BLOCK = 512  # bytes; a header is one block, and a file is filled up to whole ones
_LONGEST = 1 << 20  # bytes of a long name, or of the extended header of a file
_MOST_PADDING = 1 << 24  # bytes of zeros between two files, or after the last
_NAME, _LINK_NAME = tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK
_RECORDS = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_EXTENSIONS = (_NAME, _LINK_NAME, *_RECORDS, tarfile.XGLTYPE)
_LINKS = (tarfile.SYMTYPE, tarfile.LNKTYPE)
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_WITHOUT_CONTENT = (*_LINKS, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
_MAP_GOES_ON, _MAP_STILL_GOES_ON = 482, 504  # offsets in the first block and in later ones


class TarMember(NamedTuple):
    """A file in a tar: its path, where its content begins, its size in bytes, and why it is not looked at."""

    path: str
    offset: int
    size: int
    why_not: str


class TarHeaders:
    """The headers of a tar of `size` bytes, read one after another.

    Parameters
    ----------
    file : the tar, opened for reading
    size : its length in bytes

    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size, self._at = file, size, 0

    def next_member(self) -> TarMember | None:
        """Return the next file that is not a folder, None after the last.

        Raises `Unreadable` where the tar is damaged or cut off.
        """
        path, records = None, dict[str, bytes]()
        while (info := self._header()) is not None:
            start = self._at
            held = 0 if info.type in _WITHOUT_CONTENT else _whole_number(records.get("size"), info.size)
            if held < 0:
                raise self._damaged("a negative size", start)
            if start + held > self._size:
                raise Unreadable("truncated (get or pack it again)")
            self._at += -(-held // _BLOCK) * _BLOCK
            if info.type in _EXTENSIONS:
                content = self._extension(start, held)
                if info.type == _NAME:
                    path = content.partition(b"\0")[0]
                elif info.type in _RECORDS:
                    records |= self._records(content, start)
            elif info.type == tarfile.DIRTYPE:
                path, records = None, {}
            else:
                stored = records.get("path", path)
                name = info.name if stored is None else stored.decode("utf-8", "surrogateescape")
                return TarMember(name, start, held, _why_not(info, records))
        return None

    def _header(self) -> tarfile.TarInfo | None:
        """Read the next header and what belongs to it; None at the end."""
        block = self._block()
        padding = 0
        while not block.strip(b"\0"):
            padding += _BLOCK
            if self._at >= self._size:
                return None
            if padding > _MOST_PADDING:
                raise self._damaged("zeros instead of files", self._at - padding)
            block = self._block()
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise self._damaged(str(error), self._at - _BLOCK) from error
        goes_on = info.type == tarfile.GNUTYPE_SPARSE and block[_MAP_GOES_ON]
        while goes_on:
            goes_on = self._block()[_MAP_STILL_GOES_ON]
        return info

    def _block(self) -> bytes:
        self._file.seek(self._at)
        block = self._file.read(_BLOCK)
        if len(block) < _BLOCK:
            raise Unreadable("empty" if not self._size else "truncated (get or pack it again)")
        self._at += _BLOCK
        return block

    def _extension(self, start: int, size: int) -> bytes:
        if size > _LONGEST:
            raise self._damaged(f"a header of {size:,} bytes", start)
        self._file.seek(start)
        return self._file.read(size)

    def _records(self, content: bytes, start: int) -> dict[str, bytes]:
        r"""Return the records of an extended header, such as b"16 path=cat.jpg\n"."""
        found = dict[str, bytes]()
        while content.strip(b"\0"):
            digits = content.partition(b" ")[0]
            length = _whole_number(digits, 0)
            if not len(digits) + 1 < length <= len(content):
                raise self._damaged("an unreadable header", start)
            key, _, value = content[len(digits) + 1 : length - 1].partition(b"=")
            found[key.decode("utf-8", "replace")] = value
            content = content[length:]
        return found

    def _damaged(self, what: str, at: int) -> Unreadable:
        return Unreadable(f"damaged ({what} at byte {at:,}; get or pack it again)")


def _whole_number(digits: bytes | None, otherwise: int) -> int:
    return int(digits) if digits is not None and digits.isdigit() and len(digits) < 20 else otherwise


def _why_not(info: tarfile.TarInfo, records: Mapping[str, bytes]) -> str:
    if info.type in _LINKS:
        return "a link in a tar"
    if info.type == tarfile.GNUTYPE_SPARSE or any(key.startswith("GNU.sparse.") for key in records):
        return "a sparse file in a tar"
    return "" if info.type in _FILES else "not a regular file"
