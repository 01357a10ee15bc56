"""scikit-learn's checks of every estimator, run on those that cluster points."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.utils.estimator_checks import parametrize_with_checks

from selfsort.clustering import CompleteLinkage, FaissKMeans, HierarchicalKMeans, fit_clustering, kmeans
from selfsort.errors import UserError

ESTIMATORS = [
    FaissKMeans(),
    FaissKMeans(space="pca", n_init=2),
    HierarchicalKMeans(n_clusters=3),
    CompleteLinkage(),
    CompleteLinkage(metric="cosine"),
]


def known_failures(estimator: BaseEstimator) -> dict[str, str]:
    cosine = getattr(estimator, "metric", "") == "cosine"
    return {"check_estimators_dtypes": "it has rows of zeros, which have no direction"} if cosine else {}


@parametrize_with_checks(ESTIMATORS, expected_failed_checks=known_failures)
def test_scikit_learns_own_checks(estimator: BaseEstimator, check: Callable[[BaseEstimator], object]) -> None:
    check(estimator)


def test_k_means_gives_the_same_as_the_functions() -> None:
    points = (load_digits().data / 16).astype(np.float32)
    model = FaissKMeans(10, n_init=2, random_state=3).fit(points)
    found = kmeans(points, 10, restarts=2, random_state=3)
    assert_array_equal(model.labels_, found.labels)
    assert_array_equal(model.cluster_centers_, found.centers)
    assert_array_equal(model.predict_proba(points).argmax(1), model.labels_)
    assert model.inertia_ == found.inertia < 1.01 * KMeans(10, n_init=2, random_state=0).fit(points).inertia_


def test_a_reduced_space() -> None:
    points = load_digits().data[:300] / 16
    model = FaissKMeans(10, space="pca").fit(points)
    assert model.cluster_centers_.shape == (10, 50)
    assert_array_equal(model.predict_proba(points), fit_clustering(points, 10, space="pca").predict_proba(points))


@pytest.mark.parametrize("name", ["n_clusters", "n_init", "max_iter"])
@pytest.mark.parametrize("value", [0, 2.5, "3", True])
def test_parameters_are_positive_integers(name: str, value: object) -> None:
    with pytest.raises(UserError, match=f"{name}={value!r} must be an integer"):
        FaissKMeans(**{name: value}).fit([[0.0], [1.0], [2.0]])


def test_more_clusters_than_points() -> None:
    with pytest.raises(UserError, match="8 clusters cannot be made from 3 points: ask for at most 3"):
        FaissKMeans().fit([[0.0], [1.0], [2.0]])
