import io
import zipfile

import numpy as np
import pytest
from PIL import Image

import selfsort
from selfsort.data import decoding
from selfsort.data.image_set import as_image_set
from selfsort.data.input_spec import InputSpec
from selfsort.data.listing import Skipped
from selfsort.data.loading import source_of, sources
from selfsort.errors import UserError

SPEC = InputSpec(20, 3)


def photo(seed, size=(60, 40)):
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def folder(tmp_path):
    """Six photographs of two kinds, and a file that is not a picture."""
    for seed in range(6):
        path = tmp_path / "photos" / "ab"[seed % 2] / f"{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo(seed).save(path)
    (tmp_path / "photos" / "a" / "broken.png").write_bytes(b"\x89PNG\r\n")
    return tmp_path / "photos"


@pytest.fixture
def packed(folder):
    with zipfile.ZipFile(folder.with_suffix(".zip"), "w") as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.write(path, path.relative_to(folder))
    return folder.with_suffix(".zip")


@pytest.fixture
def blind(monkeypatch):
    """Make decoding impossible."""
    for name in ("read_image", "read_header", "refit"):
        monkeypatch.setattr(decoding, name, None)


def test_listing_decodes_nothing(folder, packed, blind):
    for source in (folder, packed):
        images = selfsort.list_images(source)
        assert len(images) == 7 and images.ids[3] == "a/broken.png" and not images.skipped
        assert images.labels.tolist() == [0, 0, 0, 0, 1, 1, 1] and images.label_names == ("a", "b")
        assert images.subset([5]).ids == ("b/3.png",) and images.unlabelled().labels is None
        assert len({images.stamp(i) for i in range(7)}) == 7
    assert len(selfsort.list_images(np.zeros((5, 8, 8)), size=32)) == 5


def test_decoding_what_was_listed_is_loading_it(folder):
    listed, loaded = selfsort.list_images(folder, size=16).decoded(), selfsort.load_images(folder, size=16)
    assert listed.fingerprint() == loaded.fingerprint()
    assert (listed.ids, listed.options, listed.skipped) == (loaded.ids, loaded.options, loaded.skipped)
    assert loaded.skipped == (Skipped("a/broken.png", "damaged (its header cannot be read)"),)


def test_what_cannot_be_read_is_left_out(folder):
    images = selfsort.list_images(folder)
    with pytest.raises(UserError, match=r"1 of the pictures .*'a/broken.png' \(damaged"):
        images.pixels(SPEC)
    with pytest.raises(UserError, match=r"images\.decoded\(\)"):
        _ = images.images
    failures = [failure for block in images.blocks(SPEC) for failure in block.failures]
    rest = images.without(failures)
    assert [position for position, _ in failures] == [3] and len(rest) == 6
    assert rest.skipped[0].id == "a/broken.png" and rest.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert rest.pixels(SPEC).shape == (6, 20, 20, 3)


def test_a_class_without_readable_pictures_is_not_a_label(folder):
    (folder / "c").mkdir()
    (folder / "c" / "notes.txt").write_text("no picture")
    assert selfsort.list_images(folder).label_names == ("a", "b", "c")
    assert selfsort.list_images(folder).decoded().label_names == ("a", "b")


@pytest.mark.parametrize("kind", ["folder", "zip", "array", "file"])
def test_open_gives_the_original_whatever_the_pixels(kind, folder, packed, tmp_path):
    rows = np.stack([np.asarray(photo(seed)) for seed in range(6)])
    np.save(tmp_path / "rows.npy", rows)
    source = {"folder": folder, "zip": packed, "array": rows, "file": tmp_path / "rows.npy"}[kind]
    images = selfsort.load_images(source, size=8, channels=1)
    assert images.images.shape == (6, 8, 8, 1)
    seeds = [0, 2, 4, 1, 3, 5] if kind in ("folder", "zip") else range(6)
    for i, seed in enumerate(seeds):
        np.testing.assert_array_equal(np.asarray(images.open(i)), np.asarray(photo(seed)))
    assert images.open(0, longest=30).size == (30, 20)
    assert images.subset([4]).open(0).tobytes() == images.open(4).tobytes()


@pytest.mark.parametrize("resize", ["crop", "pad", "squash"])
def test_pixels_come_from_the_original(folder, resize):
    spec = InputSpec(32, 3, resize)
    small, large = selfsort.load_images(folder, size=4), selfsort.load_images(folder, size=32, resize=resize)
    np.testing.assert_array_equal(small.pixels(spec), large.images)
    np.testing.assert_array_equal(small.decoded(spec).images, large.images)
    assert small.decoded(spec).options == large.options
    assert large.decoded(spec) is large and large.pixels(spec) is large.images


def test_pixels_are_cached(folder, monkeypatch):
    first = selfsort.load_images(folder).pixels(SPEC)
    images = selfsort.load_images(folder)
    monkeypatch.setattr(decoding, "read_image", None)
    again = images.pixels(SPEC)
    assert isinstance(again, np.memmap)
    np.testing.assert_array_equal(first, again)


def test_rows_of_an_array_at_another_size():
    rows = np.random.default_rng(0).integers(0, 256, (5, 12, 10), np.uint8)
    images = as_image_set(rows)
    assert images.pixels(InputSpec(12, 1, width=10)) is images.images
    assert images.pixels(InputSpec(16, 3, "pad")).shape == (5, 16, 16, 3)
    assert images.pixels(InputSpec(6, 1, "crop", width=9)).shape == (5, 6, 9, 1)
    assert selfsort.load_images(rows, size=16, resize="pad").options == {"size": 16, "resize": "pad"}


@pytest.mark.parametrize("at_once", [False, True])
def test_blocks_stream_what_pixels_returns(folder, packed, at_once, monkeypatch):
    if at_once:
        monkeypatch.setattr(decoding, "_SECONDS_ALONE", 1e-9)
        monkeypatch.setattr(decoding, "_FIRST_CHUNK", 1)
        monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    for source in (folder, packed):
        images = selfsort.list_images(source)
        blocks = list(images.blocks(SPEC))
        positions = np.concatenate([block.positions for block in blocks])
        assert positions.tolist() == [0, 1, 2, 4, 5, 6]
        together = np.concatenate([block.images for block in blocks])
        np.testing.assert_array_equal(together, images.decoded(SPEC).images)
        hashes = [each for block in blocks for each in block.content_hashes]
        assert hashes == [images.content_hash(int(i)) for i in positions]
        assert [failure.position for block in blocks for failure in block.failures] == [3]


def test_a_block_stays_small(monkeypatch):
    monkeypatch.setattr(decoding, "_BYTES_PER_CHUNK", 3 * SPEC.side**2 * 3)
    blocks = as_image_set(np.zeros((10, 8, 8), np.uint8)).blocks(SPEC)
    assert [len(block.positions) for block in blocks] == [3, 3, 3, 1]


def test_the_same_content_has_the_same_hash(folder, packed):
    one, other = selfsort.list_images(folder), selfsort.list_images(packed)
    assert [one.content_hash(i) for i in range(7)] == [other.content_hash(i) for i in range(7)]
    assert (
        one.content_fingerprint() == other.content_fingerprint() != one.unlabelled().subset([0]).content_fingerprint()
    )


def test_stamps_show_without_reading_that_nothing_has_changed(folder, packed, monkeypatch):
    for source in (folder, packed):
        with monkeypatch.context() as patched:
            patched.setattr(decoding, "content_hashes", None)
            before = selfsort.list_images(source).stamps_fingerprint()
            assert selfsort.list_images(source).stamps_fingerprint() == before
            assert selfsort.list_images(source).subset([0, 2]).stamps_fingerprint() != before
    before = selfsort.list_images(folder).stamps_fingerprint()
    (folder / "a" / "0.png").touch()
    assert selfsort.list_images(folder).stamps_fingerprint() != before
    assert as_image_set(np.zeros((3, 8, 8), np.uint8)).stamps_fingerprint() is None


def test_a_changed_picture_has_another_stamp(folder):
    before = selfsort.list_images(folder)
    photo(99).save(folder / "b" / "1.png")
    after = selfsort.list_images(folder)
    changed = [name for i, name in enumerate(before.ids) if before.stamp(i) != after.stamp(i)]
    assert changed == ["b/1.png"]
    assert before.subset([5, 6]).stamp(0) == before.stamp(5)
    rows = as_image_set(np.arange(2 * 64).reshape(2, 8, 8).astype(np.uint8))
    assert rows.stamp(0) == rows.content_hash(0) != rows.stamp(1)


def test_a_picture_that_is_gone(folder):
    images = selfsort.load_images(folder, size=8)
    (folder / "a" / "0.png").unlink()
    with pytest.raises(UserError, match=r"'a/0\.png' of .*photos' cannot be read: not readable"):
        images.open(0)
    with pytest.raises(UserError, match=r"'a/0\.png'"):
        images.content_hash(0)


def test_an_upright_picture(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = io.BytesIO()
    photo(0).save(data, "JPEG", exif=exif)
    (tmp_path / "turned.jpg").write_bytes(data.getvalue())
    images = selfsort.list_images(tmp_path)
    assert images.open(0).size == (40, 60) and images.open(0, longest=30).size == (20, 30)


def test_every_source_is_asked_in_its_order(tmp_path):
    names = [source.__name__.rpartition(".")[2] for source in sources()]
    assert names[0] == "hugging_face" and names[-1] == "memory" and len(names) == 10
    (tmp_path / "odd.zip").mkdir()
    assert source_of(tmp_path / "odd.zip").__name__.endswith("folder")
    with pytest.raises(UserError, match="neither a folder nor a .tar file nor a .parquet file nor a .zip file nor"):
        source_of(__file__)
