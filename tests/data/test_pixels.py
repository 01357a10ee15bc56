import io
import struct
import time
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from selfsort.data.input_spec import InputSpec
from selfsort.data.limits import MAX_PIXELS, pillow_limits
from selfsort.data.pixels import read_header, read_image, to_pixels
from selfsort.data.reading import Reading
from selfsort.data.unreadable import Unreadable, explain

ORIENTATION = 0x0112
FINE_JPEG = {"quality": 99, "subsampling": 0}
UPRIGHT = {  # EXIF's definition of the eight orientations: how the stored rows and columns are to be shown
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.swapaxes(a[::-1, ::-1], 0, 1),
    8: lambda a: np.rot90(a, 1),
}


def encode(image, format="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


BY_TYPE = Reading("type")


def read(data, size=8, resize="crop", channels=3, max_pixels=MAX_PIXELS, reading=BY_TYPE):
    with pillow_limits(max_pixels):
        return read_image(io.BytesIO(data), InputSpec(size, channels, resize), max_pixels, reading)[:2]


def reason(data, **options):
    with pytest.raises(Exception) as caught:  # noqa: B017 - explain must make sense of whatever PIL raises
        read(data, **options)
    return explain(caught.value)


def smooth(height, width, channels=3, seed=0):
    """Return a random picture without fine detail, which JPEG hardly changes."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, channels), np.uint8)
    image = Image.fromarray(small[:, :, 0] if channels == 1 else small)
    return image.resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "GIF", "WEBP", "JPEG"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_every_format_gives_the_pixels_that_were_saved(format, mode):
    image = smooth(16, 16).convert(mode)
    options = {"WEBP": {"lossless": True}, "JPEG": FINE_JPEG}.get(format, {})
    tolerance = {"JPEG": 6, "GIF": 60}.get(format, 0) if mode == "RGB" else {"JPEG": 4}.get(format, 0)
    pixels, colour = read(encode(image, format, **options), 16)
    assert np.abs(pixels.astype(int) - np.asarray(image.convert("RGB"))).max() <= tolerance
    assert colour == (mode == "RGB" or format == "WEBP")  # WebP has no grey


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP", "JPEG"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_exif_orientation(orientation, format, mode):
    stored = smooth(16, 24, seed=3).convert(mode)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"WEBP": {"lossless": True}, "JPEG": FINE_JPEG}.get(format, {})
    shown = UPRIGHT[orientation](np.asarray(stored.convert("RGB")))
    expected = to_pixels(Image.fromarray(np.ascontiguousarray(shown)), InputSpec(24, 3, "pad"))
    pixels, _ = read(encode(stored, format, exif=exif, **options), 24, "pad")
    assert np.abs(pixels.astype(int) - expected).mean() < 2
    with pillow_limits(MAX_PIXELS):
        assert read_header(io.BytesIO(encode(stored, format, exif=exif, **options)))[0] in ((24, 16), (16, 24))


def test_orientation_in_xmp_only():
    stored = smooth(16, 16)
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="3"/></x:xmpmeta>'
    pixels, _ = read(encode(stored, "JPEG", **FINE_JPEG, xmp=xmp), 16)
    assert np.abs(pixels.astype(int) - np.asarray(stored)[::-1, ::-1]).max() <= 6


def test_damaged_metadata_do_not_cost_the_picture():
    stored = smooth(16, 16)
    data = encode(stored, "JPEG", **FINE_JPEG, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff garbage")
    assert np.abs(read(data, 16)[0].astype(int) - np.asarray(stored)).max() <= 6


def test_a_damaged_tag_beside_the_orientation():
    stored = smooth(16, 16)
    width_as_text = b"\x01\x00\x00\x07\x00\x00\x00\x04abcd"  # tag 0x0100 must be an integer
    upside_down = b"\x01\x12\x00\x03\x00\x00\x00\x01\x00\x03\x00\x00"
    exif = b"Exif\0\0MM\0*\0\0\0\x08\x00\x02" + width_as_text + upside_down + bytes(4)
    pixels, _ = read(encode(stored, "JPEG", **FINE_JPEG, exif=exif), 16)
    assert np.abs(pixels.astype(int) - np.asarray(stored)[::-1, ::-1]).max() <= 6


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bit_grey_uses_the_full_range(format):
    values = np.linspace(0, 65535, 64).round().astype(np.uint16).reshape(8, 8)
    pixels, colour = read(encode(Image.fromarray(values), format), channels=1)
    assert not colour
    np.testing.assert_array_equal(pixels[:, :, 0], np.rint(values / 257))


def test_16_bit_grey_in_big_endian_tiff():
    values = np.linspace(0, 65535, 64).round().astype(np.uint16).reshape(8, 8)
    image = Image.frombytes("I;16B", (8, 8), values.astype(">u2").tobytes())
    pixels, colour = read(encode(image, "TIFF"), channels=1)
    assert not colour
    np.testing.assert_array_equal(pixels[:, :, 0], np.rint(values / 257))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.arange(64, dtype=np.int32), np.arange(64)),
        (np.arange(64, dtype=np.int32) * 1000, np.rint(np.arange(64) * 1000 / 257)),
        (np.arange(64, dtype=np.int32) * 10 - 315, np.rint(np.arange(64) * 255 / 63)),
        (np.arange(64, dtype=np.float32) / 63, np.rint(np.arange(64) * 255 / 63)),
        (np.arange(64, dtype=np.float32), np.arange(64)),
        (np.arange(64, dtype=np.float32) * 1e6, np.rint(np.arange(64) * 255 / 63)),
        (np.full(64, 1e9, np.float32), np.zeros(64)),
    ],
)
def test_32_bit_integers_and_floats(values, expected):
    pixels, colour = read(encode(Image.fromarray(values.reshape(8, 8)), "TIFF"), channels=1)
    assert not colour
    np.testing.assert_array_equal(pixels.ravel(), expected)


def test_floats_that_are_no_numbers():
    image = Image.fromarray(np.full((8, 8), np.nan, np.float32))
    assert reason(encode(image, "TIFF")) == "not finite (it holds NaN or infinity)"


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
def test_alpha_is_put_on_white(format):
    rgba = np.random.default_rng(0).integers(0, 256, (8, 8, 4), np.uint8)
    options = {"lossless": True, "exact": True} if format == "WEBP" else {}
    alpha = rgba[:, :, 3:] / 255
    expected = rgba[:, :, :3] * alpha + 255 * (1 - alpha)
    pixels, colour = read(encode(Image.fromarray(rgba), format, **options))
    assert colour
    assert np.abs(pixels - expected).max() <= 1


def test_grey_with_alpha_stays_grey():
    grey_alpha = np.random.default_rng(0).integers(0, 256, (8, 8, 2), np.uint8)
    alpha = grey_alpha[:, :, 1] / 255
    pixels, colour = read(encode(Image.fromarray(grey_alpha, "LA")), channels=1)
    assert not colour
    assert np.abs(pixels[:, :, 0] - (grey_alpha[:, :, 0] * alpha + 255 * (1 - alpha))).max() <= 1


@pytest.mark.parametrize(
    ("image", "transparent", "shown"),
    [
        (Image.new("L", (8, 8), 7), 7, 255),
        (Image.new("L", (8, 8), 8), 7, 8),
        (Image.new("1", (8, 8), 0), 0, 255),
        (Image.new("RGB", (8, 8), (1, 2, 3)), (1, 2, 3), 255),
        (Image.new("RGB", (8, 8), (1, 2, 3)).quantize(2), 0, 255),
    ],
)
def test_a_colour_named_transparent_shows_white(image, transparent, shown):
    assert (read(encode(image, transparency=transparent))[0] == shown).all()


def test_palettes():
    image = smooth(8, 8).quantize(16)
    pixels, colour = read(encode(image))
    assert colour
    np.testing.assert_array_equal(pixels, np.asarray(image.convert("RGB")))
    grey = smooth(8, 8, 1).quantize(16)
    pixels, colour = read(encode(grey, "GIF"), channels=1)
    assert not colour
    np.testing.assert_array_equal(pixels[:, :, 0], np.asarray(grey.convert("L")))
    with pillow_limits(MAX_PIXELS):
        assert read_header(io.BytesIO(encode(grey, "GIF"))) == ((8, 8), False)
        assert read_header(io.BytesIO(encode(image, "GIF"))) == ((8, 8), True)


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk(format):
    cmyk = (
        np.asarray(smooth(16, 16, 4, seed=1)) if format == "TIFF" else np.full((16, 16, 4), (0, 200, 100, 30), np.uint8)
    )
    ink = 1 - cmyk[:, :, :3] / 255
    expected = 255 * ink * (1 - cmyk[:, :, 3:] / 255)
    image = Image.frombytes("CMYK", (16, 16), cmyk.tobytes())
    pixels, colour = read(encode(image, format), 16)
    assert colour
    assert np.abs(pixels - expected).max() <= 3


def test_two_levels():
    bits = np.random.default_rng(0).random((8, 8)) > 0.5
    pixels, colour = read(encode(Image.fromarray(bits)), channels=1)
    assert not colour
    np.testing.assert_array_equal(pixels[:, :, 0], bits * 255)


def test_only_the_first_frame_of_an_animation():
    frames = [Image.new("L", (8, 8), level) for level in (10, 200)]
    for format in ("GIF", "TIFF", "PNG"):
        assert (read(encode(frames[0], format, save_all=True, append_images=frames[1:]))[0] == 10).all()


def test_crop_takes_the_centre_and_pad_keeps_everything():
    stripes = np.repeat(np.array([[10, 50, 50, 90]], np.uint8), 8, 0).repeat(
        4, 1
    )  # (8, 16): dark, middle, middle, bright
    data = encode(Image.fromarray(stripes))
    assert (read(data, 8, "crop", 1)[0] == 50).all()
    padded = read(data, 8, "pad", 1)[0][:, :, 0]
    assert (padded[:2] == 0).all() and (padded[6:] == 0).all() and (padded[2:6] > 0).all()
    squashed = read(data, 8, "squash", 1)[0][:, :, 0]
    assert np.abs(squashed[:, [0, 3, 4, 7]].astype(int) - [10, 50, 50, 90]).max() <= 1


@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 40), st.sampled_from(["crop", "pad", "squash"]))
@settings(max_examples=60, deadline=None)
def test_a_uniform_picture_stays_uniform_at_any_size(width, height, size, resize):
    for format in ("PNG", "JPEG"):
        pixels, _ = read(encode(Image.new("L", (width, height), 200), format), size, resize, 1)
        assert pixels.shape == (size, size, 1)
        inside = pixels[pixels > 0] if resize == "pad" else pixels
        assert inside.size and (np.abs(inside.astype(int) - 200) <= 1).all()


def test_shrinking_does_not_alias():
    checks = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    assert np.abs(read(encode(Image.fromarray(checks)), 32, channels=1)[0].astype(int) - 127).max() <= 2


@pytest.mark.parametrize("resize", ["crop", "pad", "squash"])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_large_jpegs_are_shrunk_as_well_as_small_steps_would(resize, mode):
    image = smooth(600, 900, seed=5)
    image = Image.blend(image, Image.effect_noise(image.size, 80).convert("RGB"), 0.3).convert(mode)
    data = encode(image, "JPEG", quality=92)
    exact = to_pixels(Image.open(io.BytesIO(data)).convert("RGB"), InputSpec(32, 3, resize))
    assert np.abs(read(data, 32, resize)[0].astype(int) - exact).mean() < 2


def test_growing_is_smooth():
    pixels, _ = read(encode(Image.fromarray(np.array([[0, 0], [255, 255]], np.uint8))), 64, channels=1)
    assert (np.diff(pixels[:, 0, 0].astype(int)) >= 0).all()
    assert len(np.unique(pixels)) > 20


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "GIF", "WEBP", "JPEG"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("resize", ["crop", "pad"])
def test_a_truncated_picture_is_never_taken_as_complete(format, kept, resize):
    data = encode(Image.effect_noise((200, 200), 90).convert("RGB"), format)
    assert reason(data[: int(len(data) * kept)], size=20, resize=resize).split(" (")[0] in ("truncated", "damaged")


@pytest.mark.parametrize("exif", [b"", b"Exif\0\0MM\0*\0\0\0\x08\0\0"])
def test_a_truncated_jpeg_with_a_repaired_end(exif):
    data = encode(Image.effect_noise((200, 200), 90), "JPEG", **({"exif": exif} if exif else {}))
    half = data[: len(data) // 2]
    assert reason(half) == reason(half + b"\xff\xd9") == reason(half + bytes(len(half))) == "truncated"


def test_jpegs_that_only_warn_are_read():
    image = smooth(16, 16)
    data = encode(image, "JPEG", **FINE_JPEG)
    start_of_scan = data.index(b"\xff\xda")
    pixels, _ = read(data[:start_of_scan] + b"\0\0\0" + data[start_of_scan:], 16)  # "extraneous bytes before marker"
    assert np.abs(pixels.astype(int) - np.asarray(image)).max() <= 6


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "empty"),
        (b"x", "not a picture"),
        (b"RIFF\0\0\0\0WAVEfmt ", "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not a picture"),
        (b"P5 1 1 255 \0", "not a picture"),
        (b"\x89PNG\r\n\x1a\n", "damaged"),
        (b"\xff\xd8\xff", "damaged"),
        (b"GIF89a", "damaged"),
        (b"RIFF\x04\0\0\0WEBP", "damaged"),
    ],
)
def test_what_is_not_a_picture(data, expected):
    assert reason(data).split(" (")[0] in (expected, "truncated" if expected == "damaged" else expected)


def png_header(width, height):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def jpeg_header(width, height):
    data = bytearray(encode(Image.new("RGB", (8, 8)), "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize("make", [png_header, jpeg_header])
def test_too_many_pixels_are_refused_before_decoding(make):
    began = time.monotonic()
    assert reason(make(20_000, 20_000)) == "too many pixels (more than 178,956,970)"
    assert time.monotonic() - began < 2
    assert reason(make(101, 100), max_pixels=100 * 100) == "too many pixels (more than 10,000)"


def test_the_pixel_limit_is_exact_and_may_be_raised():
    data = encode(Image.new("L", (100, 100), 9))
    assert (read(data, max_pixels=100 * 100)[0] == 9).all()
    assert reason(data, max_pixels=100 * 100 - 1).startswith("too many pixels")
    huge = encode(Image.new("1", (20_000, 10_000), 1))
    assert reason(huge).startswith("too many pixels")
    assert (read(huge, 2, max_pixels=20_000 * 10_000)[0] == 255).all()


def test_a_large_but_allowed_picture_brings_no_warning():
    data = encode(Image.new("1", (10_000, 9_000), 1))  # PIL warns above 89 million
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (read(data, 2)[0] == 255).all()


def test_pillow_settings_are_put_back_even_after_an_error():
    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)
    with pytest.raises(Unreadable):
        read(b"", max_pixels=5)
    assert (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)) == before


def test_a_setting_of_the_users_does_not_hide_truncation(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = encode(Image.effect_noise((100, 100), 90))
    assert reason(data[: len(data) // 2]) == "truncated"


def test_reasons_are_short_and_on_one_line():
    assert explain(PermissionError(13, "Permission denied")) == "not readable (Permission denied)"
    assert explain(MemoryError()) == "too large for the memory"
    assert explain(ValueError("two\nlines")) == "damaged (two lines)"
    assert explain(KeyError()) == "damaged (KeyError)"


@given(
    st.binary(max_size=300), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"BM"])
)
@settings(max_examples=150, deadline=None)
def test_no_bytes_escape_explanation(tail, head):
    try:
        pixels, _ = read(head + tail)
    except Exception as error:
        assert "\n" not in explain(error) and explain(error)
    else:
        assert pixels.shape == (8, 8, 3)
