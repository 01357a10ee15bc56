"""Small files that would take much memory or time: the cost of one picture is bounded before it is decoded."""

import io
import json
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
from PIL import Image

from selfsort.data import tiff
from selfsort.data.input_spec import InputSpec
from selfsort.data.limits import MAX_PIXELS, pillow_limits
from selfsort.data.pixels import read_header, read_image
from selfsort.data.unreadable import Unreadable

# Reads what an expression opens in a separate process, and reports the cost without the libraries.
SCRIPT = """
import json, re, sys
from io import BytesIO
from selfsort.data.input_spec import InputSpec
from selfsort.data.limits import MAX_PIXELS, pillow_limits
from selfsort.data.pixels import read_image
from selfsort.data.sources.zip_file import open_member
from selfsort.data.unreadable import explain
peak = lambda: int(re.search("VmHWM:\\\\s+(.*) kB", open("/proc/self/status").read())[1]) >> 10
before = peak()
try:
    with pillow_limits(MAX_PIXELS), eval(sys.argv[1]) as stream:
        found = {"mean": float(read_image(stream, InputSpec(64, 3)).pixels.mean())}
except Exception as error:
    found = {"reason": explain(error)}
print(json.dumps(found | {"mebibytes": peak() - before}))
"""
needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")


def read_apart(opened):
    command = [sys.executable, "-c", SCRIPT, opened]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert answer.stderr == ""
    return json.loads(answer.stdout)


def png(width, height, bits, colour, level=7):
    """Return a PNG file of a single level, without making the picture."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    row = b"\0" + bytes([level]) * (width * channels * bits // 8)
    packer, packed = zlib.compressobj(1), []
    for _ in range(height):
        packed.append(packer.compress(row))
    body = chunk(b"IDAT", b"".join(packed) + packer.flush())
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize(
    ("bits", "colour", "side", "most"),
    [(16, 0, 13_000, 500), (8, 6, 13_000, 900), (8, 2, 13_000, 800), (16, 2, 9_000, 900)],
    ids=["grey16", "rgba", "rgb", "rgb16"],
)
def test_a_large_png_takes_little_more_than_its_pixels(tmp_path, bits, colour, side, most):
    path = tmp_path / "huge.png"
    path.write_bytes(png(side, side, bits, colour, 128))
    found = read_apart(f"open({str(path)!r}, 'rb')")
    assert (found["mean"] > 100 or bits == 16) and found["mebibytes"] < most


@needs_proc
def test_a_zip_member_that_expands_too_far_is_refused_unread(tmp_path):
    with ZipFile(tmp_path / "bomb.zip", "w", ZIP_DEFLATED) as archive, archive.open("bomb.png", "w") as member:
        for _ in range(300):
            member.write(bytes(1 << 20))
    found = read_apart(f"open_member({str(tmp_path / 'bomb.zip')!r}, 'bomb.png')")
    assert found["reason"] == "too many bytes (more than 256 MiB)" and found["mebibytes"] < 20


@pytest.mark.parametrize("filling", [b"\0", b"\xff", b"\xff\xd0", b"\xff\xe0\0\2", b"\xff\0"])
def test_the_search_for_a_jpeg_header_ends(filling):
    data = b"\xff\xd8\xff" + filling * ((100 << 20) // len(filling))
    began = time.monotonic()
    for read in (read_header, lambda stream: read_image(stream, InputSpec(8, 3))):
        with pytest.raises(Unreadable, match="its header cannot be read"), pillow_limits(MAX_PIXELS):
            read(io.BytesIO(data))
    assert time.monotonic() - began < 2


def test_a_jpeg_of_very_many_scans():
    stream = io.BytesIO()
    Image.effect_noise((64, 64), 60).save(stream, "JPEG", progressive=True)
    data = stream.getvalue()
    scan = data.rindex(b"\xff\xda")
    many = data[:scan] + data[scan:-2] * 400 + data[-2:]
    with pytest.raises(Unreadable, match="more than 200 scans"), pillow_limits(MAX_PIXELS):
        read_image(io.BytesIO(many), InputSpec(8, 3))


def test_a_tiff_of_very_many_parts(monkeypatch):
    stream = io.BytesIO()
    Image.new("L", (8, 64)).save(stream, "TIFF", tiffinfo={278: 1})
    with pillow_limits(MAX_PIXELS):
        read_image(io.BytesIO(stream.getvalue()), InputSpec(8, 1))
        monkeypatch.setattr(tiff, "_MOST_PARTS", 63)
        with pytest.raises(Unreadable, match="more than 63 parts"):
            read_image(io.BytesIO(stream.getvalue()), InputSpec(8, 1))


def test_a_circular_chain_of_pages():
    stream = io.BytesIO()
    Image.new("L", (8, 8)).save(stream, "TIFF")
    data = bytearray(stream.getvalue())
    first = struct.unpack_from("<I", data, 4)[0]
    entries = struct.unpack_from("<H", data, first)[0]
    struct.pack_into("<I", data, first + 2 + 12 * entries, first)
    assert tiff.read_head(io.BytesIO(bytes(data))).pages == (0,)
    with pillow_limits(MAX_PIXELS):
        assert read_image(io.BytesIO(bytes(data)), InputSpec(8, 1)).facts.pages == 1


@pytest.mark.parametrize(
    ("format", "options"), [("WEBP", {}), ("TIFF", {"compression": "tiff_lzw", "tiffinfo": {278: 100}})]
)
def test_memory_that_a_decoder_needs_besides_the_pixels_counts(format, options):
    stream = io.BytesIO()
    Image.new("RGB", (100, 100)).save(stream, format, **options)
    for most in (100 * 100, 400 * 100):
        with pillow_limits(most):
            if most == 100 * 100:
                with pytest.raises(Unreadable, match="too many pixels"):
                    read_image(io.BytesIO(stream.getvalue()), InputSpec(8, 3), most)
            else:
                assert read_image(io.BytesIO(stream.getvalue()), InputSpec(8, 3), most).pixels.shape == (8, 8, 3)


def test_libtiff_is_quiet(capfd):
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(stream, "TIFF", compression="tiff_lzw")
    data = bytearray(stream.getvalue())
    data[400:4000] = bytes(3600)
    with pytest.raises(OSError, match="decoder error"), pillow_limits(MAX_PIXELS):
        read_image(io.BytesIO(bytes(data)), InputSpec(8, 3))
    assert capfd.readouterr() == ("", "")
