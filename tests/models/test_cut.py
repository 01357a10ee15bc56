"""A network cut in two computes the same as the whole, and what is learnt after the cut is learnt by the network."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from selfsort.models.cut import cut

SIDE = 64


def network(name: str) -> nn.Module:
    import timm

    torch.manual_seed(0)
    more: dict[str, Any] = {"img_size": SIDE} if name.startswith("vit") else {}
    return timm.create_model(name, num_classes=0, **more).eval()


@pytest.mark.parametrize(
    "name", ["tf_efficientnet_lite0", "resnet18", "convnext_atto", "vit_tiny_patch16_224", "regnety_002"]
)
def test_both_parts_compute_what_the_whole_does(name: str) -> None:
    whole = network(name)
    images = torch.rand(3, 3, SIDE, SIDE)
    with torch.inference_mode():
        parts = cut(whole, (SIDE, SIDE, 3), 0.25)
        assert parts is not None
        between = parts.front(images)
        assert len(between) == 3 and between.shape != images.shape
        assert torch.allclose(parts.tail(between), whole(images), atol=1e-4)


def test_a_tower_of_clip_can_be_cut() -> None:
    from open_clip.transformer import VisionTransformer

    torch.manual_seed(0)
    whole = VisionTransformer(SIDE, patch_size=16, width=64, layers=6, heads=2, mlp_ratio=2.0, output_dim=32).eval()
    images = torch.rand(2, 3, SIDE, SIDE)
    with torch.inference_mode():
        parts = cut(whole, (SIDE, SIDE, 3), 0.25)
        assert parts is not None and torch.allclose(parts.tail(parts.front(images)), whole(images), atol=1e-4)


def test_the_last_layers_are_after_the_cut_and_share_their_weights() -> None:
    whole = network("resnet18")
    parts = cut(whole, (SIDE, SIDE, 3), 0.25)
    assert parts is not None
    own = {id(parameter): name for name, parameter in whole.named_parameters()}
    behind = [own[id(parameter)] for parameter in parts.tail.parameters()]
    assert len(behind) >= len(own) / 4
    assert all(name.startswith("layer4") for name in behind)
    before = whole(torch.rand(1, 3, SIDE, SIDE)).detach()
    with torch.no_grad():
        next(parts.tail.parameters()).mul_(2)
    assert not torch.equal(whole(torch.rand(1, 3, SIDE, SIDE)), before)


def test_the_network_is_not_changed() -> None:
    whole = network("resnet18").train()
    state = {name: tensor.clone() for name, tensor in whole.state_dict().items()}
    cut(whole, (SIDE, SIDE, 3), 0.25)
    assert whole.training
    assert all(torch.equal(tensor, state[name]) for name, tensor in whole.state_dict().items())


class Shortcut(nn.Module):
    """Looks at the pictures again after every block."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()) for _ in range(4))

    def forward(self, images: Tensor) -> Tensor:
        found = images
        for block in self.blocks:
            found = block(found) + images
        return found.mean((2, 3))


def test_a_network_that_cannot_be_cut_is_not() -> None:
    assert cut(Shortcut().eval(), (SIDE, SIDE, 3), 0.25) is None
