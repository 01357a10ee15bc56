"""HEIC and AVIF are read, or a message says what to install; files that are not pictures are called what they are."""

import io
import tarfile
import zipfile

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from selfsort.data import heif
from selfsort.data.input_spec import InputSpec
from selfsort.data.limits import MAX_PIXELS, pillow_limits
from selfsort.data.loading import load_images
from selfsort.data.other_formats import other_format
from selfsort.data.pixels import read_image
from selfsort.data.unreadable import Unreadable


def smooth(width, height):
    small = np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def saved(format, image, **options):
    pillow_heif.register_heif_opener()
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def read(data, size=32):
    with pillow_limits(MAX_PIXELS):
        return read_image(io.BytesIO(data), InputSpec(size, 3))


@pytest.mark.parametrize("format", ["HEIF", "AVIF"])
def test_heic_and_avif(format):
    image = smooth(32, 32)
    found = read(saved(format, image, quality=95))
    assert np.abs(found.pixels.astype(int) - np.asarray(image)).mean() < 8 and found.facts.pages == 1


@pytest.mark.parametrize("format", ["HEIF", "AVIF"])
def test_they_are_shown_upright(format):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = smooth(48, 32)
    found = read(saved(format, image, quality=95, exif=exif.tobytes()))
    assert found.facts.turned
    upright = image.transpose(Image.Transpose.ROTATE_270).crop((0, 8, 32, 40))
    assert np.abs(found.pixels.astype(int) - np.asarray(upright)).mean() < 8


def test_without_the_library_for_heic(monkeypatch, tmp_path):
    (tmp_path / "IMG_1.HEIC").write_bytes(saved("HEIF", smooth(32, 32)))
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    monkeypatch.setattr(heif, "register", lambda: False)
    images = load_images(tmp_path)
    assert images.skipped == (("IMG_1.HEIC", "HEIC; install selfsort[heic]"),)


@pytest.mark.parametrize("format", ["HEIF", "AVIF"])
def test_damaged_ones_are_reported(format):
    data = saved(format, smooth(64, 64))
    with pytest.raises(Exception), pillow_limits(MAX_PIXELS):  # noqa: B017 - whatever the libraries raise
        read_image(io.BytesIO(data[: len(data) * 2 // 3]), InputSpec(8, 3))


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"%PDF-1.7\n", "PDF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG drawing"),
        (b"<?xml version='1.0'?>\n<!-- by hand -->\n<svg width='1'/>", "SVG drawing"),
        (bytes(128) + b"DICM\2\0\0\0", "DICOM"),
        (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41", "video"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "video"),
        (b"\x1aE\xdf\xa3\x01\0\0\0\0\0\0\x1f", "video"),
        (b"RIFF\0\0\1\0AVI LIST\0\0\0\0", "video"),
        (b"FUJIFILMCCD-RAW 0201", "RAW camera picture"),
        (b"II*\0\x10\0\0\0CR\2\0", "RAW camera picture"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "RAW camera picture"),
        (b"IIU\0\x18\0\0\0", "RAW camera picture"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"8BPS\0\1", "Photoshop document"),
    ],
)
def test_other_formats_are_named_with_the_way_out(data, what):
    with pytest.raises(Unreadable) as caught:
        read(data + bytes(300))
    name, _, way_out = str(caught.value).partition(" (")
    assert name == what and way_out.startswith("export")


def packed(how):
    stream = io.BytesIO()
    if how == "npz":
        np.savez(stream, images=np.zeros((2, 8, 8), np.uint8))
    elif how == "npy":
        np.save(stream, np.zeros((2, 8, 8), np.uint8))
    elif how.startswith("tar"):
        with tarfile.open(fileobj=stream, mode=f"w:{how[4:]}") as archive:
            archive.addfile(tarfile.TarInfo("a.png"))
    else:
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr({"docx": "[Content_Types].xml", "odt": "mimetype"}.get(how, "a.png"), "x" * 300)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        *[(how, "archive (unpack it)") for how in ("zip", "tar", "tar.gz", "tar.bz2", "tar.xz")],
        *[(how, "document (export its pictures)") for how in ("docx", "odt")],
        *[(how, "NumPy file (load it as a separate source)") for how in ("npy", "npz")],
    ],
)
def test_archives_inside_a_folder_or_zip_are_listed_as_what_they_are(tmp_path, how, reason):
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "photos" / "a.png")
    (tmp_path / "photos" / "more").write_bytes(packed(how))
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for name in ("a.png", "more"):
            archive.write(tmp_path / "photos" / name, name)
    for source in (tmp_path / "photos", tmp_path / "photos.zip"):
        images = load_images(source, cache=False)
        assert images.skipped == (("more", reason),)
        assert [row for row in images.account() if row.outcome == "left out"] == [("more", "left out", reason)]


@pytest.mark.parametrize("data", [b"", b"some words", b"<?xml version='1.0'?><html/>", bytes(500)])
def test_unknown_formats_are_not_named(data):
    assert other_format(data) == ""
