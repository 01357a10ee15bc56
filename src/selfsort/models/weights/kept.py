"""The folder of weights that were converted to safetensors; needs no torch."""

from pathlib import Path

from selfsort.data import cache
from selfsort.files import remove

FORMAT = 1  # raise it whenever weights are kept differently


def location() -> Path:
    """Return the folder, which need not exist."""
    return cache.root() / f"weights-{FORMAT}"


def usage() -> tuple[int, int]:
    """Count the files and their bytes."""
    files = _files()
    return len(files), sum(path.stat().st_size for path in files)


def clear() -> int:
    """Delete the files, which are made again when they are wanted, and return the number of bytes freed."""
    freed = usage()[1]
    for path in _files():
        remove(path)
    return freed


def _files() -> list[Path]:
    return sorted(location().glob("*.safetensors"))
