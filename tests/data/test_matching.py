"""Labels of the same pictures stored elsewhere: found by path or by content, never guessed."""

import shutil

import numpy as np
import pytest
from PIL import Image

from commands import Cli
from samples import pictures
from selfsort.data.loading import list_images
from selfsort.data.matching import labels_for
from selfsort.errors import UserError


def save(folder, n=6):
    folder.mkdir(parents=True)
    for index, pixels in enumerate(pictures(n, 16)):
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def by_class(flat, folder, rename=False):
    for number, path in enumerate(sorted(flat.iterdir())):
        place = folder / f"kind {number % 3}" / (f"other {number}.png" if rename else path.name)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    return folder


@pytest.mark.parametrize("rename", [False, True])
def test_class_folders_hold_the_pictures_of_a_flat_folder(tmp_path, rename):
    flat = save(tmp_path / "flat")
    labelled = list_images(by_class(flat, tmp_path / "labelled", rename))
    images = list_images(flat)
    assert [labelled.label_names[label] for label in labels_for(images, labelled)] == ["kind 0", "kind 1", "kind 2"] * 2
    assert np.array_equal(labels_for(labelled, labelled), labelled.labels)


def test_among_equal_files_the_one_of_the_same_name_counts(tmp_path):
    flat = save(tmp_path / "flat", 2)
    shutil.copyfile(flat / "0.png", flat / "copy.png")
    labelled = list_images(by_class(flat, tmp_path / "labelled"))
    images = list_images(flat)
    names = dict(zip(images.ids, labels_for(images, labelled), strict=True))
    assert names["0.png"] != names["copy.png"]


def test_missing_pictures_and_labels_are_reported(tmp_path):
    flat = save(tmp_path / "flat")
    folder = by_class(flat, tmp_path / "labelled")
    (folder / "kind 1" / "4.png").unlink()
    with pytest.raises(UserError, match="lacks 1 of the 6 pictures, such as '4.png'"):
        labels_for(list_images(flat), list_images(folder))
    with pytest.raises(UserError, match="has no labels"):
        labels_for(list_images(flat), list_images(flat))


def test_simulate_accepts_class_folders_for_a_run_of_a_flat_folder(tmp_path, cli: Cli):
    flat = save(tmp_path / "flat", 12)
    folder = by_class(flat, tmp_path / "labelled")
    cli.json("fit", flat, "--out", tmp_path / "run", "--method", "kmeans", "--classes", 3)
    found = cli.json("label", tmp_path / "run", "--simulate", folder, "--groups", 4, "--answers", 4)
    assert {each["name"] for each in found["names"]} <= {"kind 0", "kind 1", "kind 2"} and found["covered"] > 0
    assert cli.json("evaluate", tmp_path / "run", folder)["of_training"]
