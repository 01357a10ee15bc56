import re

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist, squareform
from sklearn.base import clone

from selfsort.clustering import CompleteLinkage
from selfsort.clustering.close_pairs import CloseFinder
from selfsort.clustering.compiled import compiled
from selfsort.errors import UserError


def random_points(n: int, n_features: int, rng: np.random.Generator) -> NDArray:
    return rng.normal(size=(n, n_features))


def clustered_points(n: int, n_features: int, rng: np.random.Generator) -> NDArray:
    centres = 4 * rng.normal(size=(max(1, n // 8), n_features))
    return centres[rng.integers(len(centres), size=n)] + 0.3 * rng.normal(size=(n, n_features))


def duplicated_points(n: int, n_features: int, rng: np.random.Generator) -> NDArray:
    return rng.normal(size=(n // 3 + 1, n_features))[rng.integers(n // 3 + 1, size=n)]


def grid_points(n: int, n_features: int, rng: np.random.Generator) -> NDArray:
    return rng.integers(-3, 4, size=(n, n_features)).astype(float)  # ties everywhere


KINDS = {kind.__name__: kind for kind in (random_points, clustered_points, duplicated_points, grid_points)}


def ranked(points: NDArray, distances: NDArray) -> NDArray:
    """Sort the pairs of rows in the documented order, which has no ties, and number them from 1."""
    first, second = np.triu_indices(len(points), 1)
    _, appeared, inverse = np.unique(points, axis=0, return_index=True, return_inverse=True)
    kind = appeared[inverse.ravel()]
    low, high = np.minimum(kind[first], kind[second]), np.maximum(kind[first], kind[second])
    order = np.lexsort((second, first, high, low, distances, low != high))
    ranks = np.empty(len(order))
    ranks[order] = np.arange(1, len(order) + 1)
    return ranks


def by_scipy(points: NDArray, threshold: float) -> NDArray:
    """Return SciPy's merges below a threshold, with the documented order in place of the distances."""
    distances = pdist(points)
    ranks = ranked(points, distances)
    rows = linkage(ranks, "complete")
    heights = np.sort(distances)[rows[:, 2].astype(int) - 1]
    rows[:, 2] = heights
    return rows[heights <= threshold]


def same_partition(labels: NDArray, others: NDArray) -> bool:
    return len(set(zip(labels, others, strict=True))) == len(set(labels)) == len(set(others))


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    n_points=st.integers(2, 120),
    n_features=st.integers(1, 6),
    dtype=st.sampled_from([np.float32, np.float64]),
    share=st.floats(0, 1),
    at_a_height=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_merges_are_scipys(kind, n_points, n_features, dtype, share, at_a_height, seed):
    points = KINDS[kind](n_points, n_features, np.random.default_rng(seed)).astype(dtype)
    heights = linkage(np.float64(points), "complete")[:, 2]
    threshold = heights[round(share * (len(heights) - 1))] if at_a_height else 1.1 * share * heights[-1]
    if threshold <= 0:
        return
    model = CompleteLinkage(distance_threshold=threshold).fit(points)
    expected = by_scipy(np.float64(points), threshold)
    np.testing.assert_array_equal(model.dendrogram_, expected)
    assert model.n_clusters_ == n_points - len(expected) == len(set(model.labels_))


@pytest.mark.parametrize("share", [0.3, 0.85])
@pytest.mark.parametrize("kind", ["random_points", "clustered_points", "duplicated_points"])
def test_partition_of_3000_points_is_scipys(kind, share):
    points = KINDS[kind](3000, 24, np.random.default_rng(0)).astype(np.float32)
    rows = linkage(np.float64(points), "complete")
    threshold = rows[int(share * len(rows)), 2]
    model = CompleteLinkage(distance_threshold=threshold or 0.1).fit(points)
    assert same_partition(model.labels_, fcluster(rows, threshold or 0.1, "distance"))
    np.testing.assert_array_equal(model.dendrogram_[:, 2], rows[: len(model.dendrogram_), 2])


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["random_points", "clustered_points", "duplicated_points"]),
    n_points=st.integers(3, 100),
    share=st.floats(0, 1),
    seed=st.integers(0, 10_000),
)
def test_cosine_partition_is_scipys(kind, n_points, share, seed):
    points = KINDS[kind](n_points, 5, np.random.default_rng(seed)) + 0.5
    heights = np.unique(linkage(points, "complete", "cosine")[:, 2])
    place = round(share * (len(heights) - 1))
    # Between two heights, because SciPy rounds cosines in another order.
    threshold = float(heights[place : place + 2].mean()) if place + 1 < len(heights) else 2.0
    if threshold < 1e-9:
        return
    model = CompleteLinkage(distance_threshold=threshold, metric="cosine").fit(points)
    expected = fcluster(linkage(points, "complete", "cosine"), threshold, "distance")
    assert same_partition(model.labels_, expected)


def test_ties_follow_the_order_of_the_rows():
    line = np.arange(6.0)[:, None]
    assert CompleteLinkage(distance_threshold=1).fit_predict(line).tolist() == [0, 0, 1, 1, 2, 2]
    # Equal rows are one point in the place of the first: 3 is paired with 2, not with 4.
    assert CompleteLinkage(distance_threshold=1).fit_predict([[2.0], [4.0], [3.0], [2.0]]).tolist() == [0, 1, 0, 0]


def test_equal_rows_are_merged_at_height_0_even_if_they_differ_in_the_sign_of_0():
    model = CompleteLinkage(distance_threshold=0.1).fit([[0.0, 1.0], [5.0, 5.0], [-0.0, 1.0], [0.0, 1.0]])
    assert model.labels_.tolist() == [0, 1, 0, 0]
    assert model.dendrogram_.tolist() == [[0, 2, 0, 2], [3, 4, 0, 3]]


def test_many_equal_rows_take_no_pair_each():
    points = np.zeros((20_000, 2))
    points[-1] = 1
    model = CompleteLinkage(distance_threshold=0.5, memory_gib=0.02).fit(points)
    assert model.n_clusters_ == 2 and len(model.dendrogram_) == 19_998


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_clusters_are_as_wide_as_allowed_and_could_not_be_merged(metric):
    points = clustered_points(200, 4, np.random.default_rng(1))
    distances = squareform(pdist(points, metric))
    threshold = float(np.quantile(distances, 0.05))
    labels = CompleteLinkage(distance_threshold=threshold, metric=metric).fit_predict(points)
    widths = [
        [distances[np.ix_(labels == a, labels == b)].max() for a in range(labels.max() + 1)]
        for b in range(labels.max() + 1)
    ]
    assert (np.array(widths) <= threshold).tolist() == np.eye(labels.max() + 1, dtype=bool).tolist()


def test_row_order_changes_only_the_numbers_of_the_clusters():
    points = random_points(500, 6, np.random.default_rng(2))
    order = np.random.default_rng(3).permutation(500)
    straight, shuffled = (CompleteLinkage(distance_threshold=2.0).fit(each) for each in (points, points[order]))
    assert same_partition(straight.labels_[order], shuffled.labels_)
    np.testing.assert_array_equal(straight.dendrogram_[:, 2:], shuffled.dendrogram_[:, 2:])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_points_far_from_the_origin_are_decided_exactly(dtype):
    rng = np.random.default_rng(4)
    points = (clustered_points(400, 8, rng) + 10_000).astype(dtype)
    points[:5] += 1e7  # so far that float32 products cannot tell near from far
    rows = linkage(np.float64(points), "complete")
    model = CompleteLinkage(distance_threshold=rows[250, 2]).fit(points)
    assert same_partition(model.labels_, fcluster(rows, rows[250, 2], "distance"))


def test_blocks_leave_no_pair_out(monkeypatch):
    points = random_points(300, 3, np.random.default_rng(5))
    first, second = np.triu_indices(300, 1)
    for rows, columns in ((256, 4096), (7, 64), (64, 13)):
        monkeypatch.setattr("selfsort.clustering.close_pairs._ROWS", rows)
        monkeypatch.setattr("selfsort.clustering.close_pairs._COLUMNS", columns)
        pairs = CloseFinder(points, 1.5, "euclidean").pairs(10**6)
        close = pdist(points) <= 1.5
        np.testing.assert_array_equal(np.stack(pairs[:2]), np.stack([first[close], second[close]]))
        np.testing.assert_array_equal(pairs.distances, pdist(points)[close])


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_too_many_pairs_are_refused_suggesting_a_threshold_that_fits(metric):
    points = random_points(4000, 5, np.random.default_rng(6)).astype(np.float32)
    threshold = {"euclidean": 4.0, "cosine": 1.2}[metric]
    with pytest.raises(UserError, match=r"lie within .* GiB, more than memory_gib=0.05 allows") as caught:
        CompleteLinkage(distance_threshold=threshold, metric=metric, memory_gib=0.05).fit(points)
    fitting = float(re.search(r"distance_threshold=(\S+) or a smaller", str(caught.value))[1])
    assert fitting > 0.1 * threshold
    CompleteLinkage(distance_threshold=fitting, metric=metric, memory_gib=0.05).fit(points)


def test_search_stops_if_the_sample_saw_too_few_pairs(monkeypatch):
    monkeypatch.setattr(CloseFinder, "sampled_distances", lambda self: np.full(100, np.inf, np.float32))
    with pytest.raises(UserError, match="raise memory_gib"):
        CompleteLinkage(distance_threshold=9, memory_gib=0.02).fit(random_points(4000, 2, np.random.default_rng(0)))


def test_it_is_an_estimator_of_scikit_learns():
    model = CompleteLinkage(distance_threshold=0.5, metric="cosine")
    assert model.get_params() == {"distance_threshold": 0.5, "metric": "cosine", "memory_gib": 4.0}
    assert clone(model.set_params(memory_gib=1)).get_params()["memory_gib"] == 1
    labels = model.fit_predict([[1.0, 0.0], [2.0, 0.1], [-1.0, 0.0]])
    assert labels.dtype == np.int64 and labels.tolist() == model.labels_.tolist() == [0, 0, 1]
    assert model.n_features_in_ == 2


def test_one_point_is_a_cluster():
    model = CompleteLinkage(distance_threshold=1).fit([[3.0, 4.0]])
    assert model.labels_.tolist() == [0] and model.n_clusters_ == 1 and model.dendrogram_.shape == (0, 4)


@pytest.mark.parametrize(
    ("settings", "points", "sentence"),
    [
        ({"distance_threshold": 0}, np.eye(3), "distance_threshold=0 must be a finite number above 0"),
        ({"distance_threshold": -1.5}, np.eye(3), "above 0"),
        ({"distance_threshold": np.nan}, np.eye(3), "above 0"),
        ({"distance_threshold": np.inf}, np.eye(3), "finite"),
        ({"distance_threshold": "1"}, np.eye(3), "distance_threshold='1'"),
        ({"distance_threshold": 2.1, "metric": "cosine"}, np.eye(3), "at most 2, the largest cosine distance"),
        ({"distance_threshold": 1, "metric": "manhattan"}, np.eye(3), "'manhattan' must be one of euclidean, cosine"),
        ({"distance_threshold": 1, "memory_gib": 0}, np.eye(3), "memory_gib=0 must be a number above 0"),
        ({"distance_threshold": 1}, [[0.0], [np.nan]], "NaN"),
        ({"distance_threshold": 1}, [[0.0], [-np.inf]], "infinity"),
        ({"distance_threshold": 1}, [0.0, 1.0], "Expected 2D array"),
        ({"distance_threshold": 1}, np.zeros((3, 0)), r"shape=\(3, 0\)"),
        ({"distance_threshold": 1}, np.zeros((0, 3)), r"0 sample\(s\)"),
        ({"distance_threshold": 1, "metric": "cosine"}, [[1.0, 1.0], [0.0, 0.0]], "Row 1 is all zeros"),
    ],
)
def test_bad_input_gets_one_sentence(settings, points, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        CompleteLinkage(**settings).fit(points)
    assert str(caught.value).count(".\n") == 0 and str(caught.value).endswith(".")


def test_loops_are_compiled_again_if_nothing_can_be_kept(monkeypatch):
    real = numba.njit
    assert real(lambda x: x + 1)(1) == 2  # modules that numba imports for its first loop also cache loops

    def njit(cache: bool = False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return real(**options)

    monkeypatch.setattr(numba, "njit", njit)
    assert compiled.__wrapped__(lambda x: x + 1)(2) == 3


@pytest.mark.parametrize("points", [[[1.0, 2.0]], [[1.0, 2.0]] * 3])
def test_a_single_point_needs_no_memory_for_pairs(points: list[list[float]]) -> None:
    model = CompleteLinkage(distance_threshold=1.0, memory_gib=1e-6).fit(points)
    assert model.labels_.tolist() == [0] * len(points)
