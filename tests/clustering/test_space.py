import warnings

import numpy as np
import pytest

from selfsort.clustering import reduce
from selfsort.clustering.kept import LAYOUTS
from selfsort.errors import UserError


def two_rings(n: int = 200):
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points = np.concatenate([ring, 4 * ring])
    return points.astype(np.float32), np.repeat([0, 1], n)


def test_embedding_is_returned_as_it_is():
    points, _ = two_rings()
    np.testing.assert_array_equal(reduce(points, "embedding"), points)


def test_pca_keeps_the_distances_along_the_largest_directions():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(300, 80)) * np.linspace(5, 0.01, 80)
    reduced = reduce(points, "pca")
    assert reduced.shape == (300, 50) and reduced.dtype == np.float32
    centered = np.float32(points) - np.float32(points).mean(axis=0)
    singular = np.linalg.svd(centered, compute_uv=False)
    np.testing.assert_allclose(np.linalg.norm(reduced, axis=0), singular[:50], rtol=1e-3)


def test_pca_of_equal_points_is_zero():
    assert not reduce(np.full((10, 4), 3.0), "pca").any()


def test_umap_separates_what_pca_leaves_nested():
    points, ring = two_rings()
    reduced = reduce(points, "umap", random_state=0)
    squared = ((reduced[:, None] - reduced[None]) ** 2).sum(axis=2)
    np.fill_diagonal(squared, np.inf)
    assert (ring[squared.argmin(axis=1)] == ring).all()
    within = squared[:200, :200][np.isfinite(squared[:200, :200])].max()
    assert reduced.dtype == np.float32 and np.isfinite(reduced).all() and within > 0


def test_umap_repeats_bit_for_bit_and_follows_its_seed():
    points, _ = two_rings(60)
    first, again, other = (reduce(points, "umap", random_state=seed) for seed in (1, 1, 2))
    assert first.tobytes() == again.tobytes() != other.tobytes()


@pytest.mark.parametrize("n_points", [2, 3, 16, 49, 50, 60])
def test_few_points_are_reduced_without_warnings(n_points):
    points = np.random.default_rng(0).normal(size=(n_points, 12))
    reduced = reduce(points, "umap")
    assert len(reduced) == n_points and np.isfinite(reduced).all()


@pytest.mark.parametrize("copies", [5, pytest.param(40, marks=pytest.mark.slow)])
def test_umap_survives_many_equal_points(copies):
    points = np.repeat(np.random.default_rng(0).normal(size=(12, 6)), copies, axis=0)
    assert np.isfinite(reduce(points, "umap")).all()


def test_unknown_space_gets_one_sentence():
    with pytest.raises(UserError, match="'kernel' is not a cluster space"):
        reduce(np.zeros((4, 2)), "kernel")


class TestKeptLayouts:
    @pytest.fixture
    def blobs(self):
        return np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)

    @pytest.fixture
    def made(self, monkeypatch, tmp_path):
        """Count the layouts made, in a separate cache."""
        monkeypatch.setenv("SELFSORT_CACHE", str(tmp_path / "cache"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ImportWarning)  # it reports a missing TensorFlow
            import umap
        counted, own = [], umap.UMAP

        def counting(**settings):
            counted.append(settings["random_state"])
            return own(**settings)

        monkeypatch.setattr(umap, "UMAP", counting)
        return counted

    def test_a_layout_is_made_once_for_the_same_points_and_seed(self, made, blobs):
        first = reduce(blobs, "umap", random_state=1)
        assert np.array_equal(reduce(blobs.copy(), "umap", random_state=1), first)
        assert made == [1] and LAYOUTS.usage()[0] == 1
        moved = blobs.copy()
        moved[0, 0] += 1e-3
        reduce(moved, "umap", random_state=1)
        reduce(blobs, "umap", random_state=2)
        assert made == [1, 1, 2]
        assert LAYOUTS.clear() > 0 and LAYOUTS.usage() == (0, 0)

    @pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00", b"text"])
    def test_a_damaged_layout_is_made_again(self, made, blobs, content):
        first = reduce(blobs, "umap")
        (path,) = LAYOUTS.location().glob("*.npy")
        path.write_bytes(content)
        assert np.array_equal(reduce(blobs, "umap"), first) and len(made) == 2

    def test_a_layout_is_returned_even_if_nothing_can_be_written(self, made, blobs, monkeypatch, tmp_path):
        (tmp_path / "file").write_text("in the way")
        monkeypatch.setenv("SELFSORT_CACHE", str(tmp_path / "file"))
        assert reduce(blobs, "umap").shape == (len(blobs), 5) and made == [0]
