"""Folders of symbolic links, for example to the pictures that an audit keeps."""

import errno
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from selfsort.audit import Audit
from selfsort.errors import UserError
from selfsort.files import atomic_path


def check_linkable(source: str, has_files: bool) -> None:
    """Raise `UserError` unless the pictures of a source are files of their own, to which `link_kept` can link."""
    if not has_files:
        raise UserError(f"The pictures of {source!r} are not separate files to link to: unpack or save them first.")


def link_kept(audit: Audit, out: str | Path) -> int:
    """Make a folder of symbolic links to the pictures that an audit keeps; return how many. See `link_files`."""
    check_linkable(audit.source, audit.has_files)
    kept = np.flatnonzero(~audit.rejected).tolist()
    link_files({audit.id(picture): Path(audit.file(picture)) for picture in kept}, out)
    return len(kept)


def link_files(files: Mapping[str, Path], out: str | Path) -> None:
    """Make a folder of symbolic links to files by id, in the same subfolders as in their source.

    Raises `UserError` if `out` holds anything or cannot be written.
    """
    out = Path(out).absolute()
    check_target(out)
    with atomic_path(out) as partial:
        partial.mkdir()
        for name, file in files.items():
            target = partial.joinpath(*name.split("/"))
            target.parent.mkdir(parents=True, exist_ok=True)
            link(file, target, "choose another folder")


def check_target(out: Path) -> None:
    """Raise `UserError` if an output folder exists and is not empty."""
    try:
        taken = out.exists() and not (out.is_dir() and next(out.iterdir(), None) is None)
    except OSError as error:
        raise UserError(f"Cannot read {str(out)!r} ({error.strerror}): choose another folder.") from error
    if taken:
        raise UserError(f"{str(out)!r} exists and is not an empty folder: choose a new one, as nothing is overwritten.")


def link(source: Path, target: Path, way_out: str = "use mode='copy'") -> None:
    """Make a symbolic link to an existing file."""
    source.stat()
    try:
        target.symlink_to(source)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP):
            message = f"The file system of {str(target.parents[2])!r} does not support symbolic links: {way_out}."
            raise UserError(message) from error
        raise
