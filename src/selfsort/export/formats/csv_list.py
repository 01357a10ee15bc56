"""Names as CSV: each picture's current name, what people said and what the model says; text as in `selfsort.tables`."""

from collections.abc import Iterator

from selfsort.export.named import NamedPicture, NamedPictures
from selfsort.tables import table_bytes

NAME, SUFFIX, FILE, MEDIA_TYPE = "csv", ".csv", "labels.csv", "text/csv; charset=utf-8"
NEEDS_PICTURES = False


def chunks(named: NamedPictures, bom: bool = False) -> Iterator[bytes]:
    """Yield the table; Excel needs the `bom` to recognise UTF-8."""
    rows = ([_text(value) for value in row] for row in named.rows())
    yield table_bytes(list(NamedPicture._fields), rows, bom=bom)


def _text(value: str | float | None) -> str | int:
    if isinstance(value, bool | int):
        return int(value)
    return f"{value:.4g}" if isinstance(value, float) else value or ""
