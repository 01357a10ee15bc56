"""Random changes of batches: tensors (B, C, H, W) in and out, on their device; no files, no networks."""

from selfsort.augment.spec import Augmentation, resolved, views_from
from selfsort.augment.transformations import Transformations
from selfsort.augment.views import PRESETS, Views, sides

__all__ = ["PRESETS", "Augmentation", "Transformations", "Views", "resolved", "sides", "views_from"]
