import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness

from selfsort.clustering.layout import project


class TestProject:
    def test_pca_equals_scikit_learn_up_to_sign(self):
        for shape in [(60, 10), (20, 100)]:
            embedding = np.random.default_rng(0).normal(size=shape)
            indices, points = project(embedding, kind="pca")
            expected = PCA(2, svd_solver="full").fit_transform(embedding)
            signs = np.sign((points * expected).sum(0))
            np.testing.assert_allclose(points * signs, expected, atol=1e-8)
            assert indices.tolist() == list(range(len(embedding)))

    def test_tsne_keeps_neighbours(self):
        digits = load_digits().data[:400].astype(np.float32)
        _, points = project(digits)
        assert trustworthiness(digits, points, n_neighbors=5) > 0.97
        np.testing.assert_array_equal(project(digits)[1], points)

    def test_a_sample_is_random_ordered_and_seeded(self):
        embedding = np.random.default_rng(0).normal(size=(500, 3))
        indices, points = project(embedding, kind="pca", sample=100, random_state=1)
        assert len(points) == 100 and (np.diff(indices) > 0).all() and indices[-1] >= 400
        other, _ = project(embedding, kind="pca", sample=100, random_state=2)
        assert indices.tolist() != other.tolist()

    @pytest.mark.parametrize("kind", ["tsne", "pca"])
    @pytest.mark.parametrize("shape", [(0, 3), (1, 3), (2, 1), (3, 8), (4, 8), (5, 1), (7, 2)])
    def test_tiny_sets(self, kind, shape):
        indices, points = project(np.random.default_rng(0).normal(size=shape).astype(np.float32), kind=kind)
        assert points.shape == (shape[0], 2) and len(indices) == shape[0]
        assert np.isfinite(points).all()

    def test_a_collapsed_embedding_is_one_point(self):
        _, points = project(np.full((50, 16), 0.3, np.float32))
        np.testing.assert_allclose(points, 0, atol=1e-6)

    def test_rows_that_are_not_finite_are_left_out(self):
        embedding = np.random.default_rng(0).normal(size=(10, 3))
        embedding[2, 0], embedding[5, 1] = np.nan, np.inf
        assert project(embedding)[0].tolist() == [0, 1, 3, 4, 6, 7, 8, 9]
