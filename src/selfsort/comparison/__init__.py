"""Several methods on the same pictures within a time budget, ranked without labels."""

from selfsort.comparison.figures import FIGURES, rank, rank_correlation
from selfsort.comparison.fitting import MethodResult, compare

__all__ = ["FIGURES", "MethodResult", "compare", "rank", "rank_correlation"]
