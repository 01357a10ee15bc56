"""PNG's checksums of pixels, which Pillow ignores: a flipped bit can turn one valid picture into another."""

import struct
import zlib
from typing import BinaryIO

from selfsort.data.unreadable import Unreadable

_SIGNATURE_BYTES = 8
_PIXELS = (b"IDAT", b"fdAT")
_BLOCK = 1 << 20


def check(stream: BinaryIO) -> None:
    """Raise `Unreadable` if the pixels of a PNG file do not match its checksums; keep the stream's position.

    PNG specification, third edition, section 5.5.
    """
    place = stream.tell()
    try:
        stream.seek(_SIGNATURE_BYTES)
        while len(head := stream.read(8)) == 8:
            length, name = struct.unpack(">I4s", head)
            if name == b"IEND":
                return
            if name in _PIXELS:
                _check_chunk(stream, length, name)
            else:
                stream.seek(length + 4, 1)
    finally:
        stream.seek(place)


def _check_chunk(stream: BinaryIO, length: int, name: bytes) -> None:
    found = zlib.crc32(name)
    while length and (block := stream.read(min(length, _BLOCK))):
        found = zlib.crc32(block, found)
        length -= len(block)
    if stream.read(4) not in (found.to_bytes(4, "big"), b""):  # a missing checksum is reported elsewhere
        raise Unreadable("damaged (the checksum of its pixels is wrong)")
