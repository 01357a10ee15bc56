import numpy as np
import pytest
from sklearn.datasets import load_digits

from selfsort.data.loading import load_images
from selfsort.errors import UserError


def test_all_digits():
    images = load_images("digits")
    bundled = load_digits()
    assert images.images.shape == (1797, 8, 8, 1) and images.images.dtype == np.uint8
    np.testing.assert_allclose(images.images[..., 0] / 255, bundled.images / 16, atol=0.5 / 255)
    np.testing.assert_array_equal(images.labels, bundled.target)
    assert images.label_names == tuple("0123456789")
    assert images.ids[0] == "digits/00000" and images.source == "digits" and images.options == {}


def test_splits_do_not_overlap():
    train, test = load_images("digits", split="train"), load_images("Digits", split="test")
    assert (len(train), len(test)) == (1437, 360)
    assert train.ids + test.ids == load_images("digits", split="all").ids
    again = load_images(test.source, **test.options)
    assert again.fingerprint() == test.fingerprint()
    np.testing.assert_array_equal(again.labels, test.labels)


def test_size_and_channels():
    assert load_images("digits", size=16, channels=3).image_shape == (16, 16, 3)


@pytest.mark.parametrize("option", [{"split": "validation"}, {"fold": 1}])
def test_what_the_digits_do_not_have(option):
    with pytest.raises(UserError, match="'digits' has no"):
        load_images("digits", **option)
