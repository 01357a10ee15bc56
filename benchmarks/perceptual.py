"""The perceptual loss on the window that a picture can influence, compared with the whole canvas, and a training step.

naive     64x64 pictures padded to 224x224 and run through the network's layers as torchvision builds them
selfsort  `selfsort.losses.perceptual`, on the same layers, pictures and precision
plain     PL-AE written from paper 1: per-image torchvision transforms on PIL pictures, a DataLoader with 2 workers,
          the padded canvas, float32; starting the loader is not counted
          compared with a whole epoch of `selfsort.training.loop.train` with the product's settings, start included

    python benchmarks/perceptual.py [--quick] [--json FILE] [--processor-time]
"""

import argparse
import copy
import random
import statistics
import time
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from measuring import ratios_table, write_json
from selfsort.augment import views_from
from selfsort.losses.perceptual import PerceptualLoss, feature_layers
from selfsort.losses.perceptual.spans import cut
from selfsort.losses.perceptual.windows import BlankCanvas, make_plan
from selfsort.methods.autoencoder import TiledAutoencoderNet
from selfsort.methods.pseudo_label_ae import PseudoLabelAE
from selfsort.training.data import ImageData
from selfsort.training.loop import train
from selfsort.training.recipe import make_optimizer, pick_device, pick_precision

BATCH = 100
CANVAS, SIDE = 224, 64
DEVICE = pick_device("auto")
clock = time.perf_counter


def timed(run: Callable[[], object]) -> float:
    """Return the seconds that a call takes, including the work of the device."""
    started = clock()
    run()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return clock() - started


def count_processor_time() -> None:
    """Measure CPU time on one thread, which other programs on the machine hardly change."""
    global clock
    clock = time.process_time
    torch.set_num_threads(1)


def alternately(sides: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each side in each round; another round before, unmeasured, warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, side in sides.items():
            measured = side()
            if number:
                seconds[name].append(measured)
    return seconds


def per_second(seconds: list[float]) -> list[float]:
    """Return the pictures per second, from the seconds for each batch."""
    return [BATCH / each for each in seconds]


def seconds_of_features(network: str, layer: int, bf16: bool, rounds: int) -> dict[str, list[float]]:
    """Time forward and backward to the pictures: naive in torch's two memory orders, and ours."""
    images = torch.rand(BATCH, 3, SIDE, SIDE, device=DEVICE, requires_grad=True)
    net = PerceptualLoss(feature_layers(network, layer), (SIDE, SIDE), canvas=CANVAS).to(DEVICE)
    last = copy.deepcopy(net).to(memory_format=torch.channels_last)

    def seconds(features: Callable[[Tensor], Tensor]) -> Callable[[], float]:
        def run() -> None:
            with torch.autocast(DEVICE.type, torch.bfloat16, enabled=bf16):
                maps = features(images)
            maps.backward(torch.ones_like(maps))

        return lambda: timed(run)

    sides = {"naive": seconds(net.naive), "naive, channels last": seconds(last.naive), "selfsort": seconds(net)}
    return alternately(sides, rounds)


def largest_error() -> float:
    """Return the largest error of AlexNet's features and of the loss's gradient, relative to the largest value."""
    torch.manual_seed(0)
    net = PerceptualLoss(feature_layers("alexnet", 5), (SIDE, SIDE), canvas=CANVAS)
    images, target = torch.rand(8, 3, SIDE, SIDE, requires_grad=True), torch.rand(8, 3, SIDE, SIDE)
    with torch.no_grad():
        plan = make_plan(net.features, BlankCanvas(torch.zeros(1, 3, CANVAS, CANVAS), net.window))
        pairs = [(plan(images), cut(net.naive(images), plan.blank.window))]
    losses = (net.loss(images, target), F.mse_loss(net.naive(images), net.naive(target)))
    ours, naive = (torch.autograd.grad(loss, images)[0] for loss in losses)
    pairs += [(losses[0].detach(), losses[1].detach()), (ours, naive)]
    return max(float((found - wanted).abs().max() / wanted.abs().max()) for found, wanted in pairs)


class Plain(nn.Module):
    """PL-AE as a reader of the paper would write it."""

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import alexnet

        down: list[nn.Module] = []
        for before, after in ((3, 32), (32, 64), (64, 128), (128, 256)):
            down += [nn.Conv2d(before, after, 4, stride=2), nn.ReLU()]
        up: list[nn.Module] = [nn.Linear(300, 1024), nn.Unflatten(1, (1024, 1, 1)), nn.ReLU()]
        for before, after, kernel in ((1024, 128, 5), (128, 64, 5), (64, 32, 6)):
            up += [nn.ConvTranspose2d(before, after, kernel, stride=2), nn.ReLU()]
        self.encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(1024, 300))
        self.decoder = nn.Sequential(*up, nn.ConvTranspose2d(32, 3, 6, stride=2), nn.Sigmoid())
        self.perceptual = alexnet().features[:5].eval().requires_grad_(False)

    def features(self, images: Tensor) -> Tensor:
        """Return the frozen network's output for pictures padded to its size."""
        return cast(Tensor, self.perceptual(F.pad(images, [(CANVAS - SIDE) // 2] * 4)))

    def loss(self, changed: Tensor, original: Tensor) -> Tensor:
        """Return equation 9."""
        with torch.no_grad():
            wanted = self.features(original)
        return F.mse_loss(self.features(self.decoder(self.encoder(changed))), wanted)


class PlainPictures(Dataset[Any]):
    """Each picture, changed by one or two of appendix A's transformations for MNIST, and unchanged; both tiled."""

    def __init__(self, images: np.ndarray):
        from torchvision import transforms as T

        self.images = images
        self.moves = {
            "rotation": T.RandomRotation(45),
            "affine": T.RandomAffine(45, scale=(0.5, 1.5)),
            "crop": T.RandomCrop(20),
        }
        self.changes = {"cutout": self.cutout, "noise": self.noise}
        self.finish = T.Compose([T.Resize((32, 32)), T.ToTensor()])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        from PIL import Image

        picture = Image.fromarray(self.images[index])
        drawn = random.sample([*self.moves, *self.changes], random.choice((1, 2)))
        changed = picture
        for name in drawn:
            changed = self.moves[name](changed) if name in self.moves else changed
        tensor = self.finish(changed)
        for name in drawn:
            tensor = self.changes[name](tensor) if name in self.changes else tensor
        return tensor.repeat(3, 2, 2), self.finish(picture).repeat(3, 2, 2)

    @staticmethod
    def cutout(image: Tensor) -> Tensor:
        """Hide a square of 10x10."""
        top, left = random.randint(0, 22), random.randint(0, 22)
        image[:, top : top + 10, left : left + 10] = 0
        return image

    @staticmethod
    def noise(image: Tensor) -> Tensor:
        """Add Gaussian noise."""
        return (image + 0.1 * torch.randn_like(image)).clamp(0, 1)


def seconds_plain(images: np.ndarray) -> float:
    """Return the seconds per step, from the first batch on."""
    net = Plain().to(DEVICE)
    optimizer = torch.optim.Adam([weight for weight in net.parameters() if weight.requires_grad])
    loader = iter(DataLoader(PlainPictures(images), BATCH, shuffle=True, num_workers=2))
    batch = next(loader)

    def run() -> None:
        nonlocal batch
        while batch is not None:
            changed, original = (pictures.to(DEVICE) for pictures in batch)
            loss = net.loss(changed, original)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            batch = next(loader, None)

    return timed(run) / (len(images) // BATCH)


def estimator() -> PseudoLabelAE:
    """Return the product's settings, with random weights, which are as fast as trained ones."""
    return PseudoLabelAE(epochs=1, batch_size=BATCH, perceptual_weights="random")


def seconds_selfsort(images: np.ndarray) -> float:
    """Return the seconds per step in a whole epoch of the product's loop."""
    method = estimator()
    net = method.build(images.shape[1:], len(images))
    data = ImageData(images, DEVICE, views_from(method.views), method.n_views)
    return timed(lambda: train(net, data, method.recipe())) / (len(images) // BATCH)


def seconds_of_parts(images: np.ndarray, rounds: int) -> dict[str, float]:
    """Return the median seconds of each part of the product's step, run one after the other."""
    method = estimator()
    net = method.build(images.shape[1:], len(images)).to(DEVICE, memory_format=torch.channels_last).train()
    optimizer = make_optimizer(net, method.recipe())
    step = _Step(net, ImageData(images, DEVICE), views_from(method.views), optimizer)
    seconds: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        for name, value in step.parts().items():
            seconds.setdefault(name, []).extend([value] if number else [])
    return {name: statistics.median(values) for name, values in seconds.items()}


class _Step:
    """The product's training step, taken apart."""

    def __init__(self, net: TiledAutoencoderNet, pictures: ImageData, make_view: Any, optimizer: Any):
        self.net, self.pictures, self.make_view, self.optimizer = net, pictures, make_view, optimizer
        self.bf16 = pick_precision("auto", DEVICE) == "bf16-mixed"

    def parts(self) -> dict[str, float]:
        """Take one step and return the seconds of its parts."""
        parts = {"reading": timed(self.read), "augmentation": timed(self.augment)}
        parts["encoder and decoder"] = timed(self.draw)
        parts["perceptual target"] = timed(self.see_target)
        # The loss also computes the target's features.
        parts["perceptual forward and backward"] = timed(self.compare) - parts["perceptual target"]
        parts["encoder and decoder"] += timed(lambda: self.drawn.backward(self.leaf.grad))
        parts["optimiser"] = timed(self.update)
        return parts

    def autocast(self) -> Any:
        return torch.autocast(DEVICE.type, torch.bfloat16, enabled=self.bf16)

    def read(self) -> None:
        self.images = self.pictures.inputs(np.random.default_rng(0).choice(len(self.pictures), BATCH, replace=False))

    def augment(self) -> None:
        encoder = self.net.encoder
        self.seen, tile = (encoder.rescaled(each) for each in (self.make_view(self.images), self.images))
        self.target = encoder.laid_out(tile)

    def draw(self) -> None:
        with self.autocast():
            self.drawn = self.net.decoder(self.net.encoder.encode(self.seen))

    def see_target(self) -> None:
        with self.autocast(), torch.no_grad():
            cast(PerceptualLoss, self.net.perceptual)(self.target)

    def compare(self) -> None:
        self.leaf = self.drawn.detach().requires_grad_()
        with self.autocast():
            loss = cast(PerceptualLoss, self.net.perceptual).loss(self.leaf, self.target)
        loss.backward()

    def update(self) -> None:
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def parts_table(seconds: dict[str, float]) -> dict[str, float]:
    """Print the share of the step that each part takes, and return it."""
    whole = sum(seconds.values())
    table = Table("part of the step", "ms", "share", title=f"PL-AE step of {BATCH} pictures", box=box.SIMPLE)
    for name, value in seconds.items():
        table.add_row(name, f"{1000 * value:.1f}", f"{value / whole:.0%}")
    table.add_row("whole", f"{1000 * whole:.1f}", "")
    Console().print(table)
    return {f"share_{name.replace(' ', '_')}": value / whole for name, value in seconds.items()}


def main() -> None:
    """Print the tables and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="write the figures as one flat JSON object")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="CPU time of one thread, without the plain loader, instead of wall time: for a busy machine",
    )
    arguments = parser.parse_args()
    if arguments.processor_time:
        count_processor_time()
    rounds, steps = (3, 4) if arguments.quick else (7, 10)
    figures = {"max_relative_error": largest_error()}
    rows = []
    for network, key, layer in (("alexnet", "alexnet", 5), ("squeezenet1_1", "squeezenet", 5)):
        for bf16 in (False, True):
            precision = "bf16" if bf16 else "fp32"
            seconds = seconds_of_features(network, layer, bf16, rounds)
            ours = seconds.pop("selfsort")
            for peer, value in seconds.items():
                figure = f"{key}_{precision}_vs_{peer.replace(', ', '_').replace(' ', '_')}"
                figures[figure] = statistics.median(value) / statistics.median(ours)
                rows.append((f"{network} features[:{layer}], {precision}", peer, per_second(value), per_second(ours)))
    images = np.random.default_rng(0).integers(0, 256, (BATCH * steps, 28, 28), dtype=np.uint8)
    sides = {"plain": lambda: seconds_plain(images), "selfsort": lambda: seconds_selfsort(images[..., None])}
    seconds = alternately(sides, 2 if arguments.quick else 3)
    figures["plae_step_vs_plain"] = statistics.median(seconds["plain"]) / statistics.median(seconds["selfsort"])
    rows.append(("PL-AE training step", "plain", *(per_second(seconds[side]) for side in ("plain", "selfsort"))))
    ratios = ratios_table("Pictures per second, forward and backward", rows)
    figures |= parts_table(seconds_of_parts(images[..., None], rounds))
    print(f"largest error relative to the whole canvas, float32: {figures['max_relative_error']:.1e}")
    write_json(arguments.json, figures, ratios)


if __name__ == "__main__":
    main()
