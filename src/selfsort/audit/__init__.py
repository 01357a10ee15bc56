"""Find problems in pictures before training: functions of decoded pictures, without torch or pages."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from selfsort.audit.findings import all_findings
from selfsort.audit.folder import read_rejected, write_audit
from selfsort.audit.groups import group
from selfsort.audit.look import Looks, crashed, look, unreadable
from selfsort.audit.result import Audit, DuplicateGroup
from selfsort.clustering.space import centred
from selfsort.data.decoding import in_chunks
from selfsort.data.image_set import ImageSet
from selfsort.data.limits import MAX_PIXELS, MAX_SECONDS
from selfsort.data.listing import Skipped
from selfsort.data.loading import list_images
from selfsort.data.reading import Page, ValueRange
from selfsort.data.unreadable import require_reached
from selfsort.errors import UserError
from selfsort.progress import ProgressBar

__all__ = ["Audit", "DuplicateGroup", "audit", "read_rejected", "write_audit"]


class HasFeatures(Protocol):
    """What `selfsort.embed` returns: features (N, D) and the N ids of the pictures."""

    @property
    def values(self) -> NDArray[np.float32]:
        """Return the features."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Return the ids."""


def audit(
    source: Any,
    *,
    split: str | None = None,
    data_root: str | Path | None = None,
    download: bool = False,
    max_pixels: int = MAX_PIXELS,
    max_seconds: float = MAX_SECONDS,
    classes_from: str | int | None = None,
    value_range: ValueRange | None = None,
    page: Page | None = None,
    channels: Literal[1, 3] | tuple[int, ...] | None = None,
    features: HasFeatures | None = None,
    keep: Iterable[str] = (),
    progress: bool = False,
    random_state: int = 0,
) -> Audit:
    """Look for problems in the pictures of a source, as accepted by `load_images`, at their own size.

    With `features` that `selfsort.embed` computed for the same source, outliers are pictures of other things rather
    than of other colours, and near duplicates are also found if one is mirrored or rotated.
    `keep` names findings that are no reason to leave a picture out: "exact" and "near" duplicates and "blank" pictures.
    Labels are used only to find leaks.

    Raises UserError if the source cannot be read or holds no files; files that cannot be read, have more than
    `max_pixels` pixels or take more than `max_seconds` of processor time are findings.
    """
    rejecting = _rejecting(keep)
    began = time.monotonic()
    where: dict[str, Any] = {"split": split, "data_root": data_root, "download": download}
    where |= {"classes_from": classes_from, "value_range": value_range, "page": page, "channels": channels}
    images = list_images(source, max_pixels=max_pixels, max_seconds=max_seconds, **where)
    looks = _looks(images, max_pixels, progress)
    ids = [images.ids[place] for place in looks.places]
    if features is not None:
        looks = replace(looks, features=_matched(features, ids))
    failures = [Skipped(images.ids[place], reason) for place, reason in looks.failures]
    split_of = images.listing.split if "split" not in images.options else None  # else all are from that split
    splits = ("",) * len(ids) if split_of is None else tuple(map(split_of, ids))
    return Audit(
        images=images,
        unreadable=tuple(sorted([*images.skipped, *failures])),
        looks=looks,
        groups=group(looks, splits, ~looks.blank, random_state),
        found={finding.name: finding.find(looks, random_state) for finding in all_findings()},
        labels=None if images.labels is None else images.labels[looks.places],
        splits=splits,
        rejecting=rejecting,
        seconds=time.monotonic() - began,
    )


def _rejecting(keep: Iterable[str]) -> frozenset[str]:
    """Return the names of the findings that are reasons to leave a picture out."""
    kinds = ("exact", "near", *(finding.name for finding in all_findings() if finding.rejects))
    kept = frozenset(keep)
    if unknown := kept - frozenset(kinds):
        raise UserError(f"keep={min(unknown)!r} is not one of {', '.join(kinds)}.")
    return frozenset(kinds) - kept


def _matched(features: HasFeatures, ids: Sequence[str]) -> NDArray[np.float32]:
    """Return the features (N, D) of the pictures with these (N,) ids, centred and scaled to unit length."""
    rows = {name: row for row, name in enumerate(features.ids)}
    there = [(place, rows[name]) for place, name in enumerate(ids) if name in rows]
    found = np.zeros((len(ids), features.values.shape[1]), np.float32)
    if there:
        places, chosen = np.array(there).T
        found[places] = centred(features.values[chosen])[0]
    return found


def _looks(images: ImageSet, max_pixels: int, progress: bool) -> Looks:
    parts = [unreadable()]
    try:
        with ProgressBar("Reading pictures", len(images), shown=progress) as bar:
            for part in in_chunks(images.originals, partial(look, images.reading, max_pixels), crashed):
                require_reached(reason for _, reason in part.failures)
                parts.append(part)
                bar.advance(len(part) + len(part.failures))
    finally:
        images.originals.close()
    return Looks.joined(parts)
