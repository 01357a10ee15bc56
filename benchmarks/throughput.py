"""Training throughput compared with the bare model and with lightly's standard pipeline, in the same run.

bare      the same net, batch, precision and optimiser on views ready on the device: nothing but the step
selfsort  `selfsort.training`'s loop on uint8 pictures: fetching, random views, the step, logging, the collapse gauge
lightly   lightly's SimCLR transform on PIL pictures, a DataLoader with 2 workers, its NT-Xent loss, float32

    python benchmarks/throughput.py [--quick] [--json FILE]
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from measuring import ratios_table, write_json
from selfsort.augment import PRESETS
from selfsort.methods.simclr import SimCLR, SimCLRNet
from selfsort.models.base import Batch
from selfsort.training.data import ImageData
from selfsort.training.loop import train
from selfsort.training.recipe import make_optimizer, pick_device, pick_precision

SHAPE = (32, 32, 3)


@dataclass(frozen=True)
class Case:
    """A net, its batch size, and the number of steps per measurement."""

    backbone: str
    batch_size: int
    steps: int

    def estimator(self) -> SimCLR:
        """Return the product's settings."""
        return SimCLR(backbone=self.backbone, batch_size=self.batch_size, epochs=1, views="natural")

    def net(self) -> SimCLRNet:
        """Return a fresh network."""
        return self.estimator().build(SHAPE, self.pictures)

    @property
    def pictures(self) -> int:
        """Return the number of pictures per measurement."""
        return self.batch_size * self.steps


def seconds_bare(case: Case, images: np.ndarray) -> float:
    """Time only the steps."""
    recipe = case.estimator().recipe()
    device = pick_device(recipe.device)
    bf16 = pick_precision(recipe.precision, device) == "bf16-mixed"
    net = case.net().to(device, memory_format=torch.channels_last).train()
    optimizer = make_optimizer(net, recipe)
    view = torch.rand(case.batch_size, SHAPE[2], *SHAPE[:2], device=device)
    batch = Batch(view, (view, view.flip(3)), torch.arange(case.batch_size, device=device))

    def run() -> None:
        for _ in range(case.steps):
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                loss = net.loss(batch)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return timed(run, device)


def seconds_selfsort(case: Case, images: np.ndarray) -> float:
    """Time a whole epoch of the product's loop."""
    recipe = case.estimator().recipe()
    net = case.net()
    device = pick_device(recipe.device)
    return timed(lambda: train(net, ImageData(images, device, PRESETS["natural"], 2), recipe), device)


def seconds_lightly(case: Case, images: np.ndarray) -> float:
    """Time a whole epoch of lightly's standard SimCLR pipeline."""
    from lightly.loss import NTXentLoss
    from lightly.transforms import SimCLRTransform

    device = pick_device("auto")
    data = Transformed(images, SimCLRTransform(input_size=SHAPE[0]))
    loader = DataLoader(data, case.batch_size, shuffle=True, drop_last=True, num_workers=2)
    net = case.net().to(device).train()
    optimizer = make_optimizer(net, case.estimator().recipe())
    criterion = NTXentLoss(temperature=0.5)

    def run() -> None:
        for first, second in loader:
            features = [net.head(net.backbone(view.to(device))) for view in (first, second)]
            loss = criterion(*features)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

    return timed(run, device)


class Transformed(Dataset[Any]):
    """PIL pictures through a transform, as in lightly's data sets."""

    def __init__(self, images: np.ndarray, transform: Callable[[Any], Any]):
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        from PIL import Image

        return self.transform(Image.fromarray(self.images[index]))


def views_per_second(make_view: Callable[[torch.Tensor], torch.Tensor], rounds: int) -> list[float]:
    """Time one augmentation alone, on batches of 256."""
    batch = torch.rand(256, SHAPE[2], *SHAPE[:2])
    make_view(batch)
    return [256 / timed(lambda: make_view(batch), torch.device("cpu")) for _ in range(rounds)]


def kornia_views() -> Callable[[torch.Tensor], torch.Tensor]:
    """Return Kornia's form of the `natural` preset."""
    import kornia.augmentation as K

    views: Callable[[torch.Tensor], torch.Tensor] = K.AugmentationSequential(
        K.RandomResizedCrop(SHAPE[:2], scale=(0.08, 1.0)),
        K.RandomHorizontalFlip(),
        K.ColorJitter(0.8, 0.8, 0.8, 0.2, p=0.8),
        K.RandomGrayscale(p=0.2),
        K.RandomGaussianBlur((3, 3), (0.1, 2.0), p=0.5),
    )
    return views


def timed(run: Callable[[], object], device: torch.device) -> float:
    """Return the seconds that a call takes, including the work of the device."""
    started = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def measure(case: Case, rounds: int) -> dict[str, list[float]]:
    """Time all sides alternately; the first, unmeasured round warms up."""
    images = np.random.default_rng(0).integers(0, 256, (case.pictures, *SHAPE), dtype=np.uint8)
    sides = {"bare": seconds_bare, "selfsort": seconds_selfsort, "lightly": seconds_lightly}
    warm_up = Case(case.backbone, case.batch_size, 2)
    for side in sides.values():
        side(warm_up, images[: warm_up.pictures])
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            seconds[name].append(side(case, images))
    return seconds


def main() -> None:
    """Print the table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="write the figures as one flat JSON object")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    arguments = parser.parse_args()
    rounds, part = (2, 4) if arguments.quick else (3, 1)
    figures: dict[str, float] = {}
    rows = []
    for key, case in {
        "resnet18": Case("small-resnet18", 64, 16 // part),
        "smallconv": Case("small-conv", 256, 32 // part),
    }.items():
        seconds = measure(case, rounds)
        medians = {name: statistics.median(values) for name, values in seconds.items()}
        figures |= {f"{key}_{name}_images_per_s": case.pictures / value for name, value in medians.items()}
        for peer in ("bare", "lightly"):
            figures[f"{key}_vs_{peer}"] = medians[peer] / medians["selfsort"]
            sides = [[case.pictures / each for each in seconds[side]] for side in (peer, "selfsort")]
            rows.append((case.backbone, peer, *sides))
    ours, kornia = (views_per_second(side, 5 * rounds) for side in (PRESETS["natural"], kornia_views()))
    median = statistics.median(ours)
    figures |= {"views_per_s": median, "views_vs_kornia": median / statistics.median(kornia)}
    rows.append(("natural views alone", "kornia", kornia, ours))
    ratios = ratios_table("Pictures per second (two views each)", rows)
    write_json(arguments.json, figures, ratios)


if __name__ == "__main__":
    main()
