"""Two processes compute what one would, and say in one sentence what keeps them from it."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import selfsort
from processes import in_two
from samples import pictures, quick
from selfsort import UserError, ranks
from selfsort.augment import views_from
from selfsort.models import split_batch
from selfsort.training import loop
from selfsort.training.processes import Layout, layout

# Steps of plain gradient descent: Adam makes steps of full size out of rounding errors of gradients that are 0.
GENTLE = {"optimizer": "sgd", "learning_rate": 0.003, "batch_size": 24, "precision": "32"}
# One for each kind of loss: pairs of the whole batch, its softmax and a queue, a queue of keys, a memory bank, dropout.
FIRST: dict[str, dict[str, Any]] = {
    "simclr": {"views": "transformations:rotation,crop+cutout,noise"},
    "self-classifier": {"queue_size": 20, "local_views": 1},
    "moco": {"queue_size": 20},
    "conv-autoencoder": {"aggregation": 1.0, "aggregation_cluster_size": 8},
    "exemplar-cnn": {"learning_rate": 0.001},
}
FURTHER: dict[str, dict[str, Any]] = {
    "adc": {},
    "augmented-ae": {},
    "basic-ae": {"batch_norm": True},
    "byol": {},
    "dcgan": {},
    "deep-cluster": {"epochs": 1},  # its clusters of whitened features depend on rounding errors
    "iic": {},
    "imsat": {},
    "layerwise-ae": {},
    "n2d": {},
    "perceptual-ae": {},
    "pseudo-label-ae": {},
    "rotation": {},
    "ruc": {},
    "scae": {},
    "scan": {},
    "swwae": {},
    "topdown-vae": {"learning_rate": 1e-6},
}


def fit(name: str, changes: dict[str, Any], encoder: Path, **options: Any) -> dict[str, Any]:
    given = {"encoder": selfsort.load(encoder)} if name in ("ruc", "scan") else {}
    model = quick(name, **GENTLE | changes | given).fit(pictures(), **options)
    return {"losses": [row["loss"] for row in model.history_.rows], "embedding": model.embedding_}


def fit_all(settings: dict[str, dict[str, Any]], encoder: Path) -> dict[str, dict[str, Any]]:
    return {name: fit(name, changes, encoder) for name, changes in settings.items()}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder") / "run"
    quick("simclr", epochs=1).fit(pictures()).save(folder)
    return folder


@pytest.fixture(scope="module")
def first(encoder: Path) -> list[dict[str, Any]]:
    return in_two(fit_all, FIRST, encoder)


@pytest.fixture(scope="module")
def further(encoder: Path) -> list[dict[str, Any]]:
    return in_two(fit_all, FURTHER, encoder)


def check_same_as_one(found: list[dict[str, Any]], name: str, changes: dict[str, Any], encoder: Path) -> None:
    one, (two, other) = fit(name, changes, encoder), (each[name] for each in found)
    assert np.allclose(one["losses"], two["losses"], rtol=1e-5, atol=1e-5)
    # Batch norm after a layer makes gradients of its biases rounding errors, which running means follow late.
    assert np.allclose(one["embedding"], two["embedding"], atol=1e-3 * np.abs(one["embedding"]).max())
    assert two["losses"] == other["losses"] and np.array_equal(two["embedding"], other["embedding"])


@pytest.mark.parametrize("name", FIRST)
def test_two_processes_learn_what_one_does(name: str, first: list[dict[str, Any]], encoder: Path) -> None:
    check_same_as_one(first, name, FIRST[name], encoder)


@pytest.mark.slow
@pytest.mark.parametrize("name", FURTHER)
def test_two_processes_learn_what_one_does_by_every_method(
    name: str, further: list[dict[str, Any]], encoder: Path
) -> None:
    check_same_as_one(further, name, FURTHER[name], encoder)


def test_every_trained_method_is_compared() -> None:
    trained = {name for name in selfsort.methods.names() if selfsort.methods.find(name).trains}
    assert trained == FIRST.keys() | FURTHER.keys()


def whole_batch(number: int = 8) -> Tensor:
    return torch.randn(number, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def helpers() -> dict[str, Any]:
    """Compute with this process's share of a batch what the test computes with the whole."""
    batch, net = whole_batch(), nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4))
    torch.manual_seed(0)
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    found: dict[str, Any] = {}
    with split_batch.splitting(), split_batch.batch_norm_of_all(net):
        own = split_batch.share(batch)
        found["rows"] = split_batch.gathered(own)
        found["views"] = split_batch.gathered(torch.cat([own, -own]), views=2)
        found["drawn"] = split_batch.gathered(split_batch.drawn(lambda rows: torch.rand(rows, 2), len(own)))
        found["dropped"] = split_batch.gathered(split_batch.dropout(own, 0.5, True))
        changes = views_from("transformations:rotation,crop+cutout,noise,jitter")
        found["changed"] = split_batch.gathered(changes(own.sigmoid()))
        similarity = split_batch.gathered(net(own).flatten(1))
        (similarity @ similarity.T).square().mean().backward()
        split_batch.average_gradients(net)
    found |= {name: each.grad for name, each in net.named_parameters()}
    return found | {f"running {name}": each for name, each in net.named_buffers()}


def test_the_helpers_compute_what_one_process_would() -> None:
    expected = helpers()
    for found in in_two(helpers):
        for name, value in expected.items():
            assert torch.allclose(found[name], value, rtol=1e-4, atol=1e-5), name
        assert torch.equal(found["drawn"], expected["drawn"]) and torch.equal(found["dropped"], expected["dropped"])


def test_without_other_processes_dropout_is_pytorchs() -> None:
    torch.manual_seed(3)
    found = split_batch.dropout(whole_batch(), 0.3, True)
    torch.manual_seed(3)
    assert torch.equal(found, F.dropout(whole_batch(), 0.3, True))


def fit_to(step: int | None, folder: Path, resume: bool, killed: int | None = None) -> list[float]:
    """Fit until a step, at which all processes die or one of them is killed."""
    one_step = loop.Loop.one_step

    def dies(self: loop.Loop) -> None:
        if self.step == step and killed is None:
            raise UserError("as if interrupted")
        if self.step == step and ranks.rank() == killed:
            os.kill(os.getpid(), signal.SIGKILL)
        one_step(self)

    loop.Loop.one_step = dies  # type: ignore[method-assign]
    try:
        model = quick("simclr", **GENTLE, checkpoint_minutes=0).fit(pictures(), run_dir=folder, resume=resume)
    finally:
        loop.Loop.one_step = one_step  # type: ignore[method-assign]
    return [row["loss"] for row in model.history_.rows]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    return fit_to(None, tmp_path_factory.mktemp("whole") / "run", resume=False)


def test_two_processes_continue_what_one_began(tmp_path: Path, uninterrupted: list[float]) -> None:
    with pytest.raises(UserError, match="interrupted"):
        fit_to(3, tmp_path / "run", False)
    found = in_two(fit_to, None, tmp_path / "run", True)
    assert found[0] == found[1] and np.allclose(found[0], uninterrupted, atol=1e-5)
    assert selfsort.load(tmp_path / "run").run_["training"]["processes"] == 2


def test_one_process_continues_what_two_began(tmp_path: Path, uninterrupted: list[float]) -> None:
    errors = in_two(fit_to, 3, tmp_path / "run", False)
    assert [str(error) for error in errors] == ["as if interrupted"] * 2
    assert np.allclose(fit_to(None, tmp_path / "run", True), uninterrupted, atol=1e-5)


@pytest.mark.parametrize("killed", [0, 1])
def test_a_process_that_dies_leaves_a_checkpoint(killed: int, tmp_path: Path, uninterrupted: list[float]) -> None:
    answers = in_two(fit_to, 3, tmp_path / "run", False, killed)
    assert answers[killed] is None
    assert str(answers[1 - killed]) == (
        "Another process of this training has ended, and its own message says why: continue with resume=True."
    )
    assert np.allclose(fit_to(None, tmp_path / "run", True), uninterrupted, atol=1e-5)


def fit_differently(kind: str, folder: Path) -> None:
    given: dict[str, Any] = {"batch_size": 24}
    if kind == "setting" and ranks.rank():
        given["batch_size"] = 16
    if kind == "code" and ranks.rank():
        torch.__version__ = "2.0"  # type: ignore[assignment]
    if kind == "odd":
        given["batch_size"] = 25
    if kind == "wrong":
        given["batch_size"] = 1
    quick("kmeans" if kind == "code" else "simclr", **given if kind != "code" else {}).fit(
        pictures(seed=ranks.rank() if kind == "pictures" else 0), run_dir=folder
    )


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("pictures", "have different pictures: give all processes the same"),
        ("setting", "have batch_size=24 and 16: give all processes the same"),
        ("code", "have different versions of selfsort or torch: give all processes the same"),
        ("odd", "A batch of 25 pictures cannot be split evenly among 2 processes: use batch_size=24"),
        ("wrong", "batch_size=1 is too small"),
    ],
)
def test_what_keeps_processes_from_training_together(kind: str, said: str, tmp_path: Path) -> None:
    answers = in_two(fit_differently, kind, tmp_path / "run")
    assert said in str(answers[0])
    assert isinstance(answers[1], UserError) and (kind == "odd" or isinstance(answers[1], ranks.Elsewhere))
    assert not (tmp_path / "run").exists()


def test_the_launchers_layout_is_taken() -> None:
    torchrun = {"TORCHELASTIC_RUN_ID": "a", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}
    assert layout(None, None, torchrun) == layout(4, 2, torchrun) == Layout(4, 2)
    assert layout(2, None, {}) == Layout(2, 1)
    assert layout(None, None, {"SLURM_NTASKS": "4"}) == Layout()  # a batch script, not a step of it
    with pytest.raises(UserError, match="devices=3, nodes=2 do not fit what the launcher started, 4 on each of 2"):
        layout(3, None, torchrun)
    with pytest.raises(UserError, match="nodes=2 needs MASTER_PORT, NODE_RANK in the environment"):
        layout(1, 2, {"MASTER_ADDR": "a"})
