"""The head fitted to answers on an embedding, compared with scikit-learn's regression on all columns."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from selfsort.labelling.core.head import HeadSpace
from selfsort.labelling.core.session import Targets


def clusters(width: int, each: int = 40, apart: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    kind = np.repeat(np.arange(3), each)
    centres = rng.normal(size=(3, width)) * apart / np.sqrt(width)
    return (centres[kind] + rng.normal(size=(3 * each, width)) * rng.uniform(0.1, 2, width)).astype(np.float32), kind


def named(kind: np.ndarray, known: np.ndarray, sizes: np.ndarray | None = None) -> Targets:
    soft = np.eye(3, dtype=np.float32)[kind] * known[:, None]
    return Targets(("a", "b", "c"), soft, known.astype(np.float32), sizes)


def test_it_is_the_weighted_regression_on_the_standardised_embedding():
    embedding, kind = clusters(12)
    known, sizes = np.random.default_rng(1).random(120) < 0.5, np.where(kind == 0, 9, 4)
    space = HeadSpace(embedding)
    chances = space.probabilities(space.fit(named(kind, known, sizes)))
    weights = 1 / np.sqrt(sizes[known])
    totals = np.bincount(kind[known], weights)
    weights *= (totals[kind[known]] / totals.sum()) ** -0.5
    standard = (embedding - embedding.mean(0)) / np.sqrt(embedding.var(0) + 1e-5)
    slow = LogisticRegression(C=1 / (4e-5 * 12 * weights.sum()), max_iter=5000, tol=1e-6)
    slow.fit(standard[known], kind[known], sample_weight=weights)
    # The head stops earlier than the reference, as a person waits for it.
    assert np.abs(chances - slow.predict_proba(standard)).mean() < 0.01


def test_the_axes_of_a_wide_embedding_take_seconds_and_are_as_good():
    embedding, kind = clusters(9000, apart=30.0)
    known = np.random.default_rng(1).random(120) < 0.5
    space = HeadSpace(embedding)
    assert space.points.shape[1] <= 120
    assert (space.probabilities(space.fit(named(kind, known))).argmax(1) == kind).all()


def test_a_large_embedding_is_standardised_by_a_sample_of_it():
    embedding = np.random.default_rng(0).normal(3, 2, (12_001, 4)).astype(np.float32)
    space = HeadSpace(embedding)
    assert np.allclose(space.mean, embedding[::2].mean(0), atol=1e-5)
    assert not np.allclose(space.mean, embedding.mean(0), atol=1e-5)
    assert space.points.shape == (12_001, 4) and np.allclose(space.points.std(0), 1, atol=0.05)


def test_it_is_linear_in_the_original_embedding():
    embedding, kind = clusters(300)
    space = HeadSpace(embedding)
    assert space.points.shape == (120, 256)
    head = space.fit(named(kind, np.ones(120, bool)))
    scores = (embedding - space.mean) / space.scale @ head.weight.T + head.bias
    shares = np.exp(scores - scores.max(1, keepdims=True))
    np.testing.assert_allclose(shares / shares.sum(1, keepdims=True), space.probabilities(head), atol=1e-4)


@pytest.mark.parametrize("n_known", [1, 2])
def test_names_without_pictures_are_never_chosen(n_known):
    embedding, kind = clusters(5)
    space = HeadSpace(embedding)
    chances = space.probabilities(space.fit(named(kind, kind < n_known)))
    assert chances[:, n_known:].max() == 0 and np.allclose(chances.sum(1), 1)
    assert (chances.argmax(1)[kind < n_known] == kind[kind < n_known]).mean() > 0.9


def test_many_rows_are_sampled_and_little_changes(monkeypatch):
    embedding, kind = clusters(6, each=400)
    space = HeadSpace(embedding)
    whole = space.probabilities(space.fit(named(kind, np.ones(1200, bool)))).argmax(1)
    monkeypatch.setattr("selfsort.labelling.core.head._MOST_ROWS", 300)
    assert (space.probabilities(space.fit(named(kind, np.ones(1200, bool)))).argmax(1) == whole).mean() > 0.9


def test_pictures_only_thrown_out_count_a_little_for_their_likeliest_other_name():
    embedding, kind = clusters(6)
    space = HeadSpace(embedding)
    targets = named(kind, np.arange(120) % 2 == 0)
    denied = np.zeros((120, 3), bool)
    denied[[0, 1, 41], [0, 0, 2]] = True
    given = space.with_denied(targets, denied)
    assert np.array_equal(np.delete(given.weights, [1, 41]), np.delete(targets.weights, [1, 41]))
    assert given.weights[1] == given.weights[41] > 0
    assert given.soft[1, 0] == 0 and given.soft[1].sum() == 1 and given.soft[41, 1] == 1
    assert space.with_denied(targets, np.zeros_like(denied)) is targets


def test_a_picture_denied_all_names_stays_unnamed():
    embedding, kind = clusters(6)
    space = HeadSpace(embedding)
    targets = named(kind, np.arange(120) > 0)
    denied = np.zeros((120, 3), bool)
    denied[0] = True
    assert space.with_denied(targets, denied).weights[0] == 0
