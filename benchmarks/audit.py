"""Time and memory of `selfsort audit` compared with imagededup, and how much it finds of what was planted.

Speed: each run is a whole Python process on all files of the folder, `selfsort audit` with its page, and imagededup's
perceptual hash (`PHash().find_duplicates`, its default search, two processes). Memory is the largest sum of resident
memory of the process and its workers (needs Linux).

Planted duplicates: 500 copies of each kind, compressed again (JPEG quality 30 to 90), cropped by up to 2 % of each
side, made darker or brighter (by 10 to 30 %) and resized (0.5 to 2 times), added to the files of the folder, or to
20,000 of them. A copy is found if it is in one group with its original. Precision is over the pictures called
duplicates if they or the picture kept were planted: right is the same original, and everything else is wrong, including
what the folder itself holds several times. Planted borders: 500 each of letterbox, pillarbox, frame and one side, 4 to
15 % deep and at least 2 pixels, black, white or of any colour, JPEG quality 75 to 95. A border is found if the picture
is listed.

    python benchmarks/audit.py FOLDER [--quick] [--json FILE] [--also FOLDER ...]
"""

import argparse
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from measuring import peak_bytes, ratios_table, write_json
from selfsort.audit import audit
from selfsort.audit.result import Audit

SELFSORT = ["-m", "selfsort", "audit"]
IMAGEDEDUP = """
import sys, warnings
warnings.simplefilter("ignore")
from imagededup.methods import PHash
if __name__ == "__main__":
    PHash(verbose=False).find_duplicates(image_dir=sys.argv[1], recursive=True)
"""
PLANTED = 500
HOSTS = 20_000
QUICK = 10_000
GIB = 1 << 30
Random = np.random.Generator


class Run(NamedTuple):
    """The cost of one process."""

    seconds: float
    peak_gib: float


class Found(NamedTuple):
    """Recall of what was planted, and precision of what was called a duplicate."""

    duplicate_recall: float
    duplicate_precision: float
    border_recall: float
    border_box_recall: float


def run(arguments: list[str]) -> Run:
    """Run Python in a separate process."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = peak_bytes(process)
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)[:80]} failed")
    return Run(time.perf_counter() - began, peak / GIB)


def run_selfsort(source: Path) -> Run:
    """Audit a folder with the command."""
    with tempfile.TemporaryDirectory() as folder:
        return run([*SELFSORT, str(source), "--out", str(Path(folder, "audit")), "--backbone", "none", "--json"])


def compressed(image: Image.Image, quality: int) -> Image.Image:
    """Return a picture after JPEG compression."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream)


def cropped(image: Image.Image, rng: Random) -> Image.Image:
    """Cut up to 2 % off each side, by fractions of a pixel if the picture is small."""
    width, height = image.size
    left, top, right, bottom = rng.uniform(0, 0.02, 4) * (width, height, width, height)
    box = (left, top, width - right, height - bottom)
    return image.resize((round(width - left - right), round(height - top - bottom)), Image.Resampling.BICUBIC, box=box)


def brightened(image: Image.Image, rng: Random) -> Image.Image:
    """Make a picture darker or brighter by 10 to 30 %."""
    factor = 1 + rng.choice([-1, 1]) * rng.uniform(0.1, 0.3)
    return image.point([min(255, round(factor * level)) for level in range(256)] * 3)


def resized(image: Image.Image, rng: Random) -> Image.Image:
    """Make a picture 0.5 to 2 times as large."""
    factor = 2 ** rng.uniform(-1, 1)
    size = max(8, round(factor * image.width)), max(8, round(factor * image.height))
    return image.resize(size, Image.Resampling.BICUBIC)


CHANGES: dict[str, Callable[[Image.Image, Random], Image.Image]] = {
    "compressed": lambda image, rng: compressed(image, int(rng.integers(30, 91))),
    "cropped": cropped,
    "brightened": brightened,
    "resized": resized,
}
BORDERS = {"letterbox": (0, 1, 0, 1), "pillarbox": (1, 0, 1, 0), "frame": (1, 1, 1, 1), "one side": None}


def bordered(image: Image.Image, kind: str, rng: Random) -> tuple[Image.Image, tuple[int, int, int, int]]:
    """Put a border around a picture; also return its depths at the left, top, right and bottom."""
    sides = BORDERS[kind] or tuple(np.eye(4, dtype=int)[rng.integers(4)])
    depth = max(2, round(rng.uniform(0.04, 0.15) * min(image.size)))
    left, top, right, bottom = (depth * int(side) for side in sides)
    any_colour = tuple(int(level) for level in rng.integers(0, 256, 3))
    colour = ((0, 0, 0), (255, 255, 255), any_colour)[rng.integers(3)]
    out = Image.new("RGB", (image.width + left + right, image.height + top + bottom), colour)
    out.paste(image, (left, top))
    return compressed(out, int(rng.integers(75, 96))), (left, top, right, bottom)


def opened(path: Path) -> Image.Image:
    """Read a picture as RGB."""
    with Image.open(path) as image:
        return image.convert("RGB")


def planted_duplicates(files: list[Path], folder: Path, rng: Random) -> tuple[float, float]:
    """Return recall and precision of duplicates planted among `files`, using links to them in a new folder."""
    folder.mkdir()
    for number, file in enumerate(files):
        (folder / f"{number:06d}{file.suffix}").symlink_to(file)
    origins = {f"{number:06d}{file.suffix}": number for number, file in enumerate(files)}
    copies = []
    for kind, change in CHANGES.items():
        for number in rng.choice(len(files), PLANTED, replace=False).tolist():
            name = f"{kind}-{number:06d}.jpg"
            change(opened(files[number]), rng).save(folder / name, quality=90)
            origins[name] = number
            copies.append((name, f"{number:06d}{files[number].suffix}"))
    return shares(audit(folder), origins, copies)


def shares(found: Audit, origins: dict[str, int], copies: list[tuple[str, str]]) -> tuple[float, float]:
    """Compare what was found with what was planted."""
    keeper = {found.id(picture): found.id(int(found.groups.keepers[picture])) for picture in range(len(found))}
    planted = {copy for copy, _ in copies}
    recall = statistics.mean(keeper[copy] == keeper[original] for copy, original in copies)
    called = [(one, other) for one, other in keeper.items() if one != other and {one, other} & planted]
    return recall, statistics.mean(origins[one] == origins[other] for one, other in called)


def planted_borders(files: list[Path], folder: Path, rng: Random) -> tuple[float, float]:
    """Return the shares of planted borders that are listed, and whose sides are all exact to a pixel."""
    folder.mkdir()
    depths = {}
    for kind in BORDERS:
        for number in rng.choice(len(files), PLANTED, replace=False).tolist():
            image, sides = bordered(opened(files[number]), kind, rng)
            depths[f"{kind}-{number}.jpg"] = np.array(sides)
            image.save(folder / f"{kind}-{number}.jpg", quality="keep")
    found = audit(folder)
    listed, exact = [], []
    for picture in range(len(found)):
        sides = depths[found.id(picture)]
        listed.append(bool(found.found["bordered"].pictures[picture]))
        exact.append(bool((np.abs(found.looks.borders[picture] - sides)[sides > 0] <= 1).all()))
    return statistics.mean(listed), statistics.mean(exact)


def planted(source: Path, seed: int = 0) -> Found:
    """Plant duplicates and borders and look for them."""
    rng = np.random.default_rng(seed)
    files = sorted(path for path in source.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    chosen = [files[place].absolute() for place in rng.permutation(len(files))[:HOSTS]]
    with tempfile.TemporaryDirectory() as folder:
        duplicates = planted_duplicates(chosen, Path(folder, "duplicates"), rng)
        return Found(*duplicates, *planted_borders(chosen, Path(folder, "borders"), rng))


def sample_of(source: Path, folder: Path, count: int) -> Path:
    """Fill a folder with links to some files, evenly spread over all."""
    files = sorted(source.rglob("*.jpg"))
    for number, file in enumerate(files[:: max(1, len(files) // count)][:count]):
        (folder / f"{number:06d}.jpg").symlink_to(file.absolute())
    return folder


def main() -> None:
    """Measure, print the tables and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a folder of pictures, such as CIFAR-10's 60,000")
    parser.add_argument(
        "--also", type=Path, nargs="*", default=[], help="further folders to plant duplicates and borders in"
    )
    parser.add_argument("--quick", action="store_true", help=f"measure once, and imagededup on {QUICK:,} files only")
    parser.add_argument("--json", metavar="FILE", help="write the figures to FILE")
    arguments = parser.parse_args()
    turns = range(1 if arguments.quick else 3)
    runs = [run_selfsort(arguments.source) for _ in turns]
    seconds = statistics.median(each.seconds for each in runs)
    with tempfile.TemporaryDirectory() as folder:
        # Only once: its search compares all pairs, which takes most of an hour.
        same = sample_of(arguments.source, Path(folder), QUICK) if arguments.quick else arguments.source
        theirs = run(["-c", IMAGEDEDUP, str(same)])
        ours = run_selfsort(same).seconds if arguments.quick else seconds
    found = {source: planted(source) for source in [arguments.source, *arguments.also]}
    peak = max(each.peak_gib for each in runs)
    print(f"selfsort audit {arguments.source}: {seconds:.1f} s, peak memory with workers {peak:.2f} GiB")
    print(f"imagededup: peak memory with workers {theirs.peak_gib:.2f} GiB")
    rows = [("seconds on the same files", "imagededup, perceptual hash", theirs.seconds, ours)]
    ratios = ratios_table("looking for duplicates", rows, less_is_better=True)
    for source, each in found.items():
        print(source, json.dumps({name: round(value, 4) for name, value in each._asdict().items()}))
    figures = {"seconds_60k": seconds, "peak_gib": peak, "vs_imagededup": theirs.seconds / ours}
    write_json(arguments.json, figures | found[arguments.source]._asdict(), ratios)


if __name__ == "__main__":
    main()
