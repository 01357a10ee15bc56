"""What accompanies the loop: the history of figures, progress, `metrics.csv`, TensorBoard, Ctrl-C."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any

from selfsort.progress import ProgressBar
from selfsort.runs import RunFolder
from selfsort.tables import write_table


@dataclass
class History:
    """What happened in a training: one row of figures per epoch, and the warnings of the collapse gauge."""

    rows: list[dict[str, float]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0


OnEpoch = Callable[[History], None]


def write_metrics(path: Path, history: History) -> None:
    """Write a history as CSV, one row per epoch; write nothing if it is empty."""
    if history.rows:
        write_table(path, list(history.rows[0]), [list(row.values()) for row in history.rows])


@contextmanager
def deferred_interrupt() -> Iterator[threading.Event]:
    """Delay Ctrl-C until the end of a step, so that the saved state is whole; a second Ctrl-C does not wait."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return

    def note(signum: int, frame: FrameType | None) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()

    before = signal.signal(signal.SIGINT, note)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)


class Log:
    """Progress on the terminal, `metrics.csv` and, if it is installed, TensorBoard."""

    def __init__(self, run_dir: Path | None, epochs: int, progress: bool):
        self.run_dir, self.epochs = run_dir, epochs
        self.lines = progress and not sys.stderr.isatty()
        self.drawn = progress and sys.stderr.isatty()
        self.opened = ExitStack()
        self.bar: ProgressBar | None = None
        self.board: Any = None
        self.logs_to_tensorboard = run_dir is not None and find_spec("tensorboard") is not None

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.opened.close()

    def advance(self, step: int, steps_per_epoch: int, history: History) -> None:
        """Show how far the training has got."""
        if not self.drawn:
            return
        if self.bar is None:
            self.bar = self.opened.enter_context(ProgressBar("training", self.epochs * steps_per_epoch))
        epoch = min(self.epochs, 1 + step // steps_per_epoch)
        last = f" loss {history.rows[-1]['loss']:.4f}" if history.rows else ""
        self.bar.show(step, f"epoch {epoch}/{self.epochs}{last}")

    def epoch(self, history: History, warning: str | None) -> None:
        """Write the figures of an epoch, and print its warning."""
        row = history.rows[-1]
        if self.run_dir:
            write_metrics(RunFolder(self.run_dir).metrics, history)
        if self.run_dir and self.logs_to_tensorboard:
            self._to_tensorboard(self.run_dir, row)
        if self.lines:
            print(f"epoch {row['epoch']}/{self.epochs} loss {row['loss']:.4f}", file=sys.stderr, flush=True)
        if warning and (self.lines or self.drawn):
            print(warning, file=sys.stderr, flush=True)

    def _to_tensorboard(self, run_dir: Path, row: Mapping[str, float]) -> None:
        if self.board is None:
            from torch.utils.tensorboard import SummaryWriter

            # What a killed run logged after its last checkpoint is logged again.
            self.board = SummaryWriter(str(RunFolder(run_dir).tensorboard), purge_step=int(row["epoch"]))
            self.opened.callback(self.board.close)
        for name, value in row.items():
            if name != "epoch":
                self.board.add_scalar(name, value, int(row["epoch"]))
