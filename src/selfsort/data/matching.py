"""The labels that one set of pictures has for another: the same pictures, wherever they are stored."""

from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from selfsort.data import decoding
from selfsort.data.image_set import ImageSet
from selfsort.errors import UserError


def labels_for(images: ImageSet, labelled: ImageSet) -> NDArray[np.int64]:
    """Return the labels (N,) that a labelled set has for N pictures, as positions in its `label_names`, -1 for none.

    Pictures are the same if their ids are, or else the content of their files, in whatever folders they lie: class
    folders may hold the pictures of a flat folder. Of equal files with different labels, the one of the same path, or
    else of the same name, counts.

    Raises
    ------
    UserError
        If the labelled set has no labels, or lacks one of the pictures.

    """
    if labelled.labels is None:
        raise UserError(
            f"{labelled.source!r} has no labels: put its pictures into one folder per class, or name other "
            "folders with classes_from=…."
        )
    if labelled.ids == images.ids:
        return labelled.labels
    known: dict[tuple[str, str], int] = {}
    contents = decoding.content_hashes(labelled.originals)
    for name, content, label in zip(labelled.ids, contents, labelled.labels.tolist(), strict=True):
        for identity in _identities(content, name):
            known.setdefault(identity, label)
    found, missing = [], []
    for name, content in zip(images.ids, decoding.content_hashes(images.originals), strict=True):
        label = next((known[identity] for identity in _identities(content, name) if identity in known), None)
        missing += [name] if label is None else []
        found.append(label)
    if missing:
        raise UserError(
            f"{labelled.source!r} lacks {len(missing):,} of the {len(images):,} pictures, such as {missing[0]!r}: give "
            "a source that holds all of them, in whatever folders."
        )
    return np.array(found, np.int64)


def _identities(content: str | None, name: str) -> tuple[tuple[str, str], ...]:
    """Return what identifies a picture, the surest first: its content with its path, with its file's name, or alone."""
    return () if content is None else ((content, name), (content, PurePosixPath(name).name), (content, ""))
