"""Small files in the formats of torchvision's data sets."""

import numpy as np
from torchvision import datasets

RNG = np.random.default_rng(0)


def random_images(count, height, width, channels):
    return RNG.integers(0, 256, (count, height, width, channels), np.uint8)


def make_stl10(root, monkeypatch):
    for files in ("train_list", "test_list"):
        monkeypatch.setattr(datasets.STL10, files, [[name, None] for name, _ in getattr(datasets.STL10, files)])
    folder = root / "stl10_binary"
    folder.mkdir()
    sets = {}
    for split, count in (("train", 20), ("test", 3), ("unlabeled", 5)):
        images, labels = random_images(count, 96, 96, 3), RNG.integers(0, 10, count)
        (folder / f"{split}_X.bin").write_bytes(images.transpose(0, 3, 2, 1).tobytes())  # column by column
        if split == "unlabeled":
            labels = np.full(count, -1)
        else:
            (folder / f"{split}_y.bin").write_bytes((labels + 1).astype(np.uint8).tobytes())
        sets[split] = images, labels
    (folder / "class_names.txt").write_text("\n".join(f"class {number}" for number in range(10)))
    (folder / "fold_indices.txt").write_text("\n".join(f"{fold} {fold + 10} " for fold in range(10)))
    sets["train+unlabeled"] = tuple(
        np.concatenate(parts) for parts in zip(sets["train"], sets["unlabeled"], strict=True)
    )
    return sets
