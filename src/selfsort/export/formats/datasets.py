"""Names and pictures as Parquet, as Hugging Face `datasets` reads it: images, and names as class labels."""

import json
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

from selfsort.errors import UserError
from selfsort.export.named import NamedPictures
from selfsort.export.sink import Sink
from selfsort.export.sort import contents
from selfsort.tables import utf8_text

NAME, SUFFIX, FILE, MEDIA_TYPE = "datasets", ".parquet", "named.parquet", "application/vnd.apache.parquet"
NEEDS_PICTURES = True
_ROWS = 100  # pictures of a row group, which are in memory together, here and in whatever reads the file


def chunks(named: NamedPictures) -> Iterator[bytes]:
    """Yield the file; a picture whose file is missing is null, and so is the label of one without a name."""
    if find_spec("pyarrow") is None:
        raise UserError(
            "Parquet needs the library 'pyarrow': pip install 'selfsort[parquet]', or write another format."
        )
    import pyarrow as pa
    import pyarrow.parquet as pq

    content_of, sink = contents(named.pictures()), Sink()

    def image(place: int) -> dict[str, Any] | None:
        try:
            return {"bytes": content_of(place), "path": utf8_text(named.ids[place])}
        except OSError:
            return None

    schema = _schema(named.names)
    number: dict[str | None, int | None] = {name: place for place, name in enumerate(named.names)} | {None: None}
    found = list(named.rows())
    with pq.ParquetWriter(sink, schema) as writer:
        for start in range(0, len(found), _ROWS):
            rows = [
                {
                    "image": image(place),
                    "label": number[row.name],
                    "id": utf8_text(row.id),
                    "confidence": row.confidence,
                    "given": row.given,
                    "said": number[row.said],
                    "model": number[row.model],
                }
                for place, row in enumerate(found[start : start + _ROWS], start)
            ]
            writer.write_table(pa.Table.from_pylist(rows, schema))
            yield sink.taken()
    yield sink.taken()


def _schema(names: Sequence[str]) -> Any:
    """Return the columns, with the features that `datasets` finds in the metadata."""
    import pyarrow as pa

    label = {"names": list(names), "_type": "ClassLabel"}
    features: dict[str, Any] = {
        "image": {"_type": "Image"},
        "label": label,
        "id": {"dtype": "string", "_type": "Value"},
        "confidence": {"dtype": "float32", "_type": "Value"},
        "given": {"dtype": "bool", "_type": "Value"},
        "said": label,
        "model": label,
    }
    types = {"label": pa.int64(), "said": pa.int64(), "model": pa.int64(), "confidence": pa.float32()}
    types |= {"image": pa.struct({"bytes": pa.binary(), "path": pa.string()}), "id": pa.string(), "given": pa.bool_()}
    told = json.dumps({"info": {"features": features}})
    return pa.schema([(name, types[name]) for name in features], {"huggingface": told})
