"""GIF files: how many frames they hold, without decoding any."""

from typing import BinaryIO

_LARGEST_SEARCH = 1 << 22  # bytes searched for more frames
_IMAGE, _EXTENSION = b",", b"!"


def count_frames(stream: BinaryIO) -> int:
    """Count the frames in the first megabytes of a GIF file."""
    stream.seek(0)
    head = stream.read(13)
    _skip_colours(stream, head[10:11])
    frames = 0
    while stream.tell() < _LARGEST_SEARCH:
        kind = stream.read(1)
        if kind == _IMAGE:
            frames += 1
            _skip_colours(stream, stream.read(9)[8:])
            stream.seek(1, 1)  # the minimum code size
        elif kind == _EXTENSION:
            stream.seek(1, 1)
        else:
            break
        while size := stream.read(1)[:1].strip(b"\0"):
            stream.seek(size[0], 1)
    return max(1, frames)


def _skip_colours(stream: BinaryIO, flags: bytes) -> None:
    """Skip a colour table, if the flags say that there is one."""
    if flags and flags[0] & 0x80:
        stream.seek(3 << (1 + (flags[0] & 7)), 1)
