"""Figures that rank models without labels: how far their groups depend on the seed, on views, and on chance."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from selfsort.augment import Augmentation, Views, views_from
from selfsort.data.image_set import ImageSet
from selfsort.methods.base import Estimator

# Each is at most 1, and more is better.
FIGURES = {
    "seeds": "adjusted Rand index between the groups of two seeds, the mean over all pairs of seeds",
    "views": "adjusted Rand index between the groups of pictures and of random views of them",
    "neighbours": "lead of the agreement among neighbours over data without groups",
    "stability": "lead of the stability under resampling over data without groups",
}
_SAMPLE = 1_000
_BATCH = 250  # pictures whose views are drawn at once, as floats


def seed_agreement(labels: Sequence[ArrayLike]) -> float | None:
    """Return the mean adjusted Rand index over all pairs of groupings (N,) of the same pictures; None for only one."""
    from sklearn.metrics import adjusted_rand_score

    found = [adjusted_rand_score(first, second) for first, second in combinations(labels, 2)]
    return float(np.mean(found)) if found else None


def view_agreement(model: Estimator, images: ImageSet, views: Augmentation, *, random_state: int = 0) -> float:
    """Return the adjusted Rand index between a model's groups of pictures and those of one random view of each.

    At most 1,000 of the `images` are used, drawn with `random_state`. Use the same `views` for all models compared:
    otherwise, the views that a model was trained on would favour it.
    """
    from sklearn.metrics import adjusted_rand_score

    rng = np.random.default_rng((random_state, 8))
    rows = np.sort(rng.permutation(len(images))[:_SAMPLE])
    generator = torch.Generator().manual_seed(random_state)
    pixels = images.subset(rows).pixels(model.input_)  # (n, H, W, C)
    batches = np.array_split(pixels, -(-len(rows) // _BATCH))
    changed = np.concatenate([_viewed(batch, views, generator) for batch in batches])
    plain, seen = (model.predict_proba(each).argmax(1) for each in (pixels, changed))
    return float(adjusted_rand_score(plain, seen))


def gentle(views: str) -> Augmentation:
    """Return `views`, written like a preset, but with at least half of a picture in each crop: less may mislead.

    >>> gentle("natural").crop_scale
    (0.5, 1.0)
    """
    chosen = views_from(views)
    if not isinstance(chosen, Views):
        return chosen
    return replace(chosen, crop_scale=(max(0.5, chosen.crop_scale[0]), max(0.5, chosen.crop_scale[1])))


def _viewed(pixels: NDArray[np.uint8], views: Augmentation, generator: torch.Generator) -> NDArray[np.uint8]:
    """Return one view of each of the pixels (B, H, W, C)."""
    batch = torch.from_numpy(pixels.copy()).permute(0, 3, 1, 2).float() / 255
    seen = (views(batch, generator) * 255).round().clamp(0, 255).byte()
    return seen.permute(0, 2, 3, 1).numpy()


def rank(figures: Mapping[str, Mapping[str, float | None]]) -> list[tuple[str, float]]:
    """Rank methods by the mean of their ranks over the figures, best first; returns (method, mean rank).

    `figures` gives each method's figures by name; a figure that is None for any method is ignored. Ties share the mean
    of their ranks; equal mean ranks are ordered by name.

    >>> rank({"a": {"seeds": 0.9, "views": 0.5}, "b": {"seeds": 0.2, "views": 0.5}})
    [('a', 1.25), ('b', 1.75)]
    """
    from scipy.stats import rankdata

    methods = sorted(figures)
    names = [name for name in FIGURES if all(figures[method].get(name) is not None for method in methods)]
    if not names:
        return [(method, 1.0) for method in methods]
    values = np.array([[figures[method][name] for method in methods] for name in names], float)
    means = rankdata(-values, axis=1).mean(0)
    return sorted(zip(methods, means.tolist(), strict=True), key=lambda each: (each[1], each[0]))


def rank_correlation(first: ArrayLike, second: ArrayLike) -> float | None:
    """Return Spearman's rank correlation of two rows of values; None if one of them does not vary.

    >>> round(rank_correlation([1, 2, 3], [10, 30, 20]), 3)
    0.5
    """
    from scipy.stats import spearmanr

    first, second = np.asarray(first, float), np.asarray(second, float)
    if len(first) < 2 or not np.ptp(first) or not np.ptp(second):
        return None
    return float(spearmanr(first, second).statistic)
