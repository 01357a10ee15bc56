"""UMAP layouts on disk, by the content of the points: a second run on the same features reuses them."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfsort.data import cache
from selfsort.errors import UserError
from selfsort.files import atomic_path

LAYOUTS = cache.KeptFiles("layouts-1", ".npy")  # increase the number whenever layouts are computed differently


def layout_of(
    points: NDArray[np.float32], settings: tuple[object, ...], make: Callable[[], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Return the layout (N, d) of points (N, D) under some `settings`, computed only if it is not kept yet."""
    digest = hashlib.blake2b(repr((points.shape, *settings)).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(points).data)
    path = LAYOUTS.location() / f"{digest.hexdigest()}{LAYOUTS.suffix}"
    kept = _read(path, len(points))
    if kept is not None:
        return kept
    layout = make()
    # Keeping it only saves time, so it is not an error if nothing can be written.
    with suppress(UserError, OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as partial, open(partial, "wb") as file:
            np.save(file, layout)
    return layout


def _read(path: Path, count: int) -> NDArray[np.float32] | None:
    try:
        kept = np.load(path, allow_pickle=False)
    except Exception:  # missing or damaged: computed again
        return None
    whole = kept.dtype == np.float32 and kept.ndim == 2 and len(kept) == count and np.isfinite(kept).all()
    return kept if whole else None
