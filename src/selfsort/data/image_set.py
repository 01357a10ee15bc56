"""A set of pictures: their ids, their labels kept apart, the originals, and pixels made of them for a network."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selfsort.data import decoding
from selfsort.data.account import FileAccount, account_of
from selfsort.data.arrays import to_uint8_images
from selfsort.data.eight_bit import to_image
from selfsort.data.input_spec import InputSpec
from selfsort.data.limits import pillow_limits
from selfsort.data.listing import (
    Listing,
    Open,
    Originals,
    Skipped,
    hash_content,
    is_images,
    list_images_of_pillow,
    numbered,
    of_rows,
    open_file,
    positions_without,
)
from selfsort.data.pixels import read_whole, reduced
from selfsort.data.reading import ALONE, PLAIN, Facts, Reading
from selfsort.data.request import Request
from selfsort.data.standby import within_limits
from selfsort.data.unreadable import explain
from selfsort.data.workers import WorkerDied
from selfsort.errors import UserError
from selfsort.spelling import counted

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from PIL.Image import Image

_HASH_BLOCK_BYTES = 1 << 24
CONTENT = "content:"  # prefix of a fingerprint that does not depend on a size


class ImageSet:
    """N pictures with their ids and, kept apart, the labels that only evaluation reads.

    A picture has two forms. `open(i)` returns the original: the file, the member of a zip, the row of an array or of a
    data set. `images`, `pixels(spec)` and `blocks(spec)` return pixels made of it for a network.

    `load_images` decodes the pictures at once; `list_images` only lists them, and they are decoded when pixels are
    needed. A set never changes: methods return new ones.

    Parameters
    ----------
    images : (N, H, W, C) `uint8` with C 1 (grey) or 3 (RGB), an array or a read-only memory map
    ids : N names; for a folder the paths relative to it, with "/" on every system and surrogate escapes for bytes that
        are not UTF-8
    labels : (N,), -1 for no label, or None
    label_names : the names of the labels
    source, options : `load_images(source, **options)` loads the same set again
    files : the pictures' files, if each is one
    skipped : what could not be read

    Raises
    ------
    UserError
        If the parts do not fit together.

    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        ids: Sequence[str],
        labels: NDArray[np.int64] | None = None,
        label_names: Sequence[str] = (),
        source: str = "array",
        options: dict[str, Any] | None = None,
        files: Sequence[Path] | None = None,
        skipped: Sequence[Skipped] = (),
    ) -> None:
        originals = of_rows(images) if files is None else Originals([str(path) for path in files], open_file)
        names, known = tuple(label_names), dict(options or {})
        self._listing = Listing(source, tuple(ids), originals, labels, names, known, tuple(skipped))
        self._request = Request()
        self._pixels: NDArray[np.uint8] | None = images
        self._check(images)

    @classmethod
    def listed(cls, listing: Listing, request: Request, images: NDArray[np.uint8] | None = None) -> ImageSet:
        """Return the pictures of a source; they count as decoded only if `images` (N, H, W, C) are given."""
        found = cls.__new__(cls)
        found._listing, found._request, found._pixels = listing, request, images
        return found

    def _check(self, images: NDArray[np.uint8]) -> None:
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
            raise UserError(
                f"An ImageSet holds uint8 pictures of shape (N, H, W, 1 or 3), not {images.dtype} of shape "
                f"{images.shape}; as_image_set(array) converts."
            )
        for name, values in (("ids", self.ids), ("labels", self.labels), ("files", self.originals)):
            if values is not None and len(values) != len(images):
                raise UserError(f"An ImageSet of {len(images)} pictures needs as many {name}, not {len(values)}.")

    def __len__(self) -> int:
        return len(self._listing.ids)

    def __repr__(self) -> str:
        labels = f", {len(self.label_names)} labels" if self.labels is not None else ""
        shape = f", {' x '.join(map(str, self.image_shape))}" if self.is_decoded else ""
        return f"<ImageSet of {counted(len(self), 'picture')}{shape}{labels} from {self.source!r}>"

    @property
    def listing(self) -> Listing:
        """Return what the source listed."""
        return self._listing

    @property
    def ids(self) -> tuple[str, ...]:
        """Return the (N,) ids."""
        return self._listing.ids

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """Return the (N,) labels, -1 for no label; None if no picture has one."""
        return self._listing.labels

    @property
    def label_names(self) -> tuple[str, ...]:
        """Return the names of the labels."""
        return self._listing.label_names

    @property
    def source(self) -> str:
        """Return the source from which `load_images` lists these pictures."""
        return self._listing.source

    @property
    def options(self) -> dict[str, Any]:
        """Return the keyword arguments with which `load_images(source, …)` loads the same set again."""
        return self._listing.options

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """Return what could not be read."""
        return self._listing.skipped

    @property
    def facts(self) -> Mapping[str, Facts]:
        """Return, by id, what was changed or left out of the files of decoded pictures; if anything was."""
        return self._listing.facts

    @property
    def told(self) -> tuple[str, ...]:
        """Return what was taken as splits and classes, one line each, such as "classes: cat, dog below data/"."""
        return self._listing.told

    def account(self) -> list[FileAccount]:
        """Return what became of every file or picture of the source: its id, "used", "changed" or "left out", and why.

        Changes are known only of decoded pictures; of others the account says what their paths tell.
        """
        return account_of(self._listing)

    @property
    def reading(self) -> Reading:
        """Return how the pictures are read if they hold more than 8-bit grey or RGB."""
        return self.originals.reading

    # Originals

    @property
    def originals(self) -> Originals:
        """Return what opens the pictures, for `decoding.in_chunks`."""
        return self._listing.originals

    @property
    def files(self) -> tuple[Path, ...] | None:
        """Return the files of the pictures, or None unless each picture has its own."""
        return tuple(map(Path, self.originals.refs)) if self.originals.open is open_file else None

    def open(self, i: int, longest: int | None = None) -> Image:
        """Return the original of a picture: upright, 8-bit grey ("L") or "RGB", uncut.

        `longest` reduces it until no side has more pixels than that, which for a JPEG file is much faster than decoding
        it whole. Any thread may call this.

        Raises `UserError` if it cannot be read (any more), or if a large one takes more than `max_seconds`.
        """
        originals, max_pixels = self.originals, self._request.max_pixels
        how = originals.open, originals.refs[i], longest, max_pixels, self.reading
        try:
            found = within_limits(_opened, *how, seconds=originals.max_seconds)
        except WorkerDied as error:
            found = explain(error)
        if isinstance(found, str):
            raise UserError(f"The picture {self.ids[i]!r} of {self.source!r} cannot be read: {found}.")
        return found

    def stamp(self, i: int) -> str:
        """Return a text that changes when a picture does, without reading the picture if possible.

        For a file it is its path within the source, its size and time of change, for a member of a zip its size and
        checksum; for rows of arrays and tables it is `content_hash(i)`.
        """
        stamps = self.originals.stamps
        return self.content_hash(i) if stamps is None else stamps[i]

    def content_hash(self, i: int) -> str:
        """Return the hexadecimal hash of a picture's encoded bytes, or of the shape and pixels of an array row.

        `blocks` returns the same hashes with the pixels. Raises `UserError` if the picture cannot be read.
        """
        try:
            opened = self.originals.open(self.originals.refs[i])
            with nullcontext() if isinstance(opened, np.ndarray) else opened:
                return hash_content(opened)
        except Exception as error:  # as in `open`
            reason = explain(error)
            raise UserError(f"The picture {self.ids[i]!r} of {self.source!r} cannot be read: {reason}.") from error

    # Pixels for a network

    @property
    def images(self) -> NDArray[np.uint8]:
        """Return the pixels (N, H, W, C) at the set's own size, decoding them first if the pictures were only listed.

        Raises `UserError` if one of the pictures cannot be read; `decoded` leaves such pictures out.
        """
        if self._pixels is None:
            found = self._decode(None)
            self._require_all(found.failures)
            self._pixels = found.images
        return self._pixels

    @property
    def is_decoded(self) -> bool:
        """Tell whether `images` are available without decoding anything."""
        return self._pixels is not None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Return the (height, width, channels) of `images`."""
        height, width, channels = self.images.shape[1:]
        return height, width, channels

    @property
    def input_spec(self) -> InputSpec:
        """Return the input of a network that takes `images` as they are."""
        return InputSpec.of_shape(self.image_shape, self.options.get("resize", "crop"), self.reading)

    def pixels(self, spec: InputSpec) -> NDArray[np.uint8]:
        """Return the pixels (N, height, width, channels) for a network, made of the originals.

        They are not normalised. Files and rows of tables are cached and returned as a read-only memory map.

        Raises `UserError` if one of the pictures cannot be read; see `without` and `decoded`.
        """
        if self._is_at(spec):
            return self.images
        found = self._decode(spec)
        self._require_all(found.failures)
        return found.images

    def blocks(self, spec: InputSpec) -> Iterator[decoding.Block]:
        """Decode the pictures for a network, on all cores, and yield them in order without keeping them.

        A block has `positions` (n,) in this set, `images` (n, height, width, channels) as `uint8`, not normalised,
        `content_hashes` (n,) as from `content_hash`, and `failures`: the position of each picture in its range that
        cannot be read, and the reason. Memory does not grow with the number of pictures. Nothing is cached.

        >>> digits = as_image_set(np.zeros((3, 8, 8), np.uint8))
        >>> [block.images.shape for block in digits.blocks(InputSpec(224, 3))]
        [(3, 224, 224, 3)]
        """
        return decoding.stream(self.originals, spec, self._request)

    def decoded(self, spec: InputSpec | None = None) -> ImageSet:
        """Return the pictures that can be read, with pixels at the size that `spec` wants, by default at their own.

        What cannot be read is in `skipped`. Raises `UserError` if none can be read.
        """
        if self._pixels is not None and (spec is None or self._is_at(spec)):
            return self
        return self._decoded_to(self._decode(spec), spec)

    def _decoded_to(self, found: decoding.Decoded, spec: InputSpec | None) -> ImageSet:
        facts = {self.ids[position]: facts for position, facts in found.facts.items()}
        listing = replace(self._listing.without(found.failures), facts=facts)
        if spec is not None:
            listing = replace(listing, originals=listing.originals.read_as(spec.reading))
        as_listed = spec is None and self.originals.array is not None  # then the options say everything
        if not as_listed and found.images is not self.originals.array:
            height, _, channels = found.images.shape[1:]
            resize = self._request.resize if spec is None else spec.resize
            listing = listing.sized(height, channels, resize)
        return ImageSet.listed(listing, self._request, found.images)

    def fitted(self, spec: InputSpec) -> ImageSet:
        """Return the same pictures, all of them, with the pixels that a network takes.

        Raises `UserError` if one of them cannot be read.
        """
        if self._is_at(spec):
            return self
        found = self._decode(spec)
        self._require_all(found.failures)
        return self._decoded_to(found, spec)

    def _is_at(self, spec: InputSpec) -> bool:
        """Tell whether `images` are what a network takes."""
        if self._pixels is None or self._pixels.shape[1:] != spec.image_shape:
            return False
        rows = self.originals.array
        if rows is None and self.reading.over(spec.reading) != self.reading:
            return False
        same_shape = rows is not None and rows.shape[1:3] == spec.image_shape[:2]
        return same_shape or self.options.get("resize", "crop") == spec.resize

    def _decode(self, spec: InputSpec | None) -> decoding.Decoded:
        try:
            return decoding.decode(self.originals, self._request, spec)
        except decoding.NothingReadable as error:
            raise UserError(
                f"No picture in {self.source!r} could be read ({error}); check the folder or its files."
            ) from error

    def _require_all(self, failures: Sequence[decoding.Failure]) -> None:
        if failures:
            first = failures[0]
            raise UserError(
                f"{len(failures)} of the pictures of {self.source!r} cannot be read, such as "
                f"{self.ids[first.position]!r} ({first.reason}); leave them out with images.decoded()."
            )

    # Parts

    def subset(self, indices: ArrayLike) -> ImageSet:
        """Return the pictures at `indices`, integers in any order or a mask of length N.

        `source` and `options` stay those of the whole set.
        """
        chosen = np.arange(len(self))[np.asarray(indices, dtype=None if np.size(indices) else np.intp)]
        return ImageSet.listed(self._listing.subset(chosen), self._request, self._pixels_at(chosen))

    def detached(self, start: int, stop: int) -> ImageSet:
        """Return consecutive pictures by themselves, to be sent to another process: without labels, and not cached."""
        pixels = None if self._pixels is None else self._pixels[start:stop]
        originals = replace(self.originals, refs=self.originals.refs[start:stop], key=None, stamps=None)
        listing = Listing(self.source, self.ids[start:stop], originals, options=self.options)
        return ImageSet.listed(listing, replace(self._request, cache=False, progress=False, exclude=()), pixels)

    def without(self, failures: Sequence[tuple[int, str]]) -> ImageSet:
        """Return the pictures except those at the positions of `failures`, whose reasons are added to `skipped`."""
        kept = positions_without(len(self), failures)
        return ImageSet.listed(self._listing.without(failures), self._request, self._pixels_at(kept))

    def noted(self, facts: Mapping[int, Facts]) -> ImageSet:
        """Return the same pictures with facts, by position, found by someone else who decoded them."""
        known = {self.ids[position]: each for position, each in facts.items() if each != PLAIN}
        return ImageSet.listed(replace(self._listing, facts=known), self._request, self._pixels)

    def unlabelled(self) -> ImageSet:
        """Return the same pictures without their labels."""
        listing = replace(self._listing, labels=None, label_names=(), label=None)
        return ImageSet.listed(listing, self._request, self._pixels)

    def _pixels_at(self, positions: NDArray[np.intp]) -> NDArray[np.uint8] | None:
        if self._pixels is None or np.array_equal(positions, np.arange(len(self))):
            return self._pixels
        return self._pixels[positions]

    # Fingerprints

    def fingerprint(self) -> str:
        """Return a hexadecimal hash of the pictures' shape, pixels and ids; labels have no influence."""
        digest = hashlib.blake2b(repr(self.images.shape).encode(), digest_size=16)
        rows = max(1, _HASH_BLOCK_BYTES // max(1, int(np.prod(self.image_shape))))
        with ThreadPoolExecutor() as pool:  # hashing releases the interpreter's lock
            for block in pool.map(lambda start: _hash(self.images[start : start + rows]), range(0, len(self), rows)):
                digest.update(block)
        return self._with_ids(digest)

    def content_fingerprint(self) -> str:
        """Return a hexadecimal hash of the pictures' content and ids, without decoding any.

        It begins with "content:" and differs from `fingerprint`, which depends on the size of the pixels.
        """
        digest = hashlib.blake2b(digest_size=16)
        for each in decoding.content_hashes(self.originals):
            digest.update((each or "unreadable").encode() + b"\0")
        return CONTENT + self._with_ids(digest)

    def stamps_fingerprint(self) -> str | None:
        """Return a hexadecimal hash of the pictures' stamps and ids, without reading any; None if there are no stamps.

        While it stays the same, so does `content_fingerprint`; see `stamp`.
        """
        if self.originals.stamps is None:
            return None
        digest = hashlib.blake2b(digest_size=16)
        for each in self.originals.stamps:
            digest.update(each.encode("utf-8", "surrogateescape") + b"\0")
        return self._with_ids(digest)

    def _with_ids(self, digest: hashlib.blake2b) -> str:
        for name in self.ids:
            digest.update(name.encode("utf-8", "surrogateescape") + b"\0")
        return digest.hexdigest()


def _opened(open_image: Open, ref: Any, longest: int | None, max_pixels: int, reading: Reading) -> Image | str:
    """Return an original picture, or the reason why it cannot be read."""
    try:
        with pillow_limits(max_pixels):
            opened = open_image(ref)
            if isinstance(opened, np.ndarray):
                return reduced(to_image(opened), longest)
            with opened as stream:
                return read_whole(stream, longest, max_pixels, reading)
    except Exception as error:  # whatever PIL's plug-ins and zip files raise on damaged data
        return explain(error)


def _hash(images: NDArray[np.uint8]) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(images).data).digest()


def as_image_set(images: ImageSet | ArrayLike | Any, reading: Reading | None = None) -> ImageSet:
    """Return `images` as an `ImageSet`, without a copy of `uint8` arrays that already have the right layout.

    An `ImageSet` is returned unchanged. Arrays are (N, H, W), (N, H, W, C) with C 1, 3 or 4 (alpha, put on white), or
    (N, C, H, W) with C 1 or 3; torch tensors (N, H, W) or (N, C, H, W) with C 1, 3 or 4. Values are `uint8`, `bool`, or
    other numbers, whose range is found as in `selfsort.data.values`, unless `reading` has it. A list of PIL images is
    treated like a folder of them.

    Raises `UserError` for any other shape or type, NaN and infinity.

    >>> as_image_set(np.zeros((5, 8, 8))).image_shape
    (8, 8, 1)
    """
    if isinstance(images, ImageSet):
        return images
    if is_images(images):
        request = Request()
        listing = list_images_of_pillow(images)
        originals = decoding.with_ranges(listing.originals, request.max_pixels).read_as(reading)
        return ImageSet.listed(replace(listing, originals=originals), request)
    pixels, read = to_uint8_images(images, "The array", ALONE.over(reading))
    return ImageSet.listed(Listing("array", numbered("array", len(pixels)), of_rows(pixels, read)), Request(), pixels)
