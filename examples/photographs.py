"""Write a folder of photographs to try selfsort on: crops of three that come with scikit-learn and matplotlib.

A temple and a dahlia (scikit-learn; CC BY 2.0, danielbuechele and vultilion on Flickr) and a portrait of Grace Hopper
(matplotlib; public domain, U.S. Navy). A crop's class folder is named after the photograph that it was cut from. No two
are equal, but many overlap: this is for a first look, not a test of how well anything sorts.

    python examples/photographs.py FOLDER [--each 60]
"""

import argparse
from pathlib import Path

import matplotlib
import numpy as np
import sklearn
from PIL import Image

PHOTOGRAPHS = {
    "temple": Path(sklearn.__file__).parent / "datasets/images/china.jpg",
    "flower": Path(sklearn.__file__).parent / "datasets/images/flower.jpg",
    "portrait": Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg",
}
LEAST_SIDE = 128  # pixels of a crop


def write_crops(folder: Path, each: int) -> None:
    """Cut `each` squares at random out of every photograph, and write them into a folder named after it."""
    rng = np.random.default_rng(0)
    for name, file in PHOTOGRAPHS.items():
        (folder / name).mkdir(parents=True)
        photograph = Image.open(file).convert("RGB")
        for number in range(each):
            side = int(rng.integers(LEAST_SIDE, min(photograph.size) * 3 // 4))
            left, top = (int(rng.integers(0, length - side)) for length in photograph.size)
            crop = photograph.crop((left, top, left + side, top + side))
            crop.save(folder / name / f"{number:03d}.jpg", quality=90)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a new folder")
    parser.add_argument("--each", type=int, default=60, help="crops per photograph")
    arguments = parser.parse_args()
    write_crops(arguments.folder, arguments.each)
    print(f"Wrote {len(PHOTOGRAPHS) * arguments.each} crops into {arguments.folder}")
