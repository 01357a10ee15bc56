"""A refinement of a run folder: its answers are read, the model trained on, and the next groups stored."""

import shutil
from pathlib import Path

from selfsort import methods, runs
from selfsort.data.image_set import ImageSet
from selfsort.files import swap_folder
from selfsort.labelling import label_space
from selfsort.labelling.learning.label_session import LabelSession
from selfsort.labelling.learning.refine import Progress
from selfsort.labelling.locks import refine_lock
from selfsort.labelling.store import Store, load_session, newest_model
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
    """Refine the model of a run by the answers given so far, and return it; see `refine.refine`.

    The new model takes the place of `RUN/named`, and the next groups are stored. Killed at any moment, it leaves either
    the old model or the new one.

    Raises
    ------
    UserError
        When another refinement of the run is going on, or it is being certified, fewer than two names have pictures, or
        nothing can be written.

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
        known = set(session.groups)
        labelling = LabelSession(model, images, session=session)
        refined = labelling.refine(epochs=epochs, frozen=frozen, n_groups=n_groups, progress=progress)
        _replace(RunFolder(run).refined.path, labelling)
        store.add_groups(group for group in session.groups.values() if group.id not in known)
        # Last, for it declares the round begun.
        rounds = store.get("rounds") or []
        store.put("rounds", [*rounds, {"round": session.round, "after_seq": seen, "names": list(refined.names_)}])
        return refined
    finally:
        store.close()


def _replace(folder: Path, labelling: LabelSession) -> None:
    new = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)  # what a killed refinement left
    model, error_probability = labelling.model, labelling.error_probability
    model.save(new)
    try:
        assert error_probability is not None
        runs.write_array(RunFolder(new).error_probability, error_probability)
        runs.seal(new)
        label_space.keep(new, label_space.stamp_of(model.embedding_), labelling.points)
        swap_folder(new, folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
