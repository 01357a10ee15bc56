from dataclasses import replace

import numpy as np
import pytest

from selfsort import UserError
from selfsort.evaluation import probe
from selfsort.evaluation.protocol import (
    Labelled,
    evaluate_folds,
    evaluate_names,
    evaluate_probe,
    same_pictures,
    seeded_folds,
)


def labelled(labels, names=("cat", "dog", "owl")) -> Labelled:
    return Labelled(np.zeros((len(labels), 2), np.float32), np.asarray(labels), names)


def test_names_against_a_slow_reference():
    random = np.random.default_rng(0)
    labels, predicted = random.integers(-1, 3, 200), random.integers(0, 4, 200)
    names = ("owl", "junk", "cat", "unused")
    found = evaluate_names(labelled(labels), predicted, names)
    classes = ("cat", "dog", "owl")
    pairs = [(classes[true], names[guess]) for true, guess in zip(labels, predicted, strict=True) if true >= 0]
    assert found["accuracy"] == sum(true == guess for true, guess in pairs) / len(pairs)
    assert found["n"] == len(pairs) and found["n_unlabelled"] == 200 - len(pairs)
    for row, name in zip(found["per_class"], classes, strict=True):
        hits = pairs.count((name, name))
        claimed, there = sum(guess == name for _, guess in pairs), sum(true == name for true, _ in pairs)
        assert (row["name"], row["n"]) == (name, there)
        assert row["recall"] == hits / there and row["precision"] == (hits / claimed if claimed else 0)
    assert found["confusion"] == [[pairs.count((name, guess)) for guess in names] for name in classes]


def test_names_are_not_matched():
    swapped = evaluate_names(labelled([0, 0, 1, 1]), np.array([1, 1, 0, 0]), ("cat", "dog"))
    assert swapped["accuracy"] == 0
    renumbered = evaluate_names(labelled([0, 0, 1, 1]), np.array([1, 1, 0, 0]), ("dog", "cat"))
    assert renumbered["accuracy"] == 1


@pytest.mark.parametrize(("labels", "names"), [([-1, -1], ("cat", "dog")), ([0, 1], ("Katze", "Hund")), ([0, 1], ())])
def test_nothing_to_compare(labels, names):
    assert evaluate_names(labelled(labels), np.array([0, 0]), names) is None


def blobs(per_class: int, classes: int = 3, seed: int = 0) -> Labelled:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class)
    points = 3 * np.eye(classes, 5)[labels] + rng.normal(size=(len(labels), 5))
    return Labelled(points.astype(np.float32), labels, ("cat", "dog", "owl")[:classes])


def test_folds_are_equal_disjoint_and_have_all_classes():
    pictures = blobs(20)
    folds = seeded_folds(pictures, 10)
    assert [np.bincount(fold.labels).tolist() for fold in folds] == [[2, 2, 2]] * 10
    together = np.concatenate([fold.embedding for fold in folds])
    assert len(np.unique(together, axis=0)) == 60
    again, other = seeded_folds(pictures, 10), seeded_folds(pictures, 10, random_state=1)
    assert np.array_equal(again[3].embedding, folds[3].embedding)
    assert not np.array_equal(other[3].embedding, folds[3].embedding)


def test_classes_that_do_not_divide_are_dealt_evenly():
    folds = seeded_folds(blobs(23), 10)
    assert {len(fold.labels) for fold in folds} == {6, 7}
    assert min(np.bincount(fold.labels).min() for fold in folds) == 2


def test_folds_are_tested_one_by_one_on_the_same_pictures():
    test, train = blobs(50, seed=1), blobs(40)
    folds = seeded_folds(train, 5)
    found = evaluate_folds("svm", test, folds)
    alone = [probe("svm", fold.embedding, fold.labels, test.embedding, test.labels).accuracy for fold in folds]
    assert found["folds"] == pytest.approx(alone, abs=0.01)
    assert found["accuracy"] == pytest.approx(np.mean(found["folds"])) and found["accuracy"] > 0.8
    assert found["std"] == pytest.approx(np.std(found["folds"], ddof=1))
    assert (found["n_train"], found["n_test"], found["kind"]) == (24, 150, "svm")


def test_unlabelled_pictures_are_in_no_fold():
    pictures = blobs(20)
    some = Labelled(pictures.embedding, np.where(np.arange(60) % 2, pictures.labels, -1), pictures.names)
    assert sum(len(fold.labels) for fold in seeded_folds(some, 5)) == 30


@pytest.mark.parametrize(("n_folds", "sentence"), [(1, "n_folds=1 must be at least 2"), (21, "'cat' has 20 pictures")])
def test_impossible_folds(n_folds, sentence):
    with pytest.raises(UserError, match=sentence):
        seeded_folds(blobs(20), n_folds)


def test_the_same_pictures_are_recognised_by_their_embedding() -> None:
    rng = np.random.default_rng(0)
    embedding = rng.normal(size=(50, 8)).astype(np.float32)
    again = embedding[rng.permutation(50)] * np.float32(1 + 1e-6)
    assert same_pictures(again, embedding)
    other = embedding.copy()
    other[7] += 0.1
    assert not same_pictures(other, embedding) and not same_pictures(embedding[:-1], embedding)


def in_bursts(pictures: Labelled, size: int = 4) -> Labelled:
    """Return bursts of this many consecutive pictures of a class."""
    return replace(pictures, bursts=np.arange(len(pictures.labels)) // size)


def test_no_burst_is_in_two_folds():
    folds = seeded_folds(in_bursts(blobs(40)), 5)
    bursts = [set(fold.bursts.tolist()) for fold in folds]
    assert sum(map(len, bursts)) == len(set().union(*bursts)) == 30
    assert [np.bincount(fold.labels).tolist() for fold in folds] == [[8, 8, 8]] * 5


def test_no_burst_is_on_both_sides_of_the_split():
    # Frames of a burst are alike, and each burst has a random class, so only a leak can reveal it.
    rng = np.random.default_rng(0)
    bursts = np.repeat(np.arange(60), 5)
    points = rng.normal(size=(60, 64))[bursts] + 0.01 * rng.normal(size=(300, 64))
    pictures = Labelled(points.astype(np.float32), rng.integers(0, 2, 60)[bursts], ("cat", "dog"))
    assert evaluate_probe("svm", pictures, None)["accuracy"] > 0.9, "frames of the same burst were learnt"
    found = evaluate_probe("svm", replace(pictures, bursts=bursts), None)
    assert found["accuracy"] < 0.75 and found["n_train"] + found["n_test"] == 300


def test_bursts_of_one_picture_change_nothing():
    pictures = blobs(20)
    alone = replace(pictures, bursts=np.arange(60))
    assert evaluate_probe("svm", alone, None) == evaluate_probe("svm", pictures, None)


def test_a_class_of_fewer_bursts_than_folds_is_named():
    with pytest.raises(UserError, match="class 'cat' are from 5 bursts,"):
        seeded_folds(in_bursts(blobs(20)), 6)
    assert evaluate_probe("svm", in_bursts(blobs(20), 10), None)["n_test"] == 30, "half of two bursts each"
    with pytest.raises(UserError, match="are from 1 burst,"):
        evaluate_probe("svm", in_bursts(blobs(20), 20), None)
