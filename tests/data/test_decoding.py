import io
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selfsort.data import cache, decoding
from selfsort.data.decoding import decode
from selfsort.data.image_set import ImageSet
from selfsort.data.listing import Listing, Originals, positions_without
from selfsort.data.loading import load_images
from selfsort.data.request import Request
from selfsort.data.unreadable import CRASHED
from selfsort.data.workers import WorkerDied, Workers
from selfsort.errors import UserError


def png(level, size=8, mode="RGB"):
    stream = io.BytesIO()
    Image.new(mode, (size, size), level if mode == "L" else (level, 0, 0)).save(stream, "PNG")
    return stream.getvalue()


def open_or_crash(data):
    """Open a picture in memory, killing the process for one of them, like a bug in a C library."""
    if data == b"crash":
        os._exit(1)
    return io.BytesIO(data)


def pictures(data, opener=open_or_crash):
    return Originals(data, opener, os.urandom(8))


@pytest.fixture
def at_once(monkeypatch):
    """Pass everything but the first chunk to two workers, however little it is."""
    monkeypatch.setattr(decoding, "_SECONDS_ALONE", 1e-9)
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)


@pytest.mark.parametrize("use_cache", [True, False])
def test_workers_return_what_one_process_returns(at_once, monkeypatch, use_cache):
    data = [png(place % 256, size=8 + place % 3) if place % 7 else b"x" for place in range(500)]
    together = decode(pictures(data), Request(size=8, cache=use_cache))
    monkeypatch.setattr("joblib.cpu_count", lambda: 1)
    alone = decode(pictures(data), Request(size=8, cache=use_cache))
    np.testing.assert_array_equal(together.images, alone.images)
    assert together.failures == alone.failures and len(alone.failures) == 72
    assert together.images[:, 0, 0, 0].tolist() == [place % 256 for place in range(500) if place % 7]
    assert positions_without(500, alone.failures).tolist() == [place for place in range(500) if place % 7]


def test_a_colour_picture_found_late_by_a_worker(at_once):
    data = [png(place % 256, mode="L") for place in range(400)]
    data[333] = png(200)
    images, *_ = decode(pictures(data), Request())
    assert images.shape == (400, 8, 8, 3)
    assert images[333, 0, 0].tolist() == [200, 0, 0] and images[332, 0, 0].tolist() == [76, 76, 76]


def test_a_crash_of_the_decoder_costs_one_picture(at_once):
    data = [png(place % 256) for place in range(300)]
    data[100] = data[250] = b"crash"
    images, failures, _ = decode(pictures(data), Request(size=8, channels=3))
    assert failures == ((100, CRASHED), (250, CRASHED))
    kept = positions_without(300, failures)
    assert images[:, 0, 0, 0].tolist() == [place % 256 for place in kept] and len(kept) == 298


def test_without_workers_the_work_is_done_here(at_once, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    images, *_ = decode(pictures([png(place) for place in range(50)]), Request())
    assert images[:, 0, 0, 0].tolist() == list(range(50))


def test_a_python_that_does_not_answer(at_once, monkeypatch):
    monkeypatch.setattr("selfsort.data.workers._BOOT", "raise SystemExit(1)")
    with pytest.raises(OSError, match="did not start"):
        Workers(2)
    images, *_ = decode(pictures([png(place) for place in range(50)]), Request())
    assert len(images) == 50


def test_nothing_readable_names_the_source_and_counts(at_once):
    with pytest.raises(UserError, match=r"No picture in 'somewhere' .* \(40 files skipped: not a picture \(40\)\)"):
        ImageSet.listed(Listing("somewhere", tuple("x" * 40), pictures([b"x"] * 40)), Request()).decoded()
    assert cache.usage().sets == 0


def test_progress_is_shown_on_standard_error_only(capsys):
    decode(pictures([png(1)] * 30), Request(progress=True))
    output = capsys.readouterr()
    assert "Reading pictures" in output.err and "30/30" in output.err and output.out == ""
    decode(pictures([png(1)] * 30), Request())
    assert capsys.readouterr() == ("", "")


def test_what_a_worker_prints_does_not_disturb_it():
    with Workers(1) as workers:
        assert workers.run(os.system, "echo noise") == 0
        assert workers.run(print, "noise") is None
        assert workers.run(len, "four") == 4


def test_a_dead_worker_is_replaced():
    with Workers(1) as workers:
        pid = workers.run(os.getpid)
        with pytest.raises(WorkerDied):
            workers.run(os._exit, 3)
        assert workers.run(os.getpid) not in (pid, os.getpid())


def test_closing_kills_busy_workers():
    died = []

    def sleep(workers):
        try:
            workers.run(time.sleep, 60)
        except WorkerDied:
            died.append(True)

    began = time.monotonic()
    with Workers(2) as workers:
        threads = [threading.Thread(target=sleep, args=(workers,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        time.sleep(1.5)  # on a busy machine they take a while to start
    for thread in threads:
        thread.join(20)
    assert died == [True, True] and time.monotonic() - began < 20


# No `if __name__` guard: the script must not run again in the workers.
SCRIPT = """
import pathlib, sys
import selfsort.data.decoding as decoding
from selfsort.data.loading import load_images
decoding._SECONDS_ALONE = 1e-9
pathlib.Path(sys.argv[2], "runs").open("a").write("x")
import joblib
joblib.cpu_count = lambda: 2
print(len(load_images(sys.argv[1])))
"""


def start_script(source, folder):
    script = folder / "script.py"
    script.write_text(SCRIPT)
    return subprocess.Popen(
        [sys.executable, str(script), str(source), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def save_photos(folder, count):
    folder.mkdir()
    stream = io.BytesIO()
    Image.effect_noise((700, 700), 90).save(stream, "PNG", compress_level=1)
    for number in range(count):
        (folder / f"{number:03d}.png").write_bytes(stream.getvalue())
    return folder


def test_a_script_needs_no_guard(tmp_path):
    process = start_script(save_photos(tmp_path / "photos", 20), tmp_path)
    assert process.communicate(timeout=60) == ("20\n", "")
    assert (tmp_path / "runs").read_text() == "x"


def children_of(pid):
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(path.parent.name))
    return found


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize(
    "end", [signal.SIGKILL, *(pytest.param(end, marks=pytest.mark.slow) for end in (signal.SIGINT, signal.SIGTERM))]
)
def test_no_worker_outlives_its_process(tmp_path, cache_folder, end):
    source = save_photos(tmp_path / "photos", 200)
    process = start_script(source, tmp_path)
    wait_for(lambda: len(children_of(process.pid)) == 2 and list(cache_folder.rglob("pixels")))
    workers = children_of(process.pid)
    process.send_signal(end)
    process.communicate(timeout=20)
    assert process.returncode != 0
    wait_for(lambda: not any(map(is_running, workers)), 5)
    if end == signal.SIGINT:
        assert list(cache_folder.rglob("pixels")) == []
    assert len(load_images(source, size=4)) == 200


def open_slowly(data):
    """Open a picture in memory, but compute or wait for ever on one of them."""
    while data == b"busy":
        pass
    while data == b"waiting":
        time.sleep(0.1)
    return io.BytesIO(data)


@pytest.mark.parametrize("content", [b"busy", b"waiting"])
def test_a_picture_that_takes_too_long_costs_that_picture(at_once, content):
    data = [png(place % 256) for place in range(100)]
    data[50] = content
    slow = replace(pictures(data, open_slowly), max_seconds=0.25)
    images, failures, _ = decode(slow, Request(size=8, channels=3))
    # On a machine that has little time for it, what computes meets the clock first.
    reasons = ["took too long (more than 0.25 seconds of processor time)"] * (content == b"busy")
    reasons.append("took too long (more than 1.5 seconds by the clock)")
    assert len(images) == 99 and failures in [((50, reason),) for reason in reasons]


@pytest.mark.parametrize("cores", [1, 2])
def test_a_picture_that_may_take_long_is_decoded_where_it_can_be_stopped(monkeypatch, cores):
    monkeypatch.setattr("joblib.cpu_count", lambda: cores)
    run, asked = Workers.run, []

    def noted(self, task, *arguments, seconds):
        asked.append((len(self), seconds))
        return run(self, task, *arguments, seconds=seconds)

    monkeypatch.setattr(Workers, "run", noted)
    data = [png(1), png(2), png(3, size=6000), png(4)]
    images, *_ = decode(pictures(data), Request(size=8, channels=3))
    assert images[:, 0, 0, 0].tolist() == [1, 2, 3, 4] and asked == [(1, 10.0)]
