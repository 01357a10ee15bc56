"""Self-Classifier with everything of the original: multi-crop, neighbours from a queue, heads of several counts."""

import copy
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import selfsort
from samples import pictures, quick
from selfsort.data.image_set import as_image_set
from selfsort.errors import UserError
from selfsort.losses.self_classifier import self_classifier_loss
from selfsort.methods.self_classifier import SelfClassifierNet
from selfsort.models.base import Batch
from selfsort.models.queues import NeighbourQueue

WHOLE = {"n_heads": 2, "head_classes": (5, 7), "local_views": 3, "queue_size": 12}


def self_classifier_by_the_formula(views: Sequence[torch.Tensor], row: float, column: float) -> float:
    def one_way(target: torch.Tensor, prediction: torch.Tensor) -> float:
        n, classes = target.shape
        share = torch.exp(target / column) / torch.exp(target / column).sum(0)
        share = share / share.sum(1, keepdim=True)
        chance = torch.exp(prediction / row) / torch.exp(prediction / row).sum(1, keepdim=True)
        chance = chance / chance.sum(0)
        total = 0.0
        for i in range(n):
            for c in range(classes):
                total -= float(share[i, c]) * math.log(n / classes * float(chance[i, c]))
        return total / n

    pairs = [(0, 1), (1, 0), *((i, j) for k in range(2, len(views)) for i, j in ((0, k), (k, 0), (1, k), (k, 1)))]
    return sum(one_way(views[i], views[j]) for i, j in pairs) / len(pairs)


@pytest.mark.parametrize(("row", "column"), [(0.1, 0.05), (1.0, 1.0), (0.3, 0.7)])
@pytest.mark.parametrize("n_views", [2, 5])
def test_self_classifier_loss_equals_its_formula(row: float, column: float, n_views: int) -> None:
    torch.manual_seed(0)
    views = [torch.rand(9, 4) * 2 - 1 for _ in range(n_views)]
    expected = self_classifier_by_the_formula(views, row, column)
    assert self_classifier_loss(views, row, column).item() == pytest.approx(expected, rel=1e-4)


def whole_net() -> SelfClassifierNet:
    torch.manual_seed(0)
    net = quick("self-classifier", **WHOLE).build((16, 16, 3), 48).train()
    assert isinstance(net, SelfClassifierNet) and net.queue is not None
    net.queue.put(torch.randn(12, 128), torch.arange(12) + 20)
    return net


def whole_batch() -> Batch:
    torch.manual_seed(1)
    large, small = [torch.rand(9, 3, 16, 16) for _ in range(2)], [torch.rand(9, 3, 7, 7) for _ in range(3)]
    return Batch(large[0], (*large, *small), torch.arange(16, 25))


def by_the_formula(net: SelfClassifierNet, batch: Batch) -> float:
    """Return the loss of one step: each head by the formula, the first view's embeddings replaced one by one."""

    def embedded(views: tuple[Tensor, ...]) -> list[Tensor]:
        return list(F.normalize(net.mlp(net.backbone(torch.cat(views)))).chunk(len(views)))

    assert net.queue is not None
    with torch.no_grad():
        views = embedded(batch.views[:2]) + embedded(batch.views[2:])
        for place, picture in enumerate(batch.indices.tolist()):
            others = [row for row, of in zip(net.queue.rows, net.queue.pictures.tolist(), strict=True) if of != picture]
            views[0][place] = max(others, key=lambda row: float(row @ views[0][place]))
        found = [
            self_classifier_by_the_formula([head(view) for view in views], net.row, net.column) for head in net.heads
        ]
    return sum(found) / len(found)


def test_the_whole_loss_equals_its_formula() -> None:
    net, batch = whole_net(), whole_batch()
    expected = by_the_formula(copy.deepcopy(net), batch)
    assert net.loss(batch).item() == pytest.approx(expected, rel=1e-4)


def test_the_whole_loss_ignores_the_order_of_the_batch() -> None:
    net, batch, order = whole_net(), whole_batch(), torch.randperm(9)
    moved = Batch(batch.inputs[order], tuple(view[order] for view in batch.views), batch.indices[order])
    assert copy.deepcopy(net).loss(moved).item() == pytest.approx(net.loss(batch).item(), rel=1e-5)


def test_the_whole_loss_ignores_the_order_of_the_classes() -> None:
    net, batch = whole_net(), whole_batch()
    other = copy.deepcopy(net)
    for head in other.heads:
        assert isinstance(head, nn.Linear)
        head.weight.data = head.weight.data[torch.randperm(len(head.weight))]
    assert other.loss(batch).item() == pytest.approx(net.loss(batch).item(), rel=1e-5)


def test_a_picture_is_no_neighbour_of_itself_and_a_queue_is_used_once_it_is_full() -> None:
    queue, own = NeighbourQueue(3, 2), torch.tensor([[1.0, 0.0]])
    queue.put(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([4, 5]))
    assert torch.equal(queue.nearest(own, torch.tensor([4])), own)
    queue.put(torch.tensor([[0.6, 0.8]]), torch.tensor([6]))
    assert queue.nearest(own, torch.tensor([4])).tolist()[0] == pytest.approx([0.6, 0.8])
    assert queue.nearest(own, torch.tensor([9])).tolist()[0] == pytest.approx([1.0, 0.0])
    queue.put(torch.tensor([[0.0, 2.0]]), torch.tensor([7]))
    assert queue.pictures.tolist() == [7, 5, 6] and queue.rows[0].tolist() == [0.0, 1.0]


def test_neighbours_have_no_gradient_but_the_other_views_have() -> None:
    queue, first = NeighbourQueue(2, 2), torch.randn(3, 2, requires_grad=True)
    queue.put(torch.randn(2, 2), torch.tensor([7, 8]))
    queue.nearest(first, torch.arange(3)).sum().backward()
    assert first.grad is not None and first.grad.abs().sum() == 0
    net = whole_net()
    net.loss(whole_batch()).backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_small_views_are_small_parts_of_the_pictures() -> None:
    model = quick("self-classifier", views="none", local_views=2, local_size=0.5, local_scale=(0.25, 0.25))
    ramp = np.broadcast_to(np.arange(16, dtype=np.uint8)[None, :, None] * 16, (4, 16, 16, 3)).copy()
    batch = model.image_data(as_image_set(ramp)).batch(np.arange(4))
    assert [tuple(view.shape) for view in batch.views] == [(4, 3, 16, 16)] * 2 + [(4, 3, 8, 8)] * 2
    assert torch.equal(batch.views[0], batch.inputs)
    small = batch.views[2][:, 0, 0]
    assert torch.allclose(small.diff(dim=1), torch.tensor(16 / 255), atol=1e-3)  # a quarter of the area, pixel by pixel
    assert not torch.equal(batch.views[2], batch.views[3])


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_small_views_of_tiny_pictures_can_be_learnt_from(precision: str) -> None:
    tiny = pictures()[:, :8, :8]
    model = quick("self-classifier", local_views=2, precision=precision).fit(tiny)
    assert all(np.isfinite(row["loss"]) for row in model.history_.rows)


def test_it_learns_with_everything_on_and_resumes_alike(tmp_path: Path) -> None:
    model = quick("self-classifier", **WHOLE).fit(pictures())
    assert model.net_.queue is not None and (model.net_.queue.pictures >= 0).all()
    model.save(tmp_path / "run")
    again = selfsort.load(tmp_path / "run")
    assert np.array_equal(again.predict_proba(pictures(4)), model.predict_proba(pictures(4)))
    assert torch.equal(again.net_.queue.rows, model.net_.queue.rows)


@pytest.mark.parametrize("backbone", ["small-resnet18", "small-alexnet", "resnet50", "alexnet"])
def test_the_papers_backbones_take_large_and_small_views(backbone: str) -> None:
    side = 160 if backbone == "alexnet" else 32
    net = quick("self-classifier", backbone=backbone, local_views=1).build((side, side, 3), 8)
    small = round(side * 0.43)
    views = torch.rand(2, 3, side, side), torch.rand(2, 3, side, side), torch.rand(2, 3, small, small)
    assert torch.isfinite(net.loss(Batch(views[0], views, torch.arange(2))))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"local_views": -1}, "local_views=-1"),
        ({"queue_size": -1}, "queue_size=-1"),
        ({"local_scale": (0.5, 0.2)}, "local_scale="),
        ({"local_size": 0.0}, "local_size="),
        ({"local_views": 1, "views": "transformations:crop"}, "need views that crop"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        quick("self-classifier", **settings).check_params()


def test_a_batch_may_be_smaller_than_the_classes() -> None:
    model = quick("self-classifier", batch_size=4, n_classes=5, epochs=1).fit(pictures(12))
    assert model.probabilities_.shape == (12, 5) and np.isfinite(model.probabilities_).all()


def test_a_backbone_that_cannot_take_the_small_views_is_refused() -> None:
    with pytest.raises(UserError, match="cannot take local views of 28x28 pixels"):
        quick("self-classifier", backbone="alexnet", local_views=1).build((64, 64, 3), 8)
