"""One thread for numerical libraries, also if several threads ask for it at overlapping times."""

import os
import subprocess
import sys

import pytest

# In a process of its own, as the tests run with a single thread and OpenBLAS never takes more than it began with.
OVERLAPPING = """
import threading

import numpy as np
from threadpoolctl import threadpool_info

from selfsort.threads import one_thread


def number():
    (found,) = {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}
    return found


def stay():
    with one_thread():
        within.set()
        left.wait(60)
        print("within:", number())


np.ones((2, 2)) @ np.ones((2, 2))
print("before:", number())
within, left = threading.Event(), threading.Event()
other = threading.Thread(target=stay)
with one_thread():
    other.start()
    within.wait(60)
    print("both within:", number())
left.set()
other.join()
print("after:", number())
"""


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="OpenBLAS takes no more threads than there are cores")
def test_blocks_that_overlap_have_one_thread_and_restore_the_number_when_the_last_is_left():
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    words = [sys.executable, "-c", OVERLAPPING]
    found = subprocess.run(words, capture_output=True, text=True, check=True, env=environment).stdout
    assert found.splitlines() == ["before: 2", "both within: 1", "within: 1", "after: 2"]
