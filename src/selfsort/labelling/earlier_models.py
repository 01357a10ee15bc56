"""Keep the model before a refinement, so that the refinement can be taken back and done again."""

import os
import shutil
from pathlib import Path

from selfsort.errors import UserError
from selfsort.files import remove, swap_folder, write_error
from selfsort.labelling.acts import Round
from selfsort.labelling.locks import refine_lock
from selfsort.labelling.store import Store
from selfsort.runs import RunFolder


def set_aside(run: Path, number: int) -> None:
    """Keep the refined model of a round (0 for none) instead of those kept so far."""
    folder = RunFolder(run)
    for old in folder.path.glob(f"{folder.model_of_round(0).name[:-1]}*"):
        remove(old)
    if number:
        _copy(folder.refined.path, folder.model_of_round(number))


def take_back_refinement(run: Path, store: Store) -> None:
    """Restore the model before the last refinement; the refined one is kept.

    Raises
    ------
    UserError
        If another refinement is running or the run is being certified, if there is none to take back, if the earlier
        model no longer exists, or if nothing can be written.

    """
    with refine_lock(run):
        rounds, folder = store.rounds(), RunFolder(run)
        if not rounds:
            raise UserError("There is no refinement to take back.", code="no-refinement")
        before = rounds[-2].round if len(rounds) > 1 else 0
        _check_kept(folder, before)
        _copy(folder.refined.path, folder.model_of_round(rounds[-1].round))
        if before:
            swap_folder(folder.model_of_round(before), folder.refined.path)
        else:
            remove(folder.refined.path)
        store.take_back_round()


def bring_back_refinement(run: Path, store: Store, this: Round) -> None:
    """Restore a refinement that was taken back; raise the same errors as `take_back_refinement`."""
    with refine_lock(run):
        rounds, folder = store.rounds(), RunFolder(run)
        _check_kept(folder, this.round)
        if rounds:
            _copy(folder.refined.path, folder.model_of_round(rounds[-1].round))
        swap_folder(folder.model_of_round(this.round), folder.refined.path)
        store.add_round(this)


def _check_kept(folder: RunFolder, number: int) -> None:
    if number and not RunFolder(folder.model_of_round(number)).is_complete():
        sentence = "The model to restore is no longer kept: refine again instead."
        raise UserError(sentence, code="model-gone")


def _copy(folder: Path, to: Path) -> None:
    """Copy a folder by hard links if possible, which takes no space, as its files are never changed but replaced."""
    new = to.with_name(f"{to.name}.new")
    try:
        shutil.rmtree(new, ignore_errors=True)
        shutil.copytree(folder, new, copy_function=_link)
    except (OSError, shutil.Error) as error:
        raise write_error(to, error if not isinstance(error, shutil.Error) else OSError(str(error))) from error
    swap_folder(new, to)


def _link(source: str, to: str) -> None:
    try:
        os.link(source, to)
    except OSError:
        shutil.copy2(source, to)
