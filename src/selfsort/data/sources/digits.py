"""The handwritten digits that come with scikit-learn: 1,797 grey pictures of 8 x 8 pixels, 0 to 9."""

from pathlib import Path
from typing import Any

import numpy as np

from selfsort.data.listing import Listing, numbered, of_rows
from selfsort.data.request import Request
from selfsort.errors import UserError

ORDER = 20
NAMES = ("digits",)

# The pictures come writer by writer, so the last ones are by other writers than the first.
_SPLITS = {"all": slice(None), "train": slice(0, 1437), "test": slice(1437, None)}


def claims(given: Any) -> bool:
    """Tell whether this is the name of the digits."""
    return isinstance(given, (str, Path)) and str(given).lower() in NAMES


def list_source(given: Any, request: Request) -> Listing:
    """List the digits.

    `split` is "train" (the first 1,437), "test" (the last 360, by other writers), or "all", the default.
    """
    from sklearn import datasets

    request.refuse("The set 'digits'", "fold", "classes_from")
    split = request.split or "all"
    if split not in _SPLITS:
        raise UserError(f"'digits' has no split {split!r}; it has {', '.join(_SPLITS)}.")
    bundled = datasets.load_digits()
    images = np.rint(bundled.images * (255 / 16)).astype(np.uint8)[:, :, :, None]
    part = _SPLITS[split]
    return Listing(
        "digits",
        numbered("digits", len(images))[part],
        of_rows(images[part]),
        bundled.target.astype(np.int64)[part],
        tuple(str(name) for name in bundled.target_names),
        request.options("split"),
    )
