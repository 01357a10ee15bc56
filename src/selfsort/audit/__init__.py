"""What is wrong with pictures, before anything is trained on them."""

import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast, get_args

from selfsort.audit.findings import LARGEST_BLANK_CONTRAST, Audit, Group, Kind
from selfsort.audit.folder import read_rejected, write_audit
from selfsort.audit.groups import group
from selfsort.audit.look import Looks, as_it_is, crashed, look, unreadable
from selfsort.audit.outliers import strangeness
from selfsort.data.decoding import Listing, Pictures, in_chunks
from selfsort.data.image_set import ImageSet, Skipped
from selfsort.data.loading import list_pictures
from selfsort.data.pixels import MAX_PIXELS
from selfsort.data.request import Request
from selfsort.data.sources.folder import close_zips, splits_of
from selfsort.errors import UserError
from selfsort.progress import ProgressBar

__all__ = ["Audit", "Group", "Kind", "audit", "read_rejected", "write_audit"]


def audit(
    source: Any,
    *,
    split: str | None = None,
    data_root: str | Path | None = None,
    download: bool = False,
    max_pixels: int = MAX_PIXELS,
    keep: Iterable[str] = (),
    progress: bool = False,
    random_state: int = 0,
) -> Audit:
    """Look for what is wrong with the pictures of a source, as `load_images` takes it, at their own size.

    `keep` names kinds of findings, "exact" and "near" duplicates and "blank" pictures, that are no reason to leave a
    picture out. Labels are looked at to find leaks, and for nothing else.

    Raises UserError when the source cannot be read or holds no files; files that cannot be read are findings.
    """
    kinds: tuple[Kind, ...] = get_args(Kind)
    kept = frozenset(keep)
    if unknown := kept - frozenset(kinds):
        raise UserError(f"keep={min(unknown)!r} is none of {', '.join(kinds)}.")
    began = time.monotonic()
    request = Request(
        split=split, data_root=None if data_root is None else str(data_root), download=download, max_pixels=max_pixels
    )
    listing = _listed(list_pictures(source, request))
    try:
        looks = _looks(listing.pictures, max_pixels, progress)
    finally:
        close_zips()
    ids = [listing.pictures.ids[place] for place in looks.places]
    failures = [Skipped(listing.pictures.ids[place], reason) for place, reason in looks.failures]
    splits = splits_of(ids) if split is None else ("",) * len(ids)
    showing = looks.contrast > LARGEST_BLANK_CONTRAST
    return Audit(
        source=listing.pictures.source,
        pictures=listing.pictures,
        unreadable=tuple(sorted([*listing.unlisted, *failures])),
        looks=looks,
        groups=group(looks, splits, showing, random_state),
        strangeness=strangeness(looks, showing, random_state),
        labels=None if listing.labels is None else listing.labels[looks.places],
        label_names=listing.label_names,
        splits=splits,
        rejecting=frozenset(kind for kind in kinds if kind not in kept),
        seconds=time.monotonic() - began,
    )


def _listed(found: Listing | ImageSet) -> Listing:
    """Make pictures that are arrays already look like such that are to be decoded."""
    if isinstance(found, Listing):
        return found
    pictures = Pictures(found.source, found.ids, cast(Sequence[Any], found.images), as_it_is, b"")
    return Listing(pictures, found.skipped, found.labels, found.label_names)


def _looks(pictures: Pictures, max_pixels: int, progress: bool) -> Looks:
    parts = [unreadable()]
    with ProgressBar("Reading pictures", len(pictures.ids), shown=progress) as bar:
        for part in in_chunks(pictures, partial(look, max_pixels), crashed):
            parts.append(part)
            bar.advance(len(part) + len(part.failures))
    return Looks.joined(parts)
