"""Labels and splits follow from the folders of a source, however it is nested and packed."""

import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from selfsort.data.class_folders import class_folders
from selfsort.data.loading import list_images, load_images
from selfsort.errors import UserError

FOLDERS = st.sampled_from(["train", "test", "cat", "Cat", "dog", "2", "10", "images"])
TREES = st.lists(st.lists(FOLDERS, max_size=4), min_size=1, max_size=12)


def labelled(ids, **options):
    """Return the class of each id, by name."""
    numbers, names = class_folders(ids, "photos", **options).labels(ids)
    return [""] * len(ids) if numbers is None else ["" if number < 0 else names[number] for number in numbers]


def told(ids, **options):
    return class_folders(ids, "photos", **options).told


def fill(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(root / name, format="PNG")
    return root


@pytest.mark.parametrize(
    ("ids", "split", "labels", "names"),
    [
        (["1.png", "2.png"], None, None, ()),
        (["train/1.png", "unlabeled/2.png"], None, None, ()),
        (["train/cat/1.png", "test/cat/2.png", "val/dog/3.png"], None, [0, 0, 1], ("cat", "dog")),
        (["Train/cat/1.png", "unlabelled/2.png"], None, [0, -1], ("cat",)),
        (["train/1.png", "car/2.png"], None, [1, 0], ("car", "train")),  # toys, not splits
        (["train/1.png", "train/car/2.png"], "train", [-1, 0], ("car",)),
        (["train/test/1.png", "test/train/2.png"], None, [0, 1], ("test", "train")),
    ],
)
def test_split_folders_are_no_labels(ids, split, labels, names):
    found, found_names = class_folders(ids, "photos", split).labels(ids)
    assert found_names == names
    assert (None if found is None else found.tolist()) == labels


@given(TREES, st.lists(st.sampled_from(["x", "data", "My photos"]), max_size=3), st.booleans())
def test_outer_folders_change_no_label(folders, around, packed):
    ids = ["/".join([*folder, f"{number}.png"]) for number, folder in enumerate(folders)]
    within = ["/".join([*around, name]) for name in ids]
    wrapped = [name.replace("/", "\\") for name in within] if packed else within
    assert labelled(ids) == labelled(wrapped)
    one, other = class_folders(ids, "photos"), class_folders(wrapped, "photos")
    assert [one.split(name) for name in ids] == [other.split(name) for name in wrapped]


def test_the_same_tree_has_the_same_labels_as_a_folder_a_zip_and_a_hub(tmp_path, monkeypatch):
    pytest.importorskip("datasets")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hub")
    folder = fill(tmp_path / "x", *(f"data/{kind}/1.png" for kind in (1, 2, 10)))
    (folder / "data" / "README.md").write_text("no picture")
    for name, top in (("bare.zip", folder / "data"), ("data.zip", folder), ("wrapped.zip", tmp_path)):
        with zipfile.ZipFile(tmp_path / name, "w") as file:
            for path in sorted(folder.rglob("*.*")):
                file.write(path, path.relative_to(top))
    for source in (folder, folder / "data", *tmp_path.glob("*.zip"), f"hf:{folder}"):
        images = load_images(source)
        assert images.label_names == ("1", "2", "10")
        assert sorted(images.labels.tolist()) == [0, 1, 2]
        assert images.told[0].startswith("classes: 1, 2, 10")
    assert load_images(folder).told == ("classes: 1, 2, 10 below data/",)


def test_files_beside_pictures_do_not_count():
    ids = ["x/data/1/a.png", "x/data/2/b.jpg"]
    for beside in ("x/README", "x/labels.csv", "notes.txt", "x/data/LICENSE"):
        assert labelled([*ids, beside]) == ["1", "2", ""]
    assert labelled([*ids, "x/a.png"]) == ["data", "data", ""]


def test_one_more_folder_beside_splits_does_not_make_them_classes():
    ids = ["train/cat/1.png", "test/dog/2.png", "docs/3.png"]
    assert labelled(ids) == ["cat", "dog", ""]
    assert told(ids) == ("splits: train, test; classes: cat, dog", "not splits, so without labels: docs")
    assert [class_folders(ids, "photos").split(name) for name in ids] == ["train", "test", ""]
    assert labelled(["train/a/1.png", "plane/a/2.png"]) == ["train", "plane"], "toys"


def test_splits_may_hold_one_more_folder():
    ids = ["train/images/cat/1.png", "test/images/dog/2.png"]
    assert labelled(ids) == ["cat", "dog"] and told(ids) == ("splits: train, test; classes: cat, dog in images/",)
    assert labelled(["train/images/1.png", "test/images/2.png"]) == ["", ""]


def test_spellings_of_one_name_are_one_class():
    ids = [
        "Cat/1.png",
        "cat/2.png",
        "cat/3.png",
        "cat /4.png",
        "c\u200bat/5.png",
        "caf\u00e9/6.png",
        "cafe\u0301/7.png",
    ]
    assert labelled(ids) == ["cat"] * 5 + ["caf\u00e9"] * 2
    assert "'Cat', 'cat', 'cat ', 'c\\u200bat' are one class" in told(ids)
    assert labelled(["A/1.png", "a/2.png"]) == ["A", "a"], "single letters differ by case"


def test_a_folder_that_holds_all_pictures_is_no_class_unless_asked_for():
    assert labelled(["cat/1.png", "cat/2.png"]) == ["", ""]
    assert labelled(["cat/1.png", "cat/2.png"], classes_from="parent") == ["cat", "cat"]


@pytest.mark.parametrize(
    ("classes_from", "expected"),
    [
        (None, ["2023", "2024", "2024", ""]),
        ("auto", ["2023", "2024", "2024", ""]),
        ("parent", ["cat", "dog", "2024", ""]),
        (1, ["2023", "2024", "2024", ""]),
        (2, ["cat", "dog", "", ""]),
        ("2024", ["", "dog", "", ""]),
        ("./2024/", ["", "dog", "", ""]),
        ("none", ["", "", "", ""]),
    ],
)
def test_the_caller_decides_what_is_a_class(classes_from, expected, tmp_path):
    ids = ("2023/cat/1.png", "2024/dog/2.png", "2024/3.png", "4.png")
    assert labelled(ids, classes_from=classes_from) == expected
    images = list_images(fill(tmp_path, *ids), classes_from=classes_from)
    again = list_images(images.source, **images.options)
    assert again.label_names == images.label_names and again.ids == images.ids


@pytest.mark.parametrize("classes_from", [3, "cat", "parent"])
def test_no_class_in_the_place_requested(classes_from, tmp_path):
    ids = ["1.png"] if classes_from == "parent" else ["2023/cat/1.png"]
    with pytest.raises(UserError, match="classes_from=.* gives no class"):
        list_images(fill(tmp_path, *ids), classes_from=classes_from)


@pytest.mark.parametrize("classes_from", [0, -1, "", 1.5, True, ["a"]])
def test_invalid_classes_from(classes_from, tmp_path):
    with pytest.raises(UserError, match="classes_from=.* must be"):
        list_images(fill(tmp_path, "1.png"), classes_from=classes_from)


def test_arrays_have_no_class_folders():
    with pytest.raises(UserError, match="no class folders, so classes_from='parent'"):
        list_images(np.zeros((3, 8, 8)), classes_from="parent")


def test_many_names_are_shortened():
    ids = [f"{number}/1.png" for number in range(100)]
    assert told(ids) == ("classes: 0, 1, 2, 3, 4, 5, 6, 7 … (100)",)
