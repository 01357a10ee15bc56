"""Large pictures are opened in a process that is killed when they take too long, small ones in this process."""

import io
import os
from dataclasses import replace

import pytest
from PIL import Image

from selfsort.data import standby
from selfsort.data.limits import Heavy
from selfsort.data.loading import list_images
from selfsort.data.workers import WorkerDied, Workers
from selfsort.errors import UserError
from selfsort.labelling.server.image_files import ImageFiles

LARGE = (6000, 6000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small picture and a large one, grey by its palette, which only decoding shows."""
    root = tmp_path_factory.mktemp("photos")
    Image.new("P", LARGE).save(root / "large.png")
    Image.new("L", (30, 20), 7).save(root / "small.png")
    return root


def test_a_large_picture_is_opened_in_another_process(folder, monkeypatch):
    images = list_images(folder)
    asked, run = [], Workers.run

    def noted(self, task, *arguments, seconds):
        asked.append(seconds)
        return run(self, task, *arguments, seconds=seconds)

    monkeypatch.setattr(Workers, "run", noted)
    assert images.open(1).size == (30, 20) and not asked
    assert images.open(0, 64).size == (64, 64) and asked == [10.0]


def test_a_picture_that_takes_too_long_is_refused_in_a_sentence(folder):
    images = list_images(folder, max_seconds=0.02)
    with pytest.raises(UserError, match="'large.png' .* cannot be read: took too long .more than 0.(02|12) seconds"):
        images.open(0)
    assert images.open(1).size == (30, 20)
    assert list_images(folder).open(0, 8).size == (8, 8), "the next one finds a process that works"


@pytest.mark.slow
def test_the_page_shows_the_pixels_of_the_run_where_a_picture_takes_too_long(folder):
    images = list_images(folder, size=16, cache=False).decoded()
    images.listing.__dict__["originals"] = replace(images.originals, max_seconds=0.02)
    files = ImageFiles(images)
    for shown in (files.thumbnail(0), files.original(0)):
        assert Image.open(io.BytesIO(shown.content)).size == (16, 16)


def test_a_picture_that_crashes_its_decoder_costs_that_picture():
    assert standby.within_limits(_heavy_here, os.getpid(), False, seconds=5) == "elsewhere"
    with pytest.raises(WorkerDied):
        standby.within_limits(_heavy_here, os.getpid(), True, seconds=5)
    assert standby.within_limits(_heavy_here, os.getpid(), False, seconds=5) == "elsewhere"


def _heavy_here(process, crash):
    if os.getpid() == process:
        raise Heavy
    if crash:
        os._exit(3)
    return "elsewhere"


def test_pictures_are_opened_even_if_no_process_can_be_started(folder, monkeypatch):
    def fail(count):
        raise OSError("no more processes")

    monkeypatch.setattr(standby, "_standing", {})
    monkeypatch.setattr(standby, "Workers", fail)
    assert list_images(folder).open(0, 8).size == (8, 8)


@pytest.mark.parametrize("max_seconds", [0, -1, float("nan"), True, "10"])
def test_a_limit_of_no_time_is_refused(folder, max_seconds):
    with pytest.raises(UserError, match="max_seconds"):
        list_images(folder, max_seconds=max_seconds)
