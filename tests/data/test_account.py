"""The account of a source says what became of every file, exactly once."""

import zipfile

import numpy as np
import pytest
from PIL import Image

from selfsort.data.account import account_of, summarise_account
from selfsort.data.image_set import as_image_set
from selfsort.data.loading import list_images, load_images
from selfsort.features.embedding import embed


def photo(seed=0):
    small = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), np.uint8)
    return Image.fromarray(small).resize((60, 40))


@pytest.fixture
def folder(tmp_path):
    """Pictures with something to report, and files that are not pictures."""
    root = tmp_path / "photos"
    root.mkdir()
    turned = Image.Exif()
    turned[0x0112] = 6
    photo().save(root / "plain.png")
    photo().save(root / "turned.jpg", exif=turned)
    photo().save(root / "pages.tif", save_all=True, append_images=[photo(1)])
    Image.fromarray(np.arange(6000, dtype=np.uint16).reshape(60, 100)).save(root / "deep.png")
    clear = photo().convert("RGBA")
    clear.putalpha(100)
    clear.save(root / "clear.png")
    (root / "half.png").write_bytes((root / "plain.png").read_bytes()[:-100])
    (root / ".DS_Store").write_bytes(b"x")
    (root / "@eaDir").mkdir()
    return root


EXPECTED = {
    ".DS_Store": ("left out", "hidden"),
    "@eaDir": ("left out", "of another program"),
    "clear.png": ("changed", "transparent parts put on white"),
    "deep.png": ("changed", "converted to 8 bits (uint16)"),
    "half.png": ("left out", "truncated"),
    "pages.tif": ("changed", "first page only (of 2)"),
    "plain.png": ("used", ""),
    "turned.jpg": ("changed", "turned upright"),
}


def told(images):
    rows = images.account()
    assert [row.id for row in rows] == sorted(row.id for row in rows)
    return {row.id: (row.outcome, row.details) for row in rows}


def test_every_file_is_accounted_for(folder):
    for _ in range(2):  # the second time from the cache
        images = load_images(folder, size=8)
        assert told(images) == EXPECTED
        line = summarise_account(images.listing)
        assert line.startswith(
            "1 file skipped: truncated (1); 2 files passed over: hidden (1), of another program (1); "
        )
        assert "4 files changed: " in line and "first page only (1)" in line


def test_features_come_with_an_account(folder):
    for cache in (True, True, False):
        assert told(embed(folder, cache=cache).images) == EXPECTED


def test_a_zip_accounts_for_what_it_leaves_out(tmp_path, folder):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.write(folder / "plain.png", "plain.png")
        file.write(folder / "plain.png", "../out.png")
    found = {row.id: row.details for row in load_images(tmp_path / "a.zip").account()}
    assert found == {"plain.png": "", "../out.png": "its path leads out of the zip"}


def test_links_are_reported_and_change_nothing(tmp_path, folder):
    (folder / "link.png").symlink_to(folder / "plain.png")
    assert told(load_images(folder))["link.png"] == ("used", "a link")


def test_what_was_excluded_is_accounted_for(tmp_path):
    for name in ("train/1.png", "train/2.png", "test/3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        photo().save(tmp_path / name)
    images = load_images(tmp_path, split="train", exclude=["train/2.png"])
    assert told(images) == {
        "test/3.png": ("left out", "of another split"),
        "train/1.png": ("used", ""),
        "train/2.png": ("left out", "left out as asked for"),
    }


def test_there_is_nothing_to_report_about_arrays():
    images = as_image_set(np.zeros((3, 8, 8), np.uint8))
    assert [row.outcome for row in images.account()] == ["used"] * 3 and summarise_account(images.listing) == ""


def test_before_decoding_the_account_says_what_paths_tell(folder):
    rows = {row.id: row.outcome for row in account_of(list_images(folder).listing)}
    assert rows["pages.tif"] == "used" and rows[".DS_Store"] == "left out"
