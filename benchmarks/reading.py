"""How fast a folder of pictures is read the first and the second time, and how much memory this takes.

Each reading is a whole Python process, from its start to its end, with a fresh cache for every first reading. It is
compared with two bare loops over files of the same folder on one core, torchvision's JPEG reader and PIL, which only
decode and keep nothing. Memory is the largest sum of resident memory of the process and its workers (needs Linux).

    python benchmarks/reading.py FOLDER [--quick] [--json FILE]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from torchvision.io import decode_image

from measuring import peak_bytes, ratios_table, write_json
from selfsort.data.image_set import ImageSet
from selfsort.data.loading import load_images

READ = "import sys; from selfsort.data.loading import load_images; load_images(sys.argv[1])"
SAMPLE = 5000
GIB = 1 << 30


class Reading(NamedTuple):
    """The cost of one process."""

    seconds: float
    peak_gib: float


def read_in_process(source: Path, cache: Path) -> Reading:
    """Load `source` in a new process."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", READ, str(source)], env=os.environ | {"SELFSORT_CACHE": str(cache)}
    )
    peak = peak_bytes(process)
    seconds = time.perf_counter() - began
    if process.returncode:
        raise SystemExit(f"{source} could not be read")
    return Reading(seconds, peak / GIB)


def files_per_second(files: list[Path], read: Callable[[str], object]) -> float:
    """Return the rate of one loop over the files."""
    began = time.perf_counter()
    for file in files:
        read(str(file))
    return len(files) / (time.perf_counter() - began)


def read_with_pil(path: str) -> None:
    """Decode one picture like most data sets in PyTorch."""
    with Image.open(path) as image:
        image.convert("RGB")


def sample_of(images: ImageSet) -> list[Path]:
    """Return files spread over the whole set."""
    assert images.files is not None
    return list(images.files[:: max(1, len(images) // SAMPLE)][:SAMPLE])


def main() -> None:
    """Measure, print the table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a folder of pictures")
    parser.add_argument("--quick", action="store_true", help="measure once instead of five times")
    parser.add_argument("--json", metavar="FILE", help="write the figures to FILE")
    arguments = parser.parse_args()
    first, second, torchvision_rates, pil_rates = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SELFSORT_CACHE"] = folder
        images = load_images(arguments.source)
        sample = sample_of(images)
        for turn in range(1 if arguments.quick else 5):
            cache = Path(folder, str(turn))
            first.append(read_in_process(arguments.source, cache))
            second.append(read_in_process(arguments.source, cache))
            torchvision_rates.append(files_per_second(sample, decode_image))
            pil_rates.append(files_per_second(sample, read_with_pil))
    rates = [len(images) / reading.seconds for reading in first]
    rate = statistics.median(rates)
    again = statistics.median(reading.seconds for reading in second)
    peak = max(reading.peak_gib for reading in first + second)
    peers = {"torchvision": torchvision_rates, "PIL": pil_rates}
    ratios = ratios_table(
        f"files per second, first reading of {len(images):,}",
        [("read and keep", f"{name}, one core, decoding only", theirs, rates) for name, theirs in peers.items()],
    )
    print(f"second reading: {again:.2f} s; peak memory with workers: {peak:.2f} GiB")
    figures = {"first_files_per_s": rate, "second_seconds": again, "peak_gib": peak, "files": len(images)}
    figures |= {f"vs_{name.lower()}": rate / statistics.median(theirs) for name, theirs in peers.items()}
    write_json(arguments.json, figures, ratios)


if __name__ == "__main__":
    main()
