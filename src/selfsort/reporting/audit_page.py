"""The page of an audit: its findings, with the pictures."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from selfsort.audit import Audit, DuplicateGroup
from selfsort.audit.findings import all_findings
from selfsort.data.input_spec import InputSpec
from selfsort.files import atomic_path
from selfsort.reporting import what_was_read
from selfsort.reporting.gallery import percent
from selfsort.reporting.pages import render
from selfsort.reporting.thumbnails import Thumbnail, thumbnails

PAGE = "audit.html"
_GROUPS = 120
_PER_GROUP = 8
_PER_STRIP = 60
_FILES = 200
_SIDE = 112


@dataclass(frozen=True)
class ShownFinding:
    """A picture as shown: the text below it, and the rectangle to draw on it in its own pixels, if any."""

    id: str
    uri: str
    size: tuple[int, int]
    pixels: bool
    note: str
    tag: str = ""
    box: tuple[int, int, int, int] | None = None
    whole: tuple[int, int] = (1, 1)


class Strip(NamedTuple):
    """Pictures of one finding: `total` in all, some of which are shown."""

    anchor: str
    title: str
    text: str
    total: int
    pictures: Sequence[ShownFinding]


class Duplicates(NamedTuple):
    """A group as shown; `more` of its pictures are not shown."""

    pictures: Sequence[ShownFinding]
    more: int
    leak: str


def write_audit_page(
    audit: Audit, folder: Path, *, shown_as: str = "AUDIT", input_spec: InputSpec | None = None
) -> None:
    """Write the self-contained page of an audit into a folder; commands on the page call the folder `shown_as`.

    It shows some pictures as a network with an `input_spec` gets them, by default a network trained from scratch.
    """
    chosen, spec = _Chosen(audit), input_spec or what_was_read.usual_input(audit.looks)
    page = render("audit.html.j2", _context(audit, chosen, _thumbnails(audit, chosen.all()), shown_as, spec))
    with atomic_path(folder / PAGE) as partial_page:
        partial_page.write_bytes(page.encode("utf-8"))


class _Chosen:
    """Which pictures are shown."""

    def __init__(self, audit: Audit) -> None:
        groups = audit.duplicate_groups
        self.leaks = [group for group in groups if group.across_splits or group.across_labels][:_GROUPS]
        self.groups = [group for group in groups if not (group.across_splits or group.across_labels)][:_GROUPS]
        self.strips = {name: found.clearest()[:_PER_STRIP].tolist() for name, found in audit.found.items()}

    def all(self) -> list[int]:
        """Return all pictures that are shown somewhere."""
        groups = [picture for group in [*self.leaks, *self.groups] for picture in _first(group)]
        return sorted({*groups, *(picture for strip in self.strips.values() for picture in strip)})


def _first(group: DuplicateGroup) -> tuple[int, ...]:
    return (group.keeper, *group.others)[:_PER_GROUP]


def _thumbnails(audit: Audit, pictures: Sequence[int]) -> dict[int, Thumbnail]:
    """Return the thumbnails of the pictures that can still be read."""
    places: list[int] = audit.looks.places[np.array(pictures, np.intp)].tolist()
    found = thumbnails(audit.images, places)
    return {picture: found[place] for picture, place in zip(pictures, places, strict=True) if place in found}


def _context(
    audit: Audit, chosen: _Chosen, known: dict[int, Thumbnail], shown_as: str, spec: InputSpec
) -> dict[str, Any]:
    summary = audit.summary()
    show = partial(_shown, audit, known)
    return {
        "audit": audit,
        "summary": summary,
        "shown_as": shown_as,
        "findings": findings(summary, audit),
        "unreadable": audit.unreadable[:_FILES],
        "read": what_was_read.lines(audit),
        "pairs": what_was_read.pairs(audit, spec) if len(audit) else [],
        "spec": spec,
        "numbers": {name: number for number, name in enumerate(sorted(str(row["id"]) for row in audit.rows()))},
        "side": _SIDE,
        "leaks": [_duplicates(audit, group, show) for group in chosen.leaks],
        "groups": [_duplicates(audit, group, show) for group in chosen.groups],
        "n_leaks": sum(group.across_splits or group.across_labels for group in audit.duplicate_groups),
        "strips": [strip for strip in _strips(audit, chosen, show) if strip.total],
    }


def findings(summary: dict[str, Any], audit: Audit) -> list[tuple[str, str, int, str]]:
    """Return the rows of the table: the section, the finding, the number of pictures, and what is proposed."""
    kept = "one of each is kept"
    leaks = summary["leaks"]
    lines = [
        ("unreadable", "cannot be read", len(summary["unreadable"]), "left out"),
        ("groups", "exact duplicates", summary["exact"], _proposal(audit, "exact")),
        ("groups", "near duplicates", summary["near"], _proposal(audit, "near")),
        ("leaks", "groups of duplicates across train and test", leaks["across_splits"], kept),
        ("leaks", "groups of duplicates with different labels", leaks["across_labels"], kept),
    ]
    for each in all_findings():
        proposal = _proposal(audit, each.name) if each.rejects else each.proposal
        lines.append((each.name, each.words, summary[each.name], proposal))
    return lines


def _proposal(audit: Audit, kind: str) -> str:
    return "left out" if kind in audit.rejecting else "kept, as requested"


def _duplicates(audit: Audit, group: DuplicateGroup, show: Any) -> Duplicates:
    pictures = _first(group)
    shown = [_member(audit, group, picture, show) for picture in pictures]
    leak = " and ".join(
        words
        for words, there in (("train and test", group.across_splits), ("different labels", group.across_labels))
        if there
    )
    known = [picture for picture in shown if picture is not None]
    return Duplicates(known, 1 + len(group.others) - len(known), leak)


def _member(audit: Audit, group: DuplicateGroup, picture: int, show: Any) -> ShownFinding | None:
    where = "/".join(filter(None, (audit.splits[picture], audit.label(picture))))
    if picture == group.keeper:
        note = "keep"
    else:
        note = "exact" if audit.exact[picture] else percent(float(audit.groups.similarity[picture]), 0)
    shown: ShownFinding | None = show(picture, note, tag=where)
    return shown


def _strips(audit: Audit, chosen: _Chosen, show: Any) -> Iterable[Strip]:
    for finding in all_findings():
        found = audit.found[finding.name]
        shown = [
            show(picture, finding.note(audit.looks, found, picture), box=finding.box(audit.looks, picture))
            for picture in chosen.strips[finding.name]
        ]
        known = [picture for picture in shown if picture is not None]
        yield Strip(finding.name, finding.title, finding.text, int(found.pictures.sum()), known)


def _shown(
    audit: Audit,
    known: dict[int, Thumbnail],
    picture: int,
    note: str,
    tag: str = "",
    box: tuple[int, int, int, int] | None = None,
) -> ShownFinding | None:
    if picture not in known:
        return None
    thumbnail = known[picture]
    width, height = audit.looks.sizes[picture].tolist()
    drawn, coarse = thumbnail.drawn(_SIDE), thumbnail.coarse(_SIDE)
    return ShownFinding(audit.id(picture), thumbnail.uri, drawn, coarse, note, tag, box, (width, height))
