import numpy as np
import pytest

from selfsort.evaluation.protocol import Labelled, evaluate_names


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


def test_nothing_is_matched():
    swapped = evaluate_names(labelled([0, 0, 1, 1]), np.array([1, 1, 0, 0]), ("cat", "dog"))
    assert swapped["accuracy"] == 0
    renumbered = evaluate_names(labelled([0, 0, 1, 1]), np.array([1, 1, 0, 0]), ("dog", "cat"))
    assert renumbered["accuracy"] == 1


@pytest.mark.parametrize(("labels", "names"), [([-1, -1], ("cat", "dog")), ([0, 1], ("Katze", "Hund")), ([0, 1], ())])
def test_nothing_to_compare(labels, names):
    assert evaluate_names(labelled(labels), np.array([0, 0]), names) is None
