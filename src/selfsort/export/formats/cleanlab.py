"""What people said and held-out probabilities, as arrays that cleanlab takes: `find_label_issues(labels, pred_probs)`.

The .npz file has, for the M pictures of which somebody said what they are: `labels` (M,) int64, `pred_probs` (M, K)
float32 by heads that did not learn from the picture's own answer, `ids` (M,) and `names` (K,). It has no pickle.
"""

import io
from collections.abc import Iterator

import numpy as np

from selfsort.errors import UserError
from selfsort.export.named import NamedPictures
from selfsort.tables import utf8_text

NAME, SUFFIX, FILE, MEDIA_TYPE = "cleanlab", ".cleanlab.npz", "labels.cleanlab.npz", "application/zip"
NEEDS_PICTURES = False
NEEDS_CHANCES = True


def chunks(named: NamedPictures) -> Iterator[bytes]:
    """Yield the archive; raise `UserError` if no two names have been said, as then nothing can be judged."""
    said, chances = named.said.said, named.chances
    rows = np.flatnonzero(said >= 0)
    used = np.unique(said[rows])  # cleanlab wants every class to have a label
    if chances is None or len(used) < 2:
        raise UserError("cleanlab needs answers with at least two names: name more groups.")
    shares = chances[np.ix_(rows, used)]
    total = shares.sum(1, keepdims=True)
    shares = np.divide(shares, total, out=np.full_like(shares, 1 / len(used)), where=total > 0)
    arrays = {
        "labels": np.searchsorted(used, said[rows]),
        "pred_probs": shares,
        "ids": np.array([utf8_text(named.ids[row]) for row in rows.tolist()]),
        "names": np.array([named.names[number] for number in used.tolist()]),
    }
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    yield file.getvalue()
