"""The Local Aggregation loss against its formula, its memory, and a method that uses it."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from samples import pictures, quick
from selfsort.errors import UserError
from selfsort.losses.local_aggregation import LocalAggregation, local_aggregation_loss
from selfsort.methods.base import Estimator
from selfsort.training import loop

TEMPERATURE = 0.07


def case(n: int = 40, batch: int = 6, dim: int = 5, seed: int = 0) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "embedding": F.normalize(torch.randn(batch, dim, generator=generator, dtype=torch.float64)),
        "indices": torch.randperm(n, generator=generator)[:batch],
        "bank": F.normalize(torch.randn(n, dim, generator=generator, dtype=torch.float64)),
        "clusters": torch.randint(4, (3, n), generator=generator),
        "neighbours": 12,
        "temperature": TEMPERATURE,
    }


def slow(embedding: Any, indices: Any, bank: Any, clusters: Any, neighbours: int, temperature: float) -> float:
    """Follow the paper: P(i | v) by equation 1, P(A | v) its sum over A, the loss by equation 6."""
    losses = []
    for v, own in zip(embedding, indices.tolist(), strict=True):
        scores = [math.exp(float(v @ other) / temperature) for other in bank]
        probability = [score / sum(scores) for score in scores]
        others = sorted((i for i in range(len(bank)) if i != own), key=lambda i: -scores[i])
        background = {own, *others[: neighbours - 1]}
        close = {i for i in range(len(bank)) if any(row[i] == row[own] for row in clusters.tolist())}
        losses.append(
            -math.log(sum(probability[i] for i in close & background) / sum(probability[i] for i in background))
        )
    return sum(losses) / len(losses)


@pytest.mark.parametrize("neighbours", [1, 2, 12, 40, 1000])
@pytest.mark.parametrize("seed", range(3))
def test_loss_is_the_formula(neighbours: int, seed: int) -> None:
    given = case(seed=seed) | {"neighbours": neighbours}
    assert float(local_aggregation_loss(**given)) == pytest.approx(slow(**given), rel=1e-9, abs=1e-12)


def test_loss_is_zero_if_all_are_close_and_positive_if_some_are_not() -> None:
    given = case()
    everything = given | {"clusters": torch.zeros(1, 40, dtype=torch.int32)}
    assert float(local_aggregation_loss(**everything)) == 0
    alone = given | {"clusters": torch.arange(40)[None]}
    assert float(local_aggregation_loss(**alone)) > float(local_aggregation_loss(**given)) > 0


def test_order_of_the_batch_and_of_the_memory_and_names_of_clusters_change_nothing() -> None:
    given = case()
    plain = float(local_aggregation_loss(**given))
    turned = given | {"embedding": given["embedding"].flip(0), "indices": given["indices"].flip(0)}
    assert float(local_aggregation_loss(**turned)) == pytest.approx(plain)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    place = torch.empty_like(order).scatter(0, order, torch.arange(40))
    moved = {"bank": given["bank"][order], "clusters": given["clusters"][:, order], "indices": place[given["indices"]]}
    assert float(local_aggregation_loss(**given | moved)) == pytest.approx(plain)
    renamed = given | {"clusters": 7 - given["clusters"]}
    assert float(local_aggregation_loss(**renamed)) == pytest.approx(plain)
    twice = given | {"clusters": torch.cat([given["clusters"], given["clusters"].flip(0)])}
    assert float(local_aggregation_loss(**twice)) == pytest.approx(plain)


def test_gradient_is_that_of_the_formula() -> None:
    given = case(batch=2)
    given["embedding"].requires_grad_()
    assert torch.autograd.gradcheck(lambda v: local_aggregation_loss(**given | {"embedding": v}), given["embedding"])


def memory(n: int = 8, momentum: float = 0.5) -> LocalAggregation:
    return LocalAggregation(
        n, 3, neighbours=8, clusterings=2, cluster_size=4, temperature=TEMPERATURE, momentum=momentum
    )


def test_memory_is_a_running_mean_of_unit_vectors_that_begins_with_the_first() -> None:
    kept, v = memory(), torch.tensor([[3.0, 0.0, 0.0]])
    kept(v, torch.tensor([5]))
    assert torch.equal(kept.bank.rows[5], torch.tensor([1.0, 0.0, 0.0]))
    assert not kept.bank.rows[[0, 1, 2, 3, 4, 6, 7]].any()
    kept(torch.tensor([[0.0, 9.0, 0.0]]), torch.tensor([5]))
    assert torch.allclose(kept.bank.rows[5], torch.tensor([math.sqrt(0.5), math.sqrt(0.5), 0.0]))


def test_first_epoch_only_fills_the_memory_and_each_later_one_begins_with_new_clusters() -> None:
    torch.manual_seed(0)
    kept, points = memory(), torch.rand(8, 3)
    for start in range(0, 8, 2):
        assert float(kept(points[start : start + 2], torch.arange(start, start + 2))) == 0
    assert not kept.clusters.any()
    assert torch.allclose(kept.bank.rows, F.normalize(points))
    points.requires_grad_()
    loss = kept(points[:2], torch.arange(2))
    assert loss > 0 and kept.clusters.any()
    loss.backward()  # the memory has changed since, which must not matter
    assert points.grad is not None and points.grad[:2].any()
    before = kept.clusters.clone()
    kept(points[2:4].detach(), torch.arange(2, 4))
    assert torch.equal(kept.clusters, before)


def test_loss_is_computed_in_full_precision_even_within_autocast() -> None:
    kept = memory()
    kept.bank.replace(F.normalize(torch.randn(8, 3)))
    kept.clusters[:, 4:] = 1
    kept.steps.fill_(5)
    given, indices = torch.randn(2, 3), torch.tensor([0, 6])
    expected = local_aggregation_loss(
        F.normalize(given), indices, kept.bank.rows.clone(), kept.clusters, 8, TEMPERATURE
    )
    with torch.autocast("cpu", torch.bfloat16):
        assert float(kept(given, indices)) == pytest.approx(float(expected))


def aggregating(**changes: Any) -> Estimator:
    settings = {"aggregation": 1.0, "aggregation_cluster_size": 8, "aggregation_neighbours": 16, "epochs": 3}
    return quick("conv-autoencoder", **settings | changes)


def test_kinds_are_clusters_and_move_apart() -> None:
    images, settings = pictures(60), {"aggregation_cluster_size": 20, "aggregation_neighbours": 60, "epochs": 8}

    def angle_between_kinds(model: Estimator) -> float:
        kinds = [model.embedding_[kind::3].mean(0) for kind in range(3)]
        unit = np.array(kinds) / np.linalg.norm(kinds, axis=1, keepdims=True)
        return float(np.arccos((unit @ unit.T)[np.triu_indices(3, 1)]).min())

    plain, drawn = (aggregating(aggregation=weight, **settings).fit(images) for weight in (0.0, 1.0))
    for clustering in drawn.net_.state_dict()["aggregation.clusters"]:
        assert len({*zip(clustering.tolist(), np.arange(60) % 3, strict=True)}) == 3
    assert angle_between_kinds(drawn) > 1.5 * angle_between_kinds(plain)


@pytest.mark.parametrize("steps", [2, 4, 7])
def test_resumed_run_equals_an_uninterrupted_one(steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = aggregating().fit(pictures())
    one_step = loop.Loop.one_step

    def dies(loop: Any) -> None:
        if loop.step == steps:
            raise SystemError("as if killed")
        one_step(loop)

    monkeypatch.setattr(loop.Loop, "one_step", dies)
    with pytest.raises(SystemError):
        aggregating(checkpoint_minutes=0).fit(pictures(), run_dir=tmp_path / "run")
    monkeypatch.setattr(loop.Loop, "one_step", one_step)
    resumed = aggregating(checkpoint_minutes=0).fit(pictures(), run_dir=tmp_path / "run", resume=True)
    expected, found = whole.net_.state_dict(), resumed.net_.state_dict()
    assert expected.keys() == found.keys() and {"aggregation.bank.rows", "aggregation.clusters"} <= expected.keys()
    assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())
    assert [row["loss"] for row in resumed.history_.rows] == [row["loss"] for row in whole.history_.rows]


def test_memory_is_saved_with_the_model_and_absent_without_the_loss(tmp_path: Path) -> None:
    import selfsort

    model = aggregating(pooled=True).fit(pictures())
    model.save(tmp_path / "run")
    again = selfsort.load(tmp_path / "run")
    assert torch.equal(
        again.net_.state_dict()["aggregation.bank.rows"], model.net_.state_dict()["aggregation.bank.rows"]
    )
    assert model.net_.state_dict()["aggregation.bank.rows"].shape == (48, 48)
    plain = quick("conv-autoencoder").fit(pictures())
    assert not any(name.startswith("aggregation") for name in plain.net_.state_dict())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("aggregation", -1.0),
        ("aggregation", math.inf),
        ("aggregation_neighbours", 1),
        ("aggregation_clusterings", 0),
        ("aggregation_cluster_size", 1),
        ("aggregation_temperature", 0.0),
        ("aggregation_momentum", 0.0),
        ("aggregation_momentum", 1.5),
    ],
)
def test_hyper_parameters_out_of_range(name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"^{name}={value} .*[.]$"):
        quick("conv-autoencoder", **{name: value}).fit(pictures())
