"""The methods that the papers compare with: their losses against the formulas, and the properties of each."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import selfsort
from samples import kinds, pictures, quick
from selfsort.evaluation.metrics import clustering_scores
from selfsort.methods.base import Estimator
from selfsort.methods.byol import BYOL, byol_loss
from selfsort.methods.iic import IIC, mutual_information
from selfsort.methods.moco import MoCo, info_nce
from selfsort.methods.rotation import turned
from selfsort.models.base import Batch
from selfsort.models.followers import Follower


def unit_vectors(*shape: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def chances(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.softmax(3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), -1)


def batch_of(n: int, views: int) -> Batch:
    images = torch.from_numpy(pictures(n)).permute(0, 3, 1, 2) / 255
    return Batch(images, (images,) * views, torch.arange(n))


@pytest.mark.parametrize("temperature", [0.07, 0.2, 1.0])
def test_info_nce_equals_its_formula(temperature: float) -> None:
    queries, keys, queue = unit_vectors(6, 5), unit_vectors(6, 5, seed=1), unit_vectors(9, 5, seed=2)
    total = 0.0
    for query, key in zip(queries, keys, strict=True):
        own = math.exp(float(query @ key) / temperature)
        total -= math.log(own / (own + sum(math.exp(float(query @ other) / temperature) for other in queue)))
    assert info_nce(queries, keys, queue, temperature).item() == pytest.approx(total / 6, rel=1e-5)
    order = torch.randperm(6)
    assert torch.allclose(
        info_nce(queries[order], keys[order], queue.flip(0), temperature), info_nce(queries, keys, queue, temperature)
    )


def test_byol_loss_equals_its_formula() -> None:
    predicted, targets = torch.randn(7, 4), 3 * torch.randn(7, 4)
    expected = 0.0
    for p, t in zip(predicted, targets, strict=True):
        expected += float(((p / p.norm() - t / t.norm()) ** 2).sum()) / 7
    assert byol_loss(predicted, targets).item() == pytest.approx(expected, rel=1e-5)
    assert byol_loss(5 * targets, targets).item() == pytest.approx(0, abs=1e-5)


def test_mutual_information_equals_its_formula() -> None:
    first, second = chances(11, 4), chances(11, 4, seed=1)
    joint = [[0.0] * 4 for _ in range(4)]
    for z, w in zip(first.tolist(), second.tolist(), strict=True):
        for i in range(4):
            for j in range(4):
                joint[i][j] += (z[i] * w[j] + w[i] * z[j]) / 22
    expected = 0.0
    for i in range(4):
        for j in range(4):
            alone = sum(joint[i]) * sum(row[j] for row in joint)
            expected += joint[i][j] * math.log(joint[i][j] / alone)
    found = mutual_information(first, second)
    assert found.item() == pytest.approx(expected, rel=1e-4)
    assert torch.allclose(mutual_information(second, first), found)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(mutual_information(first, second), found)
    places, names = torch.randperm(11), torch.randperm(4)
    assert torch.allclose(mutual_information(first[places][:, names], second[places][:, names]), found, atol=1e-6)


def test_mutual_information_is_highest_for_sure_and_even_classes() -> None:
    even = F.one_hot(torch.arange(12) % 4, 4).float()
    assert mutual_information(even, even).item() == pytest.approx(math.log(4), rel=1e-4)
    collapsed = F.one_hot(torch.zeros(12, dtype=torch.long), 4).float()
    unsure = torch.full((12, 4), 0.25)
    assert mutual_information(collapsed, collapsed).item() == pytest.approx(0, abs=1e-4)
    assert mutual_information(unsure, unsure).item() == pytest.approx(0, abs=1e-4)


def test_every_picture_is_seen_in_all_four_turns() -> None:
    images = torch.rand(3, 2, 5, 5)
    copies, turns = turned(images)
    assert turns.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    for copy, turn, image in zip(copies, turns, images.repeat(4, 1, 1, 1), strict=True):
        expected = np.rot90(image.numpy(), int(turn), (1, 2))
        assert np.array_equal(copy.numpy(), expected)


def test_a_follower_keeps_its_share_and_learns_nothing_on_its_own() -> None:
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    follower = Follower(network, 0.75).train()
    assert not follower.training and not any(parameter.requires_grad for parameter in follower.parameters())
    follower.update_parameters(network)
    before = [tensor.clone() for tensor in (network[0].weight, network[1].running_mean)]
    with torch.no_grad():
        network[0].weight += 4
        network[1].running_mean += 8
    follower.update_parameters(network)
    assert torch.allclose(follower.module[0].weight, before[0] + 1)
    assert torch.allclose(follower.module[1].running_mean, before[1] + 2)


def test_targets_follow_only_in_training_and_get_no_gradient() -> None:
    for name in ("byol", "moco"):
        net = quick(name).build((16, 16, 3), 48)
        net.train()
        net.loss(batch_of(12, 2)).backward()
        assert all(parameter.grad is None for parameter in net.target.parameters())
        with torch.no_grad():
            for parameter in net.backbone.parameters():
                parameter += 1
        before = [parameter.clone() for parameter in net.target.parameters()]
        net.eval()
        net.loss(batch_of(12, 2))
        assert all(map(torch.equal, before, net.target.parameters()))
        net.train()
        net.loss(batch_of(12, 2))
        assert not all(map(torch.equal, before, net.target.parameters()))


def test_new_keys_replace_the_oldest_in_the_queue() -> None:
    net = MoCo(queue_size=10).build((16, 16, 3), 48)
    net.train()
    first = net.queue.clone()
    net.loss(batch_of(6, 2))
    assert torch.equal(net.queue[6:], first[6:]) and not torch.isclose(net.queue[:6], first[:6]).all(1).any()
    assert torch.allclose(net.queue.norm(dim=1), torch.ones(10), atol=1e-5)
    second = net.queue.clone()
    net.loss(batch_of(6, 2))
    assert torch.equal(net.queue[2:6], second[2:6]) and int(net.oldest) == 2
    net.loss(batch_of(12, 2))  # more than the queue holds
    assert int(net.oldest) == 2
    assert len(MoCo(queue_size=4096).build((16, 16, 3), 20).queue) == 10


def test_the_head_of_lowest_loss_predicts() -> None:
    model = quick("iic", epochs=4).fit(pictures())
    facts, net = model.run_["training"], model.net_
    assert len(facts["head_losses"]) == 5 and facts["head"] == int(np.argmin(facts["head_losses"]))
    images = torch.from_numpy(pictures(6)).permute(0, 3, 1, 2) / 255
    for head in (1, 3):
        net.rivals.recent_losses.fill_(0.0)
        net.rivals.recent_losses[head] = -1.0
        output = net(images)
        assert torch.equal(output.logits, net.heads[head](output.embedding))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["byol", "iic", "moco", "rotation"])
def test_three_kinds_are_found(name: str) -> None:
    settings = {"views": "none:noise=0.05"} | ({"views": "none:noise=0.05,rotation=10"} if name == "iic" else {})
    model = quick(name, epochs=20, batch_size=24, **settings).fit(pictures(96))
    assert clustering_scores(kinds(96), model.labels_).accuracy > 0.8


@pytest.mark.parametrize(
    ("model", "what"),
    [
        (BYOL(target_decay=1.0), "target_decay=1.0"),
        (BYOL(hidden_dim=0), "hidden_dim=0"),
        (MoCo(queue_size=0), "queue_size=0"),
        (MoCo(temperature=0.0), "temperature=0.0"),
        (MoCo(target_decay=-0.1), "target_decay=-0.1"),
        (IIC(n_classes="auto"), "n_classes='auto'"),
        (IIC(n_classes=3, over_classes=1), "over_classes=1"),
        (IIC(n_classes=3, n_heads=0), "n_heads=0"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(model: Estimator, what: str) -> None:
    with pytest.raises(selfsort.UserError, match=what):
        model.fit(pictures(12))
