"""Groups of points: k-means, reduced spaces, and the assignment of new points."""

from selfsort.clustering.assign import Clustering, fit_clustering
from selfsort.clustering.elbow import elbow
from selfsort.clustering.kmeans import KMeansResult, kmeans
from selfsort.clustering.space import Space, reduce, reduce_sampled

__all__ = ["Clustering", "KMeansResult", "Space", "elbow", "fit_clustering", "kmeans", "reduce", "reduce_sampled"]
