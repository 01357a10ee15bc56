"""The progress bar on standard error, the same for everything that takes a while."""

from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress


class ProgressBar:
    """Shows how much of `total` is done, the rate, and the time left; a context manager.

    Nothing is drawn, and rich not imported, unless it is `shown`.

    >>> with ProgressBar("Reading images", total=3, shown=False) as bar:
    ...     bar.advance()
    ...     bar.done
    1
    """

    def __init__(self, text: str, total: int, *, shown: bool = True):
        self.text, self.total, self.done = text, total, 0
        self.shown = shown
        self._progress: Progress | None = None

    def __enter__(self) -> Self:
        if self.shown:
            self._progress = _progress()
            self._task = self._progress.add_task(self.text, total=self.total)
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._progress:
            self._progress.stop()

    def advance(self, count: int = 1) -> None:
        """Add `count` to the number done."""
        self.show(self.done + count)

    def show(self, done: int, text: str | None = None) -> None:
        """Set the number done, and a new description of the work."""
        self.done, self.text = done, text or self.text
        if self._progress:
            self._progress.update(self._task, completed=done, description=self.text)


def _progress() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=Console(stderr=True), refresh_per_second=2)
