"""Compute the points of the label space in a separate process, as a UMAP takes long and much memory."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selfsort.labelling import label_space
from selfsort.labelling.server.helper import Helper, end_with_input

_SHOWN_FROM = 0.05  # share of the work after which the remaining time is estimated
_TELL = 0.5  # seconds between two lines of progress


class BetterPoints:
    """Computes the points of a run in another process and keeps them in the run's folder; see `label_space.compute`.

    `changed` is called whenever there is progress.
    """

    def __init__(self, changed: Callable[[], None]):
        self._changed, self._helper = changed, Helper()
        self._began: float | None = None
        self._share = 0.0

    @property
    def progress(self) -> dict[str, Any] | None:
        """Return the `share` done and the `seconds` left (None if unknown), or None if nothing is computed."""
        if self._began is None:
            return None
        took = time.monotonic() - self._began
        left = took / self._share - took if self._share > _SHOWN_FROM else None
        return {"share": round(self._share, 3), "seconds": None if left is None else round(left)}

    @property
    def stopped(self) -> bool:
        """Tell whether the points are no longer wanted."""
        return self._helper.stopped

    def compute(self, folder: Path, random_state: int) -> None:
        """Compute the points of the model in a folder; return when they are done, or no longer wanted.

        Raises
        ------
        OSError
            If they cannot be computed.

        """
        self._began, self._share = time.monotonic(), 0.0
        self._changed()
        try:
            words = [sys.executable, "-m", "selfsort.labelling.server.better_points", str(folder), str(random_state)]
            self._helper.run(words, self._follow)
        except OSError:
            if not self.stopped:
                raise
        finally:
            self._began = None
            self._changed()

    def stop(self) -> None:
        """End the process."""
        self._helper.stop()

    def _follow(self, content: dict[str, Any]) -> None:
        self._share = float(content.get("share", self._share))
        self._changed()


def main(folder: str, random_state: str) -> None:
    """Compute the points of the model in a folder as a helper process that reports its progress."""
    end_with_input()
    told = 0.0

    def tell(share: float) -> None:
        nonlocal told
        if time.monotonic() - told > _TELL:
            told = time.monotonic()
            print(json.dumps({"share": share}), flush=True)

    tell(0.0)
    label_space.compute(Path(folder), random_state=int(random_state), progress=tell)


if __name__ == "__main__":
    main(*sys.argv[1:])
