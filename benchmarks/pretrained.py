"""How fast the features of a folder of photographs are computed, and how much memory this takes.

selfsort's features are compared with the bare network (timm's, channels last, the same precision, on tensors in memory)
and with timm's usual loop over the same files (Pillow, its own loader with two workers, float32). The sides are
measured alternately; decoding is part of selfsort's time and of the loop's. The growth of memory is that of whole
processes on folders of different pictures: the photographs, and crops of them. What a user waits for is measured
through the commands: from `selfsort fit` on 2,500 photographs, with an empty cache, to the first group of `selfsort
label` over HTTP, and to the report; then a second `fit`.

    python benchmarks/pretrained.py FOLDER [--quick] [--json FILE]
"""

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from timm.data import create_dataset, create_loader, resolve_model_data_config

from annotation import Person, served
from measuring import peak_bytes, ratios_table, write_json
from selfsort.data.image_set import ImageSet
from selfsort.data.loading import list_images
from selfsort.features.embedding import embed
from selfsort.models.pretrained import Pretrained, pretrained
from selfsort.training.recipe import pick_device, pick_precision

BACKBONE, BATCH_SIZE, WORKERS = "efficientnet-lite0", 64, 2
EMBED = f"import sys, selfsort; selfsort.embed(sys.argv[1], {BACKBONE!r})"


def bare_network(network: Pretrained) -> Callable[[int], object]:
    """Return a function that runs the network on a number of pictures held in memory as tensors."""
    device = pick_device("auto")
    low = pick_precision("auto", device) == "bf16-mixed"
    module = network.module.to(device, memory_format=torch.channels_last)
    batch = torch.rand(BATCH_SIZE, *network.input.image_shape[::-1], device=device)
    batch = batch.contiguous(memory_format=torch.channels_last)

    def run(count: int) -> None:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=low):
            for _ in range(-(-count // BATCH_SIZE)):
                module(batch)[0, 0].item()

    return run


def timm_loop(network: Pretrained, root: Path) -> Callable[[int], object]:
    """Return timm's usual way of computing the features of all pictures in a folder."""
    module = timm.create_model(network.card.network.partition(":")[2], num_classes=0).eval().to(pick_device("auto"))
    config = resolve_model_data_config(module)

    def run(count: int) -> None:
        files = create_dataset("", root=str(root), split="", class_map="")
        loader = create_loader(
            files,
            input_size=config["input_size"],
            batch_size=BATCH_SIZE,
            mean=config["mean"],
            std=config["std"],
            crop_pct=config["crop_pct"],
            interpolation=config["interpolation"],
            num_workers=WORKERS,
            use_prefetcher=False,
        )
        with torch.inference_mode():
            features = [module(images.to(next(module.parameters()).device)).cpu().numpy() for images, _ in loader]
        assert sum(map(len, features)) == count

    return run


def rates(sides: dict[str, Callable[[int], object]], count: int, rounds: int) -> dict[str, list[float]]:
    """Return the pictures per second of several sides in each round, measured alternately."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            began = time.perf_counter()
            run(count)
            found[name].append(count / (time.perf_counter() - began))
    return found


def linked(files: list[Path], count: int, root: Path) -> Path:
    """Fill a folder with links to pictures, repeatedly if there are fewer than wanted."""
    root.mkdir(parents=True)
    for i, file in enumerate(islice(cycle(files), count)):
        (root / f"{i:06d}{file.suffix}").symlink_to(file)
    return root


def cropped(files: list[Path], count: int, root: Path) -> Path:
    """Fill a folder with different pictures: the photographs, then crops of them, shifted by a pixel in each round."""
    root.mkdir(parents=True)
    for i, file in enumerate(islice(cycle(files), count)):
        around = i // len(files)
        with Image.open(file) as picture:
            part = picture.convert("RGB").crop((around, around, picture.width - around, picture.height - around))
        content = io.BytesIO()
        part.save(content, "JPEG", quality=85)
        (root / f"{i:06d}.jpg").write_bytes(content.getvalue())
    return root


def waits(root: Path, place: Path) -> dict[str, float]:
    """Return the seconds to the first group and to the report of a new folder, and of a second fit."""
    os.environ["SELFSORT_CACHE"] = str(place / "cache-waits")
    first, second = place / "first", place / "second"
    began = time.perf_counter()
    selfsort("fit", root, "--out", first)
    fitted = time.perf_counter() - began
    with served(first) as (_, address):
        assert Person(address, "first").see(), "there is no group"
        grouped = time.perf_counter() - began
    began = time.perf_counter()
    selfsort("report", first)
    reported = fitted + time.perf_counter() - began
    began = time.perf_counter()
    selfsort("fit", root, "--out", second)
    return {"first_group_s": grouped, "report_s": reported, "second_run_s": time.perf_counter() - began}


def selfsort(*words: object) -> None:
    """Run a command in a separate process."""
    subprocess.run([sys.executable, "-m", "selfsort", *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def peak(root: Path, cache: Path) -> int:
    """Return the peak memory of a process, with its workers, that computes the features of a folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", EMBED, str(root)], env=os.environ | {"SELFSORT_CACHE": str(cache)}
    )
    most = peak_bytes(process)
    if process.returncode:
        raise SystemExit(f"The features of {root} could not be computed")
    return most


def readable(source: str) -> list[Path]:
    """Return the files of pictures in a folder, in an order that mixes its folders."""
    images: ImageSet = list_images(source)
    assert images.files is not None
    order = np.random.default_rng(0).permutation(len(images))
    return [images.files[i].resolve() for i in order]


def main() -> None:
    """Measure, print the table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="a folder of photographs")
    parser.add_argument("--quick", action="store_true", help="fewer pictures, and a folder of 10,000 for the memory")
    parser.add_argument("--json", metavar="FILE", help="write the figures to FILE")
    arguments = parser.parse_args()
    count, rounds, many = (256, 1, 10_000) if arguments.quick else (1280, 3, 60_000)
    files, network = readable(arguments.source), pretrained(BACKBONE)
    with tempfile.TemporaryDirectory() as place:
        root = linked(files[:count], min(count, len(files)), Path(place) / "some" / "class")
        count = min(count, len(files))
        sides: dict[str, Callable[[int], object]] = {
            "bare": bare_network(network),
            "ours": lambda _: embed(root, BACKBONE, cache=False),
            "timm": timm_loop(network, root.parent),
        }
        sides["bare"](BATCH_SIZE)
        found = rates(sides, count, rounds)
        waited = waits(linked(files, 2500, Path(place) / "photos"), Path(place))
        few_bytes = peak(cropped(files, 2500, Path(place) / "few"), Path(place) / "cache-few")
        many_bytes = peak(cropped(files, many, Path(place) / "many"), Path(place) / "cache-many")
    rows = [("pictures/s", "bare network", found["bare"], found["ours"])]
    rows.append(("pictures/s", "timm's loop", found["timm"], found["ours"]))
    ratios = ratios_table(f"Features of {count} photographs, {BACKBONE}", rows)
    print(f"Peak memory: {few_bytes / 1e9:.2f} GB for 2,500 photographs, {many_bytes / 1e9:.2f} GB for {many:,}")
    for name, seconds in waited.items():
        print(f"{name}: {seconds:.1f}")
    figures = waited | {
        "features_vs_bare": ratios[0].ratio,
        "features_vs_timm_loop": ratios[1].ratio,
        "peak_growth_2500_to_60000": many_bytes / few_bytes,
    }
    write_json(arguments.json, figures, ratios)


if __name__ == "__main__":
    main()
