import numpy as np
import pytest

from selfsort.clustering import elbow, reduce_sampled
from selfsort.errors import UserError
from selfsort.labelling.core import query_selection
from selfsort.labelling.core.answers import Event
from selfsort.labelling.core.session import Session


def blobs(n_blobs: int = 6, each: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return round clouds on a circle, and the number of each point's cloud."""
    rng = np.random.default_rng(seed)
    kind = np.repeat(np.arange(n_blobs), each)
    angle = 2 * np.pi * kind / n_blobs
    centres = 10 * np.stack([np.cos(angle), np.sin(angle)], 1)
    return (centres + rng.normal(size=(len(kind), 2))).astype(np.float32), kind


def test_first_groups_are_a_partition_with_the_most_typical_first() -> None:
    points, kind = blobs()
    groups = query_selection.first_groups(points, 6, first_id=3)
    assert [group.id for group in groups] == list(range(3, 9))
    assert sorted(np.concatenate([group.members for group in groups])) == list(range(len(points)))
    for group in groups:
        assert len(np.unique(kind[group.members])) == 1
        assert (np.diff(group.distances) >= 0).all()
        assert np.allclose(group.centre, points[group.members].mean(0), atol=1e-3)
    squares = np.concatenate([group.distances for group in groups]) ** 2
    assert squares.mean() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("n_blobs", [3, 4, 5])
def test_the_elbow_finds_separate_clouds(n_blobs: int) -> None:
    points, _ = blobs(n_blobs)
    assert elbow(points) == n_blobs
    assert len(query_selection.first_groups(points, None)) == n_blobs


def test_the_elbow_of_few_points() -> None:
    assert elbow(np.float32([[0], [1]])) == 2
    assert 2 <= elbow(np.random.default_rng(0).normal(size=(50, 3)), most=5) <= 5


def test_a_split_divides_the_members_of_one_group() -> None:
    points, kind = blobs()
    (first, *_) = query_selection.first_groups(points, 2)
    parts = query_selection.split(first, points, first_id=7)
    assert len(parts) >= 2 and {part.parent for part in parts} == {first.id}
    assert sorted(np.concatenate([part.members for part in parts])) == sorted(first.members)
    assert all(part.kind == "split" for part in parts)


def test_equal_pictures_are_split_in_halves() -> None:
    points = np.repeat(np.float32([[0, 0], [5, 5]]), 4, axis=0)
    (group,) = [g for g in query_selection.first_groups(points, 2) if 0 in g.members]
    whole = query_selection.lasso(Session(8), range(8), points)
    assert len(query_selection.split(whole, points, first_id=9)) == 2
    assert [len(part.members) for part in query_selection.split(group, points, first_id=9)] == [2, 2]
    assert len(query_selection.first_groups(points, 5)) == 2
    with pytest.raises(UserError, match="one picture"):
        query_selection.split(query_selection.lasso(Session(8), [3], points), points, first_id=9)


def test_the_next_groups_are_those_in_doubt() -> None:
    points, kind = blobs()
    session = Session(len(points))
    session.add(query_selection.first_groups(points, 6))
    for group in list(session.open_groups()):
        session.apply(Event("name", group.id, f"kind {kind[group.members[0]] % 3}"))
    probabilities = np.eye(3, dtype=np.float32)[kind % 3]
    error_probability = np.where(kind == 4, 0.9, 0.01).astype(np.float32)
    session.learn(("kind 0", "kind 1", "kind 2"), probabilities, error_probability=error_probability)
    session.begin_round()
    groups = query_selection.next_groups(session, points, 2)
    assert 1 <= len(groups) <= 2 and groups[0].round == 1
    assert (kind[groups[0].members] == 4).mean() > 0.9
    assert groups[0].id not in session.groups


def test_lasso() -> None:
    points, _ = blobs()
    group = query_selection.lasso(Session(len(points)), [5, 3, 3], points)
    assert sorted(group.members) == [3, 5] and group.kind == "lasso"
    for wrong in ([], [-1], [len(points)]):
        with pytest.raises(UserError, match="lasso"):
            query_selection.lasso(Session(len(points)), wrong, points)


def test_how_many_groups() -> None:
    assert query_selection.how_many(10, 60_000) == 40
    assert query_selection.how_many(3, 60) == 6
    assert query_selection.how_many(10, 90) == 10, "as many as classes, although of nine pictures"
    assert query_selection.how_many(3, 6) == 3
    assert query_selection.how_many(3, 4) == 2


def test_reducing_a_sample_places_the_others_among_their_neighbours() -> None:
    rng = np.random.default_rng(0)
    kind = np.repeat(np.arange(3), 100)
    points = (20 * np.eye(8)[kind] + rng.normal(size=(300, 8))).astype(np.float32)
    placed = reduce_sampled(points, "umap", most=150)
    assert placed.shape == (300, 5) and placed.dtype == np.float32
    centres = np.stack([placed[kind == k].mean(0) for k in range(3)])
    nearest = ((placed[:, None] - centres) ** 2).sum(2).argmin(1)
    assert (nearest == kind).all()
    assert np.array_equal(reduce_sampled(points, "embedding", most=10), points)
    assert np.array_equal(placed, reduce_sampled(points, "umap", most=150))
