"""Groups of points: estimators and functions of (N, D) arrays; no pictures, no labels, no torch."""

from typing import TYPE_CHECKING, Any

from selfsort.clustering.assign import Clustering, fit_clustering
from selfsort.clustering.elbow import elbow
from selfsort.clustering.kmeans import KMeansResult, kmeans
from selfsort.clustering.near_duplicates import near_duplicates
from selfsort.clustering.space import Space, reduce, reduce_sampled

if TYPE_CHECKING:
    from selfsort.clustering.complete_linkage import CompleteLinkage
    from selfsort.clustering.estimators import FaissKMeans
    from selfsort.clustering.hierarchical_kmeans import HierarchicalKMeans, even_sample

__all__ = [
    "Clustering",
    "CompleteLinkage",
    "FaissKMeans",
    "HierarchicalKMeans",
    "KMeansResult",
    "Space",
    "elbow",
    "even_sample",
    "fit_clustering",
    "kmeans",
    "near_duplicates",
    "reduce",
    "reduce_sampled",
]


def __getattr__(name: str) -> Any:
    # They inherit from scikit-learn's classes, which are slow to import.
    if name == "CompleteLinkage":
        from selfsort.clustering.complete_linkage import CompleteLinkage

        return CompleteLinkage
    if name == "FaissKMeans":
        from selfsort.clustering.estimators import FaissKMeans

        return FaissKMeans
    if name == "HierarchicalKMeans":
        from selfsort.clustering.hierarchical_kmeans import HierarchicalKMeans

        return HierarchicalKMeans
    if name == "even_sample":
        from selfsort.clustering.hierarchical_kmeans import even_sample

        return even_sample
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
