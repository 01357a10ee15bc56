"""A Gaussian mixture on a UMAP of an embedding: clusters that need not be round."""

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray

from selfsort.clustering.assign import Clustering, clustering_of
from selfsort.clustering.kmeans import check_n_clusters
from selfsort.clustering.neighbours import as_points
from selfsort.clustering.space import reduce

_NEIGHBORS = 20  # N2D, section 4.3, for pictures
_RESTARTS = 5


def fit_mixture(points: ArrayLike, n_clusters: int, *, random_state: int = 0) -> Clustering:
    """Cluster points (N, D) by a mixture of full Gaussians in a UMAP of as many dimensions as clusters.

    McConville, Santos-Rodriguez, Piechocki and Craddock, "N2D: (not too) deep clustering via clustering the local
    manifold of an autoencoded embedding", 2020. Other points join through their nearest neighbours among these.

    Raises UserError for no cluster, more clusters than points, or values that are not finite.
    """
    array = as_points(points)
    check_n_clusters(n_clusters, len(array))
    layout = reduce(array, "umap", components=n_clusters, neighbors=_NEIGHBORS, random_state=random_state)
    labels = mixture_labels(layout, n_clusters, random_state=random_state)
    return clustering_of(array, labels, n_clusters, random_state)


def mixture_labels(points: NDArray[np.float32], n_clusters: int, *, random_state: int = 0) -> NDArray[np.int64]:
    """Return the (N,) likeliest of `n_clusters` Gaussians for points (N, d), the best of five fits from k-means."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    rows = points.astype(np.float64)
    # scikit-learn regularises covariances by adding a constant that suits points of about unit spread.
    rows = (rows - rows.mean(0)) / max(float(rows.std()), float(np.finfo(np.float32).tiny))
    mixture = GaussianMixture(n_clusters, n_init=_RESTARTS, random_state=random_state)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a fit that has not quite converged is good enough
        labels: NDArray[np.int64] = mixture.fit_predict(rows).astype(np.int64)
    return labels
