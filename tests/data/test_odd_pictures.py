"""Pictures whose format allows more than common readers expect: they are read correctly, or the guess is reported."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from selfsort.data.input_spec import InputSpec
from selfsort.data.limits import MAX_PIXELS, pillow_limits
from selfsort.data.pixels import read_image
from selfsort.data.reading import PLAIN, Facts, Reading

BITS, PHOTOMETRIC, SAMPLES, COLOURS, EXTRA, DNG = 258, 262, 277, 320, 338, 50706


def read(data, size=16, channels=3, reading=Reading("type")):  # noqa: B008 - it is never changed
    with pillow_limits(MAX_PIXELS):
        return read_image(io.BytesIO(data), InputSpec(size, channels), MAX_PIXELS, reading)


def encoded(image, format, **options):
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def tiff(values, photometric, extra=(), colours=(), samples=None, pages=1, subfile=0):
    """Write pixels (H, W) or (H, W, C) as an uncompressed TIFF, each tag as it is given."""
    values = np.ascontiguousarray(values)
    height, width = values.shape[:2]
    samples = samples or (values.shape[2] if values.ndim == 3 else 1)
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    shorts = {256: [width], 257: [height], BITS: [8 * values.itemsize] * samples, 259: [1], PHOTOMETRIC: [photometric]}
    shorts |= {SAMPLES: [samples], 278: [height], 339: [kind] * samples}
    shorts |= {254: [subfile]} if subfile else {}
    shorts |= {EXTRA: list(extra)} if extra else {}
    shorts |= {COLOURS: list(colours)} if len(colours) else {}
    data = values.tobytes()
    out = bytearray(b"II*\0" + struct.pack("<I", 8 + len(data)) + data)
    for page in range(pages):
        entries = {tag: (3, each) for tag, each in shorts.items()} | {273: (4, [8]), 279: (4, [len(data)])}
        place = len(out)
        beyond = bytearray()
        table = struct.pack("<H", len(entries))
        after = place + 2 + 12 * len(entries) + 4
        for tag, (type_, numbers) in sorted(entries.items()):
            packed = struct.pack(f"<{len(numbers)}{'H' if type_ == 3 else 'I'}", *numbers)
            value = packed.ljust(4, b"\0")
            if len(packed) > 4:
                value = struct.pack("<I", after + len(beyond))
                beyond += packed
            table += struct.pack("<HHI", tag, type_, len(numbers)) + value
        following = after + len(beyond) if page + 1 < pages else 0
        out += table + struct.pack("<I", following) + beyond
    return bytes(out)


INK = np.full((16, 16, 4), (10, 150, 60, 40), np.uint8)
PAPER = (1 - INK[0, 0, :3] / 255) * (1 - INK[0, 0, 3] / 255) * 255


def without_adobe_marker(data):
    start = data.index(b"\xff\xee")
    return data[:start] + data[start + 16 :]


def test_cmyk_jpeg_with_and_without_a_marker():
    data = encoded(Image.fromarray(INK, "CMYK"), "JPEG", quality=98)
    found = read(data)
    assert np.abs(found.pixels - PAPER).max() <= 3 and found.facts == PLAIN
    found = read(without_adobe_marker(data))
    assert np.abs(found.pixels - PAPER).max() <= 3
    assert found.facts == Facts(guessed="four channels are inverted CMYK")


def test_ycck_jpeg_without_a_marker():
    """Only YCCK subsamples some of four channels; Adobe stores ink inverted, except for the colours."""
    colours = np.asarray(Image.fromarray(INK[:, :, :3]).convert("YCbCr"))
    stored = np.dstack([colours, 255 - INK[:, :, 3]])
    data = encoded(Image.fromarray(255 - stored, "CMYK"), "JPEG", quality=98, subsampling="4:2:0")  # Pillow inverts
    found = read(without_adobe_marker(data))
    assert np.abs(found.pixels - PAPER).max() <= 5
    assert found.facts == Facts(guessed="four channels are YCCK")


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535)])
def test_white_is_zero(dtype, top):
    values = np.linspace(0, top, 256).round().astype(dtype).reshape(16, 16)
    for photometric, expected in ((1, values / (top / 255)), (0, 255 - values / (top / 255))):
        found = read(tiff(values, photometric), channels=1)
        assert np.abs(found.pixels[:, :, 0] - expected).max() <= 1


@pytest.mark.parametrize("scale", [1, 257])
def test_colour_maps_of_8_and_of_16_bits(scale):
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (3, 256))
    numbers = rng.integers(0, 256, (16, 16), np.uint8)
    found = read(tiff(numbers, 3, colours=(colours * scale).ravel()))
    np.testing.assert_array_equal(found.pixels, colours.T[numbers])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_fourth_channel_is_transparency_only_if_the_file_says_so(dtype):
    colour = np.random.default_rng(0).integers(0, 256, (16, 16, 4), np.uint8)
    colour[..., 3] = 128
    values = colour.astype(dtype) * (257 if dtype == np.uint16 else 1)
    for extra in ((), (0,)):  # near infrared, depth …
        found = read(tiff(values, 2, extra))
        np.testing.assert_array_equal(found.pixels, colour[..., :3])
        assert (found.facts.channels, found.facts.used) == (4, (0, 1, 2)) and not found.facts.flattened
    found = read(tiff(values, 2, (2,)))
    assert np.abs(found.pixels - (colour[..., :3] * (128 / 255) + 127)).max() <= 2
    assert found.facts.flattened and found.facts.channels == 0


def test_pages_are_counted_without_reduced_versions():
    grey = np.zeros((8, 8), np.uint8)
    assert read(tiff(grey, 1, pages=5), 8, 1).facts.pages == 5
    assert read(tiff(grey, 1, pages=3, subfile=1), 8, 1).facts.pages == 1
    frames = [Image.fromarray(grey + level) for level in (10, 60, 200)]
    for format, count in (("GIF", 3), ("PNG", 3), ("WEBP", 3)):
        data = encoded(frames[0], format, save_all=True, append_images=frames[1:])
        assert read(data, 8, 1).facts.pages == count


def test_turned_pictures_are_reported():
    exif = Image.Exif()
    exif[0x0112] = 6
    for format in ("JPEG", "PNG", "TIFF", "WEBP"):
        assert read(encoded(Image.new("RGB", (8, 8)), format, exif=exif)).facts.turned
        assert read(encoded(Image.new("RGB", (8, 8)), format)).facts == PLAIN


def test_the_preview_of_a_raw_picture_is_not_a_picture():
    raw = bytearray(tiff(np.zeros((8, 8), np.uint8), 1))
    directory = struct.unpack_from("<I", raw, 4)[0]
    place = raw.index(struct.pack("<HH", 339, 3), directory)
    struct.pack_into("<HHI", raw, place, DNG, 1, 4)  # the DNG version of the file
    with pytest.raises(Exception, match="RAW camera picture"):
        read(bytes(raw))
