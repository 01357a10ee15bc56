"""The page of an audit: what was found, with the pictures."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfsort.audit import Audit, Group
from selfsort.files import atomic_path
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
class Shown:
    """A picture as it is shown: what is written below it, and the rectangle to draw on it in its own pixels, if any."""

    id: str
    uri: str
    size: tuple[int, int]
    pixels: bool
    note: str
    tag: str = ""
    box: tuple[int, int, int, int] | None = None
    whole: tuple[int, int] = (1, 1)


class Strip(NamedTuple):
    """Pictures of one finding: `total` of them, of which some are shown."""

    anchor: str
    title: str
    text: str
    total: int
    pictures: Sequence[Shown]


class Duplicates(NamedTuple):
    """A group as it is shown; `more` pictures of it are not."""

    pictures: Sequence[Shown]
    more: int
    leak: str


def write_audit_page(audit: Audit, folder: Path, *, shown_as: str = "AUDIT") -> None:
    """Write the self-contained page of an audit into a folder; `shown_as` is what commands on it call the folder."""
    chosen = _Chosen(audit)
    page = render("audit.html.j2", _context(audit, chosen, _thumbnails(audit, chosen.all()), shown_as))
    with atomic_path(folder / PAGE) as partial_page:
        partial_page.write_bytes(page.encode("utf-8"))


class _Chosen:
    """Which pictures are shown."""

    def __init__(self, audit: Audit) -> None:
        groups = audit.duplicate_groups
        self.leaks = [group for group in groups if group.across_splits or group.across_labels][:_GROUPS]
        self.groups = [group for group in groups if not (group.across_splits or group.across_labels)][:_GROUPS]
        self.strips = {
            "bordered": _largest(audit.bordered, audit.looks.border_certainty),
            "blank": _largest(audit.blank, -audit.looks.contrast),
            "outlier": _largest(audit.outlier, audit.strangeness),
            "grey_in_colour": _largest(audit.grey_in_colour, -audit.looks.colourfulness.astype(np.float32)),
            "odd_shape": _largest(audit.odd_shape, np.abs(np.log(np.divide(*audit.looks.sizes.T)))),
            "small": _largest(audit.small, -audit.looks.sizes.min(1, initial=1 << 30)),
        }

    def all(self) -> list[int]:
        """Return each picture that is shown somewhere."""
        groups = [picture for group in [*self.leaks, *self.groups] for picture in _first(group)]
        return sorted({*groups, *(picture for strip in self.strips.values() for picture in strip)})


def _largest(chosen: NDArray[np.bool_], score: NDArray[Any]) -> list[int]:
    rows = np.flatnonzero(chosen)
    best: list[int] = rows[np.argsort(-score[rows], kind="stable")][:_PER_STRIP].tolist()
    return best


def _first(group: Group) -> tuple[int, ...]:
    return (group.keeper, *group.others)[:_PER_GROUP]


def _thumbnails(audit: Audit, pictures: Sequence[int]) -> dict[int, Thumbnail]:
    """Return the thumbnails of the pictures that can still be read."""
    places: list[int] = audit.looks.places[np.array(pictures, np.intp)].tolist()
    found = thumbnails(audit.images, places)
    return {picture: found[place] for picture, place in zip(pictures, places, strict=True) if place in found}


def _context(audit: Audit, chosen: _Chosen, known: dict[int, Thumbnail], shown_as: str) -> dict[str, Any]:
    summary = audit.summary()
    show = partial(_shown, audit, known)
    return {
        "audit": audit,
        "summary": summary,
        "shown_as": shown_as,
        "findings": findings(summary, audit),
        "unreadable": audit.unreadable[:_FILES],
        "leaks": [_duplicates(audit, group, show) for group in chosen.leaks],
        "groups": [_duplicates(audit, group, show) for group in chosen.groups],
        "n_leaks": sum(group.across_splits or group.across_labels for group in audit.duplicate_groups),
        "strips": [strip for strip in _strips(audit, chosen, show) if strip.total],
    }


def findings(summary: dict[str, Any], audit: Audit) -> list[tuple[str, str, int, str]]:
    """Return the lines of the table: the section, what was found, in how many pictures, and what comes of it."""
    out = {kind: "left out" if kind in audit.rejecting else "kept, as asked for" for kind in ("exact", "near", "blank")}
    look = "kept; look at them"
    lines = [
        ("unreadable", "cannot be read", len(summary["unreadable"]), "left out"),
        ("groups", "exact duplicates", summary["exact"], out["exact"]),
        ("groups", "near duplicates", summary["near"], out["near"]),
        (
            "leaks",
            "groups of duplicates across train and test",
            summary["leaks"]["across_splits"],
            "one of each is kept",
        ),
        (
            "leaks",
            "groups of duplicates with different labels",
            summary["leaks"]["across_labels"],
            "one of each is kept",
        ),
        ("blank", "blank or nearly constant", summary["blank"], out["blank"]),
        ("bordered", "uniform border", summary["bordered"], "kept; crop boxes in pictures.csv"),
        ("outlier", "unlike the others", summary["outlier"], look),
        ("grey_in_colour", "grey among coloured ones", summary["grey_in_colour"], look),
        ("odd_shape", "much longer or higher than the rest", summary["odd_shape"], look),
        ("small", "much smaller than the rest", summary["small"], look),
    ]
    return lines


def _duplicates(audit: Audit, group: Group, show: Any) -> Duplicates:
    pictures = _first(group)
    shown = [_member(audit, group, picture, show) for picture in pictures]
    leak = " and ".join(
        words
        for words, there in (("train and test", group.across_splits), ("different labels", group.across_labels))
        if there
    )
    known = [picture for picture in shown if picture is not None]
    return Duplicates(known, 1 + len(group.others) - len(known), leak)


def _member(audit: Audit, group: Group, picture: int, show: Any) -> Shown | None:
    where = "/".join(filter(None, (audit.splits[picture], audit.label(picture))))
    if picture == group.keeper:
        note = "keep"
    else:
        note = "exact" if audit.exact[picture] else percent(float(audit.groups.similarity[picture]), 0)
    shown: Shown | None = show(picture, note, tag=where)
    return shown


def _strips(audit: Audit, chosen: _Chosen, show: Any) -> Iterable[Strip]:
    notes: dict[str, tuple[str, str, Callable[[int], str]]] = {
        "blank": ("Blank or nearly constant", "Their levels hardly differ.", lambda p: ""),
        "bordered": (
            "Uniform borders",
            "Bars of one colour along the sides, the clearest first. Dashed: the crop box that pictures.csv offers.",
            lambda p: " × ".join(map(str, _inside(audit, p))),
        ),
        "outlier": (
            "Unlike the others",
            "In colours, layout and texture, the most unlike ones first: perhaps something else, perhaps just rare.",
            lambda p: f"{audit.strangeness[p]:.1f}",
        ),
        "grey_in_colour": ("Grey among coloured ones", "A method may learn to tell these first.", lambda p: ""),
        "odd_shape": (
            "Much longer or higher than the rest",
            "Cropping to a square loses most of them; --resize pad or squash does not.",
            lambda p: " × ".join(map(str, audit.looks.sizes[p])),
        ),
        "small": ("Much smaller than the rest", "", lambda p: " × ".join(map(str, audit.looks.sizes[p]))),
    }
    for anchor, (title, text, note) in notes.items():
        boxes = {p: audit.crop_box(p) for p in chosen.strips[anchor]} if anchor == "bordered" else {}
        shown = [show(picture, note(picture), box=boxes.get(picture)) for picture in chosen.strips[anchor]]
        total = int(getattr(audit, anchor).sum())
        yield Strip(anchor, title, text, total, [picture for picture in shown if picture is not None])


def _inside(audit: Audit, picture: int) -> tuple[int, int]:
    left, top, right, bottom = audit.crop_box(picture)
    return right - left, bottom - top


def _shown(
    audit: Audit,
    known: dict[int, Thumbnail],
    picture: int,
    note: str,
    tag: str = "",
    box: tuple[int, int, int, int] | None = None,
) -> Shown | None:
    if picture not in known:
        return None
    thumbnail = known[picture]
    width, height = audit.looks.sizes[picture].tolist()
    drawn, coarse = thumbnail.drawn(_SIDE), thumbnail.coarse(_SIDE)
    return Shown(audit.id(picture), thumbnail.uri, drawn, coarse, note, tag, box, (width, height))
