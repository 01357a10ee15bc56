"""Fine-tune a backbone of `selfsort export RUN --backbone FILE` in torchvision's FCN, and compare with random weights.

The task is small and made from scikit-learn's digits: pictures of 32x32 pixels with four digits on a noisy ground, in
which every pixel is to be classified as ground or as one of the ten digits. A few dozen such pictures have labels; the
backbone may have learnt from many without (paper 5, section 5.5).

    selfsort fit digits --split train --size 16 --method self-classifier --views digits --epochs 20 --out RUN
    selfsort export RUN --backbone digits.pth
    python examples/segmentation.py digits.pth
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.segmentation.fcn import FCN, FCNHead

from selfsort.models.backbones import make_backbone

SIDE, GROUND, CLASSES = 32, 0, 11
MEAN, STD = 0.5, 0.25  # as `selfsort export` says
LAST = {"small-conv": ("8", 128), "small-resnet18": ("layer3", 256)}  # the layer that is segmented, and its channels
HELD_OUT = 1437  # digits from here on are only in the test pictures, as in selfsort's own split


def scenes(count: int, first: int, last: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return (N, 1, 32, 32) pictures of four digits each, and the (N, 32, 32) class of every pixel."""
    rng, digits = np.random.default_rng(seed), load_digits()
    pictures, masks = np.zeros((2, count, SIDE, SIDE), np.float32)
    half = SIDE // 2
    for number in range(count):
        for corner in range(4):
            chosen = rng.integers(first, last)
            # Twice as large as they are stored, and smoothed as `selfsort fit digits --size 16` does.
            digit = torch.from_numpy(digits.images[chosen][None, None] / 16).float()
            large = F.interpolate(digit, size=(half, half), mode="bilinear")[0, 0].numpy()
            top, left = half * (corner // 2), half * (corner % 2)
            pictures[number, top : top + half, left : left + half] = large
            masks[number, top : top + half, left : left + half] = (large > 0.4) * (digits.target[chosen] + 1)
    pictures += rng.normal(0, 0.05, pictures.shape).astype(np.float32)
    return torch.from_numpy(pictures.clip(0, 1))[:, None], torch.from_numpy(masks).long()


def network(weights: Path | None, name: str) -> FCN:
    """Return torchvision's FCN on a backbone for small pictures, with its weights if there are any."""
    last, channels = LAST[name]
    backbone = IntermediateLayerGetter(make_backbone(name, (SIDE, SIDE, 1)).layers, {last: "out"})
    if weights is not None:
        state = torch.load(weights, weights_only=True)
        wanted = backbone.state_dict().keys()
        backbone.load_state_dict({name: tensor for name, tensor in state.items() if name in wanted})
    return FCN(backbone, FCNHead(channels, CLASSES))


def mean_iou(net: nn.Module, pictures: Tensor, masks: Tensor) -> float:
    """Return the mean over classes of intersection over union."""
    net.eval()
    with torch.inference_mode():
        found = torch.cat([net((each - MEAN) / STD)["out"].argmax(1) for each in pictures.split(32)])
    shares = []
    for number in range(CLASSES):
        here, there = found == number, masks == number
        shares.append(((here & there).sum() / (here | there).sum().clamp(min=1)).item())
    return float(np.mean(shares))


def fine_tuned(weights: Path | None, name: str, labelled: int, epochs: int, seed: int) -> float:
    """Train on `labelled` pictures with all weights free; return the mean IoU on pictures of other digits."""
    torch.manual_seed(seed)
    net = network(weights, name)
    pictures, masks = scenes(labelled, 0, HELD_OUT, seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    for _ in range(epochs):
        net.train()
        for rows in torch.randperm(labelled).split(8):
            loss = F.cross_entropy(net((pictures[rows] - MEAN) / STD)["out"], masks[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return mean_iou(net, *scenes(100, HELD_OUT, len(load_digits().target), seed=1000))


def main() -> None:
    """Print the mean IoU with the backbone's weights and with random ones, by seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--network", choices=list(LAST), default="small-conv", help="the run's backbone")
    parser.add_argument("--labelled", type=int, default=24, help="pictures with labels")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    for seed in range(given.seeds):
        ours, scratch = (
            fine_tuned(each, given.network, given.labelled, given.epochs, seed) for each in (given.weights, None)
        )
        print(f"seed {seed}: mean IoU {ours:.3f} with the backbone's weights, {scratch:.3f} with random ones")


if __name__ == "__main__":
    main()
