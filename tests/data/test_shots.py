"""When, where and with what camera pictures were taken, and which form a burst."""

import math
from datetime import UTC
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import ExifTags, Image

from exif_pictures import NOON, save_shot
from selfsort.data.image_set import as_image_set
from selfsort.data.loading import list_images
from selfsort.data.shots import COLUMNS, Shot, Shots
from selfsort.tables import read_table, write_table


def read(folder: Path) -> Shots:
    return Shots.read(list_images(folder))


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_the_metadata_tell_time_place_and_camera(tmp_path, suffix):
    save_shot(tmp_path / f"in/a.{suffix}", 1.25, place=(-12.5, 48.75))
    (shot,) = read(tmp_path / "in").shots
    assert (
        shot.camera == "Acme One" and shot.latitude == pytest.approx(-12.5) and shot.longitude == pytest.approx(48.75)
    )
    assert read(tmp_path / "in").days() == ["2024-05-31"] and read(tmp_path / "in").places() == ["-12.5, 48.8"]
    assert next(iter(read(tmp_path / "in").rows()))[1] == "2024-05-31T12:00:01.250"


def test_tags_of_a_tiff_are_its_metadata(tmp_path):
    (tmp_path / "in").mkdir()
    tags = {ExifTags.Base.DateTime: "2024:05:31 12:00:00", ExifTags.Base.Make: "Acme", ExifTags.Base.Model: "Acme One"}
    Image.new("L", (8, 8)).save(tmp_path / "in/a.tif", tiffinfo=tags)
    (shot,) = read(tmp_path / "in").shots
    assert shot.time == NOON.replace(tzinfo=UTC).timestamp() and shot.camera == "Acme Acme One"


def test_in_a_zip_too(tmp_path):
    save_shot(tmp_path / "a.jpg", 3)
    with ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(tmp_path / "a.jpg", "a.jpg")
    assert read(tmp_path / "all.zip").days() == ["2024-05-31"]


def test_missing_or_damaged_metadata_count_as_unknown(tmp_path):
    save_shot(tmp_path / "in/none.jpg", None, camera=None)
    save_shot(tmp_path / "in/good.jpg", 0)
    content = (tmp_path / "in/good.jpg").read_bytes()
    (tmp_path / "in/bad-time.jpg").write_bytes(content.replace(b"2024:05:31", b"2024:99:99"))
    (tmp_path / "in/cut.jpg").write_bytes(content[:60])
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "in/plain.bmp")
    shots = read(tmp_path / "in")
    told = {name: not math.isnan(shot.time) for name, shot in zip(shots.ids, shots.shots, strict=True)}
    assert told == {"bad-time.jpg": False, "cut.jpg": False, "good.jpg": True, "none.jpg": False, "plain.bmp": False}
    assert Shots.read(as_image_set(np.zeros((3, 8, 8), np.uint8))).shots == (Shot(),) * 3


def test_place_of_nowhere_is_none(tmp_path):
    save_shot(tmp_path / "in/a.jpg", 0, place=(0.0, 0.0))
    assert read(tmp_path / "in").places() == [""]


def test_frames_seconds_apart_are_one_burst(tmp_path):
    times = {"a": 0, "b": 4, "c": 8, "d": 14, "e": None}
    for name, seconds in times.items():
        save_shot(tmp_path / f"in/x/{name}.jpg", seconds)
    save_shot(tmp_path / "in/x/f.jpg", 2, camera=("Other", "Two"))
    save_shot(tmp_path / "in/y/a.jpg", 1)
    shots = read(tmp_path / "in")
    bursts = dict(zip(shots.ids, shots.bursts().tolist(), strict=True))
    assert bursts["x/a.jpg"] == bursts["x/b.jpg"] == bursts["x/c.jpg"], "no two consecutive ones are far apart"
    assert len(set(bursts.values())) == 5, "another camera, another folder, a pause or no time start another"
    assert len(set(shots.bursts(3).tolist())) == 7 and len(set(shots.bursts(6).tolist())) == 4


def test_the_table_gives_back_what_was_read(tmp_path):
    save_shot(tmp_path / "in/a.jpg", 1.25, place=(47.123456, -8.5))
    save_shot(tmp_path / "in/b.jpg", None, camera=None)
    shots = read(tmp_path / "in")
    write_table(tmp_path / "t.csv", COLUMNS, shots.rows())
    again = Shots.from_rows(list(read_table(tmp_path / "t.csv")))
    assert list(again.ids) == list(shots.ids)
    np.testing.assert_allclose([shot[:3] for shot in again.shots], [shot[:3] for shot in shots.shots], atol=1e-5)
    assert again.cameras() == shots.cameras() == ["Acme One", ""]
