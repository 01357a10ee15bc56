"""Names as FiftyOne's `FiftyOneImageClassificationDataset`, with the confidence of each.

The format: https://docs.voxel51.com/user_guide/import_datasets.html#fiftyoneimageclassificationdataset. Pictures that
are files are named by their absolute paths, so that nothing has to be copied, others by their ids without the ending.
"""

import json
import os
from collections.abc import Iterator

from selfsort.export.named import NamedPictures
from selfsort.tables import utf8_text

NAME, SUFFIX, FILE, MEDIA_TYPE = "fiftyone", ".fiftyone.json", "labels.fiftyone.json", "application/json"
NEEDS_PICTURES = True


def chunks(named: NamedPictures) -> Iterator[bytes]:
    """Yield the JSON object."""
    files = named.pictures().files
    keys = [os.path.splitext(each)[0] for each in named.ids] if files is None else map(os.path.abspath, files)
    number = {name: place for place, name in enumerate(named.names)}
    labels = {
        utf8_text(key): {
            "label": number[row.name],
            "confidence": None if row.confidence is None else float(f"{row.confidence:.4g}"),
            "attributes": {"given": row.given, "said": row.said, "model": row.model},
        }
        for key, row in zip(keys, named.rows(), strict=True)
        if row.name is not None
    }
    yield json.dumps({"classes": list(named.names), "labels": labels}, ensure_ascii=False, indent=1).encode()
