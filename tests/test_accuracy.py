"""It works: without labels the digits fall into their classes better than with k-means on pixels."""

import pytest

import selfsort
from selfsort.evaluation.metrics import clustering_scores


@pytest.mark.slow
def test_digits_are_sorted_without_labels() -> None:
    digits = selfsort.load_images("digits", size=16)
    assert digits.labels is not None
    pixels = selfsort.KMeans().fit(digits)
    model = selfsort.SimCLR(views="digits", epochs=10, device="cpu").fit(digits)
    baseline, ours = (clustering_scores(digits.labels, each.labels_).accuracy for each in (pixels, model))
    assert ours > max(0.82, baseline), (ours, baseline)
