"""Pictures much longer or higher than the rest."""

import numpy as np

from selfsort.audit.finding import Finding, Found, middle, size_words
from selfsort.audit.look import Looks

_TIMES = 2.0  # as long, or as high, as the middle one


class OddShape(Finding):
    """Pictures of another shape than the middle one."""

    order = 50
    name, words, title = "odd_shape", "much longer or higher than the rest", "Much longer or higher than the rest"
    text = "Cropping to a square loses most of them; --resize pad or squash does not."

    def find(self, looks: Looks, random_state: int) -> Found:
        """Compare the ratios of width and height."""
        ratio = np.log(looks.sizes[:, 0] / looks.sizes[:, 1])
        return Found(np.asarray(np.abs(ratio - middle(ratio)) > np.log(_TIMES), bool), np.abs(ratio))

    def note(self, looks: Looks, found: Found, picture: int) -> str:
        """Write the size."""
        return size_words(*looks.sizes[picture].tolist())
