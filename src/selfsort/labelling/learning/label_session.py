"""Naming groups from Python: propose, answer, refine, and again (paper 4, for every method)."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfsort.clustering import Space, reduce_sampled
from selfsort.clustering.space import viewed
from selfsort.data.image_set import as_image_set
from selfsort.errors import UserError
from selfsort.labelling.core import query_selection
from selfsort.labelling.core.answers import Event, Group, shown
from selfsort.labelling.core.error_probability import error_probabilities, judged_targets
from selfsort.labelling.core.head import HeadSpace
from selfsort.labelling.core.session import Session
from selfsort.labelling.learning.held_out import hold_out
from selfsort.labelling.learning.refine import Progress, refine
from selfsort.methods.base import Estimator


class LabelSession:
    """A person, or a simulated annotator, names groups of the pictures that a model was fitted to.

    >>> import selfsort
    >>> digits = selfsort.load_images("digits")
    >>> labelling = selfsort.LabelSession(selfsort.KMeans().fit(digits), digits, n_groups=20)
    >>> labelling.answer(labelling.next(), "three", confidence=4)
    >>> labelling.answer(labelling.next(), "seven")
    >>> labelling.refine(n_groups=10).names_
    ('three', 'seven')

    Parameters
    ----------
    model : fitted; `refine` replaces it, and it stays as it is
    images : the pictures that it was fitted to
    n_groups : groups proposed first; four for each of the model's classes when None, or "elbow", as paper 4 does
    space : where groups are looked for; "embedding", "pca" or "umap"; the method's `label_space` when None
    decay : a in equation 2
    session : groups and answers to go on with, in place of new ones
    random_state : seed

    Attributes
    ----------
    session : all groups and answers; `labels()`, `targets()`, `estimate()`, …
    model : the model, refined as often as `refine` was called
    error_probability : (N,) how likely the refined model's name is wrong; None before the first refinement

    """

    def __init__(
        self,
        model: Estimator,
        images: Any,
        *,
        n_groups: int | str | None = None,
        space: Space | None = None,
        decay: float = 1.0,
        session: Session | None = None,
        random_state: int = 0,
    ):
        self.images = as_image_set(images)
        if not hasattr(model, "embedding_"):
            raise UserError(f"This {type(model).__name__} is not fitted yet: call fit first.")
        if self.images.ids != model.ids_:
            raise UserError("These are not the pictures that the model was fitted to: give those.")
        self.images = model.like_training(self.images)
        self.error_probability: NDArray[np.float32] | None = None
        self.model, self.space, self.random_state = model, space or model.label_space, random_state
        self.session = session or Session(len(self.images), decay)
        if session is None:
            self.regroup(
                query_selection.how_many(model.n_clusters_, len(self.images)) if n_groups is None else n_groups
            )

    @cached_property
    def points(self) -> NDArray[np.float32]:
        """Return the pictures (N, d) in the space where groups are looked for."""
        view = viewed(self.model.embedding_, self.model.label_view)
        return reduce_sampled(view, self.space, random_state=self.random_state)

    def next(self) -> Group | None:
        """Return the group whose answer helps most, or None when all are answered."""
        return next(iter(self.session.open_groups()), None)

    def shown(self, group: Group) -> tuple[int, ...]:
        """Return the positions of the pictures that a person is shown of a group."""
        return shown(group).all

    def answer(
        self,
        group: Group | None,
        name: str | None = None,
        *,
        confidence: int = 5,
        mixed: bool = False,
        junk: bool = False,
        skip: bool = False,
        exclude: Sequence[int] = (),
    ) -> None:
        """Name a group, or call it mixed, junk or skip it; what is mixed is split at once.

        `group` is as `next` gave it, `confidence` from 1 to 5; `mixed`, `junk` or `skip` stand in place of a name;
        `exclude` are positions of pictures that do not belong to the group.

        Raises
        ------
        UserError
            See `Session.check`.

        """
        said = [kind for kind, given in (("mixed", mixed), ("junk", junk), ("skip", skip)) if given]
        if len(said) + (name is not None) != 1:
            raise UserError("Give the group one of: a name, mixed, junk or skip.")
        if group is None:
            raise UserError("There is no group to answer: refine to get new ones.")
        kind: Any = said[0] if said else "name"
        self.apply(Event(kind, group.id, name, confidence, tuple(int(picture) for picture in exclude)))

    def apply(self, event: Event) -> None:
        """Let an answer count that is given as an `Event`."""
        self.session.apply(event)
        for group in self.session.unsplit():
            first = self.session.next_id()
            self.session.add(query_selection.split(group, self.points, random_state=self.random_state, first_id=first))

    def undo(self) -> None:
        """Take back the last answer."""
        self.session.undo()

    def merge(self, names: Sequence[str], into: str) -> None:
        """Let pictures of some names have another name."""
        self.session.apply(Event("merge", name=into, names=tuple(names)))

    def pull(self, name: str, pictures: Sequence[int], to: str | None = None) -> None:
        """Say that some pictures do not have a name, and which they have."""
        self.session.apply(Event("pull", name=to, names=(name,), pictures=tuple(int(each) for each in pictures)))

    def refine(
        self,
        *,
        n_groups: int | None = None,
        epochs: int | None = None,
        frozen: bool | None = None,
        gamma: float | None = None,
        own_loss: bool = True,
        progress: Progress | None = None,
    ) -> Estimator:
        """Train `model` on with the names given, return it, and propose the next groups; see `refine.refine`.

        `n_groups` are proposed next, half as many as at first when None; none when 0.
        """
        seen, before = len(self.session.events), self.model.embedding_
        targets = judged_targets(self.session, before, self.random_state)
        targets = HeadSpace(before).with_denied(targets, self.session.denied())
        self.model = refine(
            self.model,
            self.images,
            targets,
            held_out=hold_out(self.session, targets, self.random_state),
            epochs=epochs,
            frozen=frozen,
            gamma=gamma,
            own_loss=own_loss,
            random_state=self.random_state + self.session.round,
            progress=progress,
        )
        model = self.model
        if not np.array_equal(model.embedding_, before):
            self.__dict__.pop("points", None)
        self.error_probability = error_probabilities(
            self.session, model.names_, model.labels_, model.embedding_, self.random_state
        )
        self.session.learn(model.names_, model.probabilities_, seen, self.error_probability)
        self.session.begin_round()
        if n_groups is None:
            n_groups = query_selection.how_many(self.model.n_clusters_, len(self.images)) // 2
        if n_groups:
            self.session.add(
                query_selection.next_groups(self.session, self.points, n_groups, random_state=self.random_state)
            )
        return self.model

    def regroup(self, n_groups: int | str = "elbow") -> None:
        """Propose groups of all pictures anew, as paper 4 does after every epoch; the "elbow" may choose how many."""
        count = None if n_groups == "elbow" else int(n_groups)
        if count is not None and not 2 <= count <= len(self.images):
            raise UserError(f"{count} groups cannot be made of {len(self.images)} pictures: choose from 2 to that.")
        session = self.session
        first = session.next_id()
        session.add(
            query_selection.first_groups(
                self.points, count, random_state=self.random_state, first_id=first, round=session.round
            )
        )
