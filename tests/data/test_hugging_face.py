import sys

import numpy as np
import pytest
from PIL import Image

from selfsort.data import cache
from selfsort.data.loading import load_images
from selfsort.errors import UserError

datasets = pytest.importorskip("datasets")
PIXELS = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 3), np.uint8)


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hugging face")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def save_parquet(folder, split, images, labels=None):
    columns = {"number": list(range(len(images))), "picture": images}
    features = {"number": datasets.Value("int64"), "picture": datasets.Image()}
    if labels is not None:
        columns["kind"], features["kind"] = labels, datasets.ClassLabel(names=["cat", "dog"])
    table = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    (folder / "data").mkdir(parents=True, exist_ok=True)
    table.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "pets"
    save_parquet(folder, "train", [Image.fromarray(image) for image in PIXELS], [0, 1, None, 1, 0, 0, 1])
    save_parquet(folder, "test", [Image.fromarray(image) for image in PIXELS[:3]], [1, 1, 0])
    return f"hf:{folder}"


def test_parquet(source):
    images = load_images(source)
    np.testing.assert_array_equal(images.images, PIXELS)
    assert images.labels.tolist() == [0, 1, -1, 1, 0, 0, 1] and images.label_names == ("cat", "dog")
    assert images.ids[0] == "pets/train/00000" and images.source == source
    test = load_images(source, split="test", size=5)
    assert test.images.shape == (3, 5, 5, 3) and test.labels.tolist() == [1, 1, 0]
    assert load_images(test.source, **test.options).fingerprint() == test.fingerprint()


def test_the_second_time_from_the_cache(source, monkeypatch):
    first = load_images(source)
    monkeypatch.setattr("selfsort.data.decoding.read_image", None)
    assert load_images(source).fingerprint() == first.fingerprint()
    assert cache.usage().sets == 1


def test_other_pictures_under_the_same_name_are_read_again(source, tmp_path):
    first = load_images(source)
    save_parquet(tmp_path / "pets", "train", [Image.fromarray(255 - image) for image in PIXELS], [1] * 7)
    second = load_images(source, split="train")
    np.testing.assert_array_equal(second.images, 255 - PIXELS)
    assert second.labels.tolist() == [1] * 7 and second.fingerprint() != first.fingerprint()


def test_without_labels(tmp_path):
    save_parquet(tmp_path / "pets", "train", [Image.fromarray(image) for image in PIXELS])
    images = load_images(f"hf:{tmp_path / 'pets'}")
    assert images.labels is None and images.label_names == ()


def test_a_folder_of_pictures(tmp_path):
    for split in ("train", "test"):
        for number, kind in enumerate(("cat", "dog")):
            (tmp_path / "pets" / split / kind).mkdir(parents=True)
            Image.fromarray(PIXELS[number]).save(tmp_path / "pets" / split / kind / "1.png")
    images = load_images(f"hf:{tmp_path / 'pets'}")
    np.testing.assert_array_equal(images.images, PIXELS[:2])
    assert images.label_names == ("cat", "dog") and images.labels.tolist() == [0, 1]


def test_rows_that_cannot_be_read_are_skipped(tmp_path):
    pictures = [Image.fromarray(PIXELS[0]), None, {"bytes": b"x", "path": None}, Image.fromarray(PIXELS[1])]
    save_parquet(tmp_path / "pets", "validation", pictures, [0, 0, 0, 1])
    images = load_images(f"hf:{tmp_path / 'pets'}")
    np.testing.assert_array_equal(images.images, PIXELS[:2])
    assert images.labels.tolist() == [0, 1]
    assert [(name, reason.split(" (")[0]) for name, reason in images.skipped] == [
        ("pets/validation/00001", "empty"),
        ("pets/validation/00002", "not a picture"),
    ]


def test_through_workers(source, monkeypatch):
    monkeypatch.setattr("selfsort.data.decoding._SECONDS_ALONE", 1e-9)
    monkeypatch.setattr("selfsort.data.decoding._FIRST_CHUNK", 1)
    monkeypatch.setattr("selfsort.data.decoding._LARGEST_CHUNK", 2)
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    np.testing.assert_array_equal(load_images(source).images, PIXELS)


def test_owner_name_and_configuration(source, monkeypatch):
    calls = []
    load = datasets.load_dataset

    def record(path, configuration=None):
        calls.append((path, configuration))
        return load(source.removeprefix("hf:"))

    monkeypatch.setattr(datasets, "load_dataset", record)
    images = load_images("hf:owner/name")
    assert images.ids[0] == "owner/name/train/00000" and images.source == "hf:owner/name"
    load_images("hf:owner/name/large")
    assert calls == [("owner/name", None), ("owner/name", "large")]


def test_progress_bars_only_if_wanted(source, capfd):
    load_images(source)
    assert capfd.readouterr() == ("", "")
    assert not datasets.are_progress_bars_disabled()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "valid"}, "has no split 'valid'; it has train, test"),
        ({"fold": 3}, "has no folds, so fold=3"),
    ],
)
def test_bad_options(source, options, message):
    with pytest.raises(UserError, match=message):
        load_images(source, **options)


def test_a_set_without_images(tmp_path):
    (tmp_path / "texts").mkdir()
    datasets.Dataset.from_dict({"text": ["a", "b"]}).to_parquet(tmp_path / "texts" / "train.parquet")
    with pytest.raises(UserError, match="has no picture column, only text; choose another data set"):
        load_images(f"hf:{tmp_path / 'texts'}")


@pytest.mark.parametrize("name", ["nobody/nothing", "/no/such/folder", "a/b/c/d"])
def test_a_set_that_does_not_exist(name):
    with pytest.raises(UserError, match=r"cannot be loaded \(.*\); check its name and the network\.$") as caught:
        load_images(f"hf:{name}")
    assert "\n" not in str(caught.value)


def test_no_name_at_all():
    with pytest.raises(UserError, match="'hf:' names no data set"):
        load_images("hf:")


def test_without_the_library(source, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"needs the library 'datasets': pip install 'selfsort\[hf\]'"):
        load_images(source)
