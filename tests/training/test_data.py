"""Training data: stored features of several views, and pairs of neighbours."""

import numpy as np
import torch

from selfsort.training.data import FeatureData, ImageData, NeighbourPairs

CPU = torch.device("cpu")
PLACES = np.array([4, 0, 2])


def test_features_are_of_one_random_view_and_of_the_unchanged_picture() -> None:
    rows = (np.arange(5)[:, None] * 10 + np.arange(3)).astype(np.float16)[..., None]  # (N, V, 1)
    data = FeatureData(rows, CPU)
    assert len(data) == 5
    assert data.inputs(PLACES).flatten().tolist() == [40, 0, 20]
    torch.manual_seed(0)
    drawn = torch.cat([data.batch(PLACES).views[0] for _ in range(40)], 1)
    for place, seen in zip(PLACES, drawn, strict=True):
        assert set(seen.tolist()) == {place * 10, place * 10 + 1, place * 10 + 2}
    batch = data.batch(PLACES)
    assert batch.inputs.flatten().tolist() == [40, 0, 20] and batch.indices.tolist() == PLACES.tolist()


def test_a_picture_is_paired_with_each_of_its_neighbours() -> None:
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * 51  # the level identifies the picture
    neighbours = np.array([[1, 2], [2, 3], [3, 4], [4, 0], [0, 1]])
    pairs = NeighbourPairs(ImageData(images, CPU, lambda views: views, 1), neighbours)
    assert len(pairs) == 5 and torch.allclose(pairs.inputs(PLACES).flatten(), torch.tensor([0.8, 0.0, 0.4]))
    torch.manual_seed(0)
    seen: dict[int, set[int]] = {int(place): set() for place in PLACES}
    for _ in range(30):
        first, second = pairs.batch(PLACES).views
        assert torch.allclose(first.flatten(), torch.tensor([0.8, 0.0, 0.4]))
        for place, level in zip(PLACES, second.flatten(), strict=True):
            seen[int(place)].add(round(float(level) * 5))
    assert seen == {place: set(neighbours[place]) for place in seen}
