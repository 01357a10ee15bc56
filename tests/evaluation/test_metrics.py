import itertools
import json
import math
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from selfsort.errors import UserError
from selfsort.evaluation import class_use, clustering_scores, effective_rank, silhouette

assignments = st.integers(1, 60).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 4), min_size=n, max_size=n), st.lists(st.integers(0, 5), min_size=n, max_size=n)
    )
)


def brute_force_accuracy(labels, clusters):
    """Return the best accuracy over all ways to match each class with a cluster of its own."""
    classes, groups = range(max(labels) + 1), list(range(max(clusters) + 1))
    groups += [None] * len(classes)  # a class may have no cluster
    together = Counter(zip(labels, clusters, strict=True))
    return max(
        sum(together[c, g] for c, g in zip(classes, chosen, strict=True))
        for chosen in itertools.permutations(groups, len(classes))
    ) / len(labels)


def entropy(counts):
    total = sum(counts)
    return -sum(n / total * math.log(n / total) for n in counts if n)


def nmi_from_counts(labels, clusters):
    a, b = entropy(Counter(labels).values()), entropy(Counter(clusters).values())
    mutual = a + b - entropy(Counter(zip(labels, clusters, strict=True)).values())
    return 1.0 if a == b == 0 else mutual / ((a + b) / 2)


def ari_from_pairs(labels, clusters):
    same_class = same_cluster = same_both = pairs = 0
    for i, j in itertools.combinations(range(len(labels)), 2):
        pairs += 1
        same_class += labels[i] == labels[j]
        same_cluster += clusters[i] == clusters[j]
        same_both += labels[i] == labels[j] and clusters[i] == clusters[j]
    expected = same_class * same_cluster / pairs
    return (same_both - expected) / ((same_class + same_cluster) / 2 - expected)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 25).flatmap(
        lambda n: st.tuples(
            st.lists(st.integers(0, 3), min_size=n, max_size=n), st.lists(st.integers(0, 3), min_size=n, max_size=n)
        )
    )
)
def test_accuracy_is_the_best_over_all_permutations(pair):
    assert clustering_scores(*pair).accuracy == pytest.approx(brute_force_accuracy(*pair))


@settings(max_examples=60, deadline=None)
@given(assignments)
def test_nmi_is_the_one_of_the_counts(pair):
    assert clustering_scores(*pair).nmi == pytest.approx(nmi_from_counts(*pair), abs=1e-9)


def test_ari_is_the_one_of_the_pairs():
    rng = np.random.default_rng(0)
    labels, clusters = rng.integers(4, size=60).tolist(), rng.integers(5, size=60).tolist()
    clusters[:30] = labels[:30]
    assert clustering_scores(labels, clusters).ari == pytest.approx(ari_from_pairs(labels, clusters))


def test_ami_is_zero_in_the_mean_of_random_clusters_and_nmi_is_not():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(5), 12)
    scores = [clustering_scores(labels, rng.integers(10, size=60)) for _ in range(50)]
    assert abs(np.mean([score.ami for score in scores])) < 0.02
    assert np.mean([score.nmi for score in scores]) > 0.1


@settings(max_examples=40, deadline=None)
@given(assignments, st.randoms(use_true_random=False))
def test_scores_ignore_names_and_order_and_copies(pair, random):
    labels, clusters = np.array(pair[0]), np.array(pair[1])
    first = clustering_scores(labels, clusters)
    new_name = np.array(random.sample(range(6), 6))
    order = np.array(random.sample(range(len(labels)), len(labels)))
    for other in [
        clustering_scores(labels, new_name[clusters]),
        clustering_scores(labels[order], clusters[order]),
    ]:
        for name in ("accuracy", "nmi", "ami", "ari"):
            assert getattr(other, name) == pytest.approx(getattr(first, name), abs=1e-9)
    copies = clustering_scores(
        np.repeat(labels, 3), np.repeat(clusters, 3)
    )  # but chance, and so AMI and ARI, depend on them
    assert (copies.accuracy, copies.nmi) == pytest.approx((first.accuracy, first.nmi), abs=1e-9)


def test_perfect_and_useless_clusters():
    labels = np.repeat(np.arange(4), 10)
    perfect, useless = clustering_scores(labels, 3 - labels), clustering_scores(labels, np.zeros(40, int))
    assert (perfect.accuracy, perfect.nmi, perfect.ami, perfect.ari) == pytest.approx((1, 1, 1, 1))
    assert (useless.accuracy, useless.nmi, useless.ami, useless.ari) == pytest.approx((0.25, 0, 0, 0))


def test_table_and_confusion_of_a_worked_example():
    #           cluster 0: a a b   cluster 1: b b   cluster 2: a
    labels, clusters = [0, 0, 1, 1, 1, 0, -1, -1], [0, 0, 0, 1, 1, 2, 1, 2]
    scores = clustering_scores(labels, clusters, label_names=("a", "b", "never seen"))
    assert scores.confusion.tolist() == [[2, 0, 1], [1, 2, 0], [0, 0, 0]]
    assert (scores.n, scores.n_unlabelled) == (6, 2)
    assert scores.accuracy == pytest.approx(4 / 6)
    a, b, never = scores.per_class
    assert (a.name, a.n, a.precision, a.recall, a.f1, a.cluster) == ("a", 3, 2 / 3, 2 / 3, 2 / 3, 0)
    assert (b.name, b.n, b.precision, b.recall, b.cluster) == ("b", 3, 1.0, 2 / 3, 1)
    assert b.f1 == pytest.approx(2 * 1 * (2 / 3) / (1 + 2 / 3))
    assert (never.n, never.precision, never.recall, never.f1) == (0, 0, 0, 0)


def test_unmatched_clusters_stand_for_no_class():
    scores = clustering_scores([0, 0, 1, 1, 1], [0, 0, 1, 1, 2])
    assert scores.mapping == {0: "0", 1: "1", 2: None}
    assert scores.accuracy == pytest.approx(0.8)


def test_unmatched_classes_have_no_cluster():
    scores = clustering_scores([0, 0, 1, 2, 2], [0, 0, 1, 1, 1])
    assert [row.cluster for row in scores.per_class] == [0, None, 1]
    assert scores.per_class[1].recall == 0
    assert scores.accuracy == pytest.approx(0.8)


def test_rows_without_a_label_change_no_score():
    rng = np.random.default_rng(0)
    labels, clusters = rng.integers(3, size=50), rng.integers(3, size=50)
    more = clustering_scores(np.append(labels, [-1] * 9), np.append(clusters, [7] * 9))
    plain = clustering_scores(labels, clusters)
    assert more.to_json() == plain.to_json() | {"n_unlabelled": 9}


def test_scores_become_json_of_fractions():
    scores = clustering_scores(np.array([0, 1, 1]), np.array([1, 0, 0]), label_names=("cat", "dog"))
    figures = json.loads(json.dumps(scores.to_json(), allow_nan=False))
    assert figures["accuracy"] == 1.0 and figures["mapping"] == {"0": "dog", "1": "cat"}
    assert figures["per_class"][0] == {"name": "cat", "n": 1, "precision": 1, "recall": 1, "f1": 1, "cluster": 1}
    assert figures["confusion"] == [[0, 1], [2, 0]]


@pytest.mark.parametrize(
    ("labels", "clusters", "sentence"), [([-1, -1], [0, 1], "No picture has a label"), ([0, 1], [0], "one per picture")]
)
def test_bad_labels_get_one_sentence(labels, clusters, sentence):
    with pytest.raises(UserError, match=sentence):
        clustering_scores(labels, clusters)


def slow_silhouette(points, clusters):
    widths = []
    for i, own in enumerate(clusters):
        distance = {g: [] for g in set(clusters)}
        for j, other in enumerate(clusters):
            if i != j:
                distance[other].append(math.dist(points[i], points[j]))
        if not distance[own]:
            widths.append(0.0)
            continue
        a = np.mean(distance[own])
        b = min(np.mean(distances) for group, distances in distance.items() if group != own)
        widths.append((b - a) / max(a, b) if max(a, b) else 0.0)
    return np.mean(widths)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=2, max_size=25), st.integers(0, 99))
def test_silhouette_is_the_one_of_the_formula(clusters, seed):
    assume(len(set(clusters)) > 1)
    points = np.random.default_rng(seed).integers(5, size=(len(clusters), 2)).astype(float)
    assert silhouette(points, clusters) == pytest.approx(slow_silhouette(points, clusters), abs=1e-6)


def test_silhouette_agrees_with_scikit_learn_far_from_the_origin():
    from sklearn.metrics import silhouette_score

    rng = np.random.default_rng(0)
    clusters = rng.integers(4, size=200)
    points = 1000 + rng.normal(size=(200, 5)) + clusters[:, None]
    assert silhouette(points, clusters) == pytest.approx(silhouette_score(points, clusters), abs=1e-6)


def test_silhouette_samples_with_a_seed():
    rng = np.random.default_rng(0)
    clusters = rng.integers(3, size=900)
    points = rng.normal(size=(900, 3)) + 2 * clusters[:, None]
    first, again, other = (silhouette(points, clusters, sample=100, random_state=seed) for seed in (1, 1, 2))
    assert first == again != other
    assert first == pytest.approx(silhouette(points, clusters), abs=0.1)


def test_silhouette_of_one_cluster_is_undefined():
    assert silhouette(np.zeros((5, 2)), np.zeros(5, int)) is None


def slow_effective_rank(embedding):
    centered = np.float64(embedding) - np.float64(embedding).mean(axis=0)
    singular = np.linalg.svd(centered, compute_uv=False)
    shares = singular[singular > 1e-5 * np.linalg.norm(embedding)]
    shares = shares / shares.sum()
    return math.exp(-sum(p * math.log(p) for p in shares))


@pytest.mark.parametrize("shape", [(200, 30), (30, 200), (64, 64), (2, 5), (500, 1)])
def test_effective_rank_is_the_one_of_the_singular_values(shape):
    rng = np.random.default_rng(0)
    embedding = (rng.normal(size=shape) * np.geomspace(1, 1e-3, shape[1]) + 0.5).astype(np.float32)
    assert effective_rank(embedding) == pytest.approx(slow_effective_rank(embedding), rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(npst.arrays(np.float64, (12, 4), elements=st.integers(-9, 9).map(float)), st.floats(0.01, 100))
def test_effective_rank_ignores_order_scale_rotation_and_copies(embedding, factor):
    assume(np.ptp(embedding, axis=0).any())
    rank = effective_rank(embedding)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    for same in [embedding[::-1], factor * embedding, embedding @ rotation, np.repeat(embedding, 3, axis=0)]:
        assert effective_rank(same) == pytest.approx(rank, rel=1e-6)
    assert 1 <= rank + 1e-9 and rank <= 4 + 1e-9


def test_effective_rank_counts_equal_directions():
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.normal(size=(64, 6)))[0]
    scores = rng.normal(size=(400, 6))
    scores = np.linalg.qr(scores - scores.mean(axis=0))[0]
    assert effective_rank(scores @ directions.T) == pytest.approx(6)


def test_collapsed_embedding_has_no_rank_despite_rounding():
    rng = np.random.default_rng(0)
    point = rng.normal(size=128)
    rounding = 1 + 3e-7 * rng.normal(size=(500, 128))
    assert effective_rank((point * rounding).astype(np.float32)) == 0
    assert effective_rank(np.zeros((10, 4), np.float32)) == 0
    line = rng.normal(size=(500, 1)) * point
    assert effective_rank(line.astype(np.float32)) == pytest.approx(1, abs=1e-3)


def test_gauge_is_fast():
    embedding = np.random.default_rng(0).normal(size=(2000, 512)).astype(np.float32)
    times = []
    for _ in range(5):
        start = time.process_time()
        effective_rank(embedding)
        times.append(time.process_time() - start)
    assert min(times) < 0.2  # about 0.05 s on an idle machine


def test_class_use_of_clusters_and_of_probabilities():
    counted = class_use(np.array([0, 0, 0, 2]), 3)
    assert (counted.largest, counted.smallest) == (0.75, 0.0)
    expected = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(3)
    assert counted.entropy == pytest.approx(expected)
    soft = class_use(np.eye(3, dtype=np.float32)[[0, 0, 0, 2]], 3)
    assert soft.entropy == pytest.approx(counted.entropy) and soft.largest == counted.largest


def test_class_use_is_one_when_even_and_zero_when_collapsed():
    assert class_use(np.arange(100) % 10, 10).entropy == pytest.approx(1)
    collapsed = class_use(np.full(100, 3), 10)
    assert (collapsed.entropy, collapsed.largest, collapsed.smallest) == (0, 1, 0)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=30), st.permutations(range(5)))
def test_class_use_ignores_names_order_and_copies(clusters, new_name):
    use = class_use(clusters, 5)
    renamed = class_use([new_name[cluster] for cluster in reversed(clusters)] * 2, 5)
    assert renamed.entropy == pytest.approx(use.entropy) and 0 <= use.entropy <= 1 + 1e-9
    assert (renamed.largest, renamed.smallest) == pytest.approx((use.largest, use.smallest))


def test_importing_is_light():
    code = "import sys, selfsort.evaluation; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "faiss", "sklearn", "scipy"} & set(run.stdout.split())


def test_purity_counts_each_cluster_for_the_label_of_most_of_it() -> None:
    labels, clusters = [0, 0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 2, 2, 0]
    scores = clustering_scores(labels, clusters)
    assert scores.purity == pytest.approx(6 / 7) and scores.accuracy == pytest.approx(4 / 7)
    assert clustering_scores(labels, range(7)).purity == 1
