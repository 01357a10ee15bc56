import subprocess
import sys
import tracemalloc
from importlib import import_module

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from selfsort.clustering import kmeans
from selfsort.clustering.kmeans import sample_of, without_empty_clusters
from selfsort.errors import UserError

kmeans_module = import_module("selfsort.clustering.kmeans")  # the package has a function of that name


def blobs(n_per_blob: int, n_blobs: int, n_features: int, *, spread: float = 0.1, seed: int = 0):
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(n_blobs, n_features)) * 5
    labels = np.repeat(np.arange(n_blobs), n_per_blob)
    points = centers[labels] + spread * rng.normal(size=(len(labels), n_features))
    return points.astype(np.float32), labels


def inertia(points: NDArray, centers: NDArray, labels: NDArray) -> float:
    return sum(float(np.sum((np.float64(x) - centers[k]) ** 2)) for x, k in zip(points, labels, strict=True))


def digits() -> NDArray[np.float32]:
    from sklearn.datasets import load_digits

    return (load_digits().data / 16).astype(np.float32)


@pytest.mark.parametrize("n_clusters", [10, 40])
def test_inertia_is_as_low_as_scikit_learns(n_clusters):
    from sklearn.cluster import KMeans

    points = digits()
    theirs = KMeans(n_clusters, n_init=10, random_state=0).fit(points).inertia_
    assert kmeans(points, n_clusters).inertia < 1.01 * theirs


def test_result_is_a_fixed_point_of_lloyds_steps():
    points = digits()
    result = kmeans(points, 10)
    distances = ((points[:, None] - result.centers[None]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(result.labels, distances.argmin(axis=1))
    means = np.stack([points[result.labels == k].mean(axis=0) for k in range(10)])
    np.testing.assert_allclose(result.centers, means, atol=1e-4)
    assert result.inertia == pytest.approx(inertia(points, result.centers, result.labels), rel=1e-5)


def test_separate_blobs_are_found_whatever_the_seed():
    points, labels = blobs(20, 7, 3)
    for seed in range(5):
        found = kmeans(points, 7, random_state=seed).labels
        assert len(set(zip(found, labels, strict=True))) == 7


def test_seed_decides_every_bit():
    points = digits()
    first, again, other = (kmeans(points, 25, restarts=2, random_state=seed) for seed in (3, 3, 4))
    assert first.centers.tobytes() == again.centers.tobytes()
    assert first.labels.tobytes() == again.labels.tobytes()
    assert first.centers.tobytes() != other.centers.tobytes()


def test_more_restarts_are_never_worse():
    points = digits()
    few, many = (kmeans(points, 30, restarts=n, random_state=1).inertia for n in (1, 8))
    assert many <= few * (1 + 1e-6)


def test_offset_far_from_the_origin_changes_nothing():
    points, labels = blobs(30, 4, 8, spread=0.05)
    result = kmeans(points + np.float32(4096), 4)
    assert len(set(zip(result.labels, labels, strict=True))) == 4


def test_row_order_changes_only_the_order_of_labels():
    points, _ = blobs(15, 5, 4)
    order = np.random.default_rng(0).permutation(len(points))
    straight, shuffled = kmeans(points, 5), kmeans(points[order], 5)
    assert len(set(zip(straight.labels[order], shuffled.labels, strict=True))) == 5
    assert straight.inertia == pytest.approx(shuffled.inertia, rel=1e-5)


def test_duplicated_rows_keep_the_centers():
    points, _ = blobs(15, 5, 4)
    single, double = kmeans(points, 5), kmeans(np.repeat(points, 3, axis=0), 5)
    key = lambda centers: centers[np.lexsort(centers.T)]  # noqa: E731
    np.testing.assert_allclose(key(single.centers), key(double.centers), atol=1e-4)
    assert double.inertia == pytest.approx(3 * single.inertia, rel=1e-4)


@settings(max_examples=40, deadline=None)
@given(
    n_points=st.integers(2, 40),
    n_features=st.integers(1, 5),
    share=st.floats(0, 1),
    n_values=st.integers(2, 6),
    seed=st.integers(0, 1000),
)
def test_no_cluster_is_empty_if_there_are_enough_points(n_points, n_features, share, n_values, seed):
    rng = np.random.default_rng(seed)
    points = rng.integers(n_values, size=(n_points, n_features)).astype(np.float32)
    distinct = len(np.unique(points, axis=0))
    if distinct < 2:
        return
    n_clusters = 2 + round(share * (distinct - 2))
    result = kmeans(points, n_clusters, restarts=2, random_state=seed)
    assert set(result.labels) == set(range(n_clusters))
    assert result.centers.shape == (n_clusters, n_features) and result.centers.dtype == np.float32
    assert result.labels.dtype == np.int64
    if n_clusters == distinct:
        assert result.inertia < 1e-6


def test_center_without_points_moves_to_the_farthest_point():
    points = np.array([[0.0], [0.1], [5.0], [5.1], [9.0]], dtype=np.float32)
    result = without_empty_clusters(points, np.array([[0.0], [100.0], [200.0]], dtype=np.float32))
    assert result.centers.ravel().tolist() == [0, 9, 5]
    assert result.labels.tolist() == [0, 0, 2, 2, 1]


def test_every_point_its_own_cluster():
    points, _ = blobs(1, 12, 3)
    assert sorted(kmeans(points, 12).labels) == list(range(12))


@pytest.mark.parametrize(
    ("points", "n_clusters", "sentence"),
    [
        (np.zeros((5, 2)), 0, "at least 1"),
        (np.zeros((5, 2)), 6, "at most 5"),
        (np.zeros((5, 2)), 2, "fewer than 2 different"),
        (np.array([[0.0], [np.nan], [1.0]]), 2, "NaN"),
        (np.array([[0.0], [np.inf], [1.0]]), 2, "infinity"),
        (np.array([[0.0], [-1e30], [1.0]]), 2, "beyond"),
        (np.zeros(5), 2, r"shape \(5,\)"),
    ],
)
def test_bad_input_gets_one_sentence(points, n_clusters, sentence):
    with pytest.raises(UserError, match=sentence):
        kmeans(points, n_clusters)


def test_nothing_is_printed_when_points_are_few(capfd):
    kmeans(blobs(2, 5, 3)[0], 5)
    kmeans(blobs(1, 5, 3)[0], 5)
    assert capfd.readouterr() == ("", "")


def test_importing_is_light():
    code = "import sys, selfsort.clustering; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "faiss", "sklearn", "scipy", "umap"} & set(run.stdout.split())


def test_more_points_than_are_fitted_give_the_same_partition_in_bounded_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(kmeans_module, "_MOST_FITTED", 5_000)
    monkeypatch.setattr("selfsort.clustering.neighbours._CHUNK_VALUES", 2**20)
    few, _ = blobs(1, 12, 64)  # more than ten, of which faiss finds the candidates
    mapped = np.memmap(tmp_path / "points", np.float32, "w+", shape=(400_000, 64))
    for start in range(0, len(mapped), 12_000):
        mapped[start : start + 12_000] = np.resize(few, mapped[start : start + 12_000].shape)
    tracemalloc.start()
    result = kmeans(mapped, 12, restarts=1, iterations=10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.4 * mapped.nbytes  # a fifth of it are the labels and distances of all points
    assert sorted(result.labels[:12]) == list(range(12))
    np.testing.assert_array_equal(result.labels, np.resize(result.labels[:12], len(mapped)))


def test_labels_and_centers_do_not_depend_on_the_blocks_of_points(monkeypatch):
    points = np.random.default_rng(0).normal(size=(3_000, 8)).astype(np.float32)
    monkeypatch.setattr(kmeans_module, "_MOST_FITTED", 1_000)
    whole = kmeans(points, 20, restarts=1)
    monkeypatch.setattr("selfsort.clustering.neighbours._CHUNK_VALUES", 1_000)
    parts = kmeans(points, 20, restarts=1)
    assert parts.labels.tobytes() == whole.labels.tobytes()
    assert parts.centers.tobytes() == whole.centers.tobytes() and parts.inertia == whole.inertia
    assert whole.inertia == pytest.approx(inertia(points, whole.centers, whole.labels), rel=1e-5)


def test_clusters_of_a_sample_are_nearly_as_tight(monkeypatch):
    points = blobs(400, 30, 8, spread=2)[0]
    whole = kmeans(points, 30, restarts=3)
    monkeypatch.setattr(kmeans_module, "_MOST_FITTED", 3_000)
    sampled = kmeans(points, 30, restarts=3)
    assert 0.97 * whole.inertia < sampled.inertia < 1.03 * whole.inertia


def test_a_sample_has_enough_points_for_every_cluster(monkeypatch):
    monkeypatch.setattr(kmeans_module, "_MOST_FITTED", 100)
    points = np.arange(1_000, dtype=np.float32)[:, None]
    assert sample_of(points, 1_000) is points
    sample = sample_of(points, 8)
    assert len(sample) == 400 and (np.diff(sample[:, 0]) > 0).all()
    assert len(sample_of(points, 1)) == 100
