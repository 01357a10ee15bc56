import io
import json
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from selfsort.data.loading import load_images
from selfsort.errors import UserError

datasets = pytest.importorskip("datasets")
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)
TREE = ("train/images/cat/1.png", "train/images/dog/sub/2.png", "test/images/cat/3.png")


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hugging face")


def png(number):
    Image.fromarray(PIXELS[number]).save(file := io.BytesIO(), "PNG")
    return file.getvalue()


def fill(folder, paths):
    for number, path in enumerate(paths):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(png(number))
    return folder


@pytest.fixture
def on_the_hub(tmp_path, monkeypatch):
    """Return the folder in the hub's cache from which "hf:owner/name" is loaded, as after its download."""
    folder = tmp_path / "hub" / "datasets--owner--name" / "snapshots" / "1f0c"
    folder.mkdir(parents=True)
    load = datasets.load_dataset
    monkeypatch.setattr(datasets, "load_dataset", lambda name, configuration=None: load(str(folder)))
    return folder


def named(images):
    return [images.label_names[label] for label in images.labels]


def test_a_tree_on_the_hub_has_the_labels_of_the_same_tree_as_a_folder(on_the_hub, tmp_path):
    fill(on_the_hub, TREE)
    images = load_images("hf:owner/name")
    assert named(images) == ["cat", "dog"]
    assert images.told == ("split: train, of train, test", "splits: train, test; classes: cat, dog in images/")
    here = load_images(str(fill(tmp_path / "x", TREE)), split="train")
    assert named(here) == named(images) and here.told[0] == images.told[1]
    assert named(load_images("hf:owner/name", split="test")) == ["cat"]


@pytest.mark.parametrize(("given", "classes"), [("parent", ["cat", "sub"]), (2, ["images", "images"]), ("none", None)])
def test_classes_from_decides_on_the_hub_as_elsewhere(on_the_hub, tmp_path, given, classes):
    fill(on_the_hub, TREE)
    fill(tmp_path / "x", TREE)
    for source in ("hf:owner/name", str(tmp_path / "x")):
        images = load_images(source, split="train", classes_from=given)
        assert (images.labels if classes is None else named(images)) == classes


def test_archives_on_the_hub_are_folders(on_the_hub):
    for split in ("train", "test"):
        with zipfile.ZipFile(on_the_hub / f"{split}.zip", "w") as file:
            for number, path in enumerate(TREE[:2]):
                file.writestr(path.removeprefix("train/"), png(number))
    images = load_images("hf:owner/name")
    assert named(images) == ["cat", "dog"] and "classes: cat, dog in images/" in images.told[1]


def test_other_columns_of_a_set_of_files(on_the_hub):
    fill(on_the_hub / "train", ("cat/1.png", "dog/2.png", "dog/3.png"))
    rows = (("cat/1.png", "red", 3), ("dog/2.png", "blue", 10), ("dog/3.png", "red", 10))
    lines = [json.dumps({"file_name": path, "colour": colour, "kilos": kilos}) for path, colour, kilos in rows]
    (on_the_hub / "train" / "metadata.jsonl").write_text("\n".join(lines))
    assert named(load_images("hf:owner/name")) == ["cat", "dog", "dog"]
    by_colour = load_images("hf:owner/name", classes_from="colour")
    assert named(by_colour) == ["red", "blue", "red"] and by_colour.told == ("classes: blue, red in column colour",)
    assert load_images("hf:owner/name", classes_from="kilos").label_names == ("3", "10")
    with pytest.raises(UserError, match="classes_from='weight' gives no class"):
        load_images("hf:owner/name", classes_from="weight")


def test_paths_in_a_tar_are_folders(on_the_hub):
    with tarfile.open(on_the_hub / "train.tar", "w") as file:
        for number, path in enumerate(("pets/cat/1.png", "pets/dog/2.png")):
            data = png(number)
            member = tarfile.TarInfo(path)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    images = load_images("hf:owner/name")
    assert named(images) == ["cat", "dog"] and images.told == ("classes: cat, dog below pets/",)


def test_a_column_of_classes_counts_unless_folders_are_asked_for(on_the_hub):
    paths = ("new/1.png", "old/2.png", "new/3.png")
    rows = [{"bytes": png(number), "path": path} for number, path in enumerate(paths)]
    features = {"image": datasets.Image(), "kind": datasets.ClassLabel(names=["cat", "dog"])}
    table = datasets.Dataset.from_dict({"image": rows, "kind": [0, 1, 1]}, features=datasets.Features(features))
    table.to_parquet(on_the_hub / "train.parquet")
    images = load_images("hf:owner/name")
    assert named(images) == ["cat", "dog", "dog"] and images.told == ("classes: cat, dog in column kind",)
    assert named(load_images("hf:owner/name", classes_from="parent")) == ["new", "old", "new"]


@pytest.mark.parametrize("name", ["val", "valid", "Validation"])
def test_every_name_of_a_split(on_the_hub, name):
    fill(on_the_hub, ("train/cat/1.png", "validation/cat/2.png"))
    assert load_images("hf:owner/name", split=name).ids == ("owner/name/validation/00000",)
