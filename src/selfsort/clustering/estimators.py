"""k-means on faiss as a scikit-learn estimator, and the input checks of the estimators in this room."""

import numbers
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from selfsort.clustering.assign import Clustering, cluster_in_space
from selfsort.clustering.neighbours import check_points
from selfsort.clustering.space import Space
from selfsort.errors import UserError


def validated(estimator: BaseEstimator, X: ArrayLike, **options: Any) -> NDArray[np.floating[Any]]:
    """Return points (N, D) for an estimator as scikit-learn checks them; see `sklearn.utils.validation.validate_data`.

    Raises UserError for anything but an array of finite numbers, in scikit-learn's words or in those of `check_points`.
    """
    try:
        points = validate_data(estimator, X, dtype=[np.float64, np.float32], ensure_all_finite=False, **options)
    except ValueError as error:
        raise UserError(str(error).replace("\n", " ")) from error
    return check_points(points)


def check_positive_integers(estimator: BaseEstimator, *names: str) -> None:
    """Raise UserError unless the named parameters are integers of at least 1."""
    for name in names:
        value = getattr(estimator, name)
        if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 1:
            raise UserError(f"{name}={value!r} must be an integer of at least 1.")


class VotingClusters(ClusterMixin, BaseEstimator):  # type: ignore[misc]
    """Clusters in `clustering_`, set by `fit`, that other points join by the votes of points with known clusters."""

    clustering_: Clustering

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """Return the cluster (N,) of each point (N, D); see `predict_proba`."""
        points = self._checked(X)
        return self.clustering_.predict(points)

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float32]:
        """Return the membership (N, n_clusters) of points (N, D), rows summing to 1.

        The nearest centers vote; in a reduced space the nearest of the points fitted do. A row depends only on its own
        point. Raises `NotFittedError` before `fit`, UserError for points of another width or not finite.
        """
        points = self._checked(X)
        return self.clustering_.predict_proba(points)

    def _checked(self, X: ArrayLike) -> NDArray[np.floating[Any]]:
        check_is_fitted(self)
        return validated(self, X, reset=False)


class FaissKMeans(VotingClusters):
    """k-means (Lloyd 1957) by faiss, on points as they are or in a space of fewer dimensions.

    Parameters
    ----------
    n_clusters : how many clusters to find
    space : where to look for them: "embedding" (the points as they are), "pca" or "umap"; see `reduce`
    n_init : number of runs from different k-means++ centers; the best is kept
    max_iter : steps per run
    random_state : seed; the same seed gives the same bits on the same machine

    Attributes
    ----------
    labels_ : (N,) int64 cluster of each point
    cluster_centers_ : (n_clusters, d) float32 centers in the space
    inertia_ : sum of the squared distances in the space between the points and the centers of their clusters
    n_iter_ : steps per run, always `max_iter`, since faiss never stops early
    clustering_ : the `Clustering` used by `predict`

    Examples
    --------
    >>> labels = FaissKMeans(n_clusters=2).fit_predict([[0.0], [0.2], [5.0], [5.2]])
    >>> bool(labels[0] == labels[1] != labels[2])
    True

    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        space: Space = "embedding",
        n_init: int = 10,
        max_iter: int = 100,
        random_state: int = 0,
    ) -> None:
        self.n_clusters, self.space = n_clusters, space
        self.n_init, self.max_iter, self.random_state = n_init, max_iter, random_state

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Cluster points (N, D); `y` is ignored.

        Raises UserError for parameters that are not positive integers, an unknown space, fewer different points than
        clusters, or points that are not finite.
        """
        check_positive_integers(self, "n_clusters", "n_init", "max_iter")
        points = validated(self, X, ensure_min_samples=2)
        result, self.clustering_ = cluster_in_space(
            points,
            self.n_clusters,
            space=self.space,
            restarts=self.n_init,
            iterations=self.max_iter,
            random_state=self.random_state,
        )
        self.cluster_centers_, self.inertia_, self.n_iter_ = result.centers, result.inertia, self.max_iter
        self.labels_ = self.clustering_.predict(points)
        return self
