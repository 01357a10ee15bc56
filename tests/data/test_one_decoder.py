"""Whatever a picture is needed for, the same pictures can be read, and they look the same."""

import io

import numpy as np
import pytest
from PIL import Image

from fuzz.pictures import encoded
from selfsort.audit.look import look
from selfsort.data.decoding import decode_chunk
from selfsort.data.eight_bit import to_image
from selfsort.data.input_spec import InputSpec
from selfsort.data.limits import MAX_PIXELS, pillow_limits
from selfsort.data.pixels import read_scaled, read_whole, to_pixels
from selfsort.data.reading import ALONE
from selfsort.data.unreadable import explain

FORMATS = {
    "png": [{}, {"mode": "L"}, {"mode": "P"}, {"mode": "I;16"}, {"exif": True}],
    "jpg": [{"quality": 90}, {"quality": 80, "progressive": True}, {"mode": "L"}, {"mode": "CMYK"}, {"exif": True}],
    "webp": [{"quality": 80}, {"lossless": True}],
    "tif": [{}, {"compression": "tiff_lzw"}, {"compression": "tiff_adobe_deflate", "mode": "I;16"}, {"exif": True}],
    "gif": [{"mode": "P"}],
    "bmp": [{}],
}
MUTATIONS = 2000


def mutated(data, rng):
    """Damage a file as disks, memory cards and interrupted copies do."""
    found = bytearray(data)
    kind = rng.integers(0, 4)
    if kind == 0:  # flipped bits
        for place in rng.integers(0, len(found), rng.integers(1, 4)):
            found[place] ^= 1 << int(rng.integers(0, 8))
    elif kind == 1:  # a block of zeros
        start = int(rng.integers(0, len(found)))
        length = min(int(rng.integers(1, 200)), len(found) - start)
        found[start : start + length] = bytes(length)
    elif kind == 2:  # cut off
        del found[int(rng.integers(0, len(found))) :]
    else:  # the end of another file
        start = int(rng.integers(0, len(found)))
        found[start:] = rng.integers(0, 256, len(found) - start, np.uint8).tobytes()
    return bytes(found)


def in_memory(data):
    return io.BytesIO(data)


def readings(data):
    """Return the result of each way of reading a picture: its pixels at one size, or why it cannot be read."""
    spec = InputSpec(16, 3, "squash")
    ways = {
        "whole": lambda: read_whole(io.BytesIO(data)),
        "reduced": lambda: read_whole(io.BytesIO(data), 40),
        "scaled": lambda: to_image(read_scaled(io.BytesIO(data), 20).pixels),
    }
    found = {}
    for hashed in (False, True):
        block = decode_chunk(spec, ALONE, MAX_PIXELS, hashed, in_memory, [data], 0)
        found[f"loaded {hashed}"] = block.failures[0].reason if block.failures else block.images[0]
    for name, read in ways.items():
        try:
            with pillow_limits(MAX_PIXELS):
                found[name] = to_pixels(read(), spec)
        except Exception as error:
            found[name] = explain(error)
    seen = look(ALONE, MAX_PIXELS, in_memory, [data], 0)
    found["audit"] = seen.failures[0][1] if seen.failures else found["scaled"]
    return found


@pytest.mark.parametrize("format", FORMATS)
def test_every_way_of_reading_a_damaged_picture_gives_the_same(format):
    rng = np.random.default_rng(7)
    originals = [encoded(format, options) for options in FORMATS[format]]
    spreads, refused = [], 0
    for number in range(MUTATIONS // len(FORMATS)):
        found = readings(mutated(originals[number % len(originals)], rng))
        reasons = {value for value in found.values() if isinstance(value, str)}
        pictures = [value.astype(int) for value in found.values() if not isinstance(value, str)]
        assert len(pictures) in (0, len(found)), (number, found)
        assert len(reasons) <= 1, (number, found)
        if pictures:
            spreads.append(np.max([np.abs(each - pictures[0]).mean() for each in pictures]))
        else:
            refused += 1
    assert refused >= 10
    if format == "png":  # whose checksums reveal every change
        return
    assert spreads
    # A JPEG decoded at half its size differs if a damaged table makes its values overflow.
    assert np.quantile(spreads, 0.97 if format == "jpg" else 1) < 6


def test_a_damaged_png_that_loads_on_the_second_try():
    rng = np.random.default_rng(0)
    data = bytearray(encoded("png", {}))
    start = data.index(b"IDAT") + 4
    for place in rng.integers(start + 1000, len(data) - 16, 6):
        data[place] ^= 4
    image = Image.open(io.BytesIO(bytes(data)))
    with pytest.raises(OSError):
        image.load()
    found = readings(bytes(data))
    assert len({str(value) for value in found.values()}) == 1 and "damaged" in found["audit"]


@pytest.mark.parametrize("options", FORMATS["png"])
def test_no_flipped_bit_of_a_png_gives_another_picture(options):
    """Pillow ignores checksums of pixels, and about one flipped bit in a hundred decodes to something else."""
    data = encoded("png", options)
    right = readings(data)["loaded True"]
    rng = np.random.default_rng(0)
    refused = 0
    for place in rng.integers(data.index(b"IDAT") + 4, len(data) - 16, 100):
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(rng.integers(0, 8))
        found = readings(bytes(damaged)).values()
        refused += all(isinstance(each, str) and each.startswith("damaged") for each in found)
        assert all(isinstance(each, str) or np.array_equal(each, right) for each in found)
    assert refused == 100


def test_a_png_without_its_last_chunk_is_read_as_before():
    data = encoded("png", {})
    cut = data[: data.index(b"IEND") - 4]
    assert not isinstance(readings(cut)["loaded True"], str)
