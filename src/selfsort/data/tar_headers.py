"""Where the files in a tar lie, found by reading its headers only.

Python's `tarfile` is not used for that: it would keep a record of every file in memory, read names and sparse maps of
any declared size, and end at a damaged header as if that were the end; and it takes three times as long.
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
_CHECKSUM = slice(148, 156)  # counts as spaces in the sum
_MAP_GOES_ON, _MAP_STILL_GOES_ON = 482, 504  # offsets in the first block and in later ones


class _TarHeader(NamedTuple):
    """What a header says: path, size in bytes and kind."""

    path: bytes
    size: int
    kind: bytes


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
        while (header := self._header()) is not None:
            start = self._at
            held = 0 if header.kind in _WITHOUT_CONTENT else _whole_number(records.get("size"), header.size)
            if held < 0:
                raise self._damaged("a negative size", start)
            if start + held > self._size:
                raise Unreadable("truncated (get or pack it again)")
            self._at += -(-held // _BLOCK) * _BLOCK
            if header.kind in _EXTENSIONS:
                content = self._extension(start, held)
                if header.kind == _NAME:
                    path = content.partition(b"\0")[0]
                elif header.kind in _RECORDS:
                    records |= self._records(content, start)
            elif header.kind == tarfile.DIRTYPE:
                path, records = None, {}
            else:
                name = records.get("path", header.path if path is None else path)
                why_not = _why_not(header.kind, records)
                return TarMember(name.decode("utf-8", "surrogateescape"), start, held, why_not)
        return None

    def _header(self) -> _TarHeader | None:
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
            header = _parsed(block)
        except ValueError as error:
            raise self._damaged("a senseless header", self._at - _BLOCK) from error
        goes_on = header.kind == tarfile.GNUTYPE_SPARSE and block[_MAP_GOES_ON]
        while goes_on:
            goes_on = self._block()[_MAP_STILL_GOES_ON]
        return header

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


def _parsed(block: bytes) -> _TarHeader:
    """Return what a header says; raise `ValueError` if it is none."""
    stored, found = _number(block[_CHECKSUM]), sum(block) - sum(block[_CHECKSUM]) + 8 * ord(" ")
    if stored != found and stored != found - 256 * sum(byte > 127 for byte in block):  # some add signed bytes
        raise ValueError("wrong checksum")
    kind, path = block[156:157], block[:100].partition(b"\0")[0]
    if block.startswith(b"ustar\0", 257) and (folder := block[345:500].partition(b"\0")[0]):
        path = folder + b"/" + path
    if kind == tarfile.AREGTYPE and path.endswith(b"/"):
        kind = tarfile.DIRTYPE
    return _TarHeader(path, _number(block[124:136]), kind)


def _number(stored: bytes) -> int:
    """Return a number of a header: octal digits or, after a byte that says so, binary."""
    if stored[0] in (0o200, 0o377):
        return int.from_bytes(stored[1:], signed=stored[0] == 0o377)
    return int(stored.partition(b"\0")[0].strip() or b"0", 8)


def _why_not(kind: bytes, records: Mapping[str, bytes]) -> str:
    if kind in _LINKS:
        return "a link in a tar"
    if kind == tarfile.GNUTYPE_SPARSE or any(key.startswith("GNU.sparse.") for key in records):
        return "a sparse file in a tar"
    return "" if kind in _FILES else "not a regular file"
