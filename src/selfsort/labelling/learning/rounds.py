"""Refine a run folder: read its answers, refine its model, and store the next groups."""

import shutil
from pathlib import Path

from selfsort import methods
from selfsort.data.image_set import ImageSet
from selfsort.files import swap_folder
from selfsort.labelling import label_space
from selfsort.labelling.earlier_models import set_aside
from selfsort.labelling.kept_shots import shots_of
from selfsort.labelling.learning.label_session import LabelSession
from selfsort.labelling.learning.refine import Progress
from selfsort.labelling.locks import refine_lock
from selfsort.labelling.store import Round, Store, load_session, newest_model
from selfsort.methods.base import Estimator
from selfsort.runs import RunFolder


def refine_run(
    run: Path,
    images: ImageSet,
    *,
    epochs: int | None = None,
    frozen: bool | None = None,
    n_groups: int | None = None,
    progress: Progress | None = None,
) -> Estimator:
    """Refine the model of a run with the answers given so far, and return it; see `refine.refine`.

    The new model replaces `RUN/named`, whose previous model is kept aside, and the next groups are stored. If it is
    killed at any moment, either the old model or the new one remains.

    Raises
    ------
    UserError
        If another refinement of the run is running, the run is being certified, no name has pictures, or nothing can be
        written.

    """
    with refine_lock(run):
        return _refine_run(run, images, epochs, frozen, n_groups, progress)


def _refine_run(
    run: Path,
    images: ImageSet,
    epochs: int | None,
    frozen: bool | None,
    n_groups: int | None,
    progress: Progress | None,
) -> Estimator:
    store = Store.open(run, create=False)
    try:
        seen = max((item.seq for item in store.events()), default=0)
        session = load_session(store, run)
        model = methods.load(newest_model(store, run))
        known, before = set(session.groups), session.round
        labelling = LabelSession(model, images, session=session, bursts=shots_of(run, images).bursts())
        refined = labelling.refine(epochs=epochs, frozen=frozen, n_groups=n_groups, progress=progress)
        _replace(run, labelling, before if RunFolder(run).refined.is_complete() else 0)
        store.add_groups(group for group in session.groups.values() if group.id not in known)
        # Last, as it marks the start of the round.
        store.add_round(Round(session.round, seen, refined.names_))
        return refined
    finally:
        store.close()


def _replace(run: Path, labelling: LabelSession, before: int) -> None:
    """Replace the model of the round `before` (0 for none), which is kept aside, by the refined one."""
    folder = RunFolder(run).refined.path
    new = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)  # what a killed refinement left
    model = labelling.model
    model.save(new)
    try:
        label_space.keep(new, label_space.stamp_of(model.embedding_), labelling.points)
        # Only now, so that with a full disk everything stays as it was.
        set_aside(run, before)
        swap_folder(new, folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
