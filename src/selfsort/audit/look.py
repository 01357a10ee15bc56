"""What an audit notes of each picture when it is decoded: about a kilobyte, instead of its pixels."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, BinaryIO, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from selfsort.audit.borders import Borders, find_borders, refine
from selfsort.data.eight_bit import to_image
from selfsort.data.limits import pillow_limits
from selfsort.data.listing import Open, Opened, hash_content
from selfsort.data.object_store import opening
from selfsort.data.pixels import Scaled, read_scaled
from selfsort.data.reading import PLAIN, Facts, Reading
from selfsort.data.unreadable import Unreachable, explain

SIDE = 32  # of a thumbnail
_LAYOUT = 4  # colours along one side of a layout
_SHORTEST = 256  # shorter side to which larger pictures are reduced
_DIGEST = 16
_GREY = np.array([0.299, 0.587, 0.114], np.float32)
_PIXELS_AT_ONCE = 1 << 22
_LARGEST_BLANK_CONTRAST = 2.5  # levels of 255
_COLOURED_SHARE = 0.02  # of a grey picture's pixels that compression may have coloured


@dataclass(frozen=True, eq=False)
class Looks:
    """What is noted of N pictures, in the order of their source.

    Attributes
    ----------
    failures : position and reason of each picture that could not be read
    facts : (N,) what was changed or left out when their files were read
    places : (N,) positions of the readable pictures in the source
    sizes : (N, 2) width and height
    n_bytes : (N,) bytes of their files, or of their pixels if they come from an array
    file_digests, pixel_digests : (N, 16) equal for equal files and for equal pixels; the latter are 0 if not all pixels
        were decoded
    borders : (N, 4) depths of uniform borders at the left, top, right and bottom
    border_colours : (N, 4, 3) colour of each border, or of what would be one
    border_certainty : (N,) from 0 to 1
    thumbnails : (N, 32, 32) grey, squashed to a square
    bordered, inner : (M,) places of the pictures with borders, and (M, 32, 32) their thumbnails without borders
    layouts, inner_layouts : (N, 4, 4, 3) mean colours, and (M, 4, 4, 3) the same without borders
    contrast : (N,) standard deviation of a thumbnail's levels, in the channel where it is largest
    colourfulness : (N,) largest difference between the channels of a thumbnail's pixels, ignoring a few pixels
    features : (N, D) unit-length features of a pre-trained network, 0 where it gave none; None if not computed

    """

    failures: tuple[tuple[int, str], ...]
    facts: tuple[Facts, ...]
    places: NDArray[np.int64]
    sizes: NDArray[np.int32]
    n_bytes: NDArray[np.int64]
    file_digests: NDArray[np.uint8]
    pixel_digests: NDArray[np.uint8]
    borders: NDArray[np.int32]
    border_colours: NDArray[np.uint8]
    border_certainty: NDArray[np.float32]
    thumbnails: NDArray[np.uint8]
    bordered: NDArray[np.int64]
    inner: NDArray[np.uint8]
    layouts: NDArray[np.uint8]
    inner_layouts: NDArray[np.uint8]
    contrast: NDArray[np.float32]
    colourfulness: NDArray[np.uint8]
    features: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.places)

    @property
    def blank(self) -> NDArray[np.bool_]:
        """Tell (N,) which pictures are constant, or nearly."""
        return np.asarray(self.contrast <= _LARGEST_BLANK_CONTRAST, bool)

    def crop_box(self, picture: int) -> tuple[int, int, int, int]:
        """Return (left, top, right, bottom) of the area inside the borders."""
        (left, top, right, bottom), (width, height) = self.borders[picture], self.sizes[picture]
        return int(left), int(top), int(width - right), int(height - bottom)

    def border_colour(self, picture: int) -> str:
        """Return the colour of the deepest border, such as "#000000"."""
        side = int(self.borders[picture].argmax())
        return "#" + bytes(self.border_colours[picture, side]).hex()

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Join what was noted of consecutive pictures."""
        failures, facts = (
            tuple(chain.from_iterable(getattr(part, name) for part in parts)) for name in ("failures", "facts")
        )
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS}
        return cls(failures, facts, **columns)


class _Seen(NamedTuple):
    """A decoded picture."""

    place: int
    scaled: Scaled
    n_bytes: int
    file_digest: bytes
    pixel_digest: bytes


def look(reading: Reading, max_pixels: int, open_image: Open, refs: Sequence[Any], first: int) -> Looks:
    """Look at pictures one after the other; the first one is at position `first` of the source."""
    parts: list[Looks] = []
    seen: list[_Seen] = []
    failures: list[tuple[int, str]] = []
    held = 0
    with pillow_limits(max_pixels):
        for place, open_next in enumerate(opening(open_image, refs), first):
            try:
                seen.append(_see(place, open_next(), reading, max_pixels))
                held += seen[-1].scaled.pixels.size
            except Exception as error:  # whatever PIL's plug-ins and zip files raise on damaged data
                failures.append((place, explain(error)))
                if isinstance(error, Unreachable):  # nor will the others be, and each would be waited for
                    break
            if held > _PIXELS_AT_ONCE:
                parts.append(_noted(seen, reading, open_image, refs, first))
                seen, held = [], 0
        parts.append(_noted(seen, reading, open_image, refs, first))
    return Looks.joined([*parts, unreadable(*failures)])


def crashed(place: int, reason: str) -> Looks:
    """Return what is noted of a picture that made its decoder crash."""
    return unreadable((place, reason))


def unreadable(*failures: tuple[int, str]) -> Looks:
    """Return what is noted of pictures that cannot be read."""
    none = {name: np.zeros((0, *shape), dtype) for name, (shape, dtype) in _COLUMNS.items()}
    return Looks(failures, (), **none)


_COLUMNS: dict[str, tuple[tuple[int, ...], Any]] = {
    "places": ((), np.int64),
    "sizes": ((2,), np.int32),
    "n_bytes": ((), np.int64),
    "file_digests": ((_DIGEST,), np.uint8),
    "pixel_digests": ((_DIGEST,), np.uint8),
    "borders": ((4,), np.int32),
    "border_colours": ((4, 3), np.uint8),
    "border_certainty": ((), np.float32),
    "thumbnails": ((SIDE, SIDE), np.uint8),
    "bordered": ((), np.int64),
    "inner": ((SIDE, SIDE), np.uint8),
    "layouts": ((_LAYOUT, _LAYOUT, 3), np.uint8),
    "inner_layouts": ((_LAYOUT, _LAYOUT, 3), np.uint8),
    "contrast": ((), np.float32),
    "colourfulness": ((), np.uint8),
}


def _see(place: int, opened: Opened, reading: Reading, max_pixels: int) -> _Seen:
    if isinstance(opened, np.ndarray):
        pixels = np.ascontiguousarray(opened)
        digest = _digest(pixels)
        return _Seen(place, Scaled(pixels, pixels.shape[1::-1], PLAIN), pixels.nbytes, digest, digest)
    with opened as stream:
        scaled = read_scaled(stream, _SHORTEST, max_pixels, reading)
        file_digest, n_bytes = bytes.fromhex(hash_content(stream)), stream.tell()
    pixel_digest = _digest(scaled.pixels) if scaled.whole else bytes(_DIGEST)
    return _Seen(place, scaled, n_bytes, file_digest, pixel_digest)


def _digest(pixels: NDArray[np.uint8]) -> bytes:
    shape = repr(pixels.shape[:2]).encode()
    colour = (
        pixels if pixels.shape[2] == 3 else np.repeat(pixels, 3, 2)
    )  # so that grey equals grey, however it is stored
    return hashlib.blake2b(shape + colour.tobytes(), digest_size=_DIGEST).digest()


def _noted(seen: Sequence[_Seen], reading: Reading, open_image: Open, refs: Sequence[Any], first: int) -> Looks:
    if not seen:
        return unreadable()
    borders, border_colours, border_certainty = _borders(seen, reading, open_image, refs, first)
    bordered: list[int] = np.flatnonzero(borders.any(1)).tolist()
    inner = _thumbnails([_without(seen[index].scaled, borders[index]) for index in bordered])
    planes = _thumbnails([each.scaled.pixels for each in seen])  # (n, 3, 32, 32)
    spread = np.maximum.reduce([*planes.swapaxes(0, 1)]) - np.minimum.reduce([*planes.swapaxes(0, 1)])
    spread = spread.reshape(len(seen), -1)
    most = round((1 - _COLOURED_SHARE) * (spread.shape[1] - 1))
    places = np.array([each.place for each in seen])
    return Looks(
        (),
        tuple(each.scaled.facts for each in seen),
        places,
        np.array([each.scaled.size for each in seen], np.int32),
        np.array([each.n_bytes for each in seen]),
        _bytes([each.file_digest for each in seen]),
        _bytes([each.pixel_digest for each in seen]),
        borders,
        border_colours,
        border_certainty,
        _grey(planes),
        places[bordered],
        _grey(inner),
        _layouts(planes),
        _layouts(inner),
        planes.reshape(len(seen), 3, -1).std(2).max(1),
        np.partition(spread, most, 1)[:, most].astype(np.uint8),
    )


def _borders(seen: Sequence[_Seen], reading: Reading, open_image: Open, refs: Sequence[Any], first: int) -> Borders:
    """Return the borders, in pixels of the full-size pictures."""
    depths, colours = np.zeros((len(seen), 4), np.int32), np.zeros((len(seen), 4, 3), np.uint8)
    certainty = np.zeros(len(seen), np.float32)
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for index, each in enumerate(seen):
        by_shape.setdefault(each.scaled.pixels.shape, []).append(index)
    for rows in by_shape.values():
        found = find_borders(np.stack([seen[index].scaled.pixels for index in rows]))
        depths[rows], colours[rows], certainty[rows] = found
    for index in np.flatnonzero(depths.any(1)).tolist():
        if not seen[index].scaled.whole:
            opened = open_image(refs[seen[index].place - first])
            assert not isinstance(opened, np.ndarray)  # arrays are always whole
            depths[index] = _in_full(seen[index].scaled, depths[index], reading, opened)
    return Borders(depths, colours, certainty)


def _in_full(scaled: Scaled, depths: NDArray[np.int32], reading: Reading, opened: BinaryIO) -> NDArray[np.int32]:
    """Find the borders of a reduced picture again at full size."""
    factors = np.array(scaled.size * 2) / np.array(scaled.pixels.shape[1::-1] * 2)
    with opened as stream:
        pixels = read_scaled(stream, max(scaled.size), reading=reading).pixels
    return refine(pixels, np.rint(depths * factors).astype(np.int32), 2 * int(np.ceil(factors.max())))


def _without(scaled: Scaled, borders: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Cut borders, given in pixels of the full-size picture, off its reduced version."""
    height, width = scaled.pixels.shape[:2]
    left, top, right, bottom = np.rint(borders * np.array([width, height] * 2) / np.array(scaled.size * 2)).astype(int)
    return scaled.pixels[top : height - bottom, left : width - right]


def _thumbnails(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Squash pictures (H, W, C) to (n, 3, 32, 32)."""
    planes = np.empty((len(pictures), 3, SIDE, SIDE), np.float32)
    for target, pixels in zip(planes, pictures, strict=True):
        if pixels.shape[:2] != (SIDE, SIDE):
            pixels = np.asarray(to_image(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC)).reshape(SIDE, SIDE, -1)
        target[:] = pixels.transpose(2, 0, 1)
    return planes


def _layouts(planes: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Average the colours of planes (n, 3, 32, 32) to (n, 4, 4, 3)."""
    cells = planes.reshape(len(planes), 3, _LAYOUT, SIDE // _LAYOUT, _LAYOUT, SIDE // _LAYOUT)
    return np.asarray(np.rint(cells.mean((3, 5)).transpose(0, 2, 3, 1)), np.uint8)


def _grey(planes: NDArray[np.float32]) -> NDArray[np.uint8]:
    grey: NDArray[np.float32] = np.einsum("nchw,c->nhw", planes, _GREY)
    return np.rint(grey).astype(np.uint8)


def _bytes(digests: Sequence[bytes]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(digests), np.uint8).reshape(len(digests), _DIGEST)
