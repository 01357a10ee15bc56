"""Pages, slices and channels: the first counts unless others are chosen, and what was not used is reported."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from selfsort.data import tiff
from selfsort.data.input_spec import InputSpec
from selfsort.data.limits import MAX_PIXELS, pillow_limits
from selfsort.data.loading import load_images
from selfsort.data.pixels import read_header, read_image
from selfsort.data.reading import Facts, Reading, tell
from selfsort.data.unreadable import Unreadable
from selfsort.errors import UserError

BYTES = Reading("type")


def read(data, reading=BYTES, channels=3, size=16):
    with pillow_limits(MAX_PIXELS):
        found = read_image(io.BytesIO(data), InputSpec(size, channels), MAX_PIXELS, reading)
        assert read_header(io.BytesIO(data), MAX_PIXELS, reading) == ((16, 16), found.colour)
    return found


def chosen(page=None, channels=()):
    return Reading("type", page, channels)


def written(values, **options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, values, **options)
    return stream.getvalue()


def planes(*shape, dtype=np.uint8):
    """Return 16 x 16 pictures, each with its own level."""
    levels = np.arange(np.prod(shape)).reshape(shape) * 8 + 10
    return np.broadcast_to(levels[..., None, None], (*shape, 16, 16)).astype(dtype)


def levels(found):
    assert (found.pixels == found.pixels[:1, :1]).all()
    return found.pixels[0, 0].tolist()


def test_the_first_page_unless_another_is_chosen():
    data = written(planes(5), photometric="minisblack")
    first = read(data, channels=1)
    assert levels(first) == [10] and first.facts == Facts(pages=5)
    third = read(data, chosen(page=2), 1)
    assert levels(third) == [26] and (third.facts.pages, third.facts.page) == (5, 2)
    largest = read(data, chosen(page="max"), 1)
    assert levels(largest) == [42] and (largest.facts.pages, largest.facts.page) == (5, None)
    with pytest.raises(Unreadable, match=r"no such page \(it has 5, counted from 0, so not 5\)"):
        read(data, chosen(page=5), 1)


@pytest.mark.parametrize("pages", [1, 3])
def test_the_largest_of_pages_with_many_channels_shows_the_same_channels_as_one_page(pages):
    data = written(np.moveaxis(planes(pages, 5), 1, -1), photometric="minisblack", planarconfig="contig")
    largest = read(data, chosen(page="max"), 1)
    assert levels(largest) == [10 + 8 * 5 * (pages - 1)]
    assert (largest.facts.channels, largest.facts.used) == (5, (0,))
    shown = () if pages == 1 else (f"largest values of all pages (of {pages})",)
    assert largest.facts.changes() == (*shown, "some channels only (0 of 5)")


def test_what_was_chosen_is_in_the_account_and_needs_no_advice():
    assert Facts(pages=5, page=2).changes() == ("one page only (2 of 5)",)
    assert tell([Facts(pages=5, page=2), Facts(channels=5, used=(0, 2, 4))]) == []
    assert tell([Facts(pages=5)], advise=False) == ["1 picture has more pages than the one used (5 pages)"]


def test_pages_are_channels_if_channels_are_chosen():
    data = written(planes(5), photometric="minisblack")
    found = read(data, chosen(channels=(0, 2, 4)))
    assert levels(found) == [10, 26, 42]
    assert (found.facts.pages, found.facts.channels, found.facts.used) == (1, 5, (0, 2, 4))
    assert levels(read(data, chosen(channels=(3,)), 1)) == [34]
    assert levels(read(data, chosen(channels=(1, 4)))) == [18, 42, 0]
    with pytest.raises(Unreadable, match=r"no such channel \(it has 5, counted from 0, so not 5\)"):
        read(data, chosen(channels=(0, 5)))


@pytest.mark.parametrize("layout", ["contig", "separate"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_channels_that_are_samples_of_a_page(layout, dtype):
    values = planes(5, dtype=dtype)
    values = values.transpose(1, 2, 0) if layout == "contig" else values
    data = written(values, photometric="minisblack", planarconfig=layout)
    reading = Reading((0, 255), None, (0, 2, 4))
    found = read(data, reading)
    assert levels(found) == [10, 26, 42] and (found.facts.channels, found.facts.used) == (5, (0, 2, 4))
    first = read(data, Reading((0, 255)), 1)
    assert levels(first) == [10] and (first.facts.channels, first.facts.used) == (5, (0,))


@pytest.mark.parametrize("kind", ["ome", "imagej"])
def test_slices_and_channels_by_the_axes_of_the_file(kind):
    values = planes(3, 5, dtype=np.uint16)  # slices, channels
    data = written(values, metadata={"axes": "ZCYX"}, **{kind: True})
    reading = Reading((0, 255), 1, (0, 4))
    found = read(data, reading)
    assert levels(found) == [50, 82, 0]
    assert found.facts[:4] == (3, 1, 5, (0, 4))
    assert levels(read(data, Reading((0, 255), "max", (1,)), 1)) == [98]
    with pytest.raises(Unreadable, match="no such page"):
        read(data, Reading((0, 255), 3, (0,)), 1)


def test_time_and_depth_count_through():
    data = written(planes(2, 3, 2), ome=True, metadata={"axes": "TZCYX"})
    assert levels(read(data, chosen(4, (1,)), 1)) == [10 + 8 * 9]


def test_without_tifffile(monkeypatch):
    monkeypatch.setattr(tiff, "_tifffile", lambda: None)
    plain = written(planes(5), photometric="minisblack")
    assert levels(read(plain, chosen(2, ()), 1)) == [26] and levels(read(plain, chosen(channels=(0, 2, 4)))) == [
        10,
        26,
        42,
    ]
    samples = written(planes(5).transpose(1, 2, 0), photometric="minisblack", planarconfig="contig")
    axes = written(planes(3, 5), ome=True, metadata={"axes": "ZCYX"})
    for data, reading in ((samples, BYTES), (axes, chosen(1, (0,)))):
        with pytest.raises(Unreadable, match=r"; install selfsort\[microscopy\]"):
            read(data, reading)
    damaged = plain[:4] + bytes(len(plain) - 4)
    with pytest.raises(Unreadable, match="damaged"):
        read(damaged)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint32, np.float16])
def test_colours_and_numbers_that_pillow_does_not_read(dtype):
    values = planes(3, dtype=dtype).transpose(1, 2, 0)
    found = read(written(values, photometric="rgb"), Reading((0, 255)))
    assert levels(found) == [10, 18, 26] and found.facts.depth == np.dtype(dtype).name


def test_frames_of_animations():
    frames = [Image.new("RGB", (16, 16), (level, 0, 255 - level)) for level in (10, 200, 90)]
    for format in ("GIF", "PNG", "WEBP"):
        stream = io.BytesIO()
        frames[0].save(
            stream, format, save_all=True, append_images=frames[1:], **({"lossless": True} if format == "WEBP" else {})
        )
        data = stream.getvalue()
        assert levels(read(data, chosen(2)))[0] == pytest.approx(90, abs=3)
        assert levels(read(data, chosen("max"))) == pytest.approx([200, 0, 245], abs=3)
        with pytest.raises(Unreadable, match="no such page"):
            read(data, chosen(3))


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_channels_of_ordinary_pictures(format):
    stream = io.BytesIO()
    Image.new("RGB", (16, 16), (200, 100, 50)).save(stream, format, **({"quality": 98} if format == "JPEG" else {}))
    data = stream.getvalue()
    found = read(data, chosen(channels=(1,)), 1)
    assert levels(found) == pytest.approx([100], abs=2) and (found.facts.channels, found.facts.used) == (3, (1,))
    assert levels(read(data, chosen(channels=(2, 0)))) == pytest.approx([50, 200, 0], abs=2)
    assert read(data, chosen(channels=(0, 1, 2))).facts == Facts()
    for reading, reason in ((chosen(channels=(3,)), "no such channel"), (chosen(1), "no such page")):
        with pytest.raises(Unreadable, match=reason):
            read(data, reading)
    assert read(data, chosen("max")).facts.pages == 1


def test_pages_that_differ_have_no_largest_values():
    stream = io.BytesIO()
    Image.new("L", (16, 16)).save(stream, "TIFF", save_all=True, append_images=[Image.new("L", (8, 8))])
    with pytest.raises(Unreadable, match="pages of different sizes"):
        read(stream.getvalue(), chosen("max"))


def test_a_set_of_stacks(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.tif").write_bytes(written(planes(3, 5), ome=True, metadata={"axes": "ZCYX"}))
    images = load_images(tmp_path, size=16, page=1, channels=(0, 2, 4))
    assert images.images[0, 0, 0].tolist() == [50, 66, 82] and images.image_shape == (16, 16, 3)
    assert images.options == {"size": 16, "channels": (0, 2, 4), "page": 1}
    again = load_images(images.source, **images.options)
    np.testing.assert_array_equal(again.images, images.images)
    assert load_images(tmp_path, size=16, page=1, channels=[4]).image_shape == (16, 16, 1)
    first = load_images(tmp_path, size=16)
    assert {each.pages for each in first.facts.values()} == {15}
    np.testing.assert_array_equal(np.asarray(images.open(0))[0, 0], [50, 66, 82])


def test_arrays_of_many_channels():
    array = np.moveaxis(np.stack([planes(5)] * 4), 1, 3)  # (4, 16, 16, 5)
    for given in (array, array.transpose(0, 3, 1, 2)):
        images = load_images(given, channels=(0, 2, 4))
        assert images.image_shape == (16, 16, 3) and images.images[0, 0, 0].tolist() == [10, 26, 42]
    with pytest.raises(UserError, match="has 5 channels, numbered from 0"):
        load_images(array, channels=(5,))
    with pytest.raises(UserError, match="has no pages"):
        load_images(array[..., :3], page=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"page": -1}, "page=-1 must be the number of a page"),
        ({"page": "last"}, "page='last' must be"),
        ({"page": True}, "page=True must be"),
        ({"channels": (0, 1, 2, 3)}, "numbers of up to three channels"),
        ({"channels": (-1,)}, "numbers of up to three channels"),
        ({"channels": ()}, r"must be 1 \(grey\) or 3"),
    ],
)
def test_invalid_choices(tmp_path, options, message):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=message):
        load_images(tmp_path, **options)


def test_tifffile_says_nothing(capfd):
    data = written(planes(5), photometric="minisblack", planarconfig="separate", compression="zlib")
    half = data[: len(data) // 2] + bytes(len(data) // 2)
    with pytest.raises(Exception), pillow_limits(MAX_PIXELS):  # noqa: B017 - whatever it raises on damaged data
        read_image(io.BytesIO(half), InputSpec(8, 1))
    assert capfd.readouterr() == ("", "")
