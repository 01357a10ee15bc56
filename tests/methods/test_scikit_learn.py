"""Those of scikit-learn's own checks that do not treat X as a table, run on every method."""

import copy
import pickle
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.utils import estimator_checks as checks

from samples import pictures, quick
from selfsort import methods
from selfsort.methods.base import Estimator

APPLYING = (
    checks.check_do_not_raise_errors_in_init_or_set_params,
    checks.check_estimator_cloneable,
    checks.check_estimator_repr,
    checks.check_estimator_tags_renamed,
    checks.check_estimators_unfitted,
    checks.check_get_params_invariance,
    checks.check_mixin_order,
    checks.check_no_attributes_set_in_init,
    checks.check_parameters_default_constructible,
    checks.check_set_params,
    checks.check_valid_tag_types,
)
every_method = pytest.mark.parametrize("name", methods.names())


@every_method
@pytest.mark.parametrize("check", APPLYING, ids=lambda check: check.__name__)
def test_scikit_learns_checks(name: str, check: Callable[[str, BaseEstimator], object]) -> None:
    estimator = methods.find(name)()
    check(type(estimator).__name__, estimator)


@pytest.fixture(scope="module")
def fitted() -> Estimator:
    return quick("kmeans").fit(pictures())


def test_arguments_are_not_changed(fitted: Estimator) -> None:
    model, images = quick("kmeans"), pictures()
    before = copy.deepcopy(model.get_params()), images.copy()
    images.setflags(write=False)
    model.fit(images)
    learnt = pickle.dumps(model.embedding_)
    model.predict(images)
    model.transform(images)
    assert model.get_params() == before[0] and np.array_equal(images, before[1])
    assert pickle.dumps(model.embedding_) == learnt


def test_a_pipeline_ends_in_a_method(fitted: Estimator) -> None:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    pipeline = make_pipeline(FunctionTransformer(), quick("kmeans")).fit(pictures())
    assert np.array_equal(pipeline.predict(pictures()), fitted.labels_)


def test_the_features_are_named_after_the_method(fitted: Estimator) -> None:
    names = fitted.get_feature_names_out()
    assert len(names) == fitted.embedding_.shape[1] and names[0] == "kmeans0"
