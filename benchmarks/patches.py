"""How fast the patches of paper 3 are made, compared with a scikit-image pipeline that makes them one by one.

Both draw 100 patches of 32x32 from each of some pictures of 96x96, with the same random changes; scikit-image's edges
are found once per picture. Its plain loop is measured alone and with one process per core. The pictures are smooth
noise; only sampling depends on their content. selfsort makes 4,000 patches at a time, as `exemplar-cnn` does when it
writes them to a file; "fresh" is one patch of each of 128 pictures, as for a batch in an epoch of fresh patches.

    python benchmarks/patches.py [--quick] [--json FILE]
"""

import argparse
import math
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.color import hsv2rgb, rgb2gray, rgb2hsv
from skimage.filters import sobel
from skimage.transform import AffineTransform, resize, warp

from measuring import ratios_table, write_json
from selfsort.augment.patches import PatchChanges, PatchMaker, principal_colours

PICTURES = 1000
PATCHES = 100
BLOCK = 40  # pictures processed at a time
BATCH = 128
SIZE = 32
CHANGES = PatchChanges()


def smooth_noise(count: int, side: int = 96) -> NDArray[np.uint8]:
    """Return (count, side, side, 3) pictures."""
    coarse = np.random.default_rng(0).random((count, side // 8, side // 8, 3))
    return np.stack([np.round(255 * resize(each, (side, side), order=1)) for each in coarse]).astype(np.uint8)


def by_scikit_image(images: NDArray[np.uint8], count: int, seed: int) -> int:
    """Make `count` patches of each picture one by one; return the number made."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    colours = principal_colours(images)
    mean, axes = colours.mean.numpy(), colours.components.numpy()
    made = 0
    for image in images:
        picture = image.astype(np.float32) / 255
        chances = sobel(rgb2gray(picture)).ravel()
        chances = chances / chances.sum()
        for place in rng.choice(len(chances), count, p=chances):
            made += len(one_patch(picture, np.array(divmod(int(place), len(image)))[::-1], mean, axes, rng)) == SIZE
    return made


def one_patch(
    picture: NDArray[np.float32],
    anchor: NDArray[np.int64],
    mean: NDArray[np.float32],
    axes: NDArray[np.float32],
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Return a patch (32, 32, 3) near an anchor (x, y)."""
    centre = np.clip(anchor + rng.normal(0, CHANGES.shift * SIZE, 2), 0, len(picture))
    mirror = AffineTransform(scale=(rng.choice([-1, 1]), 1))
    turn = math.radians(rng.uniform(-CHANGES.rotation, CHANGES.rotation))
    placed = AffineTransform(scale=rng.uniform(*CHANGES.scale), rotation=turn, translation=centre)
    to_middle = AffineTransform(translation=(-(SIZE - 1) / 2, -(SIZE - 1) / 2))
    patch = warp(picture, to_middle + mirror + placed, output_shape=(SIZE, SIZE), mode="reflect")
    factors = rng.uniform(*CHANGES.colour, 3)
    patch = np.clip(mean + (patch - mean) @ axes.T * factors @ axes, 0, 1)
    hsv = rgb2hsv(patch)
    for channel in (1, 2):
        power = math.exp(rng.uniform(*np.log(CHANGES.power)))
        changed = rng.uniform(*CHANGES.factor) * hsv[..., channel] ** power + rng.uniform(*CHANGES.offset)
        hsv[..., channel] = np.clip(changed, 0, 1)
    hsv[..., 0] = (hsv[..., 0] + rng.uniform(-CHANGES.hue, CHANGES.hue)) % 1
    return hsv2rgb(hsv)


def rate(make: Callable[[], int]) -> float:
    """Return the number of patches made per second."""
    began = time.perf_counter()
    made = make()
    return made / (time.perf_counter() - began)


def main() -> None:
    """Measure, print the table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer patches and rounds")
    parser.add_argument("--json", metavar="FILE", help="write the figures to FILE")
    arguments = parser.parse_args()
    rounds, pictures = (1, 200) if arguments.quick else (5, PICTURES)
    images = smooth_noise(pictures)
    maker = PatchMaker(images, SIZE)
    cores = os.cpu_count() or 1
    few = [(images[core : 20 * cores : cores], PATCHES // 2, core) for core in range(cores)]
    rows = np.arange(pictures)
    maker.draw(rows[:10], PATCHES)
    loop = (images[:20], PATCHES // 2, 0)
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        pool.starmap(by_scikit_image, [(images[:1], 1, 0)] * cores)  # imports everything
        found = [
            (
                rate(lambda: sum(len(maker.draw(rows[s : s + BLOCK], PATCHES)) for s in range(0, pictures, BLOCK))),
                rate(lambda: sum(len(maker.draw(rows[s : s + BATCH], 1)) for s in range(0, pictures, BATCH))),
                rate(lambda: pool.apply(by_scikit_image, loop)),
                rate(lambda: sum(pool.starmap(by_scikit_image, few))),
            )
            for _ in range(rounds)
        ]
    columns = [list(column) for column in zip(*found, strict=True)]
    ours, fresh, alone, together = map(statistics.median, columns)
    peers = {"scikit-image": columns[2], f"scikit-image, {cores} processes": columns[3]}
    ratios = ratios_table(
        "Patches per second",
        [
            (what, peer, theirs, rate_of)
            for what, rate_of in ((f"{PATCHES} patches of a picture", columns[0]), ("fresh patches", columns[1]))
            for peer, theirs in peers.items()
        ],
    )
    figures = {"patches_per_s": ours, "vs_scikit_image": ours / alone, f"vs_{cores}_processes": ours / together}
    write_json(arguments.json, figures | {"fresh_per_s": fresh, "fresh_vs_scikit_image": fresh / alone}, ratios)


if __name__ == "__main__":
    main()
