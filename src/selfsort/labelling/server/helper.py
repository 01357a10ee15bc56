"""Helper processes of a server, which run at low priority and end with it."""

import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from typing import IO, Any


class Helper:
    """A process at low priority that reports its progress in lines of JSON."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._stopped = threading.Event()

    def run(self, words: Sequence[str], tell: Callable[[dict[str, Any]], None]) -> None:
        """Run a command until it ends, and call `tell` with each JSON object that it prints, ignoring other lines.

        Raises
        ------
        OSError
            If it fails, with the last line of its errors.

        """
        nice = ["nice", "-n", "10"] if shutil.which("nice") else []
        # A file, not a pipe: errors are read only at the end, and a full pipe would block the process.
        with tempfile.TemporaryFile("w+") as errors:
            # A session of its own, so that Ctrl-C in the terminal reaches only the server, which then ends the helper.
            self._process = subprocess.Popen(
                [*nice, *words],
                stdin=subprocess.PIPE,  # never written to: it ends with this process, and the helper with it
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
            if self._stopped.is_set():
                self._process.terminate()
            with self._process as process:
                assert process.stdout is not None
                _follow(process.stdout, tell)
            errors.seek(0)
            if process.returncode:
                raise OSError(_last_sentence(errors.read()) or f"The process ended with code {process.returncode}.")

    @property
    def stopped(self) -> bool:
        """Tell whether the helper was stopped."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """End the process, if there is one, and any that is started later."""
        self._stopped.set()
        if self._process is not None:
            self._process.terminate()


def end_with_input() -> None:
    """End this process as soon as its standard input ends, as it does when the parent is killed."""

    def wait() -> None:
        # Not sys.stdin: a thread blocked in it would keep Python from exiting.
        while os.read(0, 4096):
            pass
        os._exit(1)  # a helper can be killed at any moment

    threading.Thread(target=wait, name="input", daemon=True).start()


def _follow(lines: IO[str], tell: Callable[[dict[str, Any]], None]) -> None:
    for line in lines:
        try:
            content = json.loads(line)
        except ValueError:
            continue
        if isinstance(content, dict):
            tell(content)


def _last_sentence(errors: str) -> str:
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    return lines[-1].removeprefix("selfsort: ") if lines else ""
