"""Lines of the store: each is checked against its digest and its declared types when it is read."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from selfsort.labelling.core.answers import Event, Group, GroupKind
from selfsort.schema import Invalid, checked, parsed

LineKind = Literal["answer", "check", "second", "opinion", "groups", "refine", "about", "redo", "undo"]

LOG = "seq, key, client, kind, content, undoes, digest"
GROUPS = "id, kind, round, parent, members, distances, centre, digest"
FACTS = "name, value, digest"


@dataclass(frozen=True)
class LogLine:
    """A line of the log: what somebody sent, as written; `undoes` is the number of the line it takes back, if any."""

    seq: int
    key: str
    client: str
    kind: LineKind
    content: str
    undoes: int | None = None


def digest_of(*columns: int | str | bytes | None) -> str:
    """Return the SHA-256, in hexadecimal, of the columns of a line."""
    digest = hashlib.sha256()
    for column in columns:
        data = column if isinstance(column, bytes) else json.dumps(column).encode()
        digest.update(b"%d:" % len(data))
        digest.update(data)
    return digest.hexdigest()


def line_of(row: Sequence[Any]) -> LogLine:
    """Return the line of the log in a row with the columns `LOG`.

    Raises
    ------
    Invalid
        If it is not what was written.

    """
    *columns, digest = row
    _check(columns, digest, (int, str, str, str, str, int | None))
    if columns[3] not in get_args(LineKind):
        raise Invalid("it is of an unknown kind")
    return LogLine(*columns)


def group_of(row: Sequence[Any]) -> Group:
    """Return the group in a row with the columns `GROUPS`; raise `Invalid` if it is not what was written."""
    *columns, digest = row
    _check(columns, digest, (int, str, int, int | None, bytes, bytes, bytes | None))
    number, kind, round, parent, members, distances, centre = columns
    if kind not in get_args(GroupKind):
        raise Invalid("it is of an unknown kind")
    if len(members) % 8 or len(members) != 2 * len(distances) or len(centre or b"") % 4:
        raise Invalid("its pictures and their distances differ in number")
    positions = np.frombuffer(members, "<i8").astype(np.int64)
    return Group(
        number, positions, _floats(distances), None if centre is None else _floats(centre), kind, round, parent
    )


def fact_of(row: Sequence[Any], kind: Any) -> Any:
    """Return the fact in a row with the columns `FACTS`; raise `Invalid` if it is not what was written."""
    *columns, digest = row
    _check(columns, digest, (str, str))
    return checked(kind, parsed(columns[1]))


def event_of(line: LogLine) -> Event:
    """Return the answer in a line; raise `Invalid` if it holds none."""
    event = checked(Event, parsed(line.content))
    about_names = event.kind in ("merge", "pull", "drop", "assign")
    if not 1 <= event.confidence <= 5 or (event.names if not about_names else event.group is not None):
        raise Invalid("it is not an answer")
    if (event.name is None and event.kind in ("name", "merge")) or (about_names and not event.names):
        raise Invalid("it lacks a name")
    if len(event.chosen) != (len(event.pictures) if event.kind == "assign" else 0):
        raise Invalid("its pictures and their names differ in number")
    if any(not 0 <= chosen < len(event.names) for chosen in event.chosen):
        raise Invalid("it assigns a name that does not exist")
    return event


def _check(columns: Sequence[Any], digest: object, kinds: Sequence[Any]) -> None:
    """Raise `Invalid` if columns have other types or do not match the digest.

    Lines of a version without digests have none.
    """
    if not all(isinstance(column, kind) for column, kind in zip(columns, kinds, strict=True)):
        raise Invalid("it holds something of another type")
    if digest is not None and digest != digest_of(*columns):
        raise Invalid("it was changed after it was written")


def _floats(data: bytes) -> NDArray[np.float32]:
    found = np.frombuffer(data, "<f4").astype(np.float32)
    if not np.isfinite(found).all():
        raise Invalid("it holds numbers that are not finite")
    return found


def columns_of(group: Group) -> tuple[Any, ...]:
    """Return a row for a group, with the columns `GROUPS`."""
    centre = None if group.centre is None else group.centre.astype("<f4").tobytes()
    members, distances = group.members.astype("<i8").tobytes(), group.distances.astype("<f4").tobytes()
    columns = (group.id, group.kind, group.round, group.parent, members, distances, centre)
    return *columns, digest_of(*columns)


def text_of(data: bytes) -> str:
    """Decode a text of the database; damaged bytes become surrogates, which match no digest."""
    return data.decode("utf-8", "surrogateescape")
