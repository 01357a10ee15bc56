"""A simulated annotator for experiments, who sees only the pictures that the page would show."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from selfsort.errors import UserError
from selfsort.labelling.core.answers import Event, Group, Shown, shown


class SimulatedAnnotator:
    """Answers about a group by the true labels of the pictures shown.

    Parameters
    ----------
    labels : (N,) true label of each picture; -1 for none
    label_names : names of the labels
    purity : if the most frequent label has a smaller share than this, the group is called mixed
    error_rate : share of the answers whose name is replaced by another one at random
    shown : chooses the pictures of a group that it sees; `LabelService.shown` chooses as the page does
    throws_out : also throw shown pictures with other labels out of the group, as a person may by clicking

    """

    def __init__(
        self,
        labels: ArrayLike,
        label_names: Sequence[str],
        *,
        purity: float = 0.5,
        error_rate: float = 0.0,
        throws_out: bool = False,
        random_state: int = 0,
        shown: Callable[[Group], Shown] = shown,
    ):
        self.labels = np.asarray(labels)
        self.label_names = tuple(label_names)
        if not 0 <= purity <= 1 or not 0 <= error_rate <= 1:
            raise UserError(f"purity={purity} and error_rate={error_rate} must be from 0 to 1.")
        if not len(self.label_names):
            raise UserError("The simulated annotator needs labels: give pictures in class folders.")
        self.purity, self.error_rate, self.throws_out = purity, error_rate, throws_out
        self.shown = shown
        self.random = np.random.default_rng((random_state, 4))

    def answer(self, group: Group) -> Event:
        """Return the answer about a group: the name of the majority, mixed, or skip if no picture has a label."""
        seen = np.array(self.shown(group).all)
        known = seen[self.labels[seen] >= 0]
        if not len(known):
            return Event("skip", group.id)
        counts = np.bincount(self.labels[known], minlength=len(self.label_names))
        if counts.max() < self.purity * len(known) and len(group.members) > 1:
            return Event("mixed", group.id)
        label = int(counts.argmax())
        if self.random.random() < self.error_rate and len(self.label_names) > 1:
            label = (label + int(self.random.integers(1, len(self.label_names)))) % len(self.label_names)
        others = tuple(known[self.labels[known] != label].tolist()) if self.throws_out else ()
        return Event("name", group.id, self.label_names[label], pictures=others)
