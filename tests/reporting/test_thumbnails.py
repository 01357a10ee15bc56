import io
import zipfile

import numpy as np
import pytest
from PIL import Image

import selfsort
from selfsort.data import decoding
from selfsort.reporting.gallery import cluster_sheet
from selfsort.reporting.thumbnails import thumbnails, whole


def photo(seed, size=(600, 400)):
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def folder(tmp_path):
    for seed in range(4):
        (tmp_path / "photos").mkdir(exist_ok=True)
        photo(seed).save(tmp_path / "photos" / f"{seed}.png")
    return tmp_path / "photos"


def decoded(thumbnail):
    return np.asarray(Image.open(io.BytesIO(thumbnail.content)).convert("RGB")).astype(int)


@pytest.mark.parametrize("kind", ["folder", "zip", "array"])
def test_they_are_made_of_the_originals(kind, folder):
    source = folder
    if kind == "zip":
        source = folder.with_suffix(".zip")
        with zipfile.ZipFile(source, "w") as archive:
            for path in folder.iterdir():
                archive.write(path, path.name)
    elif kind == "array":
        source = np.stack([np.asarray(photo(seed)) for seed in range(4)])
    found = thumbnails(selfsort.load_images(source, size=8, channels=1), [2, 0, 2])
    assert sorted(found) == [0, 2]
    for seed, thumbnail in found.items():
        assert thumbnail.size == (256, 171) and thumbnail.kind == "webp"
        exact = np.asarray(photo(seed).resize((256, 171)))
        assert np.abs(decoded(thumbnail) - exact).mean() < 4
        assert thumbnail.drawn(112) == (112, 75) and not thumbnail.coarse(112)


def test_small_ones_keep_their_pixels():
    rows = np.random.default_rng(0).integers(0, 256, (2, 10, 20, 3), np.uint8)
    found = thumbnails(selfsort.load_images(rows), [1])[1]
    assert found.kind == "png" and found.drawn(112) == (112, 56) and found.coarse(112)
    np.testing.assert_array_equal(decoded(found), rows[1])


def test_a_missing_picture_is_shown_as_its_pixels(folder):
    listed, loaded = selfsort.list_images(folder), selfsort.load_images(folder, size=40)
    (folder / "1.png").unlink()
    assert thumbnails(loaded, range(4))[1].size == (40, 40)
    assert sorted(thumbnails(listed, range(4))) == [0, 2, 3]
    assert whole(loaded, 1, 30).size == (30, 30) and whole(loaded, 2, 30).size == (30, 20)


def test_many_are_smaller(monkeypatch):
    monkeypatch.setattr(decoding, "_SECONDS_ALONE", 60)
    images = selfsort.load_images(np.zeros((1001, 300, 5), np.uint8))
    assert thumbnails(images, range(450))[0].size[1] == 256
    assert thumbnails(images, range(1001))[0].size[1] == 64


def test_a_contact_sheet_shows_whole_pictures(folder):
    images = selfsort.load_images(folder, size=8)
    sheet = cluster_sheet(images, np.arange(4.0)[:, None], np.zeros(4, int), columns=4)
    drawn = np.asarray(Image.open(io.BytesIO(sheet)).convert("RGB"))
    rows = np.flatnonzero((drawn[:, -60:] < 250).any((1, 2)))
    assert 60 <= len(rows) <= 66  # 96 wide, 64 high
