"""Parquet files with pictures in a column of bytes, such as those of a Hugging Face data set."""

import io
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from sys import intern
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from selfsort.data.archives import parts_of
from selfsort.data.class_folders import ClassesFrom
from selfsort.data.listing import Listing
from selfsort.data.request import Request
from selfsort.data.row_groups import forget, opened_table, read_row
from selfsort.data.shards import MOST_PICTURES, Content, Shard, Shards, find, is_named, list_shards
from selfsort.data.unreadable import Unreadable
from selfsort.errors import UserError

ORDER = 34
TAKES = "a .parquet file"

SUFFIXES = (".parquet",)
_PICTURES = ("image", "img", "picture", "photo", "jpg", "png")  # names that say more than being the first column
_LABELS = ("label", "labels", "class", "category", "cls")
_ROWS = 512  # of labels and paths, read at once
_LONGEST_TEXT = 4096


class _Columns(NamedTuple):
    """The columns of a set: of bytes, of paths, and of classes, "" for none; the names of numbered classes."""

    picture: str
    others: tuple[str, ...] = ()
    path: str = ""
    label: str = ""
    names: tuple[str, ...] | None = None

    @property
    def column(self) -> str:
        return self.picture.partition(".")[0]


def claims(given: Any) -> bool:
    """Tell whether this is a Parquet file, a pattern such as "a-{0..9}.parquet", or a folder of such files only."""
    return is_named(given, SUFFIXES)


def list_source(given: Any, request: Request) -> Listing:
    """List the pictures in Parquet files: bytes, or a struct of "bytes" and "path", as `datasets` writes it.

    Their labels are the first column of classes of `datasets`, or else a column called "label" or "class", or else the
    folders of their paths. `classes_from` may name another column.
    """
    return list_found(find(given, SUFFIXES), request)


def list_found(shards: Shards, request: Request) -> Listing:
    """List the pictures in Parquet files that were found."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise UserError(f"{shards.source!r} needs the library 'pyarrow': pip install 'selfsort[parquet]'.") from error
    columns = _columns(shards, request.classes_from)
    by_column = request.classes_from if columns.label != request.classes_from else None
    listing = list_shards(
        shards,
        partial(_read, columns),
        partial(open_row, columns.picture),
        replace(request, classes_from=by_column),
        columns.names,
    )
    if columns.others:
        line = f"pictures: column {columns.column}, not {', '.join(columns.others)}"
        listing = replace(listing, told=(line, *listing.told))
    options = listing.options | request.options("classes_from")
    return replace(listing, options=options, originals=replace(listing.originals, close=forget))


def open_row(column: str, ref: tuple[Shard, int, int]) -> BinaryIO:
    """Read a picture in a row group into memory."""
    shard, group, row = ref
    return io.BytesIO(read_row(shard, column, group, row))


def _columns(shards: Shards, classes_from: ClassesFrom) -> _Columns:
    """Choose the columns by the schema of the first shard that can be read."""
    for shard in shards.files.values():
        with suppress(OSError, Unreadable), opened_table(shard) as table:
            return _chosen(table.schema_arrow, shards.source, classes_from)
    return _Columns("")


def _chosen(schema: Any, source: str, classes_from: ClassesFrom) -> _Columns:
    features = _features(schema)
    leaves = {name: leaf for name in schema.names if (leaf := _leaf(name, schema.field(name).type))}
    if not leaves:
        raise UserError(
            f"{source!r} has no column of pictures (of bytes, or a struct with 'bytes'), only "
            f"{', '.join(schema.names) or 'an empty table'}; name another file."
        )
    marked = [name for name in leaves if features.get(name, {}).get("_type") == "Image"]
    picture, *others = marked or sorted(leaves, key=lambda name: ("." not in leaves[name], name not in _PICTURES))
    label = _label(schema, features, picture, source, classes_from)
    names = features.get(label, {}).get("names")
    is_path = "." in leaves[picture] and schema.field(picture).type.get_field_index("path") >= 0
    return _Columns(
        leaves[picture],
        tuple(others),
        f"{picture}.path" if is_path else "",
        label,
        tuple(map(str, names)) if isinstance(names, list) else None,
    )


def _features(schema: Any) -> dict[str, dict[str, Any]]:
    """Return what `datasets` has noted about columns, by their names."""
    try:
        found = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: each for name, each in found.items() if isinstance(each, dict)}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return {}


def _leaf(name: str, kind: Any) -> str:
    """Return the path of the bytes in a column, "" if it holds none."""
    import pyarrow as pa

    if pa.types.is_struct(kind) and (place := kind.get_field_index("bytes")) >= 0:
        return f"{name}.bytes" if _is_bytes(kind.field(place).type) else ""
    return name if _is_bytes(kind) else ""


def _is_bytes(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _label(
    schema: Any, features: dict[str, dict[str, Any]], picture: str, source: str, classes_from: ClassesFrom
) -> str:
    """Return the column whose values are the classes, "" for none."""
    if classes_from in set(schema.names) - {picture}:
        if not _is_label(schema.field(classes_from).type):
            raise UserError(
                f"The column {classes_from!r} of {source!r} has neither texts nor whole numbers; choose another."
            )
        return str(classes_from)
    if classes_from not in (None, "auto"):
        return ""
    numbered = [name for name in schema.names if features.get(name, {}).get("_type") == "ClassLabel"]
    named = [name for name in _LABELS if name in schema.names]
    return next((name for name in (*numbered, *named) if _is_label(schema.field(name).type)), "")


def _is_label(kind: Any) -> bool:
    import pyarrow as pa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _read(columns: _Columns, shard: Shard) -> Content:
    """Find the rows of a Parquet file, and read the paths and classes of their pictures."""
    with opened_table(shard) as table:
        facts = table.metadata
        if facts.num_rows > MOST_PICTURES:
            raise Unreadable(f"too large (more than {MOST_PICTURES:,} rows; divide it)")
        if columns.column not in table.schema_arrow.names:
            raise Unreadable(f"without a column {columns.column!r} (name it alone)")
        groups = np.array([facts.row_group(group).num_rows for group in range(facts.num_row_groups)], np.int64)
        paths = [_path(text) for text in _values(table, columns.path)]
        classes = [_class(value, columns.names) for value in _values(table, columns.label)]
        count = int(groups.sum())
        if not {len(paths), len(classes)} <= {0, count}:
            raise Unreadable("damaged (its columns have different lengths; get or write it again)")
    starts = np.repeat(np.cumsum(groups) - groups, groups)
    return Content(
        paths or [""] * count,
        [f"{row:05d}" for row in range(count)],
        np.column_stack([np.repeat(np.arange(len(groups)), groups), np.arange(count) - starts]),
        classes,
        f"in column {columns.label}",
    )


def _values(table: Any, column: str) -> Iterator[Any]:
    """Yield the values of a column, None for texts of more than some thousand letters; nothing for no column."""
    if column.partition(".")[0] not in table.schema_arrow.names:
        return
    for batch in table.iter_batches(_ROWS, columns=[column]):
        for value in batch.column(0).to_pylist():
            found = next(iter(value.values())) if isinstance(value, dict) else value
            yield None if isinstance(found, str) and len(found) > _LONGEST_TEXT else found


def _path(text: str | None) -> str:
    """Return a path as an id, "" if it leads out of the set."""
    parts = parts_of(text or "")
    return "" if ".." in parts else "/".join(parts)


def _class(value: str | int | None, names: tuple[str, ...] | None) -> str:
    """Return the name of a class, "" for none."""
    if isinstance(value, int) and names is not None:
        return names[value] if 0 <= value < len(names) else ""
    return "" if value is None else intern(str(value))  # a text for each of a million pictures
