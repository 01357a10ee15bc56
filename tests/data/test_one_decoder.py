"""Whatever is wanted of a picture, the same pictures can be read, and they look the same."""

import io

import numpy as np
import pytest
from PIL import Image

from selfsort.audit.look import look
from selfsort.data.decoding import decode_chunk
from selfsort.data.eight_bit import to_image
from selfsort.data.input_spec import InputSpec
from selfsort.data.limits import MAX_PIXELS, pillow_limits
from selfsort.data.pixels import read_scaled, read_whole, to_pixels
from selfsort.data.reading import ALONE
from selfsort.data.unreadable import explain

FORMATS = {
    "PNG": [{}, {"mode": "L"}, {"mode": "P"}, {"mode": "I;16"}, {"exif": True}],
    "JPEG": [{"quality": 90}, {"quality": 80, "progressive": True}, {"mode": "L"}, {"mode": "CMYK"}, {"exif": True}],
    "WEBP": [{"quality": 80}, {"lossless": True}],
    "TIFF": [{}, {"compression": "tiff_lzw"}, {"compression": "tiff_adobe_deflate", "mode": "I;16"}, {"exif": True}],
    "GIF": [{"mode": "P"}],
    "BMP": [{}],
}
MUTATIONS = 2000


def encoded(format, options):
    """Return a picture with some detail, in one of the ways in which a format can hold it."""
    options = dict(options)
    mode = options.pop("mode", "RGB")
    rng = np.random.default_rng(1)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
    noise = rng.integers(-20, 20, (60, 80, 3))
    smooth = np.asarray(small.resize((80, 60), Image.Resampling.BICUBIC)).astype(int)
    image = Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8))
    if options.pop("exif", False):
        exif = Image.Exif()
        exif[0x0112] = 6
        options["exif"] = exif
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    stream = io.BytesIO()
    (image if mode == "I;16" else image.convert(mode)).save(stream, format, **options)
    return stream.getvalue()


def mutated(data, rng):
    """Damage a file as disks, cards and interrupted copies do."""
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
    """Return what each way of reading a picture gives: its pixels, brought to one size, or why it cannot be read."""
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
    assert spreads and refused >= 10
    # A JPEG that is decoded at half its size differs where a damaged table makes its values overflow.
    assert np.quantile(spreads, 0.97 if format == "JPEG" else 1) < 6


def test_a_damaged_png_that_loads_on_the_second_try():
    rng = np.random.default_rng(0)
    data = bytearray(encoded("PNG", {}))
    start = data.index(b"IDAT") + 4
    for place in rng.integers(start + 1000, len(data) - 16, 6):
        data[place] ^= 4
    image = Image.open(io.BytesIO(bytes(data)))
    with pytest.raises(OSError):
        image.load()
    found = readings(bytes(data))
    assert len({str(value) for value in found.values()}) == 1 and "damaged" in found["audit"]
