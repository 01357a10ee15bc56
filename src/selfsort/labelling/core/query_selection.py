"""Choose groups to ask about: top-down by splitting the embedding, or those that a refined model leaves uncertain."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from selfsort.clustering import elbow, kmeans
from selfsort.clustering.neighbours import nearest
from selfsort.errors import UserError
from selfsort.labelling.core.answers import Group, GroupKind
from selfsort.labelling.core.session import Session

_MOST_GROUPS = 16  # most groups by the elbow method: as many as paper 4 asks about after an epoch
_SAMPLE = 20_000  # points from which groups are found, as a person waits for them
_PARTS = 5  # least number of parts per name, so that doubtful pictures do not hide among others
_FEW = 2_000  # up to so many pictures, equal ones are counted, as k-means cannot separate them
_RESTARTS = 3
_LATELY, _ENOUGH = 30, 8  # recent answers considered, and how many must be about groups to say that groups do not fit
_MOSTLY = 2 / 3
_ITERATIONS = 25


def how_many(n_classes: int, n_images: int) -> int:
    """Return how many groups to propose first: four per class, of at least about ten pictures.

    With few pictures, there are as many groups as classes, if that leaves two pictures for each.
    """
    return max(2, min(4 * n_classes, max(n_images // 10, min(n_classes, n_images // 2))))


def groups_fit(session: Session) -> bool:
    """Tell whether groups are worth asking about: not if most of those answered recently held several kinds."""
    lately = list(session.answered().items())[-_LATELY:]
    answers = [event for number, event in lately if len(session.groups[number].members) > 1 and event.kind != "skip"]
    mixed = sum(event.kind == "mixed" for event in answers)
    return len(answers) < _ENOUGH or mixed <= _MOSTLY * len(answers)


def first_groups(
    embedding: NDArray[np.float32],
    n_groups: int | None,
    *,
    kind: GroupKind = "cluster",
    random_state: int = 0,
    first_id: int = 0,
    round: int = 0,
) -> list[Group]:
    """Divide (N, D) embedded pictures into groups by k-means; if `n_groups` is None, the inertia's elbow decides."""
    everything = np.arange(len(embedding))
    return _groups(embedding, everything, n_groups, kind, round, None, first_id, random_state)


def split(
    group: Group, embedding: NDArray[np.float32], *, n_groups: int | None = None, random_state: int = 0, first_id: int
) -> list[Group]:
    """Split a group with pictures of several kinds into parts (paper 4, section 3.3), the next level of the tree.

    Raises
    ------
    UserError
        For a group of one picture.

    """
    if len(group.members) < 2:
        raise UserError("A group of one picture cannot be split: name it, skip it or call it junk.")
    try:
        return _groups(embedding, group.members, n_groups, "split", group.round, group.id, first_id, random_state)
    except UserError:
        # All are equal in the embedding: any split is as good, and halving ends with pictures that a person can name.
        halves = np.array_split(group.members, 2)
        made = [
            _group(embedding, half, embedding[half].mean(0), first_id + k, "split", group.round, group.id)
            for k, half in enumerate(halves)
        ]
        return _scaled(made)


def lasso(session: Session, pictures: Sequence[int], embedding: NDArray[np.float32]) -> Group:
    """Make a group from pictures chosen by hand."""
    members = np.unique(np.asarray(pictures, dtype=np.int64))
    if not len(members) or members[0] < 0 or members[-1] >= session.n_images:
        raise UserError("The lasso contains no pictures: draw it around some.", code="empty-circle")
    made = _group(embedding, members, embedding[members].mean(0), session.next_id(), "lasso", session.round, None)
    return _scaled([made])[0]


def stand_ins(drawn: NDArray[np.int64], embedding: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return for each picture (N,) the one of the `drawn` pictures that represents it: itself, or the nearest."""
    found = np.arange(len(embedding))
    others = np.setdiff1d(found, drawn)
    if len(others) and len(drawn):
        found[others] = drawn[nearest(embedding[others], embedding[drawn], 1)[1][:, 0]]
    return found


def next_groups(
    session: Session, embedding: NDArray[np.float32], n_groups: int, *, random_state: int = 0
) -> list[Group]:
    """Propose groups after a refinement, of pictures that the model and the answers leave uncertain.

    Pictures are clustered within each name that the refined model gives them, so that a group looks alike to the
    model; each picture counts by the chance that its name is wrong. The groups for which an answer is expected to
    correct most pictures are returned; those with nothing doubtful are not asked about again.
    """
    labels = session.labels()
    uncertainty = 1 - labels.confidence
    chosen: list[Group] = []
    names = np.unique(labels.name_of)
    shares = {name: float(uncertainty[labels.name_of == name].sum()) for name in names}
    for name in names:
        wanted = max(_PARTS, round(2 * n_groups * shares[name] / max(sum(shares.values()), 1e-9)))
        members = np.flatnonzero(labels.name_of == name)
        first = session.next_id() + len(chosen)
        k = min(wanted, len(members))
        if k < 2:
            chosen.append(_group(embedding, members, embedding[members].mean(0), first, "cluster", session.round, None))
        else:
            chosen += _groups(embedding, members, k, "cluster", session.round, None, first, random_state)
    chosen.sort(key=lambda group: -float(uncertainty[group.members].sum()))
    return _scaled(chosen[:n_groups])


def _groups(
    embedding: NDArray[np.float32],
    members: NDArray[np.int64],
    n_groups: int | None,
    kind: GroupKind,
    round: int,
    parent: int | None,
    first_id: int,
    random_state: int,
) -> list[Group]:
    points = embedding[members]
    different = len(np.unique(points, axis=0)) if len(points) <= _FEW else len(points)
    if n_groups is None and different > 2:
        n_groups = elbow(points, most=min(_MOST_GROUPS, different), random_state=random_state)
    if different == 1:
        found = [
            (part, points[0]) for part in np.array_split(members, 2)
        ]  # a person who calls equal pictures mixed gets halves
    else:
        found = _clusters(points, members, min(n_groups or 2, different), random_state)
    made = [
        _group(embedding, part, centre, number, kind, round, parent)
        for number, (part, centre) in enumerate(found, first_id)
    ]
    return _scaled(made)


def _clusters(
    points: NDArray[np.float32], members: NDArray[np.int64], n_groups: int, random_state: int
) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Return the members and the centre of each cluster that is not empty."""
    centres = _centres(points, n_groups, random_state)
    nearest_centre = nearest(points, centres, 1)[1][:, 0]
    parts = [members[nearest_centre == k] for k in range(len(centres))]
    return [(part, centre) for part, centre in zip(parts, centres, strict=True) if len(part)]


def _centres(points: NDArray[np.float32], n_groups: int, random_state: int) -> NDArray[np.float32]:
    if len(points) > _SAMPLE:
        points = points[np.sort(np.random.default_rng(random_state).choice(len(points), _SAMPLE, replace=False))]
    return kmeans(points, n_groups, restarts=_RESTARTS, iterations=_ITERATIONS, random_state=random_state).centers


def _group(
    embedding: NDArray[np.float32],
    members: NDArray[np.int64],
    centre: NDArray[np.float32],
    number: int,
    kind: GroupKind,
    round: int,
    parent: int | None,
) -> Group:
    distances = np.linalg.norm(embedding[members] - centre, axis=1).astype(np.float32)
    order = np.argsort(distances, kind="stable")
    return Group(number, members[order], distances[order], centre, kind, round, parent)


def _scaled(groups: list[Group]) -> list[Group]:
    """Scale distances by their root mean square, so that weights mean the same in every embedding."""
    squares = np.concatenate([group.distances for group in groups]).astype(np.float64) ** 2
    unit = max(float(np.sqrt(squares.mean())), float(np.finfo(np.float32).tiny))
    return [
        Group(g.id, g.members, (g.distances / unit).astype(np.float32), g.centre, g.kind, g.round, g.parent)
        for g in groups
    ]
