"""Let the numerical libraries compute with a single thread where more gain nothing."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_lock = threading.Lock()
_inside = 0
_limits: Any = None


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread within the block.

    Threads that wait for each other at every short step gain little, and take twenty times the processor time if other
    processes want the same cores. Several threads may be within such blocks at once: the number of threads is the
    same again when the last one has left.
    """
    global _inside, _limits
    from threadpoolctl import ThreadpoolController

    found = ThreadpoolController()
    # OpenMP's limit belongs to the calling thread, that of the linear algebra to the whole process.
    with found.select(user_api="openmp").limit(limits=1):
        with _lock:
            if not _inside:
                _limits = found.select(user_api="blas").limit(limits=1)
            _inside += 1
        try:
            yield
        finally:
            with _lock:
                _inside -= 1
                if not _inside:
                    _limits.restore_original_limits()
