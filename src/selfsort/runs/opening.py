"""Start or resume a run in its folder."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selfsort.data.image_set import ImageSet
from selfsort.errors import UserError
from selfsort.files import atomic_path, is_there, new_parents, remove
from selfsort.runs import manifest
from selfsort.runs.folder import RunFolder
from selfsort.runs.locks import is_empty, is_running, run_lock
from selfsort.runs.seal import write_sealed
from selfsort.tables import write_table


@contextmanager
def open_run(path: str | Path, facts: Mapping[str, Any], images: ImageSet, resume: bool) -> Iterator[Path]:
    """Yield the folder of a run to be trained, locked against other processes.

    If training fails before the first checkpoint, a new folder is removed again.

    Raises
    ------
    UserError
        If the folder is in use, holds something else, or holds a run that cannot be resumed with these settings.

    """
    folder = RunFolder(path)
    check_startable(folder.path, resume)
    with new_parents(folder.path), run_lock(folder.path):
        # Checked again, now that no other process can change it.
        before = _run_in(folder)
        if before is not None:
            _check_resumable(folder, before, facts, resume)
        try:
            write_sealed(folder.manifest, facts)
            write_table(folder.skipped, ["id", "reason"], images.skipped)
            yield folder.path
        except BaseException:
            if before is None and not folder.has_checkpoints():
                for entry in folder.path.iterdir():
                    remove(entry)
            raise


def check_startable(path: str | Path, resume: bool) -> None:
    """Raise `UserError` if a run cannot be started, or resumed, in a folder."""
    folder = RunFolder(path)
    before = _run_in(folder)
    if before is None:
        return
    if before["status"] == "complete":
        raise UserError(f"{str(folder.path)!r} already holds a finished run: choose another folder.")
    if not resume and not is_running(folder.path):
        raise UserError(
            f"{str(folder.path)!r} holds an unfinished run: continue with resume=True or choose another folder."
        )


def _run_in(folder: RunFolder) -> dict[str, Any] | None:
    """Return the manifest of the run in a folder, or None if the folder is new or empty."""
    if is_there(folder.path) and not folder.path.is_dir():
        raise UserError(f"{str(folder.path)!r} is a file: choose a folder for the run.")
    if is_there(folder.manifest):
        return folder.read_manifest()
    if folder.path.exists() and not is_empty(folder.path):
        if is_running(folder.path):  # the other process has not written its manifest yet
            raise UserError(f"{str(folder.path)!r} is open in another process: wait for it or choose another folder.")
        raise UserError(f"{str(folder.path)!r} exists and is not a run folder: choose another folder.")
    return None


def _check_resumable(folder: RunFolder, before: Mapping[str, Any], facts: Mapping[str, Any], resume: bool) -> None:
    check_startable(folder.path, resume)
    change = manifest.first_change(before, facts)
    if change is not None:
        raise UserError(f"Cannot resume {str(folder.path)!r}: {change} changed; use the same or choose another folder.")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `path` if the block succeeds."""
    if is_there(path) and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"{str(path)!r} exists and is not empty: choose another folder.")
    with atomic_path(path) as partial:
        partial.mkdir()
        yield partial
