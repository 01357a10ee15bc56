"""judge_groups: figures compared with slow formulas, invariances, and groups known to be meaningful or meaningless."""

import json

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from selfsort.errors import UserError
from selfsort.evaluation.group_quality import GroupQuality, judge_groups, neighbor_agreement


def blobs(sizes, dimensions=32, distance=12.0, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(len(sizes), dimensions)) * distance / np.sqrt(2 * dimensions) * 3
    return np.concatenate([c + rng.normal(size=(n, dimensions)) for c, n in zip(centres, sizes, strict=True)])


SIZES = [100, 120, 60, 90]
TRUTH = np.repeat(np.arange(4), SIZES)
BLOBS = blobs(SIZES, distance=12)


def clustered(array, k=5):
    unit = array / np.linalg.norm(array, axis=1, keepdims=True)
    return KMeans(k, n_init=2, random_state=0).fit_predict(
        PCA(min(64, *unit.shape), random_state=0).fit_transform(unit)
    )


def test_blobs_are_clear():
    found = judge_groups(BLOBS, TRUTH)
    assert found.verdict == "clear" and found.neighbors.lead > 0.8 and found.stability.features > 0.9
    assert found.dead == found.swollen == () and found.sizes == tuple(SIZES)


def test_random_groups_are_meaningless():
    found = judge_groups(BLOBS, np.random.default_rng(0).permutation(TRUTH))
    assert found.verdict == "none" and abs(found.neighbors.features) < 0.1 and abs(found.stability.features) < 0.1


@pytest.mark.parametrize("seed", range(3))
def test_clusters_of_features_without_groups_are_meaningless(seed):
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(600, 64))
    for array in (
        noise,
        noise * np.geomspace(1, 0.03, 64),
        rng.permuted(BLOBS, axis=0),
        np.maximum(noise @ noise[:64], 0),
    ):
        assert judge_groups(array, clustered(array)).verdict == "none"


def test_groups_of_collapsed_features_are_meaningless():
    rng = np.random.default_rng(0)
    line = rng.normal(size=(500, 1)) * rng.normal(size=(1, 32)) + 3 + 1e-3 * rng.normal(size=(500, 32))
    found = judge_groups(line, clustered(line, 10))
    assert found.verdict == "none" and found.components < 2
    same = judge_groups(np.ones((50, 4)), np.arange(50) % 5)
    assert same.verdict == "none" and same.components == 0


def test_order_of_rows_and_numbering_do_not_matter():
    groups = clustered(BLOBS, 6)
    first = judge_groups(BLOBS, groups)
    order = np.random.default_rng(1).permutation(len(groups))
    second = judge_groups(BLOBS[order], np.random.default_rng(2).permutation(6)[groups[order]])
    assert (first.verdict, first.neighbors, first.components) == (second.verdict, second.neighbors, second.components)
    assert first.stability.features == pytest.approx(second.stability.features)


def test_dead_and_swollen_groups():
    labels = np.zeros(200, int)
    labels[:40] = 1 + np.arange(40) % 2
    labels[40] = 4
    found = judge_groups(np.random.default_rng(0).normal(size=(200, 8)), labels, n_classes=6)
    assert found.dead == (3, 4, 5) and found.swollen == (0,)
    assert (
        judge_groups(np.random.default_rng(0).normal(size=(200, 8)), np.zeros(200, int), n_classes=3).verdict == "none"
    )


def test_pixels_are_compared():
    rng = np.random.default_rng(0)
    found = judge_groups(BLOBS, TRUTH, pixels=rng.integers(0, 256, size=(len(BLOBS), 48)))
    assert found.verdict == "clear" and abs(found.neighbors.pixels) < 0.1
    assert judge_groups(BLOBS, TRUTH, pixels=BLOBS).neighbors.pixels == found.neighbors.features
    assert judge_groups(BLOBS, TRUTH).neighbors.pixels is None


def test_pixels_are_asked_for_by_row():
    pixels = np.random.default_rng(0).integers(0, 256, size=(len(BLOBS), 48))
    assert judge_groups(BLOBS, TRUTH, pixels=lambda rows: pixels[rows]) == judge_groups(BLOBS, TRUTH, pixels=pixels)


def test_the_result_is_restored_and_described_by_number_or_name():
    labels = np.zeros(200, int)
    labels[:40] = 1 + np.arange(40) % 2
    found = judge_groups(np.random.default_rng(0).normal(size=(200, 8)), labels, n_classes=5)
    assert GroupQuality.from_json(json.loads(json.dumps(found.to_json()))) == found
    reason, dead, swollen = found.sentences()
    assert reason == found.reason and dead == "Groups 3 and 4 hold hardly any pictures."
    assert swollen.startswith("Group 0 holds more than half of all pictures")
    assert "Groups d and e hold" in found.sentences("abcde")[1]


@pytest.mark.parametrize("n", [1, 3, 20])
def test_few_pictures_are_not_judged(n):
    found = judge_groups(np.random.default_rng(0).normal(size=(n, 8)), np.arange(n) % 2)
    assert found.verdict != "clear"


@pytest.mark.parametrize(
    ("features", "labels", "more"),
    [
        (np.zeros(3), [0, 1, 0], {}),
        (np.full((2, 2), np.nan), [0, 1], {}),
        (np.zeros((3, 2)), [0, 1], {}),
        (np.zeros((2, 2)), [0, -1], {}),
        (np.zeros((2, 2)), [0, 0.5], {}),
        (np.zeros((2, 2)), [0, 2], {"n_classes": 2}),
        (np.zeros((2, 2)), [0, 1], {"pixels": np.zeros((3, 2))}),
    ],
)
def test_bad_input(features, labels, more):
    with pytest.raises(UserError):
        judge_groups(features, labels, **more)


def test_neighbor_agreement_is_the_slow_formula():
    points = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    groups = np.random.default_rng(1).integers(3, size=100)
    distance = ((points[:, None] - points) ** 2).sum(-1)
    np.fill_diagonal(distance, np.inf)
    nearest = np.argsort(distance)[:, :3]
    share = np.mean([[groups[j] == groups[i] for j in nearest[i]] for i in range(100)])
    chance = sum(np.mean(groups == g) ** 2 for g in range(3))
    assert np.isclose(neighbor_agreement(points, groups), (share - chance) / (1 - chance))
    assert neighbor_agreement(points, np.zeros(100, int)) == 0
