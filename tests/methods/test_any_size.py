"""A fitted model takes pictures of any size and fits them to its own input, from the originals if available."""

import numpy as np
import pytest
from PIL import Image

import selfsort
from samples import pictures, quick
from selfsort.data.input_spec import InputSpec
from selfsort.data.reading import Reading
from selfsort.errors import UserError
from selfsort.methods.base import Estimator


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    for number, pixels in enumerate(pictures(30, 40)):
        Image.fromarray(pixels).resize((60, 40)).save(root / f"{number:02d}.png")
    return root


@pytest.fixture(scope="module")
def model(folder) -> Estimator:
    return quick("simclr").fit(selfsort.load_images(folder, size=16, resize="pad"))


def test_pictures_of_any_size_are_read_from_the_originals(model, folder):
    assert model.input_ == InputSpec(16, 3, "pad", reading=Reading())
    for other in (selfsort.load_images(folder, size=4, channels=1), selfsort.list_images(folder)):
        np.testing.assert_array_equal(model.predict(other), model.labels_)
        np.testing.assert_allclose(model.transform(other), model.embedding_, atol=1e-5)


def test_arrays_are_resized(model, folder):
    rows = np.stack([np.asarray(Image.open(path)) for path in sorted(folder.iterdir())])
    np.testing.assert_array_equal(model.predict(rows), model.labels_)
    assert model.predict(rows[..., 0]).shape == (30,)  # grey


@pytest.mark.parametrize("rows", [np.zeros((3, 8)), np.full((2, 8, 8), np.nan), np.zeros((2, 8, 8, 2), np.uint8)])
def test_what_is_not_a_picture_is_refused(model, rows):
    with pytest.raises(UserError, match="The array"):
        model.predict(rows)


def test_a_picture_that_cannot_be_read(model, folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "05.png").write_bytes(b"\x89PNG\r\n")
    listed = selfsort.list_images(tmp_path)
    with pytest.raises(UserError, match="'05.png'"):
        model.predict(listed)
    rest = model.readable(listed)
    assert rest.skipped[0].id == "05.png"
    np.testing.assert_array_equal(model.predict(rest), np.delete(model.labels_, 5))


def test_groups_can_be_named_for_pictures_of_any_size(model, folder):
    labelling = selfsort.LabelSession(model, selfsort.load_images(folder, size=4), n_groups=4)
    assert labelling.images.image_shape == (16, 16, 3)
