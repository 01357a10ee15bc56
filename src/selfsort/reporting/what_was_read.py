"""What an audit's page says about reading: how many files were used, changed or left out, and what a model sees."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from selfsort.audit import Audit
from selfsort.audit.look import Looks
from selfsort.data.decoding import DEFAULT_SIZE, LARGEST_NATIVE_SIZE
from selfsort.data.eight_bit import to_image
from selfsort.data.input_spec import InputSpec
from selfsort.data.listing import count_kinds
from selfsort.data.reading import PLAIN
from selfsort.reporting.thumbnails import Thumbnail, thumbnail, thumbnails

_EACH, _PAIRS = 3, 24  # pictures shown of one kind of change, and of all
_ORDINARY = "as it is"


class ReadLine(NamedTuple):
    """A row of the table: what became of files, why, and how many they are."""

    outcome: str
    why: str
    files: int


class Pair(NamedTuple):
    """A picture as people see it beside what a network gets."""

    id: str
    note: str
    seen: Thumbnail
    given: Thumbnail


def lines(audit: Audit) -> list[ReadLine]:
    """Return the table of what became of all files."""
    rows = audit.account()
    used = sum(row.outcome == "used" for row in rows)
    changes = count_kinds(change for facts in audit.looks.facts for change in facts.changes())
    left_out = count_kinds(row.details for row in rows if row.outcome == "left out")
    counted = [ReadLine("used", _ORDINARY, used)] if used else []
    counted += [ReadLine("changed", kind, count) for kind, count in changes.most_common()]
    return counted + [ReadLine("left out", kind, count) for kind, count in left_out.most_common()]


def usual_input(looks: Looks) -> InputSpec:
    """Return the input spec for such pictures of a network that has none of its own."""
    shapes = np.unique(looks.sizes, axis=0)
    own = len(shapes) == 1 and shapes[0, 0] == shapes[0, 1] <= LARGEST_NATIVE_SIZE
    return InputSpec(int(shapes[0, 0]) if own else DEFAULT_SIZE, 3 if looks.colourfulness.any() else 1)


def pairs(audit: Audit, spec: InputSpec) -> list[Pair]:
    """Return some unchanged pictures and some with each kind of change, beside what a network with this input gets."""
    notes = dict(_chosen(audit.looks))
    chosen = list(notes)
    places = audit.looks.places[np.array(chosen, np.intp)]
    shown = thumbnails(audit.images, places.tolist())
    given: dict[int, Thumbnail] = {}
    for block in audit.images.subset(places).blocks(spec):
        for position, pixels in zip(block.positions.tolist(), block.images, strict=True):
            given[position] = thumbnail(to_image(pixels))
    found = []
    for row, picture in enumerate(chosen):
        seen, got = shown.get(int(places[row])), given.get(row)
        if seen and got:  # neither has disappeared meanwhile
            found.append(Pair(audit.id(picture), notes[picture], seen, got))
    return found


def _chosen(looks: Looks) -> Iterator[tuple[int, str]]:
    """Yield pictures with a note: some unchanged ones, and the first of each kind of change."""
    ordinary = [picture for picture, facts in enumerate(looks.facts) if facts == PLAIN]
    for place in np.unique(np.linspace(0, len(ordinary) - 1, min(_EACH, len(ordinary))).astype(int)).tolist():
        yield ordinary[place], _ORDINARY
    counts = count_kinds([])
    for picture, facts in enumerate(looks.facts):
        kinds = count_kinds(facts.changes())
        if kinds and counts.total() < _PAIRS and any(counts[kind] < _EACH for kind in kinds):
            counts += kinds
            yield picture, "; ".join(facts.changes())
