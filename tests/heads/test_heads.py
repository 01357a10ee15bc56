"""What every head does: it finds plain blobs, assigns new features to them, and is restored from plain arrays."""

from collections.abc import Callable
from functools import cache
from importlib import import_module

import numpy as np
import pytest
from numpy.typing import NDArray

from selfsort import UserError, heads
from selfsort.evaluation.metrics import clustering_scores
from selfsort.heads.base import Head
from selfsort.schema import Invalid

kmeans_module = import_module("selfsort.clustering.kmeans")  # the package has a function of that name
every_head = pytest.mark.parametrize("name", heads.names())
FIRST = ("kmeans", "turtle")
every_head_in_time = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FIRST else pytest.mark.slow) for name in heads.names()]
)


def blobs(count: int = 120, n_classes: int = 3, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return features (N, 16) around well separated centres, far from the origin as features are, and their classes."""
    rng, labels = np.random.default_rng(seed), np.arange(count) % n_classes
    centres = np.random.default_rng(1).normal(0, 3, (n_classes, 16))
    return (5 + centres[labels] + rng.normal(0, 0.4, (count, 16))).astype(np.float32), labels


@pytest.fixture(scope="module")
def fitted() -> Callable[[str], Head]:
    """Return every head as fitted to blobs, once."""
    return cache(lambda name: heads.find(name).fit(blobs()[0], 3, random_state=4))


@every_head_in_time
def test_blobs_are_found_and_new_points_join_them(name: str, fitted: Callable[[str], Head]) -> None:
    features, labels = blobs()
    found = fitted(name).predict_proba(features)
    assert found.shape == (120, 3) and np.allclose(found.sum(1), 1, atol=1e-5)
    assert clustering_scores(labels, found.argmax(1)).accuracy > 0.95
    new, truth = blobs(60, seed=7)
    assert clustering_scores(truth, fitted(name).predict_proba(new).argmax(1)).accuracy > 0.95


@every_head_in_time
def test_the_same_seed_gives_the_same_groups(name: str, fitted: Callable[[str], Head]) -> None:
    features, _ = blobs()
    again = heads.find(name).fit(features, 3, random_state=4)
    assert np.array_equal(again.predict_proba(features), fitted(name).predict_proba(features))


@every_head
def test_plain_arrays_restore_it(name: str, fitted: Callable[[str], Head]) -> None:
    (features, _), state, kind = blobs(), dict(fitted(name).state()), heads.find(name)
    assert all(isinstance(array, np.ndarray) and array.dtype.kind in "fiub" for array in state.values())
    assert np.array_equal(kind.from_state(state).predict_proba(features), fitted(name).predict_proba(features))
    state.pop(sorted(state)[0])
    with pytest.raises(Invalid, match="lacks"):
        kind.from_state(state)


@every_head_in_time
def test_few_pictures(name: str) -> None:
    features, _ = blobs(3, n_classes=2)
    assert heads.find(name).fit(features, 2).predict_proba(features).shape == (3, 2)


def test_an_unknown_head_is_named_with_the_nearest() -> None:
    with pytest.raises(UserError, match="^Unknown head 'kmean': did you mean 'kmeans'"):
        heads.find("kmean")
    assert heads.about("kmeans").startswith("k-means")


def test_k_means_of_very_many_pictures_is_fitted_to_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kmeans_module, "_MOST_FITTED", 150)
    features, labels = blobs(400)
    found = heads.find("kmeans").fit(features, 3)
    assert len(found.state()["reference"]) == 150
    whole = found.predict_proba(features)
    assert clustering_scores(labels, whole.argmax(1)).accuracy > 0.95
    monkeypatch.setattr("selfsort.heads.kmeans._BLOCK", 7)
    assert found.predict_proba(features).tobytes() == whole.tobytes()
    assert found.predict_proba(features[:0]).shape == (0, 3)
