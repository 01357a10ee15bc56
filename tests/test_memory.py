"""What the C library does with freed memory: kept, measured by the pages that the system has to clear, or returned."""

import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from selfsort.memory import drop_pages

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


_HELD = """
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from selfsort.memory import return_freed_memory


def work(turn):
    arrays = [np.ones(400_000 * (1 + (turn + place) % 8)) for place in range(8)]  # 3 to 25 MB


if sys.argv[1] == "returned":
    return_freed_memory()
threads = [ThreadPoolExecutor(1) for _ in range(8)]
for turn in range(24):
    threads[turn % len(threads)].submit(work, turn).result()
print([int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS")][0] // 1024)
"""


def held(how: str) -> int:
    """Return the MiB held by a process whose eight threads have taken turns with arrays, and freed them."""
    done = subprocess.run([sys.executable, "-c", _HELD, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only the GNU C library is told")
def test_freed_memory_is_returned_whichever_thread_used_it() -> None:
    assert held("returned") < 150 < 300 < held("as it is")


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a mapped file is read from /proc")
def test_the_pages_of_a_mapped_array_are_dropped(tmp_path: Path) -> None:
    def mapped() -> int:
        status = Path("/proc/self/status").read_text()
        return int(status.split("RssFile:")[1].split()[0]) // 1024

    np.save(tmp_path / "array.npy", np.arange(2**23, dtype=np.float32))
    array, before = np.load(tmp_path / "array.npy", mmap_mode="r"), mapped()
    total = array.sum(dtype=np.float64)
    assert mapped() > before + 25
    drop_pages(array[5:])
    assert mapped() < before + 5
    assert array.sum(dtype=np.float64) == total
    drop_pages(np.ones(3))
