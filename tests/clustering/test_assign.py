import tracemalloc
from importlib import import_module

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsort.clustering import Clustering, fit_clustering
from selfsort.clustering import assign as assign_module
from selfsort.clustering.neighbours import nearest
from selfsort.errors import UserError
from selfsort.schema import Invalid

kmeans_module = import_module("selfsort.clustering.kmeans")  # the package has a function of that name


def voters(
    n_references: int, n_clusters: int, n_neighbors: int, *, n_features: int = 4, scale: float = 3.0, seed: int = 0
):
    rng = np.random.default_rng(seed)
    reference = rng.normal(size=(n_references, n_features)).astype(np.float32)
    return Clustering(reference, rng.integers(n_clusters, size=n_references), n_clusters, n_neighbors, scale)


def brute_force_votes(clustering: Clustering, points):
    shares = np.zeros((len(points), clustering.n_clusters))
    for row, point in enumerate(np.float64(points)):
        squared = [float(((point - voter) ** 2).sum()) for voter in np.float64(clustering.reference)]
        for voter in np.argsort(squared, kind="stable")[: clustering.n_neighbors]:
            shares[row, clustering.reference_labels[voter]] += np.exp(-squared[voter] / clustering.scale)
        shares[row] /= shares[row].sum()
    return shares


@settings(max_examples=30, deadline=None)
@given(n_references=st.integers(1, 200), n_clusters=st.integers(2, 6), k=st.integers(1, 200), seed=st.integers(0, 99))
def test_votes_are_those_of_a_loop_over_all_references(n_references, n_clusters, k, seed):
    clustering = voters(n_references, n_clusters, min(k, n_references), seed=seed)
    points = np.random.default_rng(seed + 1).normal(size=(9, 4)).astype(np.float32)
    np.testing.assert_allclose(clustering.predict_proba(points), brute_force_votes(clustering, points), atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(n_points=st.integers(1, 40), n_references=st.integers(1, 300), k=st.integers(1, 20), seed=st.integers(0, 99))
def test_nearest_is_a_sorted_row_of_the_full_distance_matrix(n_points, n_references, k, seed):
    rng = np.random.default_rng(seed)
    points = (2000 + rng.normal(size=(n_points, 6))).astype(np.float32)
    references = (2000 + rng.normal(size=(n_references, 6))).astype(np.float32)
    k = min(k, n_references)
    full = ((np.float64(points)[:, None] - np.float64(references)[None]) ** 2).sum(axis=2)
    squared, indices = nearest(points, references, k)
    np.testing.assert_array_equal(indices, np.argsort(full, axis=1)[:, :k])
    np.testing.assert_allclose(squared, np.sort(full, axis=1)[:, :k], rtol=1e-5)


def test_ties_go_to_the_lower_index():
    references = np.array([[1.0], [-1.0], [1.0], [0.0]], dtype=np.float32)
    assert nearest(np.zeros((1, 1), np.float32), references, 4)[1].tolist() == [[3, 0, 1, 2]]


@pytest.mark.parametrize("n_neighbors", [15, 2000])
def test_row_is_the_same_bit_for_bit_in_any_batch(n_neighbors):
    clustering = voters(2000, 7, n_neighbors, n_features=64)
    points = np.random.default_rng(1).normal(size=(300, 64)).astype(np.float32)
    together = clustering.predict_proba(points)
    for size in (1, 7, 64):
        parts = [clustering.predict_proba(points[i : i + size]) for i in range(0, len(points), size)]
        assert np.concatenate(parts).tobytes() == together.tobytes()
    assert clustering.predict_proba(points[::-1])[::-1].tobytes() == together.tobytes()


def test_neighbours_at_nearly_equal_distances_are_the_same_in_any_batch():
    rng = np.random.default_rng(0)
    groups = np.repeat(rng.normal(size=(400, 64)), 5, axis=0)
    references = (groups * (1 + 3e-7 * rng.normal(size=groups.shape))).astype(np.float32)
    points = rng.normal(size=(3000, 64)).astype(np.float32)  # enough for faiss to expand (x - y)^2
    together = nearest(points, references, 7)
    alone = [nearest(points[i : i + 1], references, 7) for i in range(100)]
    for column, parts in zip(together, zip(*alone, strict=True), strict=True):
        np.testing.assert_array_equal(column[:100], np.concatenate(parts))


def test_nearest_is_precise_far_from_the_origin():
    rng = np.random.default_rng(0)
    points, references = ((2000 + rng.normal(size=(2000, 64))).astype(np.float32) for _ in range(2))
    squared, indices = nearest(points, references, 7)
    for row in range(0, 2000, 100):
        full = ((np.float64(points[row]) - np.float64(references)) ** 2).sum(axis=1)
        np.testing.assert_array_equal(indices[row], np.argsort(full)[:7])
        np.testing.assert_allclose(squared[row], np.sort(full)[:7], rtol=1e-5)


def test_chunks_make_no_difference(monkeypatch):
    clustering = voters(100, 3, 5)
    points = np.random.default_rng(1).normal(size=(50, 4)).astype(np.float32)
    whole = clustering.predict_proba(points)
    monkeypatch.setattr(assign_module, "_CHUNK_VOTES", 20)
    monkeypatch.setattr("selfsort.clustering.neighbours._CHUNK_VALUES", 40)
    assert clustering.predict_proba(points).tobytes() == whole.tobytes()


@settings(max_examples=40, deadline=None)
@given(
    scale=st.sampled_from([1e-38, 1e-6, 1.0, 1e12]),
    far=st.sampled_from([0.0, 1.0, 1e6, 1e14, -1e14]),
    seed=st.integers(0, 99),
)
def test_rows_sum_to_one_however_far_the_points(scale, far, seed):
    clustering = voters(30, 4, 10, scale=scale, seed=seed)
    points = far + np.random.default_rng(seed).normal(size=(6, 4))
    shares = clustering.predict_proba(points)
    assert shares.dtype == np.float32 and shares.shape == (6, 4)
    assert (shares >= 0).all()
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(clustering.predict(points), shares.argmax(axis=1))


def test_relabelled_references_relabel_the_votes():
    clustering = voters(60, 5, 9)
    new_name = np.array([3, 0, 4, 1, 2])
    renamed = Clustering(clustering.reference, new_name[clustering.reference_labels], 5, 9, clustering.scale)
    points = np.random.default_rng(1).normal(size=(20, 4))
    np.testing.assert_array_equal(renamed.predict_proba(points)[:, new_name], clustering.predict_proba(points))


def test_no_points_give_no_rows():
    clustering = voters(10, 3, 2)
    assert clustering.predict_proba(np.empty((0, 4))).shape == (0, 3)
    assert clustering.predict(np.empty((0, 4))).shape == (0,)


def blobs(sizes, n_features=6, seed=0):
    rng = np.random.default_rng(seed)
    centers = 10 * np.eye(len(sizes), n_features)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return (centers[labels] + 0.3 * rng.normal(size=(len(labels), n_features))).astype(np.float32), labels


@pytest.mark.parametrize("space", ["embedding", "pca", "umap"])
def test_new_points_join_the_blob_they_come_from(space):
    points, labels = blobs([40, 40, 40, 40])
    clustering = fit_clustering(points, 4, space=space)
    names = {cluster: label for cluster, label in zip(clustering.predict(points), labels, strict=True)}
    assert len(names) == 4
    others, expected = blobs([25, 5, 30, 1], seed=7)
    assert [names[cluster] for cluster in clustering.predict(others)] == list(expected)
    assert clustering.predict_proba(others).max(axis=1).min() > 0.9


def test_centers_vote_in_the_embedding_and_points_in_a_reduced_space():
    points, _ = blobs([30, 30, 30])
    direct, reduced = fit_clustering(points, 3), fit_clustering(points, 3, space="pca")
    assert direct.reference.shape == (3, 6) and direct.n_neighbors == 3
    np.testing.assert_array_equal(reduced.reference, points)
    own = ((points - direct.reference[direct.predict(points)]) ** 2).sum(axis=1)
    assert direct.scale == pytest.approx(own.mean(), rel=1e-4)


def test_scale_of_a_reduced_space_is_the_reach_of_the_voters():
    points, _ = blobs([50, 50])
    clustering = fit_clustering(points, 2, space="pca")
    squared = np.sort(((points[:, None] - points[None]) ** 2).sum(axis=2), axis=1)
    assert clustering.scale == pytest.approx(squared[:, clustering.n_neighbors].mean(), rel=1e-4)


def test_small_clusters_are_not_outvoted():
    points, labels = blobs([4, 4, 4, 4])
    clustering = fit_clustering(points, 4, space="pca")
    assert len(set(zip(clustering.predict(points), labels, strict=True))) == 4


def test_references_are_sampled_but_keep_every_cluster(monkeypatch):
    monkeypatch.setattr(assign_module, "_MOST_REFERENCES", 50)
    points, labels = blobs([400, 400, 2])
    clustering = fit_clustering(points, 3, space="pca", random_state=1)
    assert 50 <= len(clustering.reference) <= 53
    assert set(clustering.reference_labels) == {0, 1, 2}
    again = fit_clustering(points, 3, space="pca", random_state=1)
    assert clustering.reference.tobytes() == again.reference.tobytes()


def test_same_seed_same_bits():
    points = np.random.default_rng(0).normal(size=(150, 8)).astype(np.float32)
    for space in ("embedding", "pca", "umap"):
        first, again = (fit_clustering(points, 5, space=space, random_state=4) for _ in range(2))
        for name, array in first.state().items():
            assert array.tobytes() == again.state()[name].tobytes(), (space, name)


@pytest.mark.parametrize("space", ["embedding", "pca"])
def test_few_different_points_with_many_copies(space):
    points = np.repeat([[0.0, 0.0], [0.0, 1.0], [4.0, 0.0]], 30, axis=0)
    clustering = fit_clustering(points, 3, space=space)
    labels = clustering.predict(points)
    assert len(set(zip(labels, np.repeat([0, 1, 2], 30), strict=True))) == 3
    assert np.isfinite(clustering.predict_proba(points + 0.1)).all()


def test_state_survives_a_round_trip_through_safetensors(tmp_path):
    from safetensors.numpy import load_file, save_file

    points = np.random.default_rng(0).normal(size=(120, 5)).astype(np.float32)
    for space in ("embedding", "pca"):
        clustering = fit_clustering(points, 4, space=space)
        save_file(clustering.state(), tmp_path / "clusters.safetensors")
        restored = Clustering.from_state(load_file(tmp_path / "clusters.safetensors"))
        assert restored.predict_proba(points).tobytes() == clustering.predict_proba(points).tobytes()
        assert (restored.n_clusters, restored.n_neighbors) == (clustering.n_clusters, clustering.n_neighbors)
        assert restored.scale == clustering.scale


def test_broken_state_gets_one_sentence():
    state = voters(10, 3, 2).state()
    for broken, sentence in [
        ({name: array for name, array in state.items() if name != "scale"}, "lacks 'scale'"),
        (state | {"more": np.zeros(2)}, "holds 'more'"),
        (state | {"reference_labels": np.zeros(3, np.int64)}, "'reference_labels' is 3, where N is 10"),
        (state | {"reference": np.zeros(10, np.float32)}, "of shape"),
        (state | {"reference": np.full((10, 4), np.nan, np.float32)}, "not a finite number"),
        (state | {"reference_labels": np.arange(10)}, "from 0 to 2"),
        (state | {"reference_labels": np.full(10, -5)}, "from 0 to 2"),
        (state | {"n_clusters": np.array(10**9)}, "n_clusters is 1000000000"),
        (state | {"n_neighbors": np.array(0)}, "n_neighbors is 0"),
        (state | {"scale": np.array(-1.0)}, "scale is -1"),
    ]:
        with pytest.raises(Invalid, match=sentence):
            Clustering.from_state(broken)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"n_clusters": 0}, "at least 1"),
        ({"n_clusters": 21}, "at most 20"),
        ({"space": "tsne"}, "'tsne' is not a cluster space: choose one of embedding, umap, pca"),
        ({"points": np.full((20, 3), np.nan)}, "NaN"),
        ({"points": np.ones((20, 3))}, "fewer than 2 different"),
        ({"points": np.ones((20, 3)), "space": "pca"}, "fewer than 2 different"),
    ],
)
def test_bad_input_gets_one_sentence(changes, sentence):
    arguments = {"points": np.random.default_rng(0).normal(size=(20, 3)), "n_clusters": 2} | changes
    with pytest.raises(UserError, match=sentence):
        fit_clustering(**arguments)


def test_points_of_another_width_get_one_sentence():
    with pytest.raises(UserError, match="5 features, but the clusters were made with 4"):
        voters(10, 3, 2).predict(np.zeros((2, 5)))
    with pytest.raises(UserError, match="NaN"):
        voters(10, 3, 2).predict(np.full((2, 4), np.nan))


@pytest.mark.parametrize("space", ["embedding", "pca"])
def test_of_very_many_points_a_sample_is_fitted_and_all_get_a_cluster(space, monkeypatch):
    reduced = []
    monkeypatch.setattr(kmeans_module, "_MOST_FITTED", 200)
    monkeypatch.setattr(assign_module, "reduce", lambda points, space, **_: reduced.append(len(points)) or points)
    points, labels = blobs([400, 400, 400])
    clustering = fit_clustering(points, 3, space=space)
    assert reduced == [1200 if space == "embedding" else 200]
    assert len(set(zip(clustering.predict(points), labels, strict=True))) == 3


def test_predicting_needs_no_table_of_all_votes(monkeypatch):
    clustering = voters(300, 200, 5)
    monkeypatch.setattr(assign_module, "_CHUNK_VOTES", 20_000)
    points = np.random.default_rng(1).normal(size=(20_000, 4)).astype(np.float32)
    tracemalloc.start()
    labels = clustering.predict(points)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 200 * len(points) / 2
    np.testing.assert_array_equal(labels, clustering.predict_proba(points).argmax(1))
