"""Background work of the page: one task after another, or only the newest of those that wait."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from selfsort.errors import UserError

Request = TypeVar("Request")
Result = TypeVar("Result")
_log = logging.getLogger(__name__)


class TaskQueue:
    """Tasks that a separate thread does one after another; failures are logged."""

    def __init__(self, name: str):
        self._worker = ThreadPoolExecutor(1, name)

    def submit(self, task: Callable[..., None], *arguments: Any) -> None:
        """Do a task once all earlier ones are done."""
        self._worker.submit(task, *arguments).add_done_callback(_log_failure)

    def wait(self) -> None:
        """Wait until the tasks submitted so far are done."""
        self._worker.submit(lambda: None).result()

    def close(self) -> None:
        """Finish the current task, and drop the others."""
        self._worker.shutdown(cancel_futures=True)


class LatestOnly(Generic[Request, Result]):
    """Computes the newest request in a separate thread; a waiting request is replaced by the next.

    A computation that has started is finished, so that there are results even if requests come faster than they can be
    computed. Results are published in the order of their requests, and the last request always gets its result.

    Parameters
    ----------
    compute : turns a request into a result
    publish : called with every result and the number of its request, in the thread that computed it
    failed : called with exceptions from `compute` or `publish`; if None, they are logged

    """

    def __init__(
        self,
        compute: Callable[[Request], Result],
        publish: Callable[[int, Result], None],
        failed: Callable[[Exception], None] | None = None,
    ):
        self._compute, self._publish, self._failed = compute, publish, failed or log_failure
        self._changed = threading.Condition()
        self._waiting: tuple[int, Request] | None = None
        self._submitted = self._done = 0
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="latest only", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Tell whether a result is still to come."""
        return self._done < self._submitted

    def submit(self, request: Request) -> int:
        """Compute a request next, replacing the waiting one; return its number, 1 for the first."""
        with self._changed:
            self._submitted += 1
            self._waiting = self._submitted, request
            self._changed.notify_all()
            return self._submitted

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until nothing is left to compute; return False if that takes longer than `seconds`."""
        with self._changed:
            return self._changed.wait_for(lambda: self._closed or not self.busy, seconds)

    def close(self) -> None:
        """Finish the current computation, and drop the waiting request."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _work(self) -> None:
        while (asked := self._next()) is not None:
            number, request = asked
            try:
                self._publish(number, self._compute(request))
            except Exception as error:
                self._failed(error)
            with self._changed:
                self._done = number
                self._changed.notify_all()

    def _next(self) -> tuple[int, Request] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting is not None)
            asked, self._waiting = self._waiting, None
            return None if self._closed else asked


def log_failure(error: BaseException) -> None:
    """Log an error in background work, with a traceback unless the user can fix it."""
    _log.error("%s", error, exc_info=None if isinstance(error, UserError) else error)


def _log_failure(done: "Future[None]") -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        log_failure(error)
