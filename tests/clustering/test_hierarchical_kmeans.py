import numpy as np
import pytest
from numpy.typing import NDArray

from selfsort.clustering import FaissKMeans, HierarchicalKMeans
from selfsort.clustering.hierarchical_kmeans import (
    balanced_sample,
    central_points,
    equal_shares,
    even_sample,
    hierarchical_kmeans,
    resampled_kmeans,
    top_labels,
)
from selfsort.clustering.kmeans import kmeans
from selfsort.clustering.neighbours import nearest
from selfsort.errors import UserError


def unequal_kinds(frequent: int, seed: int = 0, rare: int = 9) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return points (N, 16) around one frequent and some rare kinds, 8 standard deviations apart, and their kinds."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(rare + 1, 16))
    centers *= 8 / np.sqrt(2) / np.linalg.norm(centers, axis=1, keepdims=True)
    kinds = np.repeat(np.arange(rare + 1), [frequent, *rng.integers(20, 51, rare)])
    return (centers[kinds] + rng.normal(size=(len(kinds), 16))).astype(np.float32), kinds


def kept(labels: NDArray[np.int64], kinds: NDArray[np.int64]) -> int:
    """Count the rare kinds that have a cluster of their own: four in five of its points, and of theirs."""
    shares = np.array([np.bincount(labels[kinds == kind], minlength=labels.max() + 1) for kind in np.unique(kinds)])
    own = (shares >= 0.8 * shares.sum(1, keepdims=True)) & (shares >= 0.8 * shares.sum(0))
    return int(own[1:].any(1).sum())


@pytest.mark.slow
def test_rare_kinds_keep_clusters_that_plain_k_means_merges() -> None:
    points, kinds = unequal_kinds(20_000)
    assert kept(FaissKMeans(10, n_init=3, max_iter=30).fit(points).labels_, kinds) == 0
    assert kept(HierarchicalKMeans(10).fit(points).labels_, kinds) == 9


def test_a_smaller_set_with_rare_kinds() -> None:
    points, kinds = unequal_kinds(4_000, rare=4)
    assert kept(FaissKMeans(5, n_init=3).fit(points).labels_, kinds) <= 1
    assert kept(HierarchicalKMeans(5).fit(points).labels_, kinds) >= 3


def test_resampling_moves_centers_to_where_points_are_few() -> None:
    points, kinds = unequal_kinds(4_000, rare=4)
    counts = [len(np.unique(resampled_kmeans(points, 200, resamplings=number).labels[kinds > 0])) for number in (0, 3)]
    assert counts[1] > 1.5 * counts[0]


def reference_level(points: NDArray[np.float32], n_clusters: int, resamplings: int, seed: int) -> NDArray[np.float32]:
    """Return the centers of one level, written as a loop over points."""
    how = {"restarts": 10, "iterations": 20}
    found = kmeans(points, n_clusters, random_state=seed, **how)
    for number in np.random.default_rng(seed).integers(2**31, size=resamplings):
        chosen = []
        for cluster in range(n_clusters):
            members = [row for row in range(len(points)) if found.labels[row] == cluster]
            members.sort(
                key=lambda row: (
                    np.float64(points[row] - found.centers[found.labels[row]])
                    @ (np.float64(points[row] - found.centers[found.labels[row]]))
                )
            )
            chosen += members[: len(points) // (2 * n_clusters)]
        centers = kmeans(points[sorted(chosen)], n_clusters, random_state=int(number), **how).centers
        distances = ((np.float64(points)[:, None] - centers[None]) ** 2).sum(2)
        found = type(found)(centers, distances.argmin(1), 0.0)
    return found.centers


def test_one_level_is_that_of_a_slow_reference() -> None:
    points, _ = unequal_kinds(300, rare=3)
    expected = reference_level(points, 6, 3, 5)
    np.testing.assert_array_equal(resampled_kmeans(points, 6, resamplings=3, random_state=5).centers, expected)


def test_central_points_are_equally_many_of_each_cluster() -> None:
    points = np.array([[0], [1], [3], [10], [11.5], [30]], np.float32)
    result = kmeans(points, 3)
    assert central_points(points, result, 1).tolist() == [1, 3, 5]
    assert central_points(points, result, 2).tolist() == [0, 1, 3, 4, 5]


def test_levels_are_a_tree() -> None:
    points, _ = unequal_kinds(2_000)
    levels = hierarchical_kmeans(points, 3)
    assert [len(level.centers) for level in levels] == [116, 19, 3]
    assert [len(level.labels) for level in levels] == [len(points), 116, 19]
    assert set(top_labels(levels)) == set(range(3))
    for below, level in zip(levels, levels[1:], strict=False):
        np.testing.assert_array_equal(level.labels, nearest(below.centers, level.centers, 1)[1][:, 0])
    assert [len(level.centers) for level in hierarchical_kmeans(points, 3, level_sizes=(40,))] == [40, 3]


def test_seed_decides_every_bit() -> None:
    points, _ = unequal_kinds(500)
    first, again, other = (HierarchicalKMeans(4, random_state=seed).fit(points) for seed in (1, 1, 2))
    assert first.predict_proba(points).tobytes() == again.predict_proba(points).tobytes()
    assert first.cluster_centers_.tobytes() != other.cluster_centers_.tobytes()


def test_a_balanced_sample_has_as_many_of_rare_kinds_as_of_frequent_ones() -> None:
    points, kinds = unequal_kinds(4_000, rare=4)
    levels = hierarchical_kmeans(points, 5)
    rows = balanced_sample(levels, 100)
    assert len(rows) == 100 == len(np.unique(rows)) and (np.diff(rows) > 0).all()
    assert np.bincount(top_labels(levels)[levels[0].labels[rows]]).tolist() == [20] * 5
    assert (kinds[rows] > 0).mean() > 10 * (kinds > 0).mean()
    assert balanced_sample(levels, 10**6).tolist() == list(range(len(points)))
    assert not np.array_equal(balanced_sample(levels, 100, random_state=1), rows)


@pytest.mark.parametrize(
    ("counts", "total", "shares"),
    [
        ([5, 5, 5], 6, [2, 2, 2]),
        ([5, 1, 9], 9, [4, 1, 4]),
        ([3, 3, 3], 5, [2, 2, 1]),
        ([2, 0, 1], 9, [2, 0, 1]),
        ([4], 0, [0]),
    ],
)
def test_equal_shares(counts: list[int], total: int, shares: list[int]) -> None:
    assert equal_shares(np.array(counts), total).tolist() == shares


def test_many_copies_of_few_points() -> None:
    points = np.repeat([[0.0, -0.0], [0.0, 1.0], [4.0, 0.0]], 60, axis=0)
    labels = HierarchicalKMeans(3).fit(points).labels_
    assert len(set(zip(labels, np.repeat([0, 1, 2], 60), strict=True))) == 3


@pytest.mark.parametrize("sizes", [(5,), (3,), (20, 20), (10, 30)])
def test_sizes_that_do_not_decrease(sizes: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="must decrease, and end above the 5 clusters"):
        HierarchicalKMeans(5, level_sizes=sizes).fit(np.arange(100.0)[:, None])


def test_an_even_sample_has_rare_kinds() -> None:
    points, kinds = unequal_kinds(2_000, rare=4)
    rows = even_sample(points, 200)
    assert len(rows) == 200 and (kinds[rows] > 0).sum() > 3 * (kinds > 0).mean() * 200
    assert len(even_sample(np.ones((50, 3)), 7)) == 7
    with pytest.raises(UserError, match="A sample of 0 is too small"):
        even_sample(points, 0)
