import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from selfsort.data.image_set import ImageSet, as_image_set
from selfsort.data.listing import Skipped, summarise_skipped
from selfsort.data.loading import load_images
from selfsort.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), np.uint8)


def image_set(**changes):
    parts = {
        "images": PIXELS,
        "ids": tuple("abcdef"),
        "labels": np.arange(6) % 3,
        "label_names": ("x", "y", "z"),
        "source": "/photos",
        "options": {"size": 4},
        "files": tuple(Path("/photos") / name for name in "abcdef"),
        "skipped": (Skipped("g", "empty"),),
    }
    return ImageSet(**parts | changes)


def test_length_and_shape():
    images = image_set()
    assert len(images) == 6 and images.image_shape == (4, 5, 3)


@pytest.mark.parametrize("indices", [[4, 1, 1], np.array([4, 1, 1]), range(5, 1, -2), [], [-1]])
def test_subset_by_place(indices):
    part = image_set().subset(indices)
    places = [place % 6 for place in indices]
    np.testing.assert_array_equal(part.images, PIXELS[places] if places else PIXELS[:0])
    assert part.ids == tuple("abcdef"[place] for place in places)
    assert part.labels.tolist() == [place % 3 for place in places]
    assert part.files == tuple(Path("/photos") / "abcdef"[place] for place in places)
    assert (part.source, part.options, part.label_names) == ("/photos", {"size": 4}, ("x", "y", "z"))


def test_subset_by_mask_and_without_labels():
    part = image_set(labels=None, files=None).subset(np.array([True, False, False, True, False, False]))
    assert part.ids == ("a", "d") and part.labels is None and part.files is None


@pytest.mark.parametrize("images", [PIXELS.astype(float), PIXELS[0], PIXELS[..., :2], np.zeros((2, 4, 4, 4), np.uint8)])
def test_an_image_set_holds_nothing_else(images):
    with pytest.raises(UserError, match="holds uint8 pictures of shape"):
        ImageSet(images, tuple(str(i) for i in range(len(images))))


@pytest.mark.parametrize("change", [{"ids": ("a",)}, {"labels": np.zeros(7, np.int64)}, {"files": ()}])
def test_an_image_set_is_as_long_as_its_parts(change):
    with pytest.raises(UserError, match=f"of 6 pictures needs as many {next(iter(change))}"):
        image_set(**change)


def test_fingerprint_depends_on_pixels_shape_order_and_ids_only():
    whole = image_set()
    same = image_set(labels=None, source="elsewhere", files=None, skipped=(), images=np.asfortranarray(PIXELS))
    assert whole.fingerprint() == same.fingerprint()
    changed = PIXELS.copy()
    changed[5, 3, 4, 2] ^= 1
    others = [
        image_set(images=changed),
        image_set(images=PIXELS.reshape(6, 5, 4, 3)),
        image_set(images=PIXELS[::-1]),
        image_set(ids=tuple("abcdeg")),
        image_set(ids=("ab", "", *"cdef")),
        whole.subset(range(5)),
    ]
    prints = [images.fingerprint() for images in (whole, *others)]
    assert len(set(prints)) == len(prints)


@given(arrays(np.uint8, (40, 3, 3, 1)), st.integers(0, 39))
@settings(max_examples=30, deadline=None)
def test_fingerprint_notices_every_picture(images, place):
    before = as_image_set(images).fingerprint()
    images[place, 1, 2, 0] ^= 1
    assert as_image_set(images).fingerprint() != before


def test_fingerprint_of_60_000_pictures_in_blocks():
    images = as_image_set(np.zeros((60_000, 32, 32, 3), np.uint8))
    began = time.perf_counter()
    whole = images.fingerprint()
    assert time.perf_counter() - began < 3  # a fifth of a second on an idle machine
    images.images[59_999, 31, 31, 2] ^= 1
    assert images.fingerprint() != whole


def test_summary_of_what_was_skipped():
    skipped = [Skipped("a", "damaged (one way)"), Skipped("b", "damaged (another)"), Skipped("c", "empty")]
    assert summarise_skipped(skipped) == "3 files skipped: damaged (2), empty (1)"
    assert summarise_skipped(skipped[2:]) == "1 file skipped: empty (1)"
    assert summarise_skipped([]) == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size=0 must be a whole number"),
        ({"size": 5000}, "from 1 to 4096"),
        ({"size": 3.5}, "size=3.5"),
        ({"size": True}, "size=True"),
        ({"size": "64"}, "size='64'"),
        ({"resize": "zoom"}, "resize='zoom' must be one of crop, pad, squash"),
        ({"channels": 2}, r"channels=2 must be 1 \(grey\) or 3"),
        ({"split": 1}, "split=1 must be the name of a split"),
        ({"fold": 10}, "fold=10 must be one of STL-10's ten folds, 0 to 9"),
        ({"fold": "a"}, "fold='a'"),
        ({"max_pixels": 0}, "max_pixels=0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(UserError, match=message) as caught:
        load_images("digits", **options)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("mnits", "There is no file, folder or data set 'mnits'; did you mean 'mnist'?"),
        ("CIFAR-01", "did you mean 'cifar10'?"),
        ("photos", r"'photos'; name a folder, .* or one of digits, mnist, .* stl10\.$"),
        ("/no/such/folder", "There is no file, folder or data set '/no/such/folder'; name a folder"),
        (Path("missing.npy"), "'missing.npy'"),
        ("", "There is no file, folder or data set ''"),
        ("a\0b", "There is no file, folder or data set"),
    ],
)
def test_unknown_sources(source, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        load_images(source)


def test_a_single_file_is_no_source(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"x")
    with pytest.raises(UserError, match=r"photo.jpg' is neither a folder nor a .* nor a .zip file nor an .npy"):
        load_images(tmp_path / "photo.jpg")


def test_a_name_wins_over_a_folder_unless_it_is_written_as_one(tmp_path, monkeypatch):
    from PIL import Image

    (tmp_path / "digits").mkdir()
    Image.new("L", (5, 5)).save(tmp_path / "digits" / "a.png")
    monkeypatch.chdir(tmp_path)
    assert len(load_images("digits")) == 1797
    for source in ("./digits", Path("digits").absolute()):
        assert load_images(source).source == str(tmp_path / "digits")


def test_the_home_folder_may_be_written_short(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", PIXELS)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert load_images("~/a.npy").source == str(tmp_path / "a.npy")


def test_arrays_and_sets_in_memory_are_fitted_too():
    assert load_images(PIXELS, size=8).image_shape == (8, 8, 3)
    fitted = load_images(image_set(files=None), size=8, channels=1)
    assert fitted.image_shape == (8, 8, 1) and fitted.ids == tuple("abcdef") and fitted.labels is not None


def test_reading_a_folder_needs_no_heavy_library(tmp_path):
    from PIL import Image

    Image.new("L", (5, 5)).save(tmp_path / "a.png")
    code = (
        "import sys; from selfsort.data.loading import load_images; "
        f"assert len(load_images({str(tmp_path)!r})) == 1; "
        "heavy = {'torch', 'torchvision', 'sklearn', 'scipy', 'datasets', 'matplotlib', 'pandas'}; "
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
