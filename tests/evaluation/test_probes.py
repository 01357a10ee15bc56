import json
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsort.errors import UserError
from selfsort.evaluation import few_shot, probe, probes, stratified_split, svm_labels

KINDS = ("linear", "svm", "knn", "centroid")


def blobs(n: int, n_classes: int = 4, *, distance: float = 6.0, seed: int = 0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    return (distance * np.eye(n_classes, 8)[labels] + rng.normal(size=(n, 8))).astype(np.float32), labels


@pytest.fixture(params=[*KINDS, "mini-batch"])
def kind(request, monkeypatch):
    """Every probe, the linear one both with LIBLINEAR and on mini-batches."""
    if request.param == "mini-batch":
        monkeypatch.setattr(probes, "_LIBLINEAR_WORK", 0)
        return "linear"
    return request.param


def test_separate_classes_are_learnt(kind):
    result = probe(kind, *blobs(200), *blobs(80, seed=1))
    assert result.accuracy > 0.97
    assert (result.kind, result.n_train, result.n_test) == (kind, 200, 80)


def test_noise_is_at_chance(kind):
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(600, 8)), rng.normal(size=(600, 8))
    accuracy = probe(kind, train, rng.integers(4, size=600), test, rng.integers(4, size=600)).accuracy
    assert abs(accuracy - 0.25) < 0.06


def test_real_digits_are_read(kind):
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    train, test = stratified_split(labels, 0.5)
    accuracy = probe(kind, pixels[train], labels[train], pixels[test], labels[test]).accuracy
    assert accuracy > (0.88 if kind == "centroid" else 0.93)  # one mean cannot represent two ways to write a digit


def test_same_seed_same_result(kind):
    train, test = blobs(100, distance=1.5), blobs(100, distance=1.5, seed=1)
    first, again = (probe(kind, *train, *test, random_state=3) for _ in range(2))
    assert first == again


@pytest.mark.parametrize("kind", ["linear", "svm"])
def test_scale_and_offset_of_a_feature_change_nothing(kind):
    (train, train_labels), (test, test_labels) = blobs(150, distance=2.0), blobs(150, distance=2.0, seed=1)
    scale, offset = np.geomspace(1e-2, 1e2, 8), np.linspace(-5, 5, 8)
    plain = probe(kind, train, train_labels, test, test_labels)
    moved = probe(kind, train * scale + offset, train_labels, test * scale + offset, test_labels)
    assert moved.accuracy == pytest.approx(plain.accuracy, abs=0.014)


def test_knn_ignores_the_length_of_an_embedding():
    (train, train_labels), (test, test_labels) = blobs(150, distance=2.0), blobs(150, distance=2.0, seed=1)
    lengths = np.random.default_rng(0).uniform(0.1, 10, size=(150, 1))
    plain = probe("knn", train, train_labels, test, test_labels)
    assert probe("knn", train * lengths, train_labels, test * lengths[::-1], test_labels) == plain


def slow_knn(train, train_labels, test, k):
    predicted = []
    for point in test:
        cosine = [float(point @ x) / math.sqrt(float(point @ point) * float(x @ x)) for x in train]
        nearest = np.argsort(cosine)[::-1][:k]
        votes = {c: [cosine[i] for i in nearest if train_labels[i] == c] for c in set(train_labels.tolist())}
        predicted.append(max(votes, key=lambda c: (len(votes[c]), sum(votes[c]))))
    return np.array(predicted)


@pytest.mark.parametrize("n_train", [7, 60])
def test_knn_votes_like_a_loop(n_train):
    (train, train_labels), (test, _) = blobs(n_train, distance=1.0), blobs(50, distance=1.0, seed=1)
    predicted = slow_knn(np.float64(train), train_labels, np.float64(test), min(20, n_train))
    result = probe("knn", train, train_labels, test, predicted)
    assert result.accuracy == 1
    assert result.details["k"] == min(20, n_train)


def slow_centroid(train, labels, test, mean):
    """The nearest mean of centred unit vectors, written from section 3 of SimpleShot."""
    unit = [(x - mean) / math.sqrt(float((x - mean) @ (x - mean))) for x in train]
    centroids = {c: sum(u for u, label in zip(unit, labels, strict=True) if label == c) for c in set(labels.tolist())}
    centroids = {c: total / (labels == c).sum() for c, total in centroids.items()}
    predicted = []
    for point in test:
        z = (point - mean) / math.sqrt(float((point - mean) @ (point - mean)))
        predicted.append(min(centroids, key=lambda c: float((z - centroids[c]) @ (z - centroids[c]))))
    return np.array(predicted)


def test_nearest_centroid_is_that_of_a_loop():
    (train, labels), (test, _) = blobs(60, distance=1.0), blobs(50, distance=1.0, seed=1)
    predicted = slow_centroid(np.float64(train), labels, np.float64(test), train.mean(0, dtype=np.float64))
    assert probe("centroid", train, labels, test, predicted).accuracy == 1


@pytest.mark.parametrize("shots", [1, 3])
def test_few_shots_are_centroids_of_drawn_images(shots):
    (train, labels), (test, truth) = blobs(60, distance=1.0), blobs(50, distance=1.0, seed=1)
    mean, right = train.mean(0, dtype=np.float64), []
    for draw in range(4):
        rng = np.random.default_rng((7, shots, draw))
        rows = np.concatenate([rng.choice(np.flatnonzero(labels == c), shots, replace=False) for c in range(4)])
        right.append((slow_centroid(np.float64(train[rows]), labels[rows], np.float64(test), mean) == truth).mean())
    (found,) = few_shot(train, labels, test, truth, shots=(shots,), draws=4, random_state=7)
    assert (found.shots, found.draws) == (shots, 4)
    assert found.accuracy == pytest.approx(np.mean(right)) and found.std == pytest.approx(np.std(right, ddof=1))


def test_more_labels_are_better_and_all_of_them_are_the_probe():
    train, test = blobs(200, distance=1.5), blobs(400, distance=1.5, seed=1)
    one, five, all_of_them = few_shot(*train, *test, shots=(1, 5, 50))
    assert 0.25 < one.accuracy < five.accuracy < all_of_them.accuracy
    assert one.std > five.std > all_of_them.std
    assert all_of_them.std < 0.01 and all_of_them.accuracy == pytest.approx(probe("centroid", *train, *test).accuracy)


def test_few_shots_do_not_depend_on_names_scale_or_place_of_the_classes():
    (train, labels), (test, truth) = blobs(60, distance=1.5), blobs(50, distance=1.5, seed=1)
    plain = few_shot(train, labels, test, truth)
    moved = few_shot(8 * train + 2, 3 * labels + 1, 8 * test + 2, 3 * truth + 1)
    assert [each.accuracy for each in moved] == pytest.approx([each.accuracy for each in plain], abs=0.01)
    assert few_shot(train, labels, test, truth) == plain
    assert few_shot(train, labels, test, truth, random_state=1) != plain
    assert few_shot(train, labels, test, truth, draws=1)[0].std == 0


def test_few_shots_leave_out_rows_without_a_label():
    (train, labels), test = blobs(60), blobs(50, seed=1)
    more, missing = np.concatenate([train, np.full((9, 8), np.nan, np.float32)]), np.append(labels, [-1] * 9)
    assert few_shot(more, missing, *test) == few_shot(train, labels, *test)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"shots": (1, 6)}, "^Class 0 has 5 training pictures, fewer than 6 shots: ask for fewer.$"),
        ({"shots": (0,)}, "at least 1 labelled picture"),
        ({"shots": ()}, "at least 1 labelled picture"),
        ({"draws": 0}, "0 draws leave nothing"),
        ({"train_y": np.zeros(20, int)}, "at least two classes"),
        ({"test_x": np.zeros((20, 3))}, "8 features but test pictures 3"),
    ],
)
def test_bad_few_shots_get_one_sentence(changes, sentence):
    features, labels = blobs(20)
    arguments = {"train_x": features, "train_y": labels, "test_x": features, "test_y": labels, "shots": (1, 5)}
    with pytest.raises(UserError, match=sentence):
        few_shot(**(arguments | changes))


def test_rows_without_a_label_are_left_out(kind):
    (train, train_labels), (test, test_labels) = blobs(100), blobs(60, seed=1)
    junk = np.full((30, 8), np.nan, np.float32)
    more = probe(
        kind,
        np.concatenate([train, junk]),
        np.append(train_labels, [-1] * 30),
        np.concatenate([test, junk]),
        np.append(test_labels, [-1] * 30),
    )
    assert more == probe(kind, train, train_labels, test, test_labels)


def test_features_without_any_spread_do_no_harm(kind):
    (train, train_labels), (test, test_labels) = blobs(100), blobs(60, seed=1)
    rounding = 1 + 1e-7 * np.random.default_rng(0).normal(size=(100, 1))
    train = np.column_stack([train, np.zeros(100), rounding])
    test = np.column_stack([test, np.zeros(60), np.linspace(0.99, 1.01, 60)])
    assert probe(kind, train, train_labels, test, test_labels).accuracy > 0.95


def test_two_classes_and_class_numbers_with_gaps(kind):
    (train, train_labels), (test, test_labels) = blobs(80, 2), blobs(40, 2, seed=1)
    result = probe(kind, train, 3 * train_labels + 1, test, 3 * test_labels + 1)
    assert result.accuracy > 0.97
    assert [row.n for row in result.per_class] == [0, 20, 0, 0, 20]


def test_class_that_was_never_trained_on_counts_as_wrong(kind):
    train, (test, test_labels) = blobs(80, 2), blobs(40, 4, seed=1)
    result = probe(kind, *train, test, test_labels, label_names=("a", "b", "c", "d"))
    assert result.accuracy <= 0.5
    assert [(row.name, row.n) for row in result.per_class] == [("a", 10), ("b", 10), ("c", 10), ("d", 10)]
    assert result.per_class[3].recall == 0


def test_table_is_the_one_of_the_predictions():
    train = np.array([[1.0, 0.0], [0.0, 1.0]])
    test, labels = np.array([[2.0, 0.1], [3.0, 0.2], [0.1, 1.0], [0.9, 1.0]]), [0, 0, 1, 0]
    # If two neighbours have one vote each, the more similar one decides.
    result = probe("knn", train, [0, 1], test, labels, label_names=("x", "y"))
    x, y = result.per_class
    assert result.accuracy == 0.75
    assert (x.n, x.precision, x.recall, x.f1) == (3, 1, pytest.approx(2 / 3), pytest.approx(0.8))
    assert (y.n, y.precision, y.recall, y.f1) == (1, 0.5, 1, pytest.approx(2 / 3))


def test_result_becomes_json(kind):
    figures = json.loads(json.dumps(probe(kind, *blobs(100), *blobs(60, seed=1)).to_json(), allow_nan=False))
    assert figures["kind"] == kind and 0 <= figures["accuracy"] <= 1
    assert set(figures["per_class"][0]) == {"name", "n", "precision", "recall", "f1"}


def test_details_say_if_a_classifier_did_not_converge(monkeypatch):
    monkeypatch.setattr(probes, "_LIBLINEAR_WORK", 0)
    monkeypatch.setattr(probes, "_LEAST_EPOCHS", 1)
    monkeypatch.setattr(probes, "_LEAST_STEPS", 1)
    assert probe("linear", *blobs(100), *blobs(60)).details["converged"] is False


def test_work_decides_between_liblinear_and_mini_batches(monkeypatch):
    monkeypatch.setattr(probes, "_LIBLINEAR_WORK", 100 * 8 * 4)
    assert probe("linear", *blobs(100), *blobs(60)).details["solver"] == "liblinear"
    assert probe("linear", *blobs(101), *blobs(60)).details["solver"] == "adam"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"kind": "mlp"}, "'mlp' is not a probe: choose one of linear, svm, knn, centroid"),
        ({"train_y": np.zeros(20, int)}, "at least two classes"),
        ({"train_y": np.full(20, -1)}, "train set has no labelled picture"),
        ({"test_y": np.full(20, -1)}, "test set has no labelled picture"),
        ({"test_x": np.zeros((20, 3))}, "8 features but test pictures 3"),
        ({"test_y": np.zeros(7, int)}, "do not match"),
        ({"train_x": np.full((20, 8), np.nan)}, "train set's features contain NaN"),
        ({"test_x": np.full((20, 8), np.inf)}, "test set's features contain NaN or infinity"),
    ],
)
def test_bad_input_gets_one_sentence(changes, sentence):
    features, labels = blobs(20)
    arguments = {"kind": "linear", "train_x": features, "train_y": labels, "test_x": features, "test_y": labels}
    with pytest.raises(UserError, match=sentence):
        probe(**(arguments | changes))


@settings(max_examples=50, deadline=None)
@given(
    sizes=st.lists(st.integers(2, 30), min_size=1, max_size=5),
    unlabelled=st.integers(0, 5),
    share=st.floats(0.05, 0.95),
    seed=st.integers(0, 99),
)
def test_split_parts_every_class_in_the_same_share(sizes, unlabelled, share, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(-1, len(sizes)), [unlabelled, *sizes]))
    train, test = stratified_split(labels, share, seed)
    assert sorted([*train, *test]) == np.flatnonzero(labels >= 0).tolist()
    assert (np.diff(train) > 0).all() and (np.diff(test) > 0).all()
    for label, size in enumerate(sizes):
        n_test = int((labels[test] == label).sum())
        assert 1 <= n_test <= size - 1
        assert abs(n_test - share * size) <= 1
    again = stratified_split(labels, share, seed)
    np.testing.assert_array_equal(train, again[0])
    np.testing.assert_array_equal(test, again[1])


def test_split_follows_its_seed():
    labels = np.zeros(50, int)
    assert stratified_split(labels, 0.5, 0)[1].tolist() != stratified_split(labels, 0.5, 1)[1].tolist()


@pytest.mark.parametrize(
    ("labels", "share", "sentence"),
    [
        ([0, 0, 1], 0.5, "Class 1 has only one labelled picture"),
        ([0, 0], 0.0, "between 0 and 1"),
        ([0, 0], 1.0, "between 0 and 1"),
        ([-1, -1], 0.5, "No picture has a label"),
    ],
)
def test_split_that_cannot_be_made_gets_one_sentence(labels, share, sentence):
    with pytest.raises(UserError, match=sentence):
        stratified_split(labels, share)


def test_svm_labels_are_the_probes_and_the_surest_have_the_largest_margins():
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(3), 100)
    points = 2 * np.eye(3, 6)[truth] + rng.normal(size=(300, 6))
    found = svm_labels(points[::3], truth[::3], points)
    assert 0.75 < (found.labels == truth).mean() < 1
    assert found.labels.dtype == np.int64 and (found.margins >= 0).all()
    surest = found.surest(0.5)
    assert np.array_equal(surest, np.sort(surest)) and len(surest) == pytest.approx(150, abs=2)
    assert (found.labels == truth)[surest].mean() > (found.labels == truth).mean()
    for label in range(3):
        mine = np.flatnonzero(found.labels == label)
        left_out = np.setdiff1d(mine, surest)
        assert found.margins[np.intersect1d(mine, surest)].min() >= found.margins[left_out].max()
    assert np.array_equal(found.surest(1.0), np.arange(300))


def test_svm_labels_of_two_classes():
    points = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    found = svm_labels(points, [0, 0, 1, 1], [[-5.0], [0.1], [4.0]])
    assert found.labels.tolist() == [0, 1, 1] and found.margins.argmin() == 1


@pytest.mark.parametrize("n_classes", [2, 4])
def test_svm_labels_do_not_depend_on_the_blocks(n_classes, monkeypatch):
    train, others = blobs(60, n_classes, distance=1.5), blobs(101, n_classes, distance=1.5, seed=1)[0]
    whole = svm_labels(*train, others)
    monkeypatch.setattr(probes, "_NUMBERS_AT_ONCE", 8 * 7)
    found = svm_labels(*train, others)
    assert np.array_equal(found.labels, whole.labels)
    np.testing.assert_allclose(found.margins, whole.margins, atol=1e-5)


def test_svm_labels_take_little_memory_beside_the_features(monkeypatch):
    monkeypatch.setattr(probes, "_NUMBERS_AT_ONCE", 1 << 17)
    features = np.random.default_rng(0).normal(size=(20_000, 400)).astype(np.float32)
    tracemalloc.start()
    svm_labels(features[:40], np.arange(40) % 4, features)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < features.nbytes / 4


@pytest.mark.parametrize("share", [0.0, 1.1])
def test_a_share_of_labels_that_cannot_be_kept(share):
    found = svm_labels([[-1.0], [1.0]], [0, 1], [[-1.0], [1.0]])
    with pytest.raises(UserError, match=f"share {share}"):
        found.surest(share)
