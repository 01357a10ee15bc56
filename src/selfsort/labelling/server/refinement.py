"""Refinements in a process of their own, which gives way to the server that asks."""

import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from selfsort.labelling.server.helper import Helper


@dataclass(frozen=True)
class RefinementStatus:
    """How far a refinement is; `message` is a sentence, or empty."""

    state: Literal["idle", "running", "failed", "done"] = "idle"
    epoch: int = 0
    epochs: int = 0
    loss: float | None = None
    message: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return asdict(self)


def refine_command(run: Path, epochs: int | None, moved: str | None = None) -> list[str]:
    """Return the words that refine a run; `moved` is where its pictures are now, if elsewhere."""
    words = [sys.executable, "-m", "selfsort", "refine", str(run), "--json-progress", "--until-input-ends"]
    words += [] if moved is None else ["--images", moved]
    return words if epochs is None else [*words, "--epochs", str(epochs)]


class Refinement:
    """A refinement of a run, one at a time.

    Parameters
    ----------
    words : returns the words of the command for a number of epochs
    changed : called whenever the status has changed
    finish : called when the process has ended well, before the status says so

    Both are called in the refinement's own thread.

    """

    def __init__(
        self, words: Callable[[int | None], list[str]], changed: Callable[[], None], finish: Callable[[], None]
    ):
        self.words, self._changed, self._finish = words, changed, finish
        self.status = RefinementStatus()
        self._helper = Helper()
        self._thread: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        """Tell whether a refinement is going on."""
        return self.status.state == "running"

    def start(self, epochs: int | None) -> None:
        """Start the process."""
        self._report(RefinementStatus("running"))
        self._thread = threading.Thread(target=self._work, args=(self.words(epochs),), name="refinement", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the process, if there is one, and wait for it; nothing of what it did remains."""
        self._helper.stop()
        if self._thread is not None:
            self._thread.join(10)

    def _work(self, words: list[str]) -> None:
        try:
            self._helper.run(words, self._follow)
            self._finish()
        except Exception as error:
            self._report(replace(self.status, state="failed", message=str(error)))
        else:
            self._report(replace(self.status, state="done"))

    def _follow(self, content: dict[str, Any]) -> None:
        if "message" in content:
            self._report(replace(self.status, message=str(content["message"])))
            return
        with suppress(ValueError, KeyError, TypeError):
            epoch, epochs, loss = int(content["epoch"]), int(content["epochs"]), content["loss"]
            self._report(replace(self.status, epoch=epoch, epochs=epochs, loss=loss))

    def _report(self, status: RefinementStatus) -> None:
        self.status = status
        self._changed()
