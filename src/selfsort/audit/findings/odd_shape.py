"""Pictures much wider or taller than the rest."""

import numpy as np

from selfsort.audit.finding import Finding, Found, middle, size_words
from selfsort.audit.look import Looks

_TIMES = 2.0  # the median ratio of width and height, or its inverse


class OddShape(Finding):
    """Pictures whose shape differs much from the median shape."""

    order = 50
    name, words, title = "odd_shape", "much wider or taller than the rest", "Much wider or taller than the rest"
    text = "Cropping to a square cuts off most of them; --resize pad or squash does not."

    def find(self, looks: Looks, random_state: int) -> Found:
        """Compare the ratios of width to height."""
        ratio = np.log(looks.sizes[:, 0] / looks.sizes[:, 1])
        return Found(np.asarray(np.abs(ratio - middle(ratio)) > np.log(_TIMES), bool), np.abs(ratio))

    def note(self, looks: Looks, found: Found, picture: int) -> str:
        """Write the size."""
        return size_words(*looks.sizes[picture].tolist())
