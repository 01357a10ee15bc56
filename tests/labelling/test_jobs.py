"""Background work: the newest request wins, results come in order, and failures are reported."""

import logging
import threading

import pytest

from selfsort.errors import UserError
from selfsort.labelling.server.jobs import LatestOnly, TaskQueue


class Gate:
    """A computation that reports its start and waits until it is released."""

    def __init__(self):
        self.begun, self.open = threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, request):
        self.begun.release()
        assert self.open.acquire(timeout=60)
        if isinstance(request, Exception):
            raise request
        return 10 * request


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def published():
    return []


@pytest.fixture
def job(gate, published):
    made = LatestOnly(gate, lambda number, result: published.append((number, result)))
    yield made
    for _ in range(10):
        gate.open.release()
    made.close()


def test_a_waiting_request_is_replaced_by_a_newer_one(job, gate, published):
    assert job.submit(1) == 1
    assert gate.begun.acquire(timeout=60)
    assert [job.submit(request) for request in (2, 3, 4)] == [2, 3, 4] and job.busy
    gate.open.release()
    gate.open.release()
    assert job.wait(60) and not job.busy
    assert published == [(1, 10), (4, 40)], "a started computation is finished, then the newest"


def test_there_are_results_although_requests_come_faster_than_they_are_computed(job, gate, published):
    for number in range(1, 6):
        job.submit(number)
        assert gate.begun.acquire(timeout=60)
        job.submit(100 + number)
        job.submit(number + 1)
        gate.open.release()
    gate.open.release()
    assert job.wait(60)
    assert [result for _, result in published] == [10, 20, 30, 40, 50, 60]


def test_waiting_ends_in_time(job, gate):
    assert job.wait(0)
    job.submit(1)
    assert not job.wait(0.05) and job.busy


def test_failures_are_reported_and_the_next_request_is_computed(gate, published):
    failures = []
    job = LatestOnly(gate, lambda number, result: published.append((number, result)), failures.append)
    error = ValueError("too few names")
    for request in (error, 2):
        job.submit(request)
        gate.open.release()
        assert job.wait(60)
    job.close()
    assert failures == [error] and published == [(2, 20)]


def test_an_error_nobody_listens_to_is_logged(gate, caplog):
    job = LatestOnly(gate, lambda number, result: None)
    with caplog.at_level(logging.ERROR):
        job.submit(UserError("The loss is not finite."))
        gate.open.release()
        assert job.wait(60)
        job.close()
    assert "The loss is not finite." in caplog.text and "Traceback" not in caplog.text


def test_closing_drops_the_waiting_request(gate, published):
    job = LatestOnly(gate, lambda number, result: published.append(result))
    job.submit(1)
    assert gate.begun.acquire(timeout=60)
    job.submit(2)
    closing = threading.Thread(target=job.close)
    closing.start()
    gate.open.release()
    closing.join(60)
    assert not closing.is_alive() and published == [10]


def test_tasks_are_done_one_after_the_other_and_a_failure_is_logged(caplog):
    queue, done = TaskQueue("tests"), []
    with caplog.at_level(logging.ERROR):
        queue.submit(done.append, 1)
        queue.submit(done.index, 2)
        queue.submit(done.append, 3)
        queue.wait()
    queue.close()
    assert done == [1, 3] and "is not in list" in caplog.text
