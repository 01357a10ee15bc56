"""Pictures that are constant, or nearly so."""

from selfsort.audit.finding import Finding, Found
from selfsort.audit.look import Looks


class Blank(Finding):
    """Pictures whose levels hardly differ."""

    order = 10
    name, words, title = "blank", "blank or nearly constant", "Blank or nearly constant"
    text = "Their levels hardly differ."
    rejects = True

    def find(self, looks: Looks, random_state: int) -> Found:
        """Find the pictures with hardly any contrast."""
        return Found(looks.blank, -looks.contrast)
