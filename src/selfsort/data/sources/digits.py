"""The handwritten digits that come with scikit-learn: 1,797 grey pictures of 8 x 8 pixels, 0 to 9."""

import numpy as np

from selfsort.data.arrays import refit
from selfsort.data.image_set import ImageSet, numbered
from selfsort.data.request import Request
from selfsort.errors import UserError

# The pictures come writer by writer, so that the last ones are by other writers than the first.
_SPLITS = {"all": slice(None), "train": slice(0, 1437), "test": slice(1437, None)}


def load_digits(request: Request) -> ImageSet:
    """Load the digits.

    `split` is "train" (the first 1,437), "test" (the last 360, by other writers), or "all".

    "all" is the default.
    """
    from sklearn import datasets

    request.refuse("The set 'digits'", "fold")
    split = request.split or "all"
    if split not in _SPLITS:
        raise UserError(f"'digits' has no split {split!r}; it has {', '.join(_SPLITS)}.")
    bundled = datasets.load_digits()
    images = np.rint(bundled.images * (255 / 16)).astype(np.uint8)[:, :, :, None]
    return ImageSet(
        refit(images, request.size, request.resize, request.channels)[_SPLITS[split]],
        numbered("digits", len(images))[_SPLITS[split]],
        bundled.target.astype(np.int64)[_SPLITS[split]],
        tuple(str(name) for name in bundled.target_names),
        source="digits",
        options=request.options("size", "resize", "channels", "split"),
    )
