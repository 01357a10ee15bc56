"""Values of more than eight bits: the range from black to white is that of the set, unless one is chosen."""

import io
import json

import numpy as np
import pytest
from PIL import Image

import selfsort
from samples import quick
from selfsort.data.image_set import as_image_set
from selfsort.data.input_spec import InputSpec
from selfsort.data.loading import list_images, load_images
from selfsort.data.reading import EARLIER, Reading
from selfsort.data.values import range_of_set
from selfsort.errors import UserError

FULL = (0, 65_535)


def microscope(rng, bright):
    """Return a 12-bit picture, some with brighter squares."""
    values = rng.normal(800, 200, (32, 32)).clip(0, 4095)
    if bright:
        values[8:20, 8:20] += 1500
    return values.clip(0, 4095).astype(np.uint16)


def save_set(folder, format="tif", count=20, pictures=microscope):
    folder.mkdir()
    rng = np.random.default_rng(0)
    arrays = [pictures(rng, number % 2) for number in range(count)]
    for number, values in enumerate(arrays):
        Image.fromarray(values).save(folder / f"{number:02d}.{format}")
    return np.stack(arrays)


@pytest.mark.parametrize("format", ["tif", "png"])
def test_a_microscope_s_pictures_are_not_black(tmp_path, format):
    values = save_set(tmp_path / "set", format)
    images = load_images(tmp_path / "set", size=32)
    low, high = images.options["value_range"]
    assert low == pytest.approx(np.quantile(values, 0.001), abs=40)
    assert high == pytest.approx(np.quantile(values, 0.999), abs=40)
    expected = np.rint((np.clip(values, low, high) - low) * (255 / (high - low)))
    np.testing.assert_array_equal(images.images[..., 0], expected)
    assert images.told == (
        f"more than 8 bits: integers from {low:,g} to {high:,g} become black to white, the same in all pictures; "
        "choose another range with value_range=…",
    )
    assert {(each.depth, each.low, each.high) for each in images.facts.values()} == {("uint16", low, high)}
    assert len(images.facts) == len(images)


def test_brightness_stays_comparable(tmp_path):
    save_set(tmp_path / "set")
    means = load_images(tmp_path / "set", size=32).images.mean((1, 2, 3))
    assert means[1::2].min() > means[::2].max() + 15
    alone = load_images(tmp_path / "set", size=32, value_range="picture").images
    assert (alone.reshape(len(alone), -1).min(1) == 0).all() and (alone.reshape(len(alone), -1).max(1) == 255).all()


def test_a_range_may_be_chosen(tmp_path):
    values = save_set(tmp_path / "set")
    by_type = load_images(tmp_path / "set", size=32, value_range="type")
    np.testing.assert_array_equal(by_type.images[..., 0], np.rint(values / 257))
    chosen = load_images(tmp_path / "set", size=32, value_range=(0, 4095))
    np.testing.assert_array_equal(chosen.images[..., 0], np.rint(values * (255 / 4095)))
    assert chosen.options["value_range"] == (0, 4095) and chosen.told == () == by_type.told


@pytest.mark.parametrize("wrong", ["all", (5, 5), (9, 1), (0, float("nan")), (0,), True, 7])
def test_invalid_ranges(tmp_path, wrong):
    save_set(tmp_path / "set", count=2)
    with pytest.raises(UserError, match=r"value_range=.* must be 'set', 'picture', 'type', or two numbers"):
        load_images(tmp_path / "set", value_range=wrong)


def test_pictures_of_all_16_bits_stay_as_they_were(tmp_path):
    def full(rng, bright):
        return rng.integers(0, 65_536, (32, 32)).astype(np.uint16)

    values = save_set(tmp_path / "set", pictures=full)
    images = load_images(tmp_path / "set", size=32)
    assert images.options["value_range"] == FULL
    np.testing.assert_array_equal(images.images[..., 0], np.rint(values / 257))


def test_floats(tmp_path):
    def narrow(rng, bright):
        return rng.normal(0.02 + 0.01 * bright, 0.005, (32, 32)).astype(np.float32)

    save_set(tmp_path / "set", pictures=narrow)
    images = load_images(tmp_path / "set", size=32)
    assert images.images.std() > 40 and images.images[1::2].mean() > images.images[::2].mean() + 40
    assert "floats from 0.0" in images.told[0]


def test_jpegs_are_not_looked_at_and_8_bits_not_changed(tmp_path, monkeypatch):
    (tmp_path / "set").mkdir()
    for number in range(5):
        Image.new("L", (8, 8), 10 * number).save(tmp_path / "set" / f"{number}.jpg")
    monkeypatch.setattr("selfsort.data.decoding.sample_values", None)
    images = list_images(tmp_path / "set")
    assert images.told == () and "value_range" not in images.options
    assert images.reading == Reading()


def test_one_deep_picture_among_others_of_8_bits(tmp_path):
    (tmp_path / "set").mkdir()
    for number in range(200):
        Image.new("L", (8, 8), number).save(tmp_path / "set" / f"{number:03d}.jpg")
    values = microscope(np.random.default_rng(0), True)
    Image.fromarray(values).save(tmp_path / "set" / "x.tif")
    images = load_images(tmp_path / "set", size=32)
    assert images.images[-1].std() > 30 and list(images.facts) == ["x.tif"]
    assert images.images[3].mean() == 3


@pytest.mark.parametrize("alpha", [False, True])
def test_16_bit_colours_of_few_levels(tmp_path, alpha):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 4096, (32, 32, 3)).astype(np.uint16)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.png").write_bytes(png_of_16_bits(values, alpha))
    images = load_images(tmp_path / "set", size=32)
    low, high = images.options["value_range"]
    expected = np.rint((np.clip(values.astype(float), low, high) - low) * (255 / (high - low)))
    assert np.abs(images.images[0] - expected).max() <= 1 and high > 4000
    by_type = load_images(tmp_path / "set", size=32, value_range="type").images
    assert by_type.max() <= 16


def png_of_16_bits(values, alpha):
    """Write a PNG of 16-bit colours, which Pillow cannot."""
    import struct
    import zlib

    if alpha:
        values = np.dstack([values, np.full(values.shape[:2], 65_535, np.uint16)])
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_a_picture_outside_the_range_is_reported(tmp_path):
    save_set(tmp_path / "set", count=2)
    images = load_images(tmp_path / "set", size=32, value_range=(10_000, 20_000))
    assert [each.outside for each in images.facts.values()] == [True, True] and not images.images.any()


def test_arrays_follow_the_same_rule():
    rng = np.random.default_rng(0)
    narrow = rng.normal(0.02, 0.005, (10, 16, 16))
    assert as_image_set(narrow).images.std() > 40
    twelve = np.stack([microscope(rng, number % 2) for number in range(10)])
    assert as_image_set(twelve).images.std() > 40
    sparse = np.zeros((10, 16, 16))
    sparse[0, 0, 0] = 0.9  # clearly from 0 to 1, even if little of it is bright
    assert as_image_set(sparse).images[0, 0, 0, 0] == 230
    bytes_as_numbers = rng.integers(0, 256, (5, 8, 8))
    np.testing.assert_array_equal(as_image_set(bytes_as_numbers).images[..., 0], bytes_as_numbers)
    whole = load_images(twelve, value_range=(0, 4095)).images
    np.testing.assert_array_equal(whole[..., 0], np.rint(twelve * (255 / 4095)))


def test_the_cache_knows_the_range(tmp_path):
    save_set(tmp_path / "set")
    found = [
        load_images(tmp_path / "set", size=32, value_range=each).images.mean() for each in ("set", "type", (0, 900))
    ]
    again = [
        load_images(tmp_path / "set", size=32, value_range=each).images.mean() for each in ("set", "type", (0, 900))
    ]
    assert found == again and len(set(found)) == 3


@pytest.mark.parametrize("method", ["kmeans", "frozen"])
def test_a_model_reads_other_pictures_at_its_own_range(tmp_path, method):
    save_set(tmp_path / "set")
    options = {"backbone": "timm:mobilenetv3_small_050=random"} if method == "frozen" else {}
    images = load_images(tmp_path / "set", size=16)
    quick(method, **options).fit(images, run_dir=tmp_path / "run")
    kept = json.loads((tmp_path / "run" / "run.json").read_text())
    assert tuple(kept["input"]["reading"]["integers"]) == tuple(kept["data"]["options"]["value_range"])
    restored = selfsort.load(tmp_path / "run")
    assert restored.input_.reading.integers == images.options["value_range"]

    def dark(rng, bright):
        return (microscope(rng, 0) // 4).astype(np.uint16)

    save_set(tmp_path / "dark", pictures=dark)
    others = list_images(tmp_path / "dark")
    assert others.pixels(InputSpec(16, 1)).mean() > 100
    read = others.pixels(restored.input_)
    assert read.mean() < 40  # as dark as the model sees them
    assert restored.readable(others).reading.integers in (images.options["value_range"], others.reading.integers)


def test_a_run_of_the_version_before_keeps_its_rule():
    before = {name: value for name, value in InputSpec(8, 1).to_json().items() if name != "reading"}
    spec = InputSpec.from_json(before)
    assert spec.reading == EARLIER
    values = np.full((8, 8), 1000, np.uint16)
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "TIFF")
    images = as_image_set([Image.open(io.BytesIO(stream.getvalue()))] * 2)
    assert (images.pixels(spec) == 4).all()


def test_ranges_of_samples():
    rng = np.random.default_rng(0)
    assert range_of_set([rng.integers(0, 16_384, 5000)], "integers")[1] == pytest.approx(16_370, abs=10)
    assert range_of_set([rng.integers(0, 40_000, 5000)], "integers") == FULL
    assert range_of_set([rng.integers(0, 256, 5000)], "integers") == (0, 255)
    assert range_of_set([rng.random(5000)], "floats") == (0, 1)
    assert range_of_set([rng.random(5000) * 200], "floats") == (0, 255)
    assert range_of_set([np.full(10, 7.0)], "floats") == (0, 255)
    assert range_of_set([], "floats") is None
    low, high = range_of_set([rng.normal(-5, 1, 5000), rng.normal(50, 1, 3)], "floats")
    assert low < -7 and high > 50  # a small picture counts as much as a large one
