"""How many classes there are: known blobs, no structure, few and equal pictures, and what must not matter."""

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from selfsort import UserError
from selfsort.clustering.class_count import ClassCount, estimate_class_count


def blobs(n_classes: int, each: int = 60, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(n_classes, 40))
    return (3 + np.repeat(centres, each, 0) + rng.normal(0, 0.45, (n_classes * each, 40))).astype(np.float32)


@pytest.mark.parametrize("n_classes", [2, 4, 7, 12])
def test_the_number_of_blobs_is_in_the_range(n_classes: int) -> None:
    found = estimate_class_count(blobs(n_classes))
    assert found.told and found.low <= n_classes <= found.high
    assert abs(found.estimate - n_classes) <= 0.25 * n_classes


def test_order_and_length_of_the_rows_do_not_matter() -> None:
    points = blobs(4)
    found = estimate_class_count(points)
    assert estimate_class_count(points[np.random.default_rng(3).permutation(len(points))]) == found
    assert estimate_class_count(points * 4) == found


def test_a_single_cloud_reveals_no_number() -> None:
    found = estimate_class_count(np.random.default_rng(0).normal(size=(300, 20)))
    assert not found.told and "arbitrary" in found.reason


def test_few_and_equal_pictures() -> None:
    few = estimate_class_count(blobs(3, each=1))
    assert not few.told and few.curve == [] and 1 <= few.low <= few.estimate <= few.high
    equal = estimate_class_count(np.ones((50, 8)))
    assert equal.estimate == 1 and "look the same" in equal.reason


@pytest.mark.parametrize("noise", [0.0, 1.2])  # groups far apart, and groups that touch
def test_json_round_trip(noise: float) -> None:
    points = blobs(4)
    found = estimate_class_count(points + np.random.default_rng(1).normal(0, noise, points.shape))
    assert found.told and ClassCount.from_json(json.loads(json.dumps(found.to_json()))) == found


@pytest.mark.parametrize("points", [np.zeros((0, 3)), np.zeros(4), np.full((20, 3), np.nan)])
def test_what_is_not_a_table_of_numbers_is_refused(points: NDArray[np.float64]) -> None:
    with pytest.raises(UserError):
        estimate_class_count(points)
