"""What the server tells the page, as JSON and CSV can hold it."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from selfsort.evaluation.group_quality import GroupQuality
from selfsort.labelling.core.answers import Group, shown
from selfsort.labelling.core.query_selection import groups_fit
from selfsort.labelling.core.replay import Labels
from selfsort.labelling.core.session import Session
from selfsort.labelling.server.embedding_map import MapLayout
from selfsort.runs import RunFolder
from selfsort.tables import table_bytes

if TYPE_CHECKING:
    from selfsort.labelling.checks import Checks

Json = dict[str, Any]
Order = Literal["doubtful", "typical"]


class Colours:
    """A number for every name, which it keeps: the page has a colour and a marker for each."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def of(self, names: Iterable[str]) -> list[int]:
        """Return the numbers of names."""
        return [self._numbers.setdefault(name, len(self._numbers)) for name in names]


def session_payload(session: Session, colours: Colours) -> Json:
    """Return what the page always shows of a session."""
    estimate = session.estimate()
    colours.of(session.names())  # in the order of their first use
    counts = session.counts()
    numbers = colours.of(name for name, _ in counts)
    return {
        "pictures": session.n_images,
        "covered": session.covered(),
        "answers": len(session.events),
        "open_groups": len(session.open_groups()),
        "round": session.round,
        "names": [
            {"name": name, "count": count, "colour": colour}
            for (name, count), colour in zip(counts, numbers, strict=True)
        ],
        "estimate": None if estimate is None else estimate._asdict(),
        "can_undo": bool(session.events),
        "groups_fit": groups_fit(session),
    }


def judged(folder: RunFolder) -> str | None:
    """Say whether a run's groups mean anything, as fitting found out without labels; None where nobody has judged."""
    found = folder.read_manifest()["training"].get("groups")
    if found is None:
        return None
    with folder.reading(folder.manifest):
        return " ".join(GroupQuality.from_json(found).sentences())


def group_payload(session: Session, group: Group, *, drawn: bool) -> Json:
    """Return what is asked about a group; `drawn` tells whether its centre can be drawn."""
    return {
        "id": group.id,
        "size": len(group.members),
        "round": group.round,
        "kind": group.kind,
        "parent": group.parent,
        "depth": _depth(session, group),
        "centre": f"/api/groups/{group.id}/centre.png" if drawn else None,
        **{row: list(members) for row, members in shown(group)._asdict().items()},
        "gain": round(session.gain(group), 2),
        "suggestion": session.suggestion(group),
    }


def _depth(session: Session, group: Group) -> int:
    depth = 0
    while group.parent is not None:
        group, depth = session.groups[group.parent], depth + 1
    return depth


def image_payload(labels: Labels, index: int, image_id: str) -> Json:
    """Return what is known of a picture."""
    number = int(labels.name_of[index])
    name = labels.names[number] if number >= 0 else None
    return {"id": readable(image_id), "name": name, **_labelled(labels, index)}


def name_payload(labels: Labels, name: str, offset: int, limit: int, order: Order) -> Json:
    """Return some pictures of a name, the most doubtful or the most typical first, and how many there are."""
    members = np.flatnonzero(labels.name_of == labels.names.index(name))
    confidence = labels.confidence[members]
    ranked = members[np.argsort(confidence if order == "doubtful" else -confidence, kind="stable")]
    rows = [_labelled(labels, int(index)) for index in ranked[offset : offset + limit]]
    return {"name": name, "total": len(members), "pictures": rows}


def _labelled(labels: Labels, index: int) -> Json:
    confidence, given = round(float(labels.confidence[index]), 4), bool(labels.given[index])
    return {"index": index, "confidence": confidence, "given": given}


def map_payload(layout: MapLayout) -> Json:
    """Return the places of the pictures on the map."""
    places = zip(layout.indices.tolist(), layout.points.round(4).tolist(), strict=True)
    return {"version": layout.version, "kind": layout.kind, "points": [[index, x, y] for index, (x, y) in places]}


def map_names_payload(layout: MapLayout, labels: Labels, colours: Colours) -> Json:
    """Return the colours of the pictures on the map, -1 without a name."""
    numbers = np.array([*colours.of(labels.names), -1])
    return {"version": layout.version, "names": numbers[labels.name_of[layout.indices]].tolist()}


def check_payload(checks: "Checks") -> Json:
    """Return the next picture to check with the name that the model gives it, and at the end the certificate."""
    index, certificate = checks.next(), checks.certificate()
    opinion: Json = {"name": None, "confidence": None}
    if index is not None:
        name = checks.names[int(checks.predicted[index])]
        opinion = {"name": name, "confidence": round(float(checks.confidence[index]), 4)}
    return {
        "picture": index,
        **opinion,
        "done": checks.done,
        "budget": checks.budget,
        "names": list(checks.names),
        "certificate": None if certificate is None else certificate.to_json(),
    }


def labels_csv(labels: Labels, ids: Sequence[str], bom: bool = False) -> bytes:
    """Return id, name, confidence and given of all pictures as a CSV file; Excel needs the `bom` to know UTF-8."""
    names = [*labels.names, ""]
    columns = labels.name_of.tolist(), labels.confidence.tolist(), labels.given.tolist()
    rows = (
        [image_id, names[number], f"{confidence:.4g}" if number >= 0 else "", int(given)]
        for image_id, number, confidence, given in zip(ids, *columns, strict=True)
    )
    return table_bytes(["id", "name", "confidence", "given"], rows, bom=bom)


def readable(name: str) -> str:
    """Return a file's name as text; bytes that are none are shown as replaced."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
