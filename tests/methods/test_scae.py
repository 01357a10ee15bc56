"""The stacked capsule auto-encoder against the formulas of its paper."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm

from samples import pictures, quick
from selfsort.errors import UserError
from selfsort.methods.scae import (
    SCAE,
    ObjectCapsules,
    PartCapsules,
    PartDecoder,
    affine,
    composed,
    image_log_likelihood,
    inverse,
    part_log_likelihood,
    posterior_sparsity,
    prior_sparsity,
)
from selfsort.models.base import Batch


def full(maps: torch.Tensor) -> np.ndarray:
    last = torch.tensor([0.0, 0.0, 1.0]).expand(*maps.shape[:-2], 1, 3)
    return torch.cat((maps, last), -2).numpy()


def some_objects(n: int = 3, k: int = 4, m: int = 5) -> ObjectCapsules:
    torch.manual_seed(0)
    deviations = 0.1 + torch.rand(n, k, m)
    return ObjectCapsules(affine(torch.randn(n, k, m, 6)), torch.rand(n, k), torch.rand(n, k, m), deviations)


def test_maps_are_composed_and_inverted_as_matrices() -> None:
    torch.manual_seed(0)
    outer, inner = affine(2 * torch.randn(50, 6)), affine(2 * torch.randn(50, 6))
    assert np.allclose(full(composed(outer, inner)), full(outer) @ full(inner), atol=1e-5)
    assert np.allclose(full(inverse(outer)) @ full(outer), np.eye(3), atol=1e-3)
    scales = np.linalg.svd(full(outer)[:, :2, :2], compute_uv=False)
    assert scales.min() > 0 and np.abs(full(outer)[:, :2, 2]).max() <= 1


def test_the_likelihood_of_pixels_equals_its_formula() -> None:
    torch.manual_seed(1)
    images, layers, weights = torch.rand(2, 3, 4, 5), torch.rand(2, 6, 3, 4, 5), torch.rand(2, 6, 4, 5) + 0.01
    found = image_log_likelihood(images, layers, weights, 0.3)
    for b in range(2):
        total = 0.0
        for i in range(4):
            for j in range(5):
                of_layers = [
                    float(weights[b, m, i, j] / weights[b, :, i, j].sum())
                    * multivariate_normal.pdf(images[b, :, i, j], layers[b, m, :, i, j], 0.3**2)
                    for m in range(6)
                ]
                total += math.log(sum(of_layers))
        assert found[b].item() == pytest.approx(total, rel=1e-4)


def test_the_likelihood_of_parts_equals_its_formula() -> None:
    objects, poses, presences = some_objects(), affine(torch.randn(3, 5, 6)), torch.rand(3, 5)
    found, explained = part_log_likelihood(poses, presences, objects)
    for b in range(3):
        total, by_object = 0.0, np.zeros(4)
        everything = sum(float(objects.presences[b, k] * objects.shares[b, k].sum()) for k in range(4))
        for m in range(5):
            each = np.zeros(4)
            for k in range(4):
                density = norm.pdf(poses[b, m], objects.votes[b, k, m], float(objects.deviations[b, k, m])).prod()
                each[k] = float(objects.presences[b, k] * objects.shares[b, k, m]) / everything * density
            total += float(presences[b, m]) * math.log(each.sum())
            by_object += float(presences[b, m]) * each / each.sum()
        assert found[b].item() == pytest.approx(total, rel=1e-3)
        assert explained[b].numpy() == pytest.approx(by_object, rel=1e-3)


def test_sparsity_equals_its_formulas() -> None:
    objects = some_objects(n=6)
    sure = (objects.presences * objects.shares.max(2).values).numpy()
    within = np.mean([(row.sum() - 0.25 * 4) ** 2 for row in sure])
    between = np.mean([(column.sum() - 0.25 * 6) ** 2 for column in sure.T]) / 6
    found = prior_sparsity(objects.presences, objects.shares, 0.25)
    assert found.item() == pytest.approx(within + between, rel=1e-5)

    def entropy(values: np.ndarray) -> float:
        shares = values / values.sum()
        return float(-(shares * np.log(shares)).sum())

    expected = np.mean([entropy(row) for row in sure]) - entropy(sure.sum(0))
    assert posterior_sparsity(torch.from_numpy(sure)).item() == pytest.approx(expected, rel=1e-5)


def test_sparsity_is_least_where_each_picture_has_its_own_of_equally_many_objects() -> None:
    own, same, all_of_them = torch.eye(4), torch.eye(4)[[0] * 4], torch.full((4, 4), 0.25)
    shares = torch.ones(4, 4, 2)
    assert prior_sparsity(own, shares, 0.25).item() == 0 < prior_sparsity(same, shares, 0.25).item()
    assert posterior_sparsity(own).item() == pytest.approx(-math.log(4))
    assert posterior_sparsity(same).item() == pytest.approx(0) == pytest.approx(posterior_sparsity(all_of_them).item())


def test_a_template_is_drawn_where_its_pose_says() -> None:
    decoder = PartDecoder(1, 1, 2, 5)
    with torch.no_grad():
        decoder.templates.fill_(20.0)
    # A quarter as large as the picture, in its lower right corner: x, then y, from -1 to 1.
    corner = torch.tensor([[[[0.25, 0, 0.5], [0, 0.25, 0.5]]]])
    _, weights = decoder(PartCapsules(corner, torch.ones(1, 1), torch.zeros(1, 1, 2)), (16, 16))
    rows, columns = (weights[0, 0] > 0.5).nonzero().unbind(1)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (10, 13, 10, 13)


def test_the_loss_does_not_depend_on_the_order_and_parts_learn_from_pixels_alone() -> None:
    net = quick("scae").build((16, 16, 3), 12).eval()
    images = torch.from_numpy(pictures(12)).permute(0, 3, 1, 2) / 255
    order = torch.randperm(12)
    loss = net.loss(Batch(images, (images,), torch.arange(12)))
    assert torch.allclose(net.loss(Batch(images[order], (images[order],), order)), loss, rtol=1e-4)
    objects, poses, presences = net.objects(net.part_encoder(images))
    part_log_likelihood(poses, presences, objects)[0].sum().backward()
    assert all(each.grad is None for each in (*net.part_encoder.parameters(), *net.part_decoder.parameters()))


@pytest.mark.parametrize("wrong", [{"parts": 0}, {"expected": 1.0}, {"deviation": 0.0}, {"prior_weight": -1.0}])
def test_settings_out_of_range(wrong: dict[str, float]) -> None:
    (name,) = wrong
    with pytest.raises(UserError, match=name):
        SCAE(**wrong).check_params()
