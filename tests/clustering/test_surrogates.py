"""Surrogate classes: what they hold, and how they are drawn."""

import logging

import numpy as np
import pytest

from selfsort import UserError
from selfsort.clustering import surrogates
from selfsort.clustering.surrogates import surrogate_classes


def directions(n: int = 200, dim: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


def groups_of_four(n_groups: int = 50, spread: float = 0.02) -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(n_groups, 32))
    return (np.repeat(centres, 4, 0) + spread * rng.normal(size=(4 * n_groups, 32))).astype(np.float32)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("n_classes", [2, 30, 100])
@pytest.mark.parametrize("threshold", [0.3, 1.0, 2.0])
def test_as_many_classes_as_wanted(n_classes: int, threshold: float) -> None:
    classes = surrogate_classes(directions(), n_classes, distance_threshold=threshold)
    assert len(classes) == n_classes
    assert all(len(np.unique(rows)) == len(rows) <= 7 for rows in classes)


def test_clusters_are_of_one_half_close_and_apart() -> None:
    points = groups_of_four()
    classes = surrogate_classes(points, 60, distance_threshold=0.5, neighbours=0)
    several = [rows for rows in classes if len(rows) > 1]
    assert len(several) > 20
    assert all(len(set(rows // 4)) == 1 for rows in several)
    used = np.concatenate(classes)
    assert len(np.unique(used)) == len(used) <= 100  # nothing is held by two classes, nothing comes from the other half
    assert [len(rows) for rows in several] == sorted((len(rows) for rows in several), reverse=True)


def test_single_rows_get_their_nearest_held_out_neighbours() -> None:
    points = groups_of_four()
    classes = surrogate_classes(points, 90, distance_threshold=1e-6)
    mine = {rows[0] for rows in classes}
    order = np.random.default_rng((0, 7)).permutation(200)
    held_out = order[100:]
    assert mine <= set(order[:100].tolist())
    similarity = unit(points) @ unit(points[held_out]).T
    for first, *near in classes:
        assert near == held_out[np.argsort(-similarity[first])[:3]].tolist()


def test_there_are_no_more_neighbours_than_pictures_held_out() -> None:
    classes = surrogate_classes(directions(4), 2, distance_threshold=1e-6)
    order = np.random.default_rng((0, 7)).permutation(4)
    assert {rows[0] for rows in classes} == {*order[:2]}
    assert all(sorted(rows[1:]) == sorted(order[2:]) for rows in classes)


def test_no_cluster_is_larger_than_allowed_and_larger_ones_are_cut_lower() -> None:
    points = np.repeat(directions(10), 20, 0) + 0.01 * directions(200, seed=1)
    classes = surrogate_classes(points, 40, distance_threshold=1.0, largest=4, neighbours=0)
    sizes = [len(rows) for rows in classes]
    assert max(sizes) <= 4 and sizes.count(4) >= 5
    assert all(len(set(rows // 20)) == 1 for rows in classes)


def test_merging_stops_before_too_few_groups_are_left() -> None:
    points = groups_of_four()
    classes = surrogate_classes(points, 95, distance_threshold=2.0, neighbours=0)
    assert len(classes) == 95
    assert sum(len(rows) for rows in classes) == 100  # five merges, and all of the half is used


def test_the_seed_decides() -> None:
    one, same, other = (surrogate_classes(directions(), 40, random_state=seed) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_scale_of_the_features_does_not_matter() -> None:
    points = directions()
    scaled = points * np.linspace(0.5, 50, 200, dtype=np.float32)[:, None]
    pairs = zip(surrogate_classes(points, 30), surrogate_classes(scaled, 30), strict=True)
    assert all(np.array_equal(one, other) for one, other in pairs)


@pytest.mark.parametrize(
    ("points", "n_classes", "settings", "sentence"),
    [
        (directions(), 101, {}, "at least 202 pictures.*there are 200: lower surrogate_classes to 100"),
        (directions(), 10, {"distance_threshold": 0.0}, "cluster_distance=0.0 must be above 0"),
        (directions(), 10, {"distance_threshold": 2.5}, "cluster_distance=2.5 must be above 0 and at most 2"),
        (np.full((20, 3), np.nan, np.float32), 2, {}, "NaN"),
        (np.zeros((20, 3), np.float32), 2, {}, "features of picture 0 are all 0"),
    ],
)
def test_bad_input(points: np.ndarray, n_classes: int, settings: dict[str, float], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        surrogate_classes(points, n_classes, **settings)


@pytest.mark.slow
@pytest.mark.parametrize("n_features", [8, 6000])
def test_a_threshold_that_takes_too_much_memory_is_lowered(
    n_features: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Even if the points alone take more memory than allowed for the pairs."""
    monkeypatch.setattr(surrogates, "_PAIRS_GIB", 0.03)
    points = np.random.default_rng(0).normal(size=(3000, n_features)).astype(np.float32)
    assert n_features == 8 or points.nbytes / 2 / 2**30 > 0.03
    with caplog.at_level(logging.WARNING):
        classes = surrogate_classes(points, 100, distance_threshold=2.0)
    assert len(classes) == 100
    assert "cluster_distance=2 of each other for the memory: it is lowered to" in caplog.text


def test_a_caller_may_keep_the_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surrogates, "_PAIRS_GIB", 0.03)
    told: list[str] = []
    surrogate_classes(directions(3000, 8), 100, distance_threshold=2.0, warn=told.append)
    assert len(told) == 1 and "it is lowered to" in told[0]
