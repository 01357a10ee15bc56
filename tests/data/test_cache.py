import errno
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selfsort.data import cache
from selfsort.data.loading import load_images
from selfsort.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (10, 4, 4, 3), np.uint8)


def build(writer):
    for start in range(0, 10, 3):
        writer.append(PIXELS[start : start + 3])
    return {"note": "näh"}


def forbidden(writer):
    raise AssertionError("built although it is in the cache")


def left_over(folder):
    """Return what is in the cache besides complete sets and locks."""
    return [path for path in folder.rglob(".*") if not path.name.endswith(".lock")]


def save_pictures(folder, count=3, level=50):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.new("RGB", (8, 8), (level, number, 0)).save(folder / f"{number:04d}.png")
    return folder


def test_built_once(cache_folder):
    images, notes = cache.load("key", build)
    np.testing.assert_array_equal(images, PIXELS)
    assert isinstance(images, np.memmap) and not images.flags.writeable
    again, notes_again = cache.load("key", forbidden)
    np.testing.assert_array_equal(again, PIXELS)
    assert notes == notes_again == {"note": "näh"}
    assert left_over(cache_folder) == []


def test_usage_and_clear(cache_folder):
    assert cache.usage() == (cache.location(), 0, 0) and cache.clear() == 0
    images, _ = cache.load("a", build)
    cache.load("b", build)
    used = cache.usage()
    assert used.sets == 2 and used.bytes >= 2 * PIXELS.nbytes and used.path.is_relative_to(cache_folder)
    assert cache.clear() == used.bytes
    assert cache.usage().sets == cache.usage().bytes == 0
    np.testing.assert_array_equal(images, PIXELS)  # mapped arrays stay valid
    cache.load("a", build)
    assert cache.usage().sets == 1


def test_location(monkeypatch, tmp_path):
    monkeypatch.setenv("SELFSORT_CACHE", str(tmp_path))
    assert cache.location().parent == tmp_path
    monkeypatch.setenv("SELFSORT_CACHE", "")
    assert "selfsort" in str(cache.location()) and cache.location().is_absolute()


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "index.json").write_text("{"),
        lambda folder: (folder / "index.json").write_text("[]"),
        lambda folder: (folder / "index.json").unlink(),
        lambda folder: (folder / "pixels").unlink(),
        lambda folder: (folder / "pixels").write_bytes(b"short"),
    ],
)
def test_a_damaged_set_is_made_again(damage):
    cache.load("key", build)
    damage(cache.location() / "key")
    images, _ = cache.load("key", build)
    np.testing.assert_array_equal(images, PIXELS)
    cache.load("key", forbidden)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, UserError])
def test_nothing_is_left_when_building_fails(cache_folder, error):
    def fail(writer):
        writer.append(PIXELS)
        raise error("stop")

    with pytest.raises(error):
        cache.load("key", fail)
    assert cache.usage().sets == cache.usage().bytes == 0 and left_over(cache_folder) == []
    cache.load("key", build)


class FullDisk:
    """A file that has room for one block."""

    def __init__(self, file, error):
        self.file, self.error, self.blocks = file, error, 0

    def write(self, data):
        self.blocks += 1
        if self.blocks > 1:
            raise OSError(self.error, os.strerror(self.error))
        return self.file.write(data)

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()


def make_disk_fail(monkeypatch, error):
    writer = cache._FileWriter.__init__

    def init(self, path):
        writer(self, path)
        self._file = FullDisk(self._file, error)

    monkeypatch.setattr(cache._FileWriter, "__init__", init)


def test_a_full_disk_is_one_sentence(monkeypatch, cache_folder):
    make_disk_fail(monkeypatch, errno.ENOSPC)
    with pytest.raises(UserError, match=r"The disk is too full .* clear the cache, .* cache=False\.$"):
        cache.load("key", build)
    assert cache.usage().bytes == 0 and left_over(cache_folder) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_fills_when_the_last_bytes_are_flushed(monkeypatch):
    writer = cache._FileWriter.__init__

    def init(self, path):
        path.symlink_to("/dev/full")
        writer(self, path)

    monkeypatch.setattr(cache._FileWriter, "__init__", init)
    with pytest.raises(UserError, match="The disk is too full"):
        cache.load("key", build)
    assert cache.usage().bytes == 0


def test_another_write_error_falls_back_to_memory(monkeypatch, tmp_path, caplog):
    source = save_pictures(tmp_path / "photos")
    make_disk_fail(monkeypatch, errno.EIO)
    monkeypatch.setattr("selfsort.data.decoding._FIRST_CHUNK", 1)
    with caplog.at_level(logging.INFO):
        images = load_images(source)
    assert images.images[:, 0, 0, 1].tolist() == [0, 1, 2]
    assert "kept in memory only" in caplog.text
    assert cache.usage().bytes == 0


def test_a_folder_that_cannot_be_written_falls_back_to_memory(monkeypatch, tmp_path, caplog):
    source = save_pictures(tmp_path / "photos")
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SELFSORT_CACHE", str(tmp_path / "file" / "cache"))
    images = load_images(source)
    assert not isinstance(images.images, np.memmap) and len(images) == 3
    assert caplog.text == ""  # silently, unless the details of the log are shown
    assert cache.usage().sets == 0 and cache.clear() == 0


def test_a_set_in_a_read_only_folder_is_used(monkeypatch):
    cache.load("key", build)

    def refuse(*arguments, **options):
        raise OSError(errno.EROFS, "Read-only file system")

    for name in ("mkdir", "open", "replace"):
        monkeypatch.setattr(os, name, refuse)
    np.testing.assert_array_equal(cache.load("key", forbidden)[0], PIXELS)
    with pytest.raises(cache.Unavailable):
        cache.load("other", build)


def test_without_the_cache_nothing_is_written(tmp_path, cache_folder):
    images = load_images(save_pictures(tmp_path / "photos"), cache=False)
    assert not isinstance(images.images, np.memmap)
    assert list(cache_folder.iterdir()) == []


def test_a_second_read_does_not_decode(tmp_path, monkeypatch):
    source = save_pictures(tmp_path / "photos")
    (source / "empty.png").write_bytes(b"")
    first = load_images(source)
    monkeypatch.setattr("selfsort.data.decoding.read_image", None)
    monkeypatch.setattr("selfsort.data.decoding.read_header", None)
    second = load_images(str(source) + "/")
    assert second.fingerprint() == first.fingerprint()
    assert (second.skipped, second.options, second.files) == (first.skipped, first.options, first.files)


def change_content(source):
    Image.new("RGB", (8, 8), (99, 0, 0)).save(source / "0001.png")
    os.utime(source / "0001.png", ns=(1, 1))


@pytest.mark.parametrize(
    "change",
    [
        change_content,
        lambda source: save_pictures(source, 4),
        lambda source: (source / "0001.png").unlink(),
        lambda source: (source / "0001.png").rename(source / "new name.png"),
        lambda source: (source / "broken.png").write_bytes(b"x"),
    ],
)
def test_a_changed_source_is_read_again(tmp_path, change):
    source = save_pictures(tmp_path / "photos")
    load_images(source)
    change(source)
    cached, fresh = load_images(source), load_images(source, cache=False)
    assert cached.fingerprint() == fresh.fingerprint() and cached.skipped == fresh.skipped
    assert cache.usage().sets == 2


@pytest.mark.parametrize("option", [{"size": 5}, {"resize": "pad"}, {"channels": 1}, {"max_pixels": 64}])
def test_every_option_that_matters_has_its_own_set(tmp_path, option):
    source = save_pictures(tmp_path / "photos")
    load_images(source)
    load_images(source, **option)
    assert cache.usage().sets == 2
    load_images(source, progress=True, data_root="x", download=True, **option)
    assert cache.usage().sets == 2


def wait_for(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


def test_the_second_of_two_equal_threads_waits(caplog):
    building, go_on = threading.Event(), threading.Event()
    results = []

    def slow(writer):
        building.set()
        assert go_on.wait(20)
        return build(writer)

    first = threading.Thread(target=lambda: results.append(cache.load("key", slow)))
    second = threading.Thread(target=lambda: results.append(cache.load("key", forbidden)))
    first.start()
    assert building.wait(20)
    assert cache.clear() == 0  # a set that is being written is not deleted
    second.start()
    wait_for(lambda: "waiting for it to finish" in caplog.text)
    go_on.set()
    first.join(20)
    second.join(20)
    assert len(results) == 2
    for images, _ in results:
        np.testing.assert_array_equal(images, PIXELS)


LOAD = """
import joblib, sys, time
joblib.cpu_count = lambda: 1  # the pauses are in this process, so all the work must be done in it
import selfsort.data.decoding as decoding
from selfsort.data.loading import load_images
read = decoding.read_image
def slowly(*arguments):
    time.sleep({pause})
    return read(*arguments)
decoding.read_image = slowly
images = load_images(sys.argv[1])
print(len(images), images.fingerprint())
"""


def start_loading(source, pause):
    return subprocess.Popen(
        [sys.executable, "-c", LOAD.format(pause=pause), str(source)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_same_load_twice_at_once(tmp_path, cache_folder):
    source = save_pictures(tmp_path / "photos", 40)
    processes = [start_loading(source, 0.02) for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0]
    assert outputs[0][0].split()[0] == "40"
    assert sum("waiting" in errors for _, errors in outputs) <= 1
    assert cache.usage().sets == 1 and left_over(cache_folder) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_load_that_is_stopped_in_the_middle(tmp_path, cache_folder, end):
    source = save_pictures(tmp_path / "photos", 60)
    process = start_loading(source, 0.2)
    wait_for(lambda: any(path.name == "pixels" for path in cache_folder.rglob("pixels")))
    process.send_signal(end)
    process.communicate(timeout=20)
    assert process.returncode != 0
    assert bool(left_over(cache_folder)) == (end == signal.SIGKILL)
    assert cache.usage().sets == 0
    assert len(load_images(source)) == 60
    assert left_over(cache_folder) == [] and cache.usage().sets == 1


def test_leftovers_of_other_sets_are_deleted_too_and_clear_frees_them(cache_folder):
    cache.load("key", build)
    (cache.location() / ".dead.abc").mkdir()
    (cache.location() / ".dead.abc" / "pixels").write_bytes(bytes(1000))
    assert cache.usage() == (cache.location(), 1, cache.usage().bytes)
    cache.load("other", build)
    assert left_over(cache_folder) == []
    (cache.location() / ".dead.abc").mkdir()
    (cache.location() / ".dead.abc" / "pixels").write_bytes(bytes(1000))
    used = cache.usage().bytes
    assert cache.clear() == used and left_over(cache_folder) == []


def test_the_index_is_plain_json(cache_folder):
    cache.load("key", build)
    index = json.loads((cache.location() / "key" / "index.json").read_text())
    assert index == {"shape": [10, 4, 4, 3], "notes": {"note": "näh"}}
