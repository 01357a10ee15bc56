import tracemalloc
from importlib import import_module

import numpy as np
import pytest
from numpy.typing import NDArray

from selfsort.clustering import near_duplicates
from selfsort.clustering.near_duplicates import cells_of, nearest_in_clusters
from selfsort.clustering.neighbours import nearest_others
from selfsort.clustering.space import unit_rows
from selfsort.errors import UserError

module = import_module("selfsort.clustering.near_duplicates")  # the package has a function of that name


def with_copies(count: int = 600, n_features: int = 6, seed: int = 0) -> NDArray[np.float32]:
    """Return points in groups that overlap, a third of which have noisy copies, of any length."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(8, n_features))[rng.integers(8, size=count)] + 0.6 * rng.normal(size=(count, n_features))
    copies = points[: count // 3] + rng.uniform(0, 0.3, (count // 3, 1)) * rng.normal(size=(count // 3, n_features))
    every = rng.permutation(np.concatenate([points, copies]))
    return (every * rng.uniform(0.5, 9, (len(every), 1))).astype(np.float32)


def slow_pairs(points: NDArray[np.float32], distance: float) -> set[tuple[int, int]]:
    unit = np.float64(points) / np.maximum(np.linalg.norm(np.float64(points), axis=1, keepdims=True), 1e-300)
    close = np.triu(unit @ unit.T >= 1 - distance, 1)
    return set(zip(*(rows.tolist() for rows in np.nonzero(close)), strict=True))


def found_pairs(points: NDArray[np.float32], distance: float, seed: int = 0) -> set[tuple[int, int]]:
    pairs = near_duplicates(points, distance, random_state=seed)
    listed = list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    assert listed == sorted(set(listed)) and (pairs.distances <= distance).all()
    return set(listed)


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a few hundred points many enough to be clustered."""
    monkeypatch.setattr(module, "_ALL_COMPARED", 100)
    monkeypatch.setattr(module, "_POINTS_PER_CLUSTER", 25)
    monkeypatch.setattr(module, "_FITTED_PER_CLUSTER", 20)


@pytest.mark.parametrize("distance", [0.002, 0.02, 0.2])
@pytest.mark.parametrize("seed", range(3))
def test_clusters_miss_no_pair_of_all(many: None, distance: float, seed: int) -> None:
    points = with_copies(seed=seed)
    points[::50] = 0
    found = found_pairs(points, distance, seed)
    assert found == slow_pairs(points, distance) and len(found) > 20


def test_pairs_on_both_sides_of_a_border_are_visited() -> None:
    points, distance = with_copies(), 0.05
    centers = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0].astype(np.float32)
    cells = cells_of(points, centers, distance)
    visits = set(zip(cells.visitors.tolist(), cells.visited.tolist(), strict=True))
    assert not visits & set(enumerate(cells.home.tolist()))
    apart = [pair for pair in slow_pairs(points, distance) if len(set(cells.home[list(pair)])) > 1]
    assert len(apart) > 10
    assert all((one, cells.home[other]) in visits or (other, cells.home[one]) in visits for one, other in apart)
    assert len(cells_of(points, centers, 0.001).visitors) < len(visits) / 3


def test_few_points_are_all_compared() -> None:
    points = with_copies(100)
    assert found_pairs(points, 0.05) == slow_pairs(points, 0.05)
    assert len(near_duplicates(points[:1]).first) == 0 == len(near_duplicates(np.zeros((4, 2))).first)


def test_a_memory_map_is_read_cluster_by_cluster(many: None, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    near_duplicates(with_copies(200), 0.001)  # what is compiled and imported is not counted
    monkeypatch.setattr(module, "_POINTS_PER_CLUSTER", 2_000)
    mapped = np.memmap(tmp_path / "points", np.float32, "w+", shape=(40_000, 256))
    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(20, 256)).astype(np.float32)
    for start in range(0, len(mapped), 2_000):
        mapped[start : start + 2_000] = kinds[rng.integers(20, size=2_000)] + rng.normal(size=(2_000, 256))
    mapped[-1] = mapped[0]
    tracemalloc.start()
    pairs = near_duplicates(mapped, 0.01)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (pairs.first.tolist(), pairs.second.tolist()) == ([0], [39_999])
    assert peak < 0.75 * mapped.nbytes


def test_many_copies_of_few_points(many: None) -> None:
    points = np.repeat(np.eye(6, 3, dtype=np.float32) + 0.01, 50, axis=0)
    assert found_pairs(points, 0.01) == slow_pairs(points, 0.01)


def test_neighbours_in_clusters_are_nearly_the_nearest(many: None, monkeypatch: pytest.MonkeyPatch) -> None:
    points = unit_rows(with_copies(3_000))
    exact = nearest_others(points, 4)
    squared, indices = nearest_in_clusters(points, 4)
    assert (np.diff(squared, axis=1) >= 0).all() and not (indices == np.arange(len(points))[:, None]).any()
    np.testing.assert_allclose(squared, ((points[:, None] - points[indices]) ** 2).sum(2), atol=1e-6)
    assert 0.95 < (squared <= exact[0]).mean() < 1
    monkeypatch.setattr(module, "_PROBED", 10**6)
    squared, indices = nearest_in_clusters(points, 4)
    np.testing.assert_array_equal(squared, exact[0])


@pytest.mark.parametrize("distance", [0, -1, 1.5, float("nan")])
def test_distances_that_say_nothing(distance: float) -> None:
    with pytest.raises(UserError, match=f"distance={distance} must be above 0"):
        near_duplicates(np.eye(3), distance)


def test_too_many_pairs(many: None) -> None:
    with pytest.raises(UserError, match=r"too many pairs within distance=0.9: choose a smaller one"):
        near_duplicates(with_copies(), 0.9, most=1_000)
