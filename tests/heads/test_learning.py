"""The losses of heads that learn, checked against their formulas, and the code that heads share."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from selfsort import UserError, heads
from selfsort.clustering.neighbours import nearest_others
from selfsort.heads import icce, learning, scan, scp, temi, turtle

LEARNT = [name for name in heads.names() if name not in ("hierarchical", "kmeans")]
every_learnt_head = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in ("scp", "turtle") else pytest.mark.slow) for name in LEARNT]
)
SHAPE = 6, 2, 4  # pictures, heads, classes


def log_probabilities(seed: int, shape: tuple[int, ...] = SHAPE) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).mul(2).log_softmax(-1)


def of_head(values: Tensor, head: int) -> Any:
    return values.exp().numpy()[:, head]


def entropy(shares: Any) -> float:
    return -sum(float(p) * math.log(p) for p in shares)


def test_the_loss_of_temi_is_the_formula() -> None:
    student, teacher, neighbour = (log_probabilities(seed) for seed in range(3))
    shares = log_probabilities(3, SHAPE[1:]).exp()
    found = temi.temi_loss(student, teacher, neighbour, shares, beta=0.6)
    count, n_heads, n_classes = SHAPE
    for head in range(n_heads):
        total = 0.0
        for i in range(count):
            weight = np.mean([of_head(teacher, h)[i] @ of_head(neighbour, h)[i] for h in range(n_heads)])
            terms = [
                (of_head(student, head)[i, c] * of_head(neighbour, head)[i, c]) ** 0.6 / float(shares[head, c])
                for c in range(n_classes)
            ]
            total -= weight * math.log(sum(terms))
        assert float(found[head]) == pytest.approx(total / count, rel=1e-9)


def test_the_losses_of_scan_and_scp_are_the_formulas() -> None:
    one, other = log_probabilities(0), log_probabilities(1)
    for head in range(SHAPE[1]):
        p, q = of_head(one, head), of_head(other, head)
        agree = -np.mean([math.log(a @ b) for a, b in zip(p, q, strict=True)])
        assert float(scan.scan_loss(one, other)[head]) == pytest.approx(agree - 5 * entropy(p.mean(0)), rel=1e-9)
        unsure = np.mean([entropy(row) for row in [*p, *q]])
        used = (entropy(p.mean(0)) + entropy(q.mean(0))) / 2
        expected = agree + scp.CONFIDENCE * unsure - scp.ENTROPY * used
        assert float(scp.scp_loss(one, other)[head]) == pytest.approx(expected, rel=1e-9)


def test_the_loss_of_turtle_is_the_formula() -> None:
    logits, labels, prior = log_probabilities(0), log_probabilities(1).exp(), turtle.power_law(4, 0.7).double()
    found = turtle.turtle_loss(logits, labels, prior)
    for head in range(SHAPE[1]):
        learnt, soft = of_head(logits, head), labels.numpy()[:, head]
        margin = -np.mean(
            [sum(t * math.log(p) for t, p in zip(a, b, strict=True)) for a, b in zip(soft, learnt, strict=True)]
        )
        sizes = sorted(soft.mean(0), reverse=True)
        far = sum(s * math.log(s / float(p)) for s, p in zip(sizes, prior, strict=True))
        assert float(found[head]) == pytest.approx(margin + 10 * far, rel=1e-6)


def test_the_classifier_of_turtle_follows_the_gradient_from_zero() -> None:
    rng = np.random.default_rng(0)
    points, soft = rng.normal(size=(6, 3)), log_probabilities(1).exp()
    found = turtle.learnt(torch.from_numpy(points), soft)
    for head in range(SHAPE[1]):
        labels, weight, bias = soft.numpy()[:, head], np.zeros((3, 4)), np.zeros(4)
        for _ in range(turtle._INNER_STEPS):
            to_weight, to_bias = np.zeros((3, 4)), np.zeros(4)
            for x, label in zip(points, labels, strict=True):
                raised = np.exp(x @ weight + bias)
                error = raised / raised.sum() - label
                to_weight += np.outer(x, error) / len(points)
                to_bias += error / len(points)
            weight, bias = weight - turtle._INNER_RATE * to_weight, bias - turtle._INNER_RATE * to_bias
        assert np.allclose(found[:, head].numpy(), points @ weight + bias, rtol=1e-9)


def test_the_loss_of_self_labelling_weights_classes_equally_and_uses_only_sure_rows() -> None:
    logits, labels = log_probabilities(0, (5, 3)), torch.tensor([0, 0, 0, 2, 1])
    sure = torch.tensor([True, True, True, True, False])
    rows = -logits[torch.arange(5), labels].numpy()
    assert float(scan.self_labelling_loss(logits, labels, sure)) == pytest.approx((rows[:3].mean() + rows[3]) / 2)
    assert float(scan.self_labelling_loss(logits, labels, torch.zeros(5, dtype=torch.bool))) == 0


@pytest.mark.parametrize("loss", [scan.scan_loss, scp.scp_loss, lambda p, q: temi.temi_loss(p, p, q, p.exp().mean(0))])
def test_the_order_of_pictures_and_the_names_of_classes_change_nothing(loss: Any) -> None:
    one, other = log_probabilities(0), log_probabilities(1)
    plain = loss(one, other)
    assert torch.allclose(loss(one.flip(0), other.flip(0)), plain)
    assert torch.allclose(loss(one.flip(2), other.flip(2)), plain)


def test_a_power_law_falls_and_zero_makes_classes_equal() -> None:
    assert turtle.power_law(4, 0).tolist() == [0.25] * 4
    assert turtle.power_law(2, 1).tolist() == pytest.approx([2 / 3, 1 / 3])


def test_unequal_classes_keep_their_sizes_under_a_power_law() -> None:
    features, labels = uneven()
    found = turtle.TurtleHead.fit(features, 3, class_prior=2.0).predict_proba(features).argmax(1)
    sizes = sorted(np.bincount(found, minlength=3), reverse=True)
    assert sizes == sorted(np.bincount(labels), reverse=True)
    with pytest.raises(UserError, match="class_prior=-1"):
        turtle.TurtleHead.fit(features, 3, class_prior=-1)


def uneven() -> tuple[Any, Any]:
    rng, labels = np.random.default_rng(0), np.repeat([0, 1, 2], [150, 37, 17])
    centres = np.random.default_rng(1).normal(0, 3, (3, 16))
    return (centres[labels] + rng.normal(0, 0.4, (len(labels), 16))).astype(np.float32), labels


def test_adaptive_neighbours_are_those_nearer_than_average() -> None:
    distances = np.array([[0.1, 0.2, 0.3], [1.0, 2.0, 3.0]], np.float32)
    assert icce.adaptive_counts(distances**2).tolist() == [3, 1]


def test_the_consensus_ignores_how_each_head_numbers_classes() -> None:
    labels = np.arange(30) % 3
    votes = np.stack([np.eye(3, dtype=np.float32)[(labels + turn) % 3] for turn in range(3)], 1)
    votes[0, 0] = [0, 1, 0]  # one head is wrong once
    found = icce.consensus(votes, 3, 0)
    assert len(set(zip(labels, found, strict=True))) == 3


def test_neighbours_are_others_and_pairs_are_drawn_from_the_first() -> None:
    points = learning.points_of(np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32), 2)
    squared, indices = nearest_others(points.values.numpy(), 4)
    assert indices.shape == (9, 4) and (indices != np.arange(9)[:, None]).all() and (np.diff(squared) >= 0).all()
    pairs = learning.NearPairs(indices, np.arange(9) % 4 + 1, torch.Generator().manual_seed(0))
    drawn = np.stack([pairs(torch.arange(9)).numpy() for _ in range(60)], 1)
    for i in range(9):
        assert set(drawn[i]) == set(indices[i, : i % 4 + 1])


@every_learnt_head
@pytest.mark.parametrize(("count", "n_classes"), [(1, 1), pytest.param(12, 11, marks=pytest.mark.slow)])
def test_as_many_classes_as_pictures(name: str, count: int, n_classes: int) -> None:
    features = np.random.default_rng(0).normal(size=(count, 16)).astype(np.float32)
    found = heads.find(name).fit(features, n_classes).predict_proba(features)
    assert found.shape == (count, n_classes) and np.isfinite(found).all()


@every_learnt_head
@pytest.mark.slow
def test_equal_pictures_and_too_many_classes(name: str) -> None:
    equal = np.ones((20, 16), np.float32)
    found = heads.find(name).fit(equal, 3).predict_proba(equal)
    assert np.isfinite(found).all() and len(set(found.argmax(1))) == 1
    with pytest.raises(UserError, match="21 clusters cannot be made from 20 points"):
        heads.find(name).fit(equal, 21)
