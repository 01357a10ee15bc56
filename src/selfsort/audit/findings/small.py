"""Pictures much smaller than the rest."""

import numpy as np

from selfsort.audit.finding import Finding, Found, middle, size_words
from selfsort.audit.look import Looks

_SHARE = 0.25  # of the median shorter side


class Small(Finding):
    """Pictures much smaller than the median one."""

    order = 60
    name, words, title = "small", "much smaller than the rest", "Much smaller than the rest"

    def find(self, looks: Looks, random_state: int) -> Found:
        """Compare the shorter sides."""
        shorter = looks.sizes.min(1)
        return Found(np.asarray(shorter < _SHARE * middle(shorter), bool), -shorter.astype(np.float32))

    def note(self, looks: Looks, found: Found, picture: int) -> str:
        """Write the size."""
        return size_words(*looks.sizes[picture].tolist())
