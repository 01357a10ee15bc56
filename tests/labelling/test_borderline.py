"""Borderline pictures that differ from one another."""

import numpy as np

from selfsort.labelling.core.answers import Group, shown
from selfsort.labelling.core.borderline import shown_apart


def group(points):
    distances = np.linalg.norm(points, axis=1).astype(np.float32)
    order = np.argsort(distances, kind="stable")
    return Group(3, order, distances[order], None, "cluster", 0)


def test_near_duplicates_at_the_border_are_shown_once():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(300, 5)).astype(np.float32)
    points[:12] = [20, 0, 0, 0, 0]
    points[:12] += rng.normal(scale=1e-3, size=(12, 5)).astype(np.float32)
    drawn = group(points)
    plain, apart = shown(drawn), shown_apart(drawn, points)
    assert sum(picture < 12 for picture in plain.borderline) > 6
    assert sum(picture < 12 for picture in apart.borderline) == 1
    assert (apart.typical, apart.random) == (plain.typical, plain.random)
    assert len(set(apart.all)) == 27


def test_they_are_chosen_as_defined():
    rng = np.random.default_rng(1)
    points = rng.normal(size=(200, 3)).astype(np.float32)
    drawn = group(points)
    apart = shown_apart(drawn, points).borderline
    border = [int(index) for index in drawn.members if index not in shown(drawn).typical + shown(drawn).random][-36:]
    chosen = [border[-1]]
    while len(chosen) < 9:
        others = [index for index in border if index not in chosen]
        gaps = {index: min(np.linalg.norm(points[index] - points[one]) for one in chosen) for index in others}
        chosen.append(max(others, key=gaps.__getitem__))
    assert list(apart) == chosen


def test_equal_pictures_are_still_shown():
    points = np.ones((100, 2), np.float32)
    assert len(set(shown_apart(group(points), points).all)) == 27


def test_a_small_group_is_shown_whole_and_without_points_nothing_changes():
    points = np.random.default_rng(2).normal(size=(20, 2)).astype(np.float32)
    assert shown_apart(group(points), points) == shown(group(points))
    many = group(np.random.default_rng(2).normal(size=(99, 2)))
    assert shown_apart(many, np.zeros((0, 1), np.float32)) == shown(many)
