"""One thread for numerical libraries, also if several threads ask for it at overlapping times."""

from contextlib import ExitStack

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from selfsort.threads import one_thread


def numbers() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def _three_threads():
    np.ones((2, 2)) @ np.ones((2, 2))
    with threadpool_limits(3, user_api="blas"):
        yield


def test_there_is_one_thread_within_the_block():
    with one_thread():
        assert numbers() == {1}
    assert numbers() == {3}


def test_blocks_that_overlap_restore_the_number_when_the_last_is_left():
    first, second = ExitStack(), ExitStack()
    first.enter_context(one_thread())
    second.enter_context(one_thread())
    first.close()
    assert numbers() == {1}
    second.close()
    assert numbers() == {3}
