"""What the server sends to the page, as plain values for JSON."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from selfsort.evaluation.certificate import Certificate
from selfsort.evaluation.group_quality import GroupQuality
from selfsort.labelling.about import About
from selfsort.labelling.acts import Act, ActHistory, Circled, Described, Did, Round, SecondOpinion, person_of
from selfsort.labelling.core.answers import Group, Shown
from selfsort.labelling.core.query_selection import groups_fit
from selfsort.labelling.core.replay import Labels
from selfsort.labelling.core.session import Session
from selfsort.labelling.server.embedding_map import MapLayout
from selfsort.labelling.store_file import Repair
from selfsort.runs import RunFolder
from selfsort.spelling import JUNK

if TYPE_CHECKING:
    from selfsort.labelling.checks import Asking

Json = dict[str, Any]
Order = Literal["doubtful", "typical"]

_JUNK = -2  # instead of a colour
_LATEST = 100  # acts listed in the history
_MOVES = 3  # kinds of changes reported after a refinement


class Colours:
    """A permanent number for every name, for which the page has a colour and a marker; junk has none."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def of(self, names: Iterable[str]) -> list[int]:
        """Return the numbers of names."""
        return [_JUNK if name == JUNK else self._numbers.setdefault(name, len(self._numbers)) for name in names]


def session_payload(session: Session, colours: Colours, about: Mapping[str, About]) -> Json:
    """Return what the page always shows of a session, with the facts `about` names."""
    estimate = session.estimate()
    colours.of(session.names())  # numbers in order of first use
    found = dict(session.counts())
    junk = found.pop(JUNK, 0)
    counts = [(name, count) for name, count in found.items() if count]
    numbers = colours.of(name for name, _ in counts)
    return {
        "pictures": session.n_images,
        "covered": session.covered(),
        "named_alone": int((session.by_hand() >= 0).sum()),
        "answers": len(session.events),
        "skipped": len(skipped(session)),
        "open_groups": len(session.open_groups()),
        "round": session.round,
        "names": [
            {"name": name, "count": count, "colour": colour, "about": about.get(name, About()).to_json()}
            for (name, count), colour in zip(counts, numbers, strict=True)
        ],
        "junk": junk,
        "estimate": None if estimate is None else estimate._asdict(),
        "groups_fit": groups_fit(session),
    }


def history_payload(
    history: ActHistory, client: str, groups: Mapping[int, Group], is_alone: Callable[[], bool]
) -> Json:
    """Return the latest acts, newest first, and the numbers of those that a client would undo and redo."""
    last, again = history.last(client, is_alone), history.last_taken_back(client)
    acts = [act for act in history if not act.repeated][-_LATEST:]
    return {
        "acts": [act_payload(act, client, groups) for act in reversed(acts)],
        "undo": None if last is None else last.seq,
        "redo": None if again is None else again.seq,
    }


def act_payload(act: Act, client: str, groups: Mapping[int, Group]) -> Json:
    """Return an act's kind and numbers, which the page puts into words."""
    return {
        "seq": act.seq,
        "at": f"{act.at.replace(' ', 'T')}Z",
        "mine": person_of(act.client) == person_of(client),
        "taken_back": act.taken_back is not None,
        **_did_payload(act.did, groups),
    }


def repair_payload(repair: Repair) -> Json:
    """Return what was repaired in the file of answers."""
    return {"what": repair.what, "answers": repair.answers, "kept": repair.kept}


def _did_payload(did: Did, groups: Mapping[int, Group]) -> Json:
    if isinstance(did, Round):
        return {"kind": "refine", "names": list(did.names)}
    if isinstance(did, Circled):
        return {"kind": "lasso", "pictures": _size(did.group, groups)}
    if isinstance(did, SecondOpinion):  # what was said stays secret, as others are still to be asked
        return {"kind": "opinion", "pictures": 0 if did.event.group is None else _size(did.event.group, groups)}
    if isinstance(did, Described):
        return {"kind": "about", "name": did.name}
    if did.group is None:
        return {"kind": did.kind, "name": did.name, "names": list(did.names), "pictures": len(did.pictures)}
    size, out = _size(did.group, groups), len(did.pictures)
    return {"kind": did.kind, "name": did.name, "pictures": max(0, size - out), "thrown_out": out}


def _size(number: int, groups: Mapping[int, Group]) -> int:
    return len(groups[number].members) if number in groups else 0


def changed_payload(before: Labels, after: Labels) -> Json:
    """Return how many pictures changed their name, and the most frequent changes: from, to, how many."""
    pairs = Counter(zip(_names_of(before), _names_of(after), strict=True))
    moves = [(old, new, count) for (old, new), count in pairs.most_common() if old != new]
    return {
        "pictures": sum(count for *_, count in moves),
        "moves": [{"from": old, "to": new, "count": count} for old, new, count in moves[:_MOVES]],
    }


def _names_of(labels: Labels) -> list[str | None]:
    names = [*labels.names, None]
    return [names[number] for number in labels.name_of.tolist()]


def judged(folder: RunFolder) -> Json | None:
    """Tell whether a run's groups mean anything, as judged without labels in fitting; None if they were not judged."""
    found = folder.read_manifest()["training"].get("groups")
    if found is None:
        return None
    with folder.reading(folder.manifest):
        quality = GroupQuality.from_json(found)
    compared = quality.neighbors
    # For too few pictures, nothing was computed.
    verdict = "few" if quality.verdict == "weak" and not compared.features else quality.verdict
    return {
        "verdict": verdict,
        "features": round(compared.features, 2),
        "nothing": round(compared.null, 2),
        "dead": len(quality.dead),
        "swollen": len(quality.swollen),
    }


def group_payload(session: Session, group: Group, seen: Shown, ids: Sequence[str], *, drawn: bool) -> Json:
    """Return a group to ask about and its pictures `seen`; `drawn` tells whether its centre can be drawn."""
    return {
        "id": group.id,
        "size": len(group.members),
        "round": group.round,
        "kind": group.kind,
        "parent": group.parent,
        "depth": _depth(session, group),
        "centre": f"/api/groups/{group.id}/centre.png" if drawn else None,
        **{row: list(members) for row, members in seen._asdict().items()},
        "gain": round(session.gain(group), 2),
        "suggestion": session.suggestion(group),
        "about": [image_payload(session.labels(), index, ids[index]) for index in seen.all],
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


def name_payload(
    labels: Labels,
    ids: Sequence[str],
    name: str,
    offset: int,
    limit: int,
    order: Order,
    among: NDArray[np.bool_] | None = None,
) -> Json:
    """Return some pictures of a name, most doubtful or typical first, and how many there are, if given `among` (N,)."""
    named = labels.name_of == labels.names.index(name)
    members = np.flatnonzero(named if among is None else named & among)
    confidence = labels.confidence[members]
    ranked = members[np.argsort(confidence if order == "doubtful" else -confidence, kind="stable")]
    if order == "doubtful":  # pictures on which a person and the model disagree come first
        ranked = ranked[np.argsort(~labels.disputed[ranked], kind="stable")]
    some = ranked[offset : offset + limit].tolist()
    rows = [{"id": readable(ids[index]), **_labelled(labels, index)} for index in some]
    return {"name": name, "total": len(members), "pictures": rows}


def skipped(session: Session) -> list[int]:
    """Return the skipped groups that would be asked about again if the skip were taken back."""
    answered = session.answered().items()
    return [number for number, event in answered if event.kind == "skip" and session.is_asked_now(number)]


def find_payload(labels: Labels, ids: Sequence[str], wanted: str, most: int = 200) -> Json:
    """Return pictures whose id or name contains what is wanted, ignoring case, and how many there are."""
    text = wanted.casefold()
    named = np.array([text in name.casefold() for name in labels.names] + [False])[labels.name_of]
    found = [place for place, image_id in enumerate(ids) if named[place] or text in readable(image_id).casefold()]
    rows = [{"index": place, **image_payload(labels, place, ids[place])} for place in found[:most]]
    return {"total": len(found), "pictures": rows}


def _labelled(labels: Labels, index: int) -> Json:
    said, model = int(labels.said[index]), int(labels.model[index])
    by_person = {"single": bool(labels.single[index]), "sure": int(labels.sure[index])}
    by_model = {"probability": round(float(labels.probability[index]), 4)}
    return {
        "index": index,
        "confidence": round(float(labels.confidence[index]), 4),
        "given": said >= 0 and said == int(labels.name_of[index]),
        "said": {"name": labels.names[said], **by_person} if said >= 0 else None,
        "model": {"name": labels.names[model], **by_model} if model >= 0 else None,
    }


def map_payload(layout: MapLayout, counts: NDArray[np.int64]) -> Json:
    """Return where the pictures are on the map, and how many pictures each of them represents."""
    places = zip(layout.indices.tolist(), layout.points.round(4).tolist(), counts.tolist(), strict=True)
    points = [[index, x, y, count] for index, (x, y), count in places]
    return {"version": layout.version, "kind": layout.kind, "points": points}


def map_names_payload(layout: MapLayout, session: Session, colours: Colours) -> Json:
    """Return the colours of the pictures on the map, -1 without a name, and which of them no answer has named."""
    labels, drawn = session.labels(), layout.indices
    numbers = np.array([*colours.of(labels.names), -1])
    unnamed = np.flatnonzero(~session.are_covered()[drawn])
    return {"version": layout.version, "names": numbers[labels.name_of[drawn]].tolist(), "unnamed": unnamed.tolist()}


def check_payload(checks: "Asking") -> Json:
    """Return the next picture to check with the name that the model gives it, and the certificate so far."""
    index, certificate = checks.next(), checks.certificate()
    shown = None if certificate is None else _certified(certificate)
    return {
        "picture": index,
        "name": None if index is None else checks.given(index),
        "done": checks.done,
        "budget": checks.budget,
        "left": checks.left,
        "second": checks.by == "second",
        "names": list(checks.names),
        "certificate": shown,
    }


def _certified(certificate: Certificate) -> Json:
    """Return what the page shows of a certificate, with what was thrown away apart from the names."""
    junk = None if certificate.junk is None else asdict(certificate.junk)
    names = [asdict(row) for row in certificate.names]
    return replace(certificate, sample=None).to_json() | {"per_class": names, "junk": junk}


def readable(name: str) -> str:
    """Return a file's name as text, with a replacement character for bytes that are not."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
