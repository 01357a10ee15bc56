"""Pictures with bars of one colour along their sides."""

from collections.abc import Mapping

import numpy as np

from selfsort.audit.finding import Finding, Found, size_words
from selfsort.audit.look import Looks


class Bordered(Finding):
    """Pictures with a uniform border; `pictures.csv` gives a crop box that removes it."""

    order = 20
    name, words, title = "bordered", "uniform border", "Uniform borders"
    text = "Bars of one colour along the sides, the clearest first. Dashed: the crop box given in pictures.csv."
    proposal = "kept; crop boxes in pictures.csv"
    details = ("border", "border_certainty", "crop_left", "crop_top", "crop_right", "crop_bottom")
    flagged = False

    def find(self, looks: Looks, random_state: int) -> Found:
        """Find the pictures in which `look` saw a border."""
        return Found(np.asarray(looks.borders.any(1) & ~looks.blank, bool), looks.border_certainty)

    def note(self, looks: Looks, found: Found, picture: int) -> str:
        """Write the size inside the borders."""
        left, top, right, bottom = looks.crop_box(picture)
        return size_words(right - left, bottom - top)

    def box(self, looks: Looks, picture: int) -> tuple[int, int, int, int]:
        """Return the crop box."""
        return looks.crop_box(picture)

    def detail(self, looks: Looks, found: Found, picture: int) -> Mapping[str, object]:
        """Return the colour, the certainty and the crop box, if there is a border."""
        if not found.pictures[picture]:
            return {}
        certainty = f"{looks.border_certainty[picture]:.2f}"
        values = (looks.border_colour(picture), certainty, *looks.crop_box(picture))
        return dict(zip(self.details, values, strict=True))
