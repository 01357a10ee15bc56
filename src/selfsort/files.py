"""Write files completely or not at all."""

import errno
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path

from selfsort.errors import UserError

_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would be larger than this system allows",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission is denied",
    errno.EPERM: "permission is denied",
    errno.ENOENT: "the folder does not exist and cannot be created",
    errno.ENOTDIR: "part of the path is a file, not a folder",
    errno.EEXIST: "part of the path is a file, not a folder",
}

_TEMPORARY = re.compile(r"\.(.+)\.(?:partial-\d+|new)")


def write_error(path: Path, error: OSError) -> UserError:
    """Say in one sentence why `path` could not be written."""
    # NumPy reports a short write, which only a full disk causes, without an error number.
    reason = _REASONS.get(error.errno or errno.ENOSPC, error.strerror or str(error))
    return UserError(f"Cannot write {str(_lasting(path))!r}: {reason}; choose another folder or free some space.")


def is_there(path: str | Path) -> bool:
    """Tell whether a file or folder exists; raise `UserError` if the system does not say."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: the path contains a NUL
        return False
    except OSError as error:
        raise UserError(
            f"{str(path)!r} cannot be accessed: {error.strerror}; choose another path, or ask its owner."
        ) from error
    return True


def _lasting(path: Path) -> Path:
    """Return the final path for which a temporary one stands."""
    parts = list(path.parts)
    for place in range(len(parts)):
        while (found := _TEMPORARY.fullmatch(parts[place])) is not None:
            parts[place] = found[1]
    return Path(*parts)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path` for a new file or folder; rename it to `path` if the block succeeds.

    Nothing is left behind if the block fails. A write error becomes a `UserError`.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        with new_parents(path):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                _sweep(path)
                yield partial
                _flush(partial)
                os.replace(partial, path)
            finally:
                remove(partial)
    except OSError as error:
        raise write_error(path, error) from error


def swap_folder(new: Path, path: Path) -> None:
    """Replace a folder, if there is one, by another; `recover_folder` repairs a crash in between."""
    before = _before(path)
    try:
        remove(before)
        if path.exists():
            os.replace(path, before)
        os.replace(new, path)
    except OSError as error:
        raise write_error(path, error) from error
    remove(before)


def recover_folder(path: Path) -> None:
    """Restore the old folder if a swap was killed between removing it and putting the new one in place."""
    if not path.exists() and _before(path).exists():
        with suppress(OSError):
            os.replace(_before(path), path)


def _before(path: Path) -> Path:
    return path.with_name(f".{path.name}.before")


def _sweep(path: Path) -> None:
    """Delete what killed processes left behind when trying to write `path`."""
    prefix = f".{path.name}.partial-"
    for left in path.parent.glob(f"{escape(prefix)}*"):
        process = left.name.removeprefix(prefix)
        if process.isdecimal() and not _is_alive(int(process)):
            remove(left)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


@contextmanager
def new_parents(path: Path) -> Iterator[None]:
    """If the block fails, remove the parents of `path` that it created and left empty."""
    missing = [parent for parent in path.parents if not os.path.lexists(parent)]
    try:
        yield
    except BaseException:
        for parent in missing:  # innermost first
            with suppress(OSError):
                parent.rmdir()
        raise


def remove(path: Path) -> None:
    """Delete a file, or a folder with everything in it, if it exists."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    # Without fsync, a power failure could leave the new name with old content or none.
    if path.is_file():
        with open(path, "rb") as file:
            os.fsync(file.fileno())


def write_json(path: str | Path, content: object) -> None:
    """Write a JSON file."""
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def bytes_in(folder: Path) -> int:
    """Return the total size in bytes of the files in a folder."""
    total = 0
    with suppress(OSError):  # it may vanish while being measured
        for path in folder.iterdir():
            total += path.stat().st_size
    return total
