import bz2
import pickle
import struct

import numpy as np
import pytest
import scipy.io
from torchvision import datasets

from selfsort.data.loading import load_images
from selfsort.data.sources.torchvision_sets import NAMES, find
from selfsort.errors import UserError
from torchvision_files import RNG, make_stl10, random_images


def write_idx(folder, images, labels, prefix):
    folder.mkdir(parents=True, exist_ok=True)
    header = struct.pack(">IIII", 0x803, *images.shape[:3])
    (folder / f"{prefix}-images-idx3-ubyte").write_bytes(header + images.tobytes())
    (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, len(labels)) + labels.tobytes())


def make_mnist(root, monkeypatch, folder="MNIST"):
    sets = {}
    for split, prefix, count in (("train", "train", 7), ("test", "t10k", 4)):
        images, labels = random_images(count, 28, 28, 1), RNG.integers(0, 10, count, np.uint8)
        write_idx(root / folder / "raw", images, labels, prefix)
        sets[split] = images, labels
    return sets


def make_fashion_mnist(root, monkeypatch):
    return make_mnist(root, monkeypatch, "FashionMNIST")


def make_kmnist(root, monkeypatch):
    return make_mnist(root, monkeypatch, "KMNIST")


def make_usps(root, monkeypatch):
    sets = {}
    for split, name in (("train", "usps.bz2"), ("test", "usps.t.bz2")):
        images, labels = random_images(5, 16, 16, 1), RNG.integers(0, 10, 5)
        lines = [
            " ".join([str(label + 1)] + [f"{i + 1}:{level / 127.5 - 1:.6f}" for i, level in enumerate(image.ravel())])
            for image, label in zip(images, labels, strict=True)
        ]
        (root / name).write_bytes(bz2.compress("\n".join(lines).encode() + b"\n"))
        sets[split] = images, labels
    return sets


def make_cifar(root, monkeypatch, loader=datasets.CIFAR10, key="labels", classes=10):
    monkeypatch.setattr(loader, "train_list", [[name, None] for name, _ in loader.train_list])
    monkeypatch.setattr(loader, "test_list", [[name, None] for name, _ in loader.test_list])
    monkeypatch.setattr(loader, "meta", loader.meta | {"md5": None})
    folder = root / loader.base_folder
    folder.mkdir()
    (folder / loader.meta["filename"]).write_bytes(
        pickle.dumps({loader.meta["key"]: [f"class {number}" for number in range(classes)]})
    )
    sets = {}
    for split, files in (("train", loader.train_list), ("test", loader.test_list)):
        images, labels = random_images(3 * len(files), 32, 32, 3), RNG.integers(0, classes, 3 * len(files))
        for i, (name, _) in enumerate(files):
            rows = slice(3 * i, 3 * i + 3)
            data = images[rows].transpose(0, 3, 1, 2).reshape(3, -1)
            (folder / name).write_bytes(pickle.dumps({"data": data, key: labels[rows].tolist()}))
        sets[split] = images, labels
    return sets


def make_cifar100(root, monkeypatch):
    return make_cifar(root, monkeypatch, datasets.CIFAR100, "fine_labels", 100)


def make_svhn(root, monkeypatch):
    splits = {name: [url, file, None] for name, (url, file, _) in datasets.SVHN.split_list.items()}
    monkeypatch.setattr(datasets.SVHN, "split_list", splits)
    sets = {}
    for split, (_, file, _) in splits.items():
        images, labels = random_images(6, 32, 32, 3), np.array([0, 1, 5, 9, 0, 3])
        stored = np.where(labels == 0, 10, labels)[:, None].astype(np.uint8)
        scipy.io.savemat(root / file, {"X": images.transpose(1, 2, 3, 0), "y": stored})
        sets[split] = images, labels
    return sets


MAKERS = {
    "mnist": make_mnist,
    "fashion-mnist": make_fashion_mnist,
    "kmnist": make_kmnist,
    "usps": make_usps,
    "cifar10": make_cifar,
    "cifar100": make_cifar100,
    "svhn": make_svhn,
    "stl10": make_stl10,
}


def test_every_set_is_tested():
    assert set(MAKERS) == set(NAMES)


@pytest.mark.parametrize("name", MAKERS)
def test_every_split(name, tmp_path, monkeypatch):
    sets = MAKERS[name](tmp_path, monkeypatch)
    for split, (expected, labels) in sets.items():
        images = load_images(name, split=split, data_root=tmp_path)
        tolerance = 1 if name == "usps" else 0  # its files hold rounded decimals
        assert np.abs(images.images.astype(int) - expected).max() <= tolerance
        np.testing.assert_array_equal(images.labels, labels)
        assert images.labels.dtype == np.int64 and images.images.flags.c_contiguous
        assert images.ids[0] == f"{name}/{split}/00000" and images.source == name
        assert len(images.label_names) == (100 if name == "cifar100" else 10)
        again = load_images(images.source, **images.options)
        assert again.fingerprint() == images.fingerprint()
    assert load_images(name, data_root=tmp_path).ids[0] == f"{name}/train/00000"


@pytest.mark.parametrize("fold", range(10))
def test_stl10_folds(tmp_path, monkeypatch, fold):
    images, labels = make_stl10(tmp_path, monkeypatch)["train"]
    part = load_images("stl10", fold=fold, data_root=tmp_path)
    np.testing.assert_array_equal(part.images, images[[fold, fold + 10]])
    np.testing.assert_array_equal(part.labels, labels[[fold, fold + 10]])
    assert part.ids[1] == f"stl10/train/fold{fold}/00001"
    assert part.options["fold"] == fold
    both = load_images("stl10", split="train+unlabeled", fold=fold, data_root=tmp_path)
    assert both.labels.tolist() == [*labels[[fold, fold + 10]], *[-1] * 5]


def test_the_british_spelling(tmp_path, monkeypatch):
    make_stl10(tmp_path, monkeypatch)
    assert len(load_images("STL-10", split="Unlabelled", data_root=tmp_path)) == 5


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("MNIST", "mnist"),
        ("fashion_mnist", "fashion-mnist"),
        ("Fashion-MNIST", "fashion-mnist"),
        ("cifar-100", "cifar100"),
    ],
)
def test_spellings(spelling, name):
    assert find(spelling) == name


def test_size_and_channels(tmp_path, monkeypatch):
    make_mnist(tmp_path, monkeypatch)
    images = load_images("mnist", size=32, channels=3, resize="pad", data_root=str(tmp_path))
    assert images.image_shape == (32, 32, 3)
    assert images.options == {"size": 32, "resize": "pad", "channels": 3, "data_root": str(tmp_path)}


@pytest.mark.parametrize("name", MAKERS)
def test_missing_data_tell_the_way_out(name, tmp_path):
    with pytest.raises(UserError) as caught:
        load_images(name, data_root=tmp_path)
    message = str(caught.value)
    assert repr(name) in message and str(tmp_path) in message and "\n" not in message
    assert "download=True" in message and "data_root=…" in message
    assert list(tmp_path.iterdir()) == []


def test_a_failed_download(tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise OSError("the network is down")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", fail)
    with pytest.raises(UserError, match=r"\(the network is down\); check the network, or name"):
        load_images("cifar10", data_root=tmp_path, download=True)


def test_damaged_data(tmp_path, monkeypatch):
    make_mnist(tmp_path, monkeypatch)
    (tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte").write_bytes(b"short")
    with pytest.raises(UserError, match="cannot be read"):
        load_images("mnist", data_root=tmp_path)
    make_usps(tmp_path, monkeypatch)
    (tmp_path / "usps.bz2").write_bytes(b"no bz2")
    with pytest.raises(UserError, match="cannot be read"):
        load_images("usps", data_root=tmp_path)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mnist", {"split": "unlabeled"}, "'mnist' has no split 'unlabeled'; it has train, test."),
        ("svhn", {"split": "x"}, "it has train, test, extra."),
        ("mnist", {"fold": 1}, "'mnist' has no folds, so fold=1"),
        ("stl10", {"fold": 1, "split": "test"}, "folds of 'stl10' are parts of its split 'train', not of 'test'"),
        ("stl10", {"fold": 11}, "fold=11 must be one of"),
    ],
)
def test_splits_and_folds_that_do_not_exist(name, options, message, tmp_path):
    with pytest.raises(UserError, match=message):
        load_images(name, data_root=tmp_path, **options)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_real_data(name, data_root):
    train = load_images(name, data_root=data_root / "torchvision")
    test = load_images(name, data_root=data_root / "torchvision", split="test")
    assert (train.images.shape, test.images.shape) == ((60_000, 28, 28, 1), (10_000, 28, 28, 1))
    assert np.bincount(test.labels).min() > 800 and len(train.label_names) == 10
