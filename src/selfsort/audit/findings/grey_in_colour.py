"""Grey pictures among coloured ones."""

import numpy as np

from selfsort.audit.finding import Finding, Found
from selfsort.audit.look import Looks

_LARGEST_COLOURFULNESS = 10


class GreyInColour(Finding):
    """Pictures that are grey while most are not."""

    order = 40
    name, words, title = "grey_in_colour", "grey among coloured ones", "Grey among coloured ones"
    text = "A method may learn to separate these first."

    def find(self, looks: Looks, random_state: int) -> Found:
        """Find them, unless at least half of the pictures are grey."""
        grey = looks.colourfulness <= _LARGEST_COLOURFULNESS
        few = 2 * int(grey.sum()) < len(looks)
        return Found(np.asarray(grey & ~looks.blank & few, bool), -looks.colourfulness.astype(np.float32))
