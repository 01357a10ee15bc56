"""Run refinements in a separate process at low priority."""

import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from selfsort.labelling.learning.held_out import HeldOutComparison
from selfsort.labelling.server.helper import Helper


@dataclass(frozen=True)
class RefinementStatus:
    """The progress of a refinement.

    Attributes
    ----------
    message : why it failed, in the words of the failed process; otherwise empty
    held_out : the number of `answers` held out and the agreement with them `before` and `after`; None without any
    seconds : seconds left, None if unknown
    changed : what it changed, once it is done; see `payloads.changed_payload`

    """

    state: Literal["idle", "running", "failed", "cancelled", "done"] = "idle"
    epoch: int = 0
    epochs: int = 0
    loss: float | None = None
    message: str = ""
    seconds: int | None = None
    changed: dict[str, Any] | None = None
    held_out: dict[str, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def refine_command(run: Path, epochs: int | None, moved: str | None = None) -> list[str]:
    """Return the command that refines a run; `moved` is where its pictures are now, if they have moved."""
    # Only training the network can gain anything, as names already spread after every answer.
    how = ["--fine-tune", "--json-progress", "--until-input-ends"]
    words = [sys.executable, "-m", "selfsort", "refine", str(run), *how]
    words += [] if moved is None else ["--images", moved]
    return words if epochs is None else [*words, "--epochs", str(epochs)]


class Refinement:
    """A refinement of a run, one at a time.

    Parameters
    ----------
    words : returns the command for a number of epochs
    changed : called whenever the status has changed
    finish : called with the key and the client of `start` when the process has succeeded, before the status says so;
        returns what has changed

    Both are called in the refinement's own thread.

    """

    def __init__(
        self,
        words: Callable[[int | None], list[str]],
        changed: Callable[[], None],
        finish: Callable[[str, str], dict[str, Any]],
    ):
        self.words, self._changed, self._finish = words, changed, finish
        self.status = RefinementStatus()
        self._helper = Helper()
        self._first: tuple[int, float] | None = None  # the first epoch reported, and when
        self._thread: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        """Tell whether a refinement is running."""
        return self.status.state == "running"

    def start(self, epochs: int | None, key: str, client: str) -> None:
        """Start the process for a client that requested it with a key."""
        self._helper, self._first = Helper(), None
        self._report(RefinementStatus("running"))
        arguments = (self._helper, self.words(epochs), key, client)
        self._thread = threading.Thread(target=self._work, args=arguments, name="refinement", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the process, if there is one, and wait for it; it leaves nothing behind."""
        self._helper.stop()
        if self._thread is not None:
            self._thread.join(10)

    def _work(self, helper: Helper, words: list[str], key: str, client: str) -> None:
        try:
            helper.run(words, self._follow)
            changed = self._finish(key, client)
        except Exception as error:
            state: Literal["cancelled", "failed"] = "cancelled" if helper.stopped else "failed"
            message = "" if helper.stopped else str(error)
            self._report(replace(self.status, state=state, message=message, seconds=None))
        else:
            self._report(replace(self.status, state="done", seconds=None, changed=changed))

    def _follow(self, content: dict[str, Any]) -> None:
        if (held_out := HeldOutComparison.from_json(content)) is not None:
            self._report(replace(self.status, held_out=asdict(held_out)))
            return
        with suppress(ValueError, KeyError, TypeError):
            epoch, epochs, loss = int(content["epoch"]), int(content["epochs"]), content["loss"]
            self._report(replace(self.status, epoch=epoch, epochs=epochs, loss=loss, seconds=self._left(epoch, epochs)))

    def _left(self, epoch: int, epochs: int) -> int | None:
        """Return the seconds that the remaining epochs will take, estimated since the first; None at the first."""
        now = time.monotonic()
        if self._first is None or epoch <= self._first[0]:
            self._first = (epoch, now)
            return None
        first, began = self._first
        return round((now - began) / (epoch - first) * (epochs - epoch))

    def _report(self, status: RefinementStatus) -> None:
        self.status = status
        self._changed()
