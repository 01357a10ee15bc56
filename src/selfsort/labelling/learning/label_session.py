"""Naming groups from Python: propose groups, answer, refine, repeat (paper 4, for every method)."""

import logging
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfsort.clustering import Space, reduce_sampled
from selfsort.clustering.space import viewed
from selfsort.data.image_set import CONTENT, ImageSet, as_image_set
from selfsort.data.shots import Shots
from selfsort.errors import UserError
from selfsort.labelling.core import query_selection
from selfsort.labelling.core.answers import Event, Group
from selfsort.labelling.core.borderline import shown_apart
from selfsort.labelling.core.error_probability import judged_targets
from selfsort.labelling.core.head import HeadSpace
from selfsort.labelling.core.session import Session
from selfsort.labelling.learning.held_out import hold_out
from selfsort.labelling.learning.refine import Progress, refine
from selfsort.methods.base import Estimator
from selfsort.spelling import is_junk

_log = logging.getLogger(__name__)


def tell_if_junk(name: str | None) -> None:
    """Warn that a name means junk, if it does."""
    if name is not None and is_junk(name):
        _log.warning("%r means junk, so the pictures are thrown away: for a class, use another name.", name)


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
    model : a fitted model, which is not changed; `refine` replaces it by a new one
    images : the pictures that it was fitted to
    n_groups : number of first groups; by default four per class of the model; "elbow" chooses it as in paper 4
    space : label space, "embedding", "pca" or "umap"; by default the method's `label_space`
    decay : a in equation 2
    session : groups and answers to continue with, instead of new ones
    bursts : (N,) number of the burst of each picture, frames of which do not judge each other; by default read from the
        files
    random_state : seed

    Attributes
    ----------
    session : all groups and answers, with `labels()`, `targets()`, `estimate()`, …
    model : the current model, refined once for each call of `refine`

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
        bursts: NDArray[np.int64] | None = None,
        random_state: int = 0,
    ):
        self.images = as_image_set(images)
        if not hasattr(model, "embedding_"):
            raise UserError(f"This {type(model).__name__} is not fitted yet: call fit first.")
        if self.images.ids != model.ids_ or not _are_as_fitted(model, self.images):
            raise UserError("These are not the pictures that the model was fitted to: give those.")
        self.images = model.like_training(self.images)
        self.model, self.space, self.random_state = model, space or model.label_space, random_state
        self.session = session or Session(len(self.images), decay)
        self._given_bursts = bursts
        if session is None:
            self.regroup(
                query_selection.how_many(model.n_clusters_, len(self.images)) if n_groups is None else n_groups
            )

    @cached_property
    def bursts(self) -> NDArray[np.int64]:
        """Return the number (N,) of the burst that each picture belongs to."""
        return Shots.read(self.images).bursts() if self._given_bursts is None else self._given_bursts

    @cached_property
    def points(self) -> NDArray[np.float32]:
        """Return the points (N, d) of the pictures in the label space."""
        view = viewed(self.model.embedding_, self.model.label_view)
        return reduce_sampled(view, self.space, random_state=self.random_state)

    def next(self) -> Group | None:
        """Return the group whose answer is expected to help most, or None if all are answered."""
        return next(iter(self.session.open_groups()), None)

    def shown(self, group: Group) -> tuple[int, ...]:
        """Return the positions of a group's pictures that a person is shown."""
        return shown_apart(group, self.points).all

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
        """Name a group, call it mixed or junk, or skip it; a mixed group is split at once.

        `group` comes from `next`; `confidence` is from 1 to 5; give `mixed`, `junk` or `skip` instead of a name;
        `exclude` holds positions of pictures that do not belong to the group. A name that means junk, in one of the
        page's languages, throws the group away, and a warning says so.

        Raises
        ------
        UserError
            As in `Session.check`.

        """
        said = [kind for kind, given in (("mixed", mixed), ("junk", junk), ("skip", skip)) if given]
        if len(said) + (name is not None) != 1:
            raise UserError("Give exactly one of name, mixed, junk and skip.")
        if group is None:
            raise UserError("There is no group to answer: call refine to get new ones.")
        tell_if_junk(name)
        kind: Any = said[0] if said else "name"
        self.apply(Event(kind, group.id, name, confidence, tuple(int(picture) for picture in exclude)))

    def apply(self, event: Event) -> None:
        """Apply an answer given as an `Event`."""
        self.session.apply(event)
        for group in self.session.unsplit():
            first = self.session.next_id()
            self.session.add(query_selection.split(group, self.points, random_state=self.random_state, first_id=first))

    def undo(self) -> None:
        """Take back the last answer."""
        self.session.undo()

    def merge(self, names: Sequence[str], into: str) -> None:
        """Merge some names into another one."""
        tell_if_junk(into)
        self.session.apply(Event("merge", name=into, names=tuple(names)))

    def pull(self, name: str, pictures: Sequence[int], to: str | None = None) -> None:
        """Say that some pictures do not have a name, and which one they have instead, if known."""
        tell_if_junk(to)
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
        """Refine `model` with the names given, return it, and propose the next groups; see `refine.refine`.

        `n_groups` is the number of groups proposed next: by default half as many as at first; 0 proposes none.
        """
        seen, before = len(self.session.events), self.model.embedding_
        targets = judged_targets(self.session, before, self.random_state, self.bursts)
        targets = HeadSpace(before).with_denied(targets, self.session.denied())
        self.model = refine(
            self.model,
            self.images,
            targets,
            held_out=hold_out(self.session, targets, self.random_state, self.bursts),
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
        self.session.learn(model.names_, model.probabilities_, seen)
        self.session.begin_round()
        if n_groups is None:
            n_groups = query_selection.how_many(self.model.n_clusters_, len(self.images)) // 2
        if n_groups:
            self.session.add(
                query_selection.next_groups(self.session, self.points, n_groups, random_state=self.random_state)
            )
        return self.model

    def regroup(self, n_groups: int | str = "elbow") -> None:
        """Propose new groups of all pictures, as paper 4 does after every epoch; "elbow" chooses how many."""
        count = None if n_groups == "elbow" else int(n_groups)
        if count is not None and not 2 <= count <= len(self.images):
            raise UserError(f"n_groups={count} does not fit {len(self.images)} pictures: choose from 2 to that number.")
        session = self.session
        first = session.next_id()
        session.add(
            query_selection.first_groups(
                self.points, count, random_state=self.random_state, first_id=first, round=session.round
            )
        )


def _are_as_fitted(model: Estimator, images: ImageSet) -> bool:
    """Tell whether pictures are unchanged since a model was fitted to them; only files that changed are read."""
    data: dict[str, Any] = model.run_["data"]
    if not data["fingerprint"].startswith(CONTENT):
        return bool(model.like_training(images).fingerprint() == data["fingerprint"])
    if data.get("stamps") is not None and images.stamps_fingerprint() == data["stamps"]:
        return True
    return bool(images.content_fingerprint() == data["fingerprint"])
