"""JPEG files: their header, read in bounded time, and fast decoding of grey and colour ones."""

from typing import NamedTuple

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from selfsort.data.unreadable import Unreadable

SIGNATURE = b"\xff\xd8\xff"

_MOST_JUNK = 1 << 16  # bytes allowed between two markers of the header
_MOST_SEGMENTS = 4096
_MOST_SCANS = 200  # progressive pictures have about ten; each scan covers all pixels
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_WITHOUT_LENGTH = frozenset([0x00, 0x01, *range(0xD0, 0xD9)])
_PROFILE = b"ICC_PROFILE\0"
_ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"  # followed by one byte: 2 for YCCK


class JpegHead(NamedTuple):
    """What a JPEG file says before its first scan.

    Attributes
    ----------
    size : width and height
    sampling : horizontal and vertical sampling factor of each of its channels
    scans : number of passes of the decoder over the pixels
    adobe : whether Adobe's marker says what four channels mean
    orientation : whether the metadata may hold one
    profile : the colour profile, b"" for none

    """

    size: tuple[int, int]
    sampling: tuple[tuple[int, int], ...]
    scans: int
    adobe: bool
    orientation: bool
    profile: bytes

    @property
    def coefficient_bytes(self) -> int:
        """Return the bytes that the decoder needs besides its output: all coefficients if there are several scans."""
        if self.scans == 1:
            return 0
        most = max(across for across, _ in self.sampling) * max(down for _, down in self.sampling)
        return 2 * self.size[0] * self.size[1] * sum(across * down for across, down in self.sampling) // most


def read_head(data: bytes) -> JpegHead:
    """Read the header of a JPEG file; raise `Unreadable` if it has none within bounds."""
    try:
        return _read_head(data)
    except IndexError:
        raise Unreadable("truncated") from None


def _read_head(data: bytes) -> JpegHead:
    frame, place, adobe, orientation, profile = b"", 2, False, False, list[bytes]()
    for _ in range(_MOST_SEGMENTS):
        if data[place] != 0xFF or data[place + 1] == 0xFF:
            place = _next_marker(data, place)
        marker, body = data[place + 1], place + 4
        if marker in _WITHOUT_LENGTH:
            place += 2
            continue
        end = place + 2 + (data[place + 2] << 8 | data[place + 3])
        if marker == 0xDA:
            return _head(data, frame, body, adobe, orientation, b"".join(each[2:] for each in sorted(profile)))
        if marker == 0xD9 or end < body:
            break
        if marker in _FRAMES:
            frame = data[place + 1 : place + 2] + data[body:end]
        elif marker == 0xEE:
            adobe |= data.startswith(b"Adobe", body)
        elif marker == 0xE1:
            orientation |= data.startswith(b"Exif\0\0", body) or b"tiff:Orientation" in data[body:end]
        elif marker == 0xE2 and data.startswith(_PROFILE, body):
            profile.append(data[body + len(_PROFILE) : end])  # its number, the number of parts, and a part
        place = end
    raise _damaged()


def _next_marker(data: bytes, place: int) -> int:
    """Return where the next marker begins, after junk and fill bytes."""
    start = data.find(b"\xff", place, place + _MOST_JUNK)
    if start < 0:
        raise _damaged() if place + _MOST_JUNK < len(data) else Unreadable("truncated")
    while data[start + 1] == 0xFF:
        start += 1
        if start > place + 2 * _MOST_JUNK:
            raise _damaged()
    return start


def _head(data: bytes, frame: bytes, scan: int, adobe: bool, orientation: bool, profile: bytes) -> JpegHead:
    count = frame[6] if len(frame) > 6 else 0
    size = int.from_bytes(frame[4:6], "big"), int.from_bytes(frame[2:4], "big")
    sampling = tuple((frame[8 + 3 * i] >> 4, frame[8 + 3 * i] & 15) for i in range(count) if 8 + 3 * i < len(frame))
    if not count or len(sampling) < count or 0 in size or any(0 in factors for factors in sampling):
        raise _damaged()
    several = frame[0] in _PROGRESSIVE or data[scan] < count
    scans = data.count(b"\xff\xda", scan) + 1 if several else 1
    if scans > _MOST_SCANS:
        raise Unreadable(f"damaged (it has more than {_MOST_SCANS} scans)")
    return JpegHead(size, sampling, scans, adobe, orientation, profile)


def decode_fast(data: bytes, head: JpegHead, least: tuple[int, int]) -> NDArray[np.uint8] | None:
    """Decode a grey or RGB JPEG to (H, W, 1 or 3), no smaller than the (width, height) `least`; None: PIL has to.

    libjpeg-turbo is fast, and unlike PIL it always notices that data is missing.
    """
    if (colours := {1: "GRAY", 3: "RGB"}.get(len(head.sampling))) is None:
        return None
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, colours, min_width=least[0], min_height=least[1])
        return pixels
    except ValueError as error:
        if "premature end" in str(error).lower():
            raise Unreadable("truncated") from error
        return None


def marked_as_ycck(data: bytes) -> bytes:
    """Return a four-channel JPEG file with Adobe's marker, which says that they are YCCK."""
    return data[:2] + _ADOBE + b"\x02" + data[2:]


def _damaged() -> Unreadable:
    return Unreadable("damaged (its header cannot be read)")
