"""Features from OpenVINO: the same as PyTorch's, or PyTorch's own if it cannot run the network; no telemetry."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from selfsort.data.input_spec import InputSpec
from selfsort.features import openvino
from selfsort.features.network import Extractor
from selfsort.models.pretrained import pretrained

pytest.importorskip("openvino", reason="the extra openvino is not installed")
SPEC = InputSpec(64, 3, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), np.uint8)


def by_torch(monkeypatch: pytest.MonkeyPatch, name: str) -> np.ndarray:
    with monkeypatch.context() as patch:
        patch.setattr(openvino, "is_installed", lambda: False)
        return Extractor(pretrained(name, SPEC), "cpu", "32", 4)(PIXELS)


@pytest.mark.parametrize(
    "name",
    [
        "efficientnet-lite0",
        "torchvision:resnet18=random",
        pytest.param("timm:vit_tiny_patch16_224=random", marks=pytest.mark.slow),
    ],
)
def test_features_are_those_of_torch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    extract = Extractor(pretrained(name, SPEC), "cpu", "32", 4)
    assert extract.engine == "openvino"
    wanted = by_torch(monkeypatch, name)
    with monkeypatch.context() as patch:
        patch.setattr(Extractor, "_by_torch", lambda *_: pytest.fail("PyTorch computed them"))
        found = extract(PIXELS)
    assert np.linalg.norm(found - wanted) < 1e-3 * np.linalg.norm(wanted)


def test_a_network_that_it_cannot_run_is_run_by_torch() -> None:
    class Odd(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.linalg.svdvals(images.flatten(1)[:, None])[:, 0]

    mean, std = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
    assert openvino.compiled(Odd(), mean, std, (4, 8, 8, 3), low=False) is None


@pytest.mark.slow
def test_no_telemetry_is_sent() -> None:
    code = (
        "import sys, torch; from torch import nn; from selfsort.features import openvino\n"
        "net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())\n"
        "run = openvino.compiled(net, torch.zeros(3, 1, 1), torch.ones(3, 1, 1), (2, 8, 8, 3), low=False)\n"
        "assert run is not None\n"
        "print([name for name in sys.modules if name.startswith('openvino_telemetry')])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
