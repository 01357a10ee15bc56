"""The loss of paper 4 against its formula, and the network trained with it."""

import math

import numpy as np
import pytest
import torch

import selfsort
from samples import pictures, quick
from selfsort.errors import UserError
from selfsort.methods.base import TrainedEstimator
from selfsort.methods.topdown_vae import TopdownVAENet, vae_loss
from selfsort.models.base import Batch


def by_the_formula(shown: torch.Tensor, target: torch.Tensor, m: torch.Tensor, v: torch.Tensor, beta: float) -> float:
    """Add up equation (1) pixel by pixel, with the divergence of two normal densities integrated numerically."""
    total = 0.0
    for n in range(len(target)):
        for x, p in zip(target[n].flatten().tolist(), shown[n].flatten().tolist(), strict=True):
            total -= x * math.log(p) + (1 - x) * math.log(1 - p)
        for mean, variance in zip(m[n].tolist(), v[n].tolist(), strict=True):
            z = np.linspace(mean - 12 * variance**0.5, mean + 12 * variance**0.5, 20_001)
            log_q = -((z - mean) ** 2) / (2 * variance) - 0.5 * math.log(2 * math.pi * variance)
            log_p = -(z**2) / 2 - 0.5 * math.log(2 * math.pi)
            total += beta * float(np.trapezoid(np.exp(log_q) * (log_q - log_p), z))
    return total / len(target)


def sample(n: int = 5) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    return torch.randn(n, 2, 3, 4), torch.rand(n, 2, 3, 4), torch.randn(n, 6), torch.randn(n, 6)


@pytest.mark.parametrize("beta", [0.0, 1.0, 5.0])
def test_the_loss_equals_its_formula(beta: float) -> None:
    logits, target, mean, log_variance = sample()
    expected = by_the_formula(logits.sigmoid(), target, mean, log_variance.exp(), beta)
    assert vae_loss(logits, target, mean, log_variance, beta).item() == pytest.approx(expected, rel=1e-4)


def test_the_loss_ignores_the_order_of_pictures_pixels_and_codes() -> None:
    logits, target, mean, log_variance = sample(8)
    expected = vae_loss(logits, target, mean, log_variance, 5)
    n, pixels, codes = torch.randperm(8), torch.randperm(4), torch.randperm(6)
    assert torch.allclose(vae_loss(logits[n], target[n], mean[n], log_variance[n], 5), expected)
    assert torch.allclose(vae_loss(logits[..., pixels], target[..., pixels], mean, log_variance, 5), expected)
    assert torch.allclose(vae_loss(logits, target, mean[:, codes], log_variance[:, codes], 5), expected)
    twice = [torch.cat([part, part]) for part in (logits, target, mean, log_variance)]
    assert torch.allclose(vae_loss(*twice, 5), expected)


def test_the_loss_is_finite_for_logits_that_are_certain_and_wrong() -> None:
    logits, target = torch.tensor([[[[200.0, -200.0]]]]), torch.tensor([[[[0.0, 1.0]]]])
    zero = torch.zeros(1, 3)
    assert vae_loss(logits, target, zero, zero, 5).item() == 400
    assert vae_loss(logits.bfloat16(), target, zero, zero, 5).dtype == torch.float32


@pytest.mark.parametrize("network", ["dense", "conv"])
@pytest.mark.parametrize("shape", [(28, 28, 1), (16, 16, 3), (9, 13, 1)])
def test_pictures_of_any_size_and_back(network: str, shape: tuple[int, int, int]) -> None:
    net = TopdownVAENet(shape, network, 10, 5.0)
    images = torch.rand(4, shape[2], *shape[:2])
    z = net(images).embedding
    assert z.shape == (4, 10)
    drawn = net.decode(z)
    assert drawn.shape == images.shape and 0 <= drawn.min() and drawn.max() <= 1
    with torch.autocast("cpu", torch.bfloat16):
        assert net.loss(Batch(images, (images,), torch.arange(4))).dtype == torch.float32
        assert net.decode(z).dtype == torch.float32


def test_the_dense_network_is_the_papers() -> None:
    net = TopdownVAENet((28, 28, 1), "dense", 10, 5.0)
    weights = [[tuple(p.shape) for p in part.parameters() if p.ndim == 2] for part in (net.encoder, net.decoder)]
    assert [len(part) for part in weights] == [4, 4]
    assert weights[0][2][0] == 32 and weights[0][3] == (20, 32)  # the third layer; mean and variance of z
    assert weights[1][0] == (32, 10) and weights[1][3][0] == 784


def test_the_loss_is_of_the_view_and_draws_a_code() -> None:
    net = TopdownVAENet((8, 8, 1), "dense", 4, 5.0)
    images, view = torch.rand(6, 1, 8, 8), torch.rand(6, 1, 8, 8)

    def loss(seed: int, images: torch.Tensor, view: torch.Tensor) -> float:
        torch.manual_seed(seed)
        return net.loss(Batch(images, (view,), torch.arange(6))).item()

    assert loss(0, images, view) == loss(0, view, view)
    assert loss(0, images, view) != loss(1, images, view)
    assert torch.equal(net(view).embedding, net(view).embedding)


@pytest.mark.slow
def test_codes_do_not_fall_silent() -> None:
    """With PyTorch's own initial weights none of the ten numbers was in use here."""
    digits = selfsort.load_images("digits", size=16)
    model = selfsort.TopdownVAE(epochs=20, device="cpu").fit(digits)
    assert (model.embedding_.std(0) > 0.2).sum() >= 5


def test_name_weight_and_label_space_are_the_papers() -> None:
    assert selfsort.TopdownVAE.name_weight == 150 != TrainedEstimator.name_weight
    assert selfsort.TopdownVAE.label_space == "embedding"


@pytest.mark.parametrize("wrong", [{"z_dim": 0}, {"beta": -1.0}, {"beta": float("nan")}, {"network": "deep"}])
def test_settings_out_of_range(wrong: dict[str, object]) -> None:
    (name,) = wrong
    with pytest.raises(UserError, match=name):
        quick("topdown-vae", **wrong).fit(pictures())
