"""Names as JSON: the names with facts about them, and a list of the pictures."""

import json
from collections.abc import Iterator

import numpy as np

from selfsort.export.named import NamedPictures
from selfsort.tables import utf8_text

NAME, SUFFIX, FILE, MEDIA_TYPE = "json", ".json", "labels.json", "application/json"
NEEDS_PICTURES = False
FORMAT = 1


def chunks(named: NamedPictures) -> Iterator[bytes]:
    """Yield the JSON object; docs/json.md describes it."""
    counts = np.bincount(named.name_of[named.name_of >= 0], minlength=len(named.names)).tolist()
    names = [
        {"name": name, "pictures": count, **named.about.get(name, {})}
        for name, count in zip(named.names, counts, strict=True)
    ]
    rows = [
        {field: float(f"{value:.4g}") if isinstance(value, float) else value for field, value in row._asdict().items()}
        | {"id": utf8_text(row.id)}
        for row in named.rows()
    ]
    yield json.dumps({"format": FORMAT, "names": names, "pictures": rows}, ensure_ascii=False, indent=1).encode()
