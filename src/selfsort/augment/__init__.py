"""Random changes of whole batches of pictures, on the device that holds them."""

from selfsort.augment.spec import Augmentation, resolved, views_from
from selfsort.augment.transformations import Transformations
from selfsort.augment.views import PRESETS, Views

__all__ = ["PRESETS", "Augmentation", "Transformations", "Views", "resolved", "views_from"]
