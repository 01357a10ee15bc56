"""The tree whose nodes are asked about after the first groups."""

import numpy as np
import pytest

from selfsort.labelling.core import query_selection
from selfsort.labelling.core.answers import Event, Group
from selfsort.labelling.core.query_tree import QueryTree
from selfsort.labelling.core.session import Session


def blobs(sizes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    kind = np.repeat(np.arange(len(sizes)), sizes)
    return (10 * np.eye(len(sizes))[kind] + rng.normal(size=(len(kind), len(sizes)))).astype(np.float32), kind


def nobody(points: np.ndarray) -> np.ndarray:
    return np.zeros(len(points), bool)


def answered(points: np.ndarray, kind: np.ndarray, groups: dict[int, np.ndarray]) -> Session:
    """Name each group by its most frequent kind; the model is sure only of named pictures."""
    session = Session(len(points))
    for number, members in groups.items():
        session.add([Group(number, members, np.zeros(len(members), np.float32), None, "cluster", 0)])
        session.apply(Event("name", number, f"kind {np.bincount(kind[members]).argmax()}"))
    return session


@pytest.mark.parametrize("leaves", [3_000, 20])
def test_a_kind_that_nobody_named_is_asked_about(monkeypatch, leaves):
    monkeypatch.setattr("selfsort.labelling.core.query_tree._LEAVES", leaves)
    points, kind = blobs((50, 40, 30))
    session = answered(points, kind, {0: np.flatnonzero(kind == 0), 1: np.flatnonzero(kind == 1)})
    group = QueryTree(points).next(session, nobody(points))
    assert group.kind == "query" and group.id == 2 and (kind[group.members] == 2).all()
    assert (np.diff(group.distances) >= 0).all()
    assert np.sqrt((group.distances**2).mean()) == pytest.approx(1, rel=1e-5)


def test_groups_being_asked_or_asked_before_do_not_come_again():
    points, kind = blobs((50, 40, 30))
    session, tree = answered(points, kind, {0: np.flatnonzero(kind == 0)}), QueryTree(points)
    first = tree.next(session, nobody(points))
    second = tree.next(session, np.isin(np.arange(len(points)), first.members))
    assert not set(first.members) & set(second.members)
    seen = []
    for _ in range(40):
        group = tree.next(session, nobody(points))
        session.add([group])
        session.apply(Event("mixed" if len(group.members) > 1 else "skip", group.id))
        seen.append(tuple(sorted(group.members)))
    assert len(set(seen)) == len(seen)
    assert min(map(len, seen)) < 10 < max(map(len, seen)), "parts of mixed groups come later"


def test_a_rare_kind_in_a_named_group_is_found():
    points, kind = blobs((475, 25))
    session, tree = answered(points, kind, {0: np.arange(500)}), QueryTree(points)
    seen = []
    for _ in range(11):
        group = tree.next(session, nobody(points))
        session.add([group])
        session.apply(Event("name", group.id, f"kind {np.bincount(kind[group.members]).argmax()}"))
        seen.append((kind[group.members] == 1).mean() > 0.5)
    assert any(seen)


@pytest.mark.parametrize("points", [np.zeros((1, 2), np.float32), np.zeros((9, 2), np.float32)])
def test_few_or_equal_pictures_end(points):
    session, tree, asked = Session(len(points)), QueryTree(points), 0
    while (group := tree.next(session, nobody(points), single=True)) is not None:
        assert len(group.members) == 1
        session.add([group])
        session.apply(Event("skip", group.id))
        asked += 1
        assert asked <= len(points)
    assert asked


def test_single_pictures_are_typical_and_different():
    points, kind = blobs((50, 40, 30))
    session, tree = Session(len(points)), QueryTree(points)
    kinds = []
    for number in range(3):
        group = tree.next(session, nobody(points), single=True)
        session.add([group])
        session.apply(Event("name", group.id, f"kind {kind[group.members[0]]}"))
        assert len(group.members) == 1 and group.id == number
        kinds.append(int(kind[group.members[0]]))
    assert sorted(kinds) == [0, 1, 2]


def test_groups_fit_until_most_answers_are_mixed():
    session = Session(100)
    session.add(Group(n, np.arange(5 * n, 5 * n + 5), np.zeros(5, np.float32), None, "cluster", 0) for n in range(20))
    for number in range(8):
        assert query_selection.groups_fit(session)
        session.apply(Event("mixed", number))
    assert not query_selection.groups_fit(session)
    for number in range(8, 12):
        session.apply(Event("name", number, "cat"))
    assert query_selection.groups_fit(session)
