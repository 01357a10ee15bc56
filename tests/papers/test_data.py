"""The pictures on which papers compare, as folders."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from papers import data


@pytest.mark.parametrize("folder", ["cifar10", "CIFAR-10"])
def test_a_folder_is_found_however_its_name_is_spelt(folder: str, tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    for number, part in enumerate(("train/cat", "train/dog", "test/cat", "test/dog")):
        path = tmp_path / folder / part / "1.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(np.full((32, 32, 3), 50 * number, np.uint8)).save(path)
    assert data.is_folder("cifar10", tmp_path, "train") and not data.is_folder("cifar10", tmp_path, "unlabeled")
    assert not data.is_folder("svhn", tmp_path, "train") and not data.is_folder("svhn", tmp_path / "nowhere", "train")
    train, test = data.train_and_test("cifar10", tmp_path)
    assert len(train) == len(test) == 2 and train.label_names == ("cat", "dog")
