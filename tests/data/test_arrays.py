import io
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from selfsort.data.image_set import as_image_set
from selfsort.data.loading import load_images
from selfsort.errors import UserError
from selfsort.methods.kmeans import KMeans

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (5, 6, 7, 3), np.uint8)
GREY = RNG.integers(0, 256, (5, 6, 7), np.uint8)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (COLOUR, COLOUR),
        (GREY, GREY[..., None]),
        (GREY[..., None], GREY[..., None]),
        (COLOUR.transpose(0, 3, 1, 2), COLOUR),
        (GREY[:, None], GREY[..., None]),
        (COLOUR / 255, COLOUR),
        ((COLOUR / 255).astype(np.float32), COLOUR),
        ((GREY / 255).astype(">f8"), GREY[..., None]),
        (GREY > 100, ((GREY > 100) * np.uint8(255))[..., None]),
        (torch.from_numpy(COLOUR.transpose(0, 3, 1, 2).copy()), COLOUR),
        (torch.from_numpy(COLOUR.transpose(0, 3, 1, 2) / 255).requires_grad_(), COLOUR),
        (torch.from_numpy(GREY), GREY[..., None]),
        (list(COLOUR), COLOUR),
    ],
)
def test_layouts_and_types(array, expected):
    images = as_image_set(array)
    np.testing.assert_array_equal(images.images, expected)
    assert images.images.dtype == np.uint8
    assert images.ids[:2] == ("array/00000", "array/00001") and images.labels is None


def test_an_image_set_passes_through():
    images = as_image_set(COLOUR)
    assert as_image_set(images) is images


def test_uint8_arrays_are_not_copied():
    assert np.shares_memory(as_image_set(COLOUR).images, COLOUR)
    assert np.shares_memory(as_image_set(GREY).images, GREY)


def test_narrow_pictures_are_recognised_by_the_last_axis():
    assert as_image_set(np.zeros((2, 3, 9, 3), np.uint8)).image_shape == (3, 9, 3)
    assert as_image_set(torch.zeros(2, 3, 9, 3)).image_shape == (9, 3, 3)  # a tensor's channels come first


def test_bfloat16_tensors():
    images = as_image_set(torch.full((2, 1, 5, 5), 0.5, dtype=torch.bfloat16))
    assert (images.images == 128).all()


@pytest.mark.parametrize("tensor", [False, True])
@pytest.mark.parametrize("floats", [False, True])
def test_alpha_is_put_on_white(tensor, floats):
    rgba = RNG.integers(0, 256, (3, 6, 7, 4), np.uint8)
    alpha = rgba[..., 3:] / 255
    array = rgba / 255 if floats else rgba
    images = as_image_set(torch.from_numpy(array.transpose(0, 3, 1, 2).copy()) if tensor else array)
    assert np.abs(images.images - (rgba[..., :3] * alpha + 255 * (1 - alpha))).max() <= 0.51


@given(arrays(np.float64, (2, 5, 6), elements=st.floats(0, 1)))
@settings(max_examples=50, deadline=None)
def test_floats_are_rounded_to_the_nearest_level(values):
    assume(values.max() > 0.25 or not values.any())
    error = np.abs(as_image_set(values).images[..., 0] / 255 - values)
    assert error.max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((5, 64)), r"must be of shape .*\(N, H, W\).* not \(5, 64\)"),
        (np.zeros((8, 8, 3)), r"not \(8, 8, 3\)"),
        (np.zeros((2, 5, 8, 8)), r"not \(2, 5, 8, 8\)"),
        (np.zeros((0, 8, 8)), r"shape \(0, 8, 8\) holds no pixels"),
        (np.zeros((3, 0, 8)), "holds no pixels"),
        (np.zeros((2, 8, 8), complex), "not complex128"),
        (np.array(["a", "b"]), "must hold numbers or bool"),
        (np.full((2, 8, 8), None), "not object"),
        (np.full((2, 8, 8), np.nan), "NaN or infinity"),
        (np.full((2, 8, 8), np.inf), "NaN or infinity"),
        ([np.zeros((8, 8)), np.zeros((9, 9))], "different shapes"),
        (torch.zeros(2, 8, 8, 3), r"\(N, C, H, W\)"),
        (3, r"not \(\)"),
        (None, "not"),
    ],
)
def test_what_is_not_a_set_of_images(array, message):
    with pytest.raises(UserError, match=message) as caught:
        as_image_set(array)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
    with pytest.raises(UserError, match=message):
        load_images(array)


def test_nan_far_down_is_found():
    array = np.zeros((3000, 2, 2), np.float32)
    array[-1, -1, -1] = np.nan
    with pytest.raises(UserError, match="NaN"):
        as_image_set(array)


def test_npy(tmp_path):
    np.save(tmp_path / "photos.npy", COLOUR)
    images = load_images(tmp_path / "photos.npy")
    np.testing.assert_array_equal(images.images, COLOUR)
    assert isinstance(images.images.base, np.memmap)  # not read into memory
    assert images.ids[0] == "array/00000" and images.source == str(tmp_path / "photos.npy")
    np.save(tmp_path / "floats.npy", GREY / 255)
    np.testing.assert_array_equal(load_images(str(tmp_path / "floats.npy")).images[..., 0], GREY)


@pytest.mark.parametrize("names", [("images", "labels"), ("labels", "x"), ("x", "y")])
def test_npz(tmp_path, names):
    labels = np.array([0, 1, -1, 1, 0], np.int8)
    given_arrays = {name: labels if name == "labels" else COLOUR if name in ("images", "x") else GREY for name in names}
    np.savez(tmp_path / "photos.npz", **given_arrays)
    images = load_images(tmp_path / "photos.npz")
    np.testing.assert_array_equal(images.images, COLOUR)
    if "labels" in names:
        np.testing.assert_array_equal(images.labels, labels)
        assert images.labels.dtype == np.int64 and images.label_names == ("0", "1")
    else:
        assert images.labels is None


def test_the_array_called_images_wins(tmp_path):
    np.savez(tmp_path / "a.npz", first=GREY, images=COLOUR)
    np.testing.assert_array_equal(load_images(tmp_path / "a.npz").images, COLOUR)


def test_resizing_and_channels(tmp_path):
    np.save(tmp_path / "a.npy", np.full((4, 6, 9, 3), (255, 0, 0), np.uint8))
    path = tmp_path / "a.npy"
    images = load_images(path, size=12, channels=1)
    assert images.image_shape == (12, 12, 1) and (images.images == 76).all()
    assert images.options == {"size": 12, "channels": 1}
    assert load_images(path, channels=1).image_shape == (6, 9, 1)
    padded = load_images(path, size=9, resize="pad").images
    assert (padded[:, [0, 8]] == 0).all() and (padded[:, 2:7, :, 0] == 255).all()
    grey = load_images(GREY, channels=3).images
    assert grey.shape == (5, 6, 7, 3) and (grey == GREY[..., None]).all()
    assert load_images(GREY, size=4).image_shape == (4, 4, 1)
    assert load_images(path, size=12, resize="squash").image_shape == (12, 12, 3)


SHAPES = {"huge": f"({10**30}, 8, 8)", "no number": "(10**30, 8)", "true": "(True, 8, 8)", "negative": "(-1, 8, 8)"}


def bad_file(tmp_path, kind):
    path = tmp_path / ("a.npz" if "npz" in kind else "a.npy")
    if kind == "objects":
        np.save(path, np.array([{}, None], object), allow_pickle=True)
    elif kind == "objects in npz":
        np.savez(path, images=np.array([{}, None], object))
    elif kind == "text":
        path.write_text("no array")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "cut":
        np.save(path, COLOUR)
        path.write_bytes(path.read_bytes()[:200])
    elif kind == "cut npz":
        np.savez(path, COLOUR)
        path.write_bytes(path.read_bytes()[:200])
    elif kind == "only labels in npz":
        np.savez(path, labels=np.zeros(5, int))
    elif kind == "labels of another length in npz":
        np.savez(path, images=COLOUR, labels=np.zeros(4, int))
    elif kind == "labels that are floats in npz":
        np.savez(path, images=COLOUR, labels=np.zeros(5))
    elif kind == "labels that are no classes in npz":
        np.savez(path, images=COLOUR, labels=np.full(5, 2**60))
    elif kind == "labels below none in npz":
        np.savez(path, images=GREY, labels=[0, 1, -5, 0, 1])
    elif kind == "labels that are objects in npz":
        np.savez(path, images=COLOUR, labels=np.array([None] * 5))
    elif kind in SHAPES:
        path.write_bytes(array_header(SHAPES[kind]))
    elif kind == "bomb in npz":
        with ZipFile(path, "w", ZIP_DEFLATED) as archive, archive.open("images.npy", "w", force_zip64=True) as member:
            member.write(array_header("(500000, 64, 64, 3)"))
            for _ in range(4):
                member.write(bytes(1 << 20))
    return path


def array_header(shape):
    """Return the start of an .npy file of bytes."""
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("objects", "holds Python objects"),
        ("objects in npz", "holds Python objects"),
        ("text", "is not a readable array file"),
        ("empty", "is not a readable array file"),
        ("cut", "is not a readable array file"),
        ("cut npz", "is not a readable array file"),
        ("only labels in npz", "no array of pictures"),
        ("labels of another length in npz", "must be 5 whole numbers"),
        ("labels that are floats in npz", "must be 5 whole numbers"),
        ("labels that are no classes in npz", "number the classes from 0"),
        ("labels below none in npz", "go down to -5: write -1"),
        ("labels that are objects in npz", "holds Python objects"),
        ("bomb in npz", "declares an array of 5.7 GiB in"),
        *((kind, "is not a readable array file") for kind in SHAPES),
    ],
)
def test_bad_files(tmp_path, kind, message):
    path = bad_file(tmp_path, kind)
    with pytest.raises(UserError, match=message) as caught:
        load_images(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value) and str(caught.value).endswith(".")


@pytest.mark.parametrize("option", [{"split": "train"}, {"fold": 0}])
def test_arrays_have_no_splits_or_folds(tmp_path, option):
    np.save(tmp_path / "a.npy", COLOUR)
    for source in (COLOUR, tmp_path / "a.npy"):
        with pytest.raises(UserError, match="leave it out"):
            load_images(source, **option)


def test_pictures_can_be_left_out_of_arrays_and_data_sets(tmp_path):
    array = np.zeros((3, 8, 8), np.uint8)
    np.savez(tmp_path / "set.npz", images=array, labels=[0, 1, 2])
    for source in (array, tmp_path / "set.npz"):
        images = load_images(source, exclude=["array/00001"])
        assert images.ids == ("array/00000", "array/00002") and images.options["exclude"] == ("array/00001",)
        with pytest.raises(UserError, match="does not hold 1 of the 1"):
            load_images(source, exclude=["array/00003"])
    assert load_images(tmp_path / "set.npz", exclude=["array/00001"]).labels.tolist() == [0, 2]
    assert len(load_images("digits", exclude=["digits/00000"])) == 1796


class Pictures(torch.utils.data.Dataset):
    """A torch data set, as users write them."""

    def __len__(self):
        return 3

    def __getitem__(self, i):
        return torch.zeros(3, 8, 8), 0


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (Pictures(), "A torch Dataset"),
        (torch.utils.data.DataLoader(Pictures()), "A torch DataLoader"),
        (["a.png", "b.png"], "A list of paths"),
        ((Path("a.png"),), "A list of paths"),
        (pd.Series(["a.png"]), "A pandas Series"),
        (pd.DataFrame({"path": ["a.png"]}), "A pandas DataFrame"),
        ({"a.png": 1}, "A dict"),
        (iter([GREY]), "A list_iterator"),
        (None, "Nothing"),
    ],
)
@pytest.mark.parametrize("take", [load_images, as_image_set, KMeans(n_classes=2).fit])
def test_a_container_that_is_not_an_array_is_refused_by_name(given, named, take):
    with pytest.raises(
        UserError, match=rf"^{named}.* cannot be used as pictures; load the folder .* load_images\(folder"
    ):
        take(given)


def test_a_hugging_face_data_set_is_refused_by_name():
    datasets = pytest.importorskip("datasets")
    with pytest.raises(UserError, match="A Hugging Face Dataset"):
        load_images(datasets.Dataset.from_dict({"a": [1]}))


def test_pil_images_are_treated_like_a_folder_of_them(tmp_path):
    colour = Image.fromarray(COLOUR[0]).resize((30, 20))
    turned = Image.Exif()
    turned[0x0112] = 6
    colour.save(tmp_path / "0.png", exif=turned)
    for number, mode in enumerate(("L", "P", "1", "LA", "RGBA", "I;16"), 1):
        picture = Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30)) if mode == "I;16" else colour
        (picture if mode == "I;16" else picture.convert(mode)).save(tmp_path / f"{number}.png")
    files = [Image.open(path) for path in sorted(tmp_path.iterdir())]
    given, folder = load_images(files, size=12), load_images(tmp_path, size=12)
    np.testing.assert_array_equal(given.images, folder.images)
    assert given.open(0).size == (20, 30)
    for mode in ("CMYK", "YCbCr", "HSV", "PA", "RGBX", "RGBa", "F", "I", "LAB"):
        (image,) = load_images(
            [colour.convert("RGBA").convert("RGBa") if mode == "RGBa" else colour.convert(mode)], size=9
        ).images
        assert image.shape[:2] == (9, 9)


def test_a_pil_image_that_cannot_be_read_is_left_out():
    buffer = io.BytesIO()
    Image.fromarray(COLOUR[0]).resize((64, 64)).save(buffer, "JPEG")
    half = Image.open(io.BytesIO(buffer.getvalue()[:-200]))
    images = load_images([half, Image.fromarray(COLOUR[0])])
    assert images.ids == ("array/00001",) and [skipped.id for skipped in images.skipped] == ["array/00000"]


def test_the_repr_of_a_set_is_one_line(tmp_path):
    many = as_image_set(np.zeros((500, 8, 8), np.uint8))
    assert repr(many) == "<ImageSet of 500 pictures, 8 x 8 x 1 from 'array'>"
    assert len(repr(many.listing)) < 100 and len(repr(many.originals)) < 200
