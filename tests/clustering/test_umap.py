"""UMAP: its graph and its optimisation against slow formulas, and layouts that keep neighbours."""

import numpy as np
import pytest

from selfsort.clustering import reduce
from selfsort.clustering.umap import _curve, _edges, _memberships, optimise


def neighbours(points, k):
    squared = ((points[:, None] - points[None]) ** 2).sum(2)
    indices = np.argsort(squared, axis=1, kind="stable")[:, :k]
    return np.sqrt(np.take_along_axis(squared, indices, 1)), indices


def test_each_point_holds_to_log2_k_others_and_wholly_to_the_nearest():
    distances, indices = neighbours(np.random.default_rng(0).normal(size=(80, 6)), 15)
    strengths = _memberships(distances, indices)
    np.testing.assert_allclose(strengths.sum(1), np.log2(15), atol=1e-4)
    assert (strengths[:, 0] == 0).all() and (strengths[:, 1] == 1).all()
    scale = -(distances[:, 2:] - distances[:, 1:2]) / np.log(strengths[:, 2:])  # one for each point: exp(-d / scale)
    np.testing.assert_allclose(scale, np.broadcast_to(scale[:, :1], scale.shape), rtol=1e-6)


def test_the_graph_is_the_fuzzy_union_of_both_directions():
    distances, indices = neighbours(np.random.default_rng(0).normal(size=(30, 3)), 5)
    strengths = _memberships(distances, indices)
    one_way = np.zeros((30, 30))
    for i in range(30):
        for j, strength in zip(indices[i], strengths[i], strict=True):
            one_way[i, j] = strength
    union = np.array(
        [[one_way[i, j] + one_way[j, i] - one_way[i, j] * one_way[j, i] for j in range(30)] for i in range(30)]
    )
    found = np.zeros((30, 30))
    heads, tails, weights = _edges(indices, strengths)
    found[heads, tails] = weights
    np.testing.assert_allclose(found, union, atol=1e-12)


def test_the_curve_is_that_of_the_paper_for_points_that_may_coincide():
    a, b = _curve()
    distances = np.linspace(0, 3, 300)
    assert np.abs(1 / (1 + a * distances ** (2 * b)) - np.exp(-distances)).max() < 0.06
    assert (a, b) == pytest.approx((1.93, 0.79), abs=0.01)  # as umap-learn has them


def test_a_step_draws_the_ends_of_an_edge_together_along_the_gradient():
    a, b = _curve()
    before = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    after = before.copy()
    optimise(after, np.array([0]), np.array([1]), np.ones(1), 2, 1, a, b, np.uint64(1))  # one step, half as long
    slope = slow_slopes(lambda x: np.log(1 + a * ((x[0] - x[1]) ** 2).sum() ** b), before)
    np.testing.assert_allclose(after - before, -slope / 2, rtol=1e-3)


def test_a_step_pushes_a_point_away_from_one_drawn_by_lot_along_the_gradient():
    a, b = _curve()
    before = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    moved = []
    for seed in range(1, 9):
        after = before.copy()
        optimise(after, np.array([0]), np.array([0]), np.ones(1), 3, 1, a, b, np.uint64(seed))  # a third as long
        assert (after[1] == before[1]).all()
        moved += [after[0] - before[0]] if (after != before).any() else []  # else it drew itself
    slope = slow_slopes(lambda x: -np.log(1 - 1 / (1 + a * ((x[0] - x[1]) ** 2).sum() ** b)), before)
    assert moved
    np.testing.assert_allclose(moved, np.broadcast_to(-slope[0] / 3, (len(moved), 3)), rtol=5e-3)


def slow_slopes(function, points):
    return np.array([[slow_slope(function, points, i, j) for j in range(points.shape[1])] for i in range(len(points))])


def slow_slope(function, point, i, j, step=1e-5):
    ends = []
    for sign in (1, -1):
        moved = point.astype(np.float64)
        moved[i, j] += sign * step
        ends.append(function(moved))
    return (ends[0] - ends[1]) / (2 * step)


def test_groups_stay_together_whether_the_graph_falls_apart_or_not():
    rng = np.random.default_rng(0)
    for distance in (3.0, 30.0):  # apart, no neighbour lies in another group
        points = np.concatenate([rng.normal(size=(60, 8)) + distance * axis for axis in np.eye(8)[:3]])
        reduced = reduce(points, "umap")
        centres = np.stack([reduced[60 * k : 60 * k + 60].mean(0) for k in range(3)])
        nearest = ((reduced[:, None] - centres) ** 2).sum(2).argmin(1)
        assert (nearest == np.repeat(range(3), 60)).mean() > 0.98
