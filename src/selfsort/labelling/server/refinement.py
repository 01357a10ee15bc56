"""Refinements in a process of their own, which gives way to the server that asks."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal


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
    """Return the words that refine a run at low priority; `moved` is where its pictures are now, if elsewhere."""
    nice = ["nice", "-n", "10"] if shutil.which("nice") else []
    words = [*nice, sys.executable, "-m", "selfsort", "refine", str(run), "--json-progress", "--until-input-ends"]
    words += [] if moved is None else ["--images", moved]
    return words if epochs is None else [*words, "--epochs", str(epochs)]


def end_with_input() -> None:
    """End this process as soon as its standard input ends, as it does when the one that holds it open is killed."""

    def wait() -> None:
        # Not sys.stdin: a thread that waits in there keeps Python from ending.
        while os.read(0, 4096):
            pass
        os._exit(1)  # a refinement can be killed at any moment

    threading.Thread(target=wait, name="input", daemon=True).start()


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
        self._process: subprocess.Popen[str] | None = None
        self._stopped = threading.Event()
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
        self._stopped.set()
        if self._process is not None:
            self._process.terminate()
        if self._thread is not None:
            self._thread.join(10)

    def _work(self, words: list[str]) -> None:
        try:
            code, complaint = self._run(words)
            if code:
                raise OSError(complaint or f"The refinement ended with code {code}.")
            self._finish()
        except Exception as error:
            self._report(replace(self.status, state="failed", message=str(error)))
        else:
            self._report(replace(self.status, state="done"))

    def _run(self, words: list[str]) -> tuple[int, str]:
        # A file, not a pipe: nobody reads the errors until the end, and a full pipe would stop the process.
        with tempfile.TemporaryFile("w+") as errors:
            # A session of its own: Ctrl-C in the terminal is for the server, which then ends this one.
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,  # never written to: it ends with this process, and the refinement with it
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
            if self._stopped.is_set():
                self._process.terminate()
            with self._process as process:
                assert process.stdout is not None
                self._follow(process.stdout)
            errors.seek(0)
            return process.returncode, _last_sentence(errors.read())

    def _follow(self, lines: IO[str]) -> None:
        for line in lines:
            try:
                content = json.loads(line)
                if "message" in content:
                    self._report(replace(self.status, message=str(content["message"])))
                    continue
                epoch, epochs, loss = int(content["epoch"]), int(content["epochs"]), content["loss"]
            except (ValueError, KeyError, TypeError):
                continue
            self._report(replace(self.status, epoch=epoch, epochs=epochs, loss=loss))

    def _report(self, status: RefinementStatus) -> None:
        self.status = status
        self._changed()


def _last_sentence(errors: str) -> str:
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    return lines[-1].removeprefix("selfsort: ") if lines else ""
