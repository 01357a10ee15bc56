"""Colours are converted to sRGB from a picture's own profile, checked against the matrices that define it."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from selfsort.data import profiles
from selfsort.data.input_spec import InputSpec
from selfsort.data.limits import MAX_PIXELS, pillow_limits
from selfsort.data.pixels import read_image, read_scaled, read_whole
from selfsort.data.reading import EARLIER, PLAIN, Reading

# Red, green and blue as XYZ under the light D50, which profiles are written in.
SRGB = np.array([(0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410)])
PRIMARIES = {
    "Display P3": np.array([(0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)]),
    "Adobe RGB": np.array([(0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)]),
}
COLOURS = np.array([(0, 0, 0), (255, 255, 255), (128, 128, 128), (200, 100, 50), (60, 180, 90), (90, 60, 200)])


def linear(levels):
    share = levels / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def encoded_levels(share):
    share = np.clip(share, 0, 1)
    return 255 * np.where(share <= 0.0031308, 12.92 * share, 1.055 * share ** (1 / 2.4) - 0.055)


def in_srgb(colours, name):
    """Return colours of a profile in sRGB, by the definitions."""
    light = (colours / 255) ** (563 / 256) if name.startswith("Adobe") else linear(colours)
    return encoded_levels(light @ PRIMARIES[name] @ np.linalg.inv(SRGB))


def profile(name):
    """Write a profile with three primaries and a curve."""

    def fixed(*numbers):
        return struct.pack(f">{len(numbers)}i", *(round(number * 65_536) for number in numbers))

    if name.startswith("Adobe"):
        curve = b"curv" + bytes(4) + struct.pack(">IH", 1, 563) + bytes(2)
    else:
        curve = b"para" + bytes(4) + struct.pack(">HH", 3, 0) + fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    text = name.encode() + b"\0"
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78),
        b"wtpt": b"XYZ " + bytes(4) + fixed(0.9642, 1.0, 0.8249),
        b"cprt": b"text" + bytes(4) + b"none\0",
    }
    for tag, xyz in zip((b"rXYZ", b"gXYZ", b"bXYZ"), PRIMARIES[name], strict=True):
        tags[tag] = b"XYZ " + bytes(4) + fixed(*xyz)
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    place, table, data = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for tag, body in tags.items():
        body += bytes(-len(body) % 4)
        table += tag + struct.pack(">II", place + len(data), len(body))
        data += body
    head = struct.pack(">I4sI4s4s4s", 128 + len(table) + len(data), b"none", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + fixed(0.9642, 1.0, 0.8249) + bytes(48)
    assert len(head) == 128
    return head + table + data


def picture(mode="RGB"):
    """Return six uniform fields."""
    fields = np.repeat(np.repeat(COLOURS.reshape(2, 3, 3), 32, 0), 32, 1).astype(np.uint8)
    return Image.fromarray(fields).convert(mode)


def saved(image, format, icc, **options):
    stream = io.BytesIO()
    image.save(stream, format, icc_profile=icc, **options)
    return stream.getvalue()


def read(data, reading=Reading(), size=None):  # noqa: B008 - it is never changed
    spec = InputSpec(64, 3, width=96) if size is None else InputSpec(size, 3, "squash")
    with pillow_limits(MAX_PIXELS):
        return read_image(io.BytesIO(data), spec, MAX_PIXELS, reading)


def fields(pixels):
    return pixels[16::32, 16::32].reshape(6, 3).astype(int)


@pytest.mark.parametrize("name", PRIMARIES)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_colours_are_those_of_the_profile(name, format):
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}, "AVIF": {"quality": 100}}
    data = saved(picture(), format, profile(name), **options.get(format, {}))
    found = read(data)
    expected = in_srgb(COLOURS, name)
    assert np.abs(fields(found.pixels) - expected).max() <= (8 if format == "AVIF" else 4)
    assert found.facts.profile == name
    assert np.abs(fields(found.pixels) - COLOURS).max() > 10
    with pillow_limits(MAX_PIXELS):
        whole = np.asarray(read_whole(io.BytesIO(data)))
        scaled = read_scaled(io.BytesIO(data), 64).pixels
    np.testing.assert_array_equal(fields(whole), fields(found.pixels))
    np.testing.assert_array_equal(fields(scaled), fields(found.pixels))
    assert np.abs(fields(read(data, EARLIER).pixels) - COLOURS).max() <= 8  # as version 0.1 read it


def test_a_large_jpeg_is_converted_small():
    large = picture().resize((1920, 1280), Image.Resampling.NEAREST)
    converted = []
    kept = profiles.ImageCms.applyTransform

    def noted(image, transform):
        converted.append(image.size)
        return kept(image, transform)

    data = saved(large, "JPEG", profile("Display P3"), quality=98)
    with pytest.MonkeyPatch.context() as patch:
        read(data)  # the test of whether it is sRGB
        patch.setattr(profiles.ImageCms, "applyTransform", noted)
        found = read(data)
    assert converted == [(240, 160)]
    assert np.abs(fields(found.pixels) - in_srgb(COLOURS, "Display P3")).max() <= 6


def test_what_is_srgb_already_is_left_alone(monkeypatch):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for format in ("JPEG", "PNG"):
        data = saved(picture(), format, srgb)
        found = read(data)
        assert found.facts == PLAIN
        monkeypatch.setattr(profiles.ImageCms, "applyTransform", None)
        np.testing.assert_array_equal(read(data).pixels, found.pixels)
        monkeypatch.undo()


@pytest.mark.parametrize("icc", [b"nothing", bytes(200), profile("Display P3")[:150]])
def test_a_damaged_profile_does_not_cost_the_picture(icc):
    found = read(saved(picture(), "PNG", icc))
    assert found.facts == PLAIN
    np.testing.assert_array_equal(fields(found.pixels), COLOURS)


@pytest.mark.parametrize("mode", ["P", "RGBA", "L"])
def test_other_kinds_of_pictures_with_a_profile(mode):
    image = picture().quantize(6) if mode == "P" else picture(mode)
    found = read(saved(image, "PNG", profile("Display P3")))
    if mode == "L":  # a profile that does not apply to it
        assert found.facts == PLAIN
    else:
        assert np.abs(fields(found.pixels) - in_srgb(COLOURS, "Display P3")).max() <= 4


def test_a_profile_in_several_parts():
    name = "Adobe RGB"
    padded = bytearray(profile(name) + bytes(70_000))
    struct.pack_into(">I", padded, 0, len(padded))
    found = read(saved(picture(), "JPEG", bytes(padded), quality=100, subsampling=0))
    assert np.abs(fields(found.pixels) - in_srgb(COLOURS, name)).max() <= 4
