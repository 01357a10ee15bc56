"""Pictures as the page shows them: thumbnails and originals of files, zips and arrays, with limited memory."""

import io
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selfsort.data.image_set import ImageSet, as_image_set
from selfsort.data.loading import load_images
from selfsort.labelling.server.image_files import ImageFile, ImageFiles, png
from shards import write_tar

SIZE = (600, 400)


def opened(file: ImageFile) -> Image.Image:
    image = Image.open(io.BytesIO(file.content))
    image.load()
    assert image.get_format_mimetype() == file.media_type
    return image


def photograph(seed: int = 0, size: tuple[int, int] = SIZE) -> Image.Image:
    """Return a smooth picture whose left half is brighter."""
    rng = np.random.default_rng(seed)
    pixels = np.asarray(Image.fromarray(rng.integers(0, 128, (4, 6, 3), np.uint8)).resize(size)).copy()
    pixels[:, : size[0] // 2] += 100
    return Image.fromarray(pixels)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One picture in each format, and one rotated by its metadata."""
    root = tmp_path / "photos"
    root.mkdir()
    for number, kind in enumerate(("bmp", "gif", "jpg", "png", "tif", "webp")):
        photograph(number).save(root / f"{number}.{kind}")
    exif = Image.Exif()
    exif[0x0112] = 6
    photograph(6).save(root / "6.jpg", exif=exif)
    return root


@pytest.fixture
def images(folder: Path) -> ImageSet:
    return load_images(folder, size=16, cache=False)


@pytest.fixture
def files(images: ImageSet) -> ImageFiles:
    return ImageFiles(images)


@pytest.mark.parametrize("index", range(6))
def test_thumbnails_are_made_from_the_original(files, index):
    drawn = opened(files.thumbnail(index))
    assert drawn.size == (256, 171) and drawn.format == "JPEG"
    wanted = photograph(index).resize(drawn.size)
    difference = np.asarray(drawn.convert("RGB"), float) - np.asarray(wanted, float)
    assert np.abs(difference).mean() < (12 if index == 1 else 4), "a GIF has 256 colours"


def test_thumbnails_are_upright(files):
    drawn = np.asarray(opened(files.thumbnail(6)).convert("L"), float)
    assert drawn.shape == (256, 171)
    assert drawn[:100].mean() > drawn[-100:].mean() + 50, "the left half has become the upper half"


@pytest.mark.parametrize(
    ("index", "media_type"),
    [(1, "image/gif"), (2, "image/jpeg"), (3, "image/png"), (5, "image/webp"), (6, "image/jpeg")],
)
def test_formats_that_browsers_show_are_sent_unchanged(files, images, index, media_type):
    file = files.original(index)
    assert file.content == images.files[index].read_bytes() and file.media_type == media_type


@pytest.mark.parametrize("index", [0, 4])
def test_other_formats_are_converted(files, index):
    drawn = opened(files.original(index))
    assert drawn.size == SIZE and drawn.format == "JPEG"


def test_members_of_a_zip(folder, tmp_path):
    packed = shutil.make_archive(str(tmp_path / "photos"), "zip", folder)
    files = ImageFiles(load_images(packed, size=16, cache=False))
    assert opened(files.thumbnail(3)).size == (256, 171)
    assert files.original(3).content == (folder / "3.png").read_bytes()


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_pictures_in_shards(folder, tmp_path, kind):
    contents = [(path.name, path.read_bytes()) for path in sorted(folder.iterdir())]
    if kind == "tar":
        shard = write_tar(tmp_path / "a.tar", contents)
    else:
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        shard = tmp_path / "a.parquet"
        pq.write_table(pa.table({"image": [content for _, content in contents]}), shard)
    files = ImageFiles(load_images(shard, size=16, cache=False))
    assert opened(files.thumbnail(3)).size == (256, 171)
    assert files.original(3).content == contents[3][1]


def test_rows_of_an_array():
    rows = np.stack([np.asarray(photograph(seed, (300, 200))) for seed in range(3)])
    files = ImageFiles(as_image_set(rows))
    assert opened(files.thumbnail(1)).size == (256, 171)
    assert opened(files.original(1)).size == (300, 200)


def test_a_small_picture_keeps_its_pixels():
    rows = np.random.default_rng(0).integers(0, 256, (3, 28, 28), np.uint8)
    files = ImageFiles(as_image_set(rows))
    for file in (files.thumbnail(2), files.original(2), png(rows[2][:, :, None])):
        assert file.media_type == "image/png"
        np.testing.assert_array_equal(np.asarray(opened(file)), rows[2])


@pytest.mark.parametrize("damage", ["gone", "no picture", "another file"])
def test_unreadable_pictures_are_shown_as_they_were_trained_on(damage, files, images):
    path = images.files[2]
    path.unlink()
    if damage == "no picture":
        path.write_bytes(b"\xff\xd8\xff not a picture")
    elif damage == "another file":
        path.symlink_to("/etc/passwd")
    for file in (files.thumbnail(2), files.original(2)):
        np.testing.assert_array_equal(np.asarray(opened(file)), images.images[2])


def test_thumbnails_are_made_once_and_the_oldest_forgotten(images, monkeypatch):
    made = []
    look = images.open
    monkeypatch.setattr(images, "open", lambda index, longest: made.append(index) or look(index, longest))
    size = sum(len(ImageFiles(images).thumbnail(index).content) for index in (2, 3))
    made.clear()
    files = ImageFiles(images, cache_bytes=size)
    for index in (2, 3, 2, 4, 2, 3):
        files.thumbnail(index)
    assert made == [2, 3, 4, 3], "4 replaced 3, which was used less recently than 2"


def test_many_at_once(images):
    files = ImageFiles(images)
    alone = [ImageFiles(images).thumbnail(index) for index in range(7)]
    seen: list[list[ImageFile]] = []
    threads = [
        threading.Thread(target=lambda: seen.append([files.thumbnail(index) for index in range(7)])) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [alone] * 8
