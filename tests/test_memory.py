"""Reuse of freed memory, measured by the pages that the system has to clear."""

import platform
import subprocess
import sys

import pytest

_FAULTS = """
import resource
import sys

import numpy as np

from selfsort.memory import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    arrays = [np.ones(2**20, np.float32) for _ in range(8)]
    del arrays
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    """Return how many pages of 8 arrays of 4 MiB are new to a process that has just freed as many."""
    done = subprocess.run([sys.executable, "-c", _FAULTS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only the GNU C library is told")
def test_freed_memory_is_reused() -> None:
    assert faults("kept") < 100 < 1000 < faults("as it is")
