"""The loop: resume after real kills, schedules, optimisers, the collapse gauge, and what it leaves in the folder."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import selfsort
from run_files import edit
from samples import pictures, quick
from selfsort.errors import UserError
from selfsort.methods import stage
from selfsort.models.base import Net, Output
from selfsort.training.callbacks import History
from selfsort.training.checkpoints import Checkpoints, Progress
from selfsort.training.collapse import collapse_warning, measure_collapse
from selfsort.training.data import ImageData
from selfsort.training.loop import train
from selfsort.training.recipe import Recipe, make_optimizer, make_schedule, pick_device, pick_precision, seed_of

RECIPE = Recipe(
    epochs=10,
    batch_size=16,
    optimizer="sgd",
    learning_rate=1.0,
    momentum=0.9,
    weight_decay=0.1,
    schedule="constant",
    warmup_epochs=0,
    device="cpu",
    precision="32",
    checkpoint_minutes=5,
    seed=0,
)

SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from samples import pictures, quick
quick("simclr", schedule="constant", epochs=400, checkpoint_minutes=0.0).fit(pictures(), run_dir={run!r}, resume=True)
"""


def start(run: Path) -> "subprocess.Popen[bytes]":
    script = SCRIPT.format(tests=str(Path(__file__).parents[1]), run=str(run))
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while len(list(run.glob("checkpoints/step-*.safetensors"))) < 2:
        assert process.poll() is None and time.monotonic() < deadline, "training did not start"
        time.sleep(0.05)
    time.sleep(0.3)
    return process


@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGINT])
def test_resume_after_a_real_kill_gives_the_same_weights(kind: signal.Signals, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start(run)
    process.send_signal(kind)
    process.communicate(timeout=60)
    assert process.returncode != 0
    stopped_at = max(int(path.stem[5:]) for path in run.glob("checkpoints/step-*.safetensors"))
    epochs = stopped_at // 3 + 2
    # The schedule is constant, so a shorter run has the same steps as the killed one.
    facts = json.loads((run / "run.json").read_text())
    facts["params"]["epochs"] = epochs
    edit(run, params=facts["params"])
    settings = {"schedule": "constant", "epochs": epochs, "checkpoint_minutes": 0.0}
    resumed = quick("simclr", **settings).fit(pictures(), run_dir=run, resume=True)
    straight = quick("simclr", **settings).fit(pictures())
    for name, tensor in straight.net_.state_dict().items():
        assert torch.equal(tensor, resumed.net_.state_dict()[name]), name


@pytest.mark.slow
def test_a_run_folder_in_use_is_refused(tmp_path: Path) -> None:
    process = start(tmp_path / "run")
    try:
        with pytest.raises(UserError, match="open in another process"):
            quick("simclr", schedule="constant", epochs=400, checkpoint_minutes=0.0).fit(
                pictures(), run_dir=tmp_path / "run", resume=True
            )
    finally:
        process.kill()
        process.communicate()


def test_the_last_two_checkpoints_are_kept(tmp_path: Path) -> None:
    quick("simclr", epochs=5).fit(pictures(), run_dir=tmp_path / "run")
    assert [path.name for path in sorted((tmp_path / "run/checkpoints").iterdir())] == [
        "step-000000012.safetensors",
        "step-000000015.safetensors",
    ]


def test_metrics_and_tensorboard_logs(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    model = quick("self-classifier", epochs=3).fit(pictures(), run_dir=tmp_path / "run")
    with open(tmp_path / "run/metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [float(row["loss"]) for row in rows] == [row["loss"] for row in model.history_.rows]
    expected = {
        "loss",
        "learning_rate",
        "seconds",
        "effective_rank",
        "class_entropy",
        "largest_class",
        "smallest_class",
    }
    assert set(rows[0]) == expected | {"epoch"}
    events = EventAccumulator(str(tmp_path / "run/tensorboard")).Reload()
    logged = [event.value for event in events.Scalars("loss")]
    assert logged == pytest.approx([row["loss"] for row in model.history_.rows])


def test_runs_work_without_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    quick("self-classifier", epochs=1).fit(pictures(), run_dir=tmp_path / "run")
    assert (tmp_path / "run/metrics.csv").exists() and not (tmp_path / "run/tensorboard").exists()


def test_epochs_are_drawn_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    quick("self-classifier", epochs=2).fit(pictures(), progress=True)
    assert re.search(r"epoch 2/2 loss \d.*6/6", capsys.readouterr().err)


class Linear(nn.Linear, Net):
    """The smallest network."""


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "lars"])
def test_optimisers_lower_a_loss_and_spare_biases_from_decay(optimizer: str) -> None:
    net = Linear(4, 4)
    chosen = make_optimizer(net, replace(RECIPE, optimizer=optimizer, learning_rate=0.1))  # type: ignore[arg-type]
    assert [group["weight_decay"] for group in chosen.param_groups] == [0.1, 0.0]
    assert [p.ndim for group in chosen.param_groups for p in group["params"]] == [2, 1]
    x = torch.randn(64, 4)
    before = (net(x) ** 2).mean().item()
    for _ in range(50):
        chosen.zero_grad()
        (net(x) ** 2).mean().backward()
        chosen.step()
    assert (net(x) ** 2).mean().item() < before


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_lars_adapts_each_weight_and_no_bias(weight_decay: float) -> None:
    """The formula of You, Gitman and Ginsburg (arXiv 1708.03888): rate times 0.001 |w| / (|g| + decay |w|)."""
    net = Linear(4, 3)
    recipe = replace(RECIPE, optimizer="lars", learning_rate=0.5, momentum=0.0, weight_decay=weight_decay)
    optimizer = make_optimizer(net, recipe)
    (net(torch.randn(8, 4)) ** 2).mean().backward()
    weight, bias = net.weight.detach().clone(), net.bias.detach().clone()
    slope, slope_of_bias = net.weight.grad, net.bias.grad
    assert slope is not None and slope_of_bias is not None
    trust = 0.001 * weight.norm() / (slope.norm() + weight_decay * weight.norm())
    expected = weight - 0.5 * trust * (slope + weight_decay * weight)
    optimizer.step()
    assert torch.allclose(net.weight, expected, atol=1e-7) and not torch.equal(net.weight, weight)
    assert torch.allclose(net.bias, bias - 0.5 * slope_of_bias)


def test_schedules() -> None:
    def rates(**changes: object) -> list[float]:
        recipe = replace(RECIPE, **changes)  # type: ignore[arg-type]
        optimizer = make_optimizer(Linear(2, 2), recipe)
        schedule, found = make_schedule(optimizer, recipe, 10, 0), []
        for _ in range(100):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        return found

    assert rates() == [1.0] * 100
    warm = rates(warmup_epochs=2)
    assert warm[:20] == pytest.approx(np.arange(1, 21) / 20) and warm[20:] == [1.0] * 80
    cosine = rates(schedule="cosine")
    assert cosine == pytest.approx(0.5 * (1 + np.cos(np.pi * np.arange(100) / 100)))
    steps = rates(schedule="step")
    assert steps[59] == 1 and steps[60] == pytest.approx(0.1) and steps[80] == pytest.approx(0.01)
    both = rates(schedule="cosine", warmup_epochs=5)
    assert max(both) == both[50] == 1.0 and both[-1] < 0.01


def test_a_schedule_resumes_where_it_was_and_keeps_the_groups_factors() -> None:
    recipe = replace(RECIPE, schedule="cosine", learning_rate=0.3)
    optimizer = torch.optim.SGD([{"params": [nn.Parameter(torch.zeros(1))], "rate": 0.25}], lr=0.3)
    make_schedule(optimizer, recipe, 10, 50)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.25 * 0.3 / 2)


def test_auto_uses_what_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto").type == "cpu"
    with pytest.raises(UserError, match="no CUDA device"):
        pick_device("cuda")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    assert pick_precision("auto", torch.device("cpu")) == "bf16-mixed"
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False}, raising=False)
    assert pick_precision("auto", torch.device("cpu")) == "32-true"
    assert pick_precision("bf16", torch.device("cpu")) == "bf16-mixed"
    assert pick_precision("32", torch.device("cpu")) == "32-true"


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_both_precisions_train_and_are_really_used(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[torch.dtype] = set()
    forward = nn.Conv2d.forward

    def spying(layer: nn.Conv2d, images: Tensor) -> Tensor:
        out = forward(layer, images)
        seen.add(out.dtype)
        return out

    def trains(*arguments: Any, **settings: Any) -> History:
        with monkeypatch.context() as patch:
            patch.setattr(nn.Conv2d, "forward", spying)
            return train(*arguments, **settings)

    monkeypatch.setattr(stage, "train", trains)
    model = quick("simclr", precision=precision, epochs=6).fit(pictures())
    assert model.history_.rows[-1]["loss"] < model.history_.rows[0]["loss"]
    assert all(p.dtype == torch.float32 for p in model.net_.parameters())
    assert seen == {torch.bfloat16 if precision == "bf16" else torch.float32}


class Constant(Net):
    """Returns nearly the same embedding and class for every picture."""

    def forward(self, inputs: Tensor) -> Output:
        embedding = torch.ones(len(inputs), 8) + 1e-3 * inputs.mean((1, 2, 3))[:, None]
        return Output(embedding, torch.tensor([[0.0, 5.0, 0.0]]).expand(len(inputs), -1))


def test_the_gauge_detects_a_collapse_and_reports_it() -> None:
    gauge = measure_collapse(Constant(), ImageData(pictures(), torch.device("cpu")), 16)
    assert gauge["effective_rank"] < 1.5 and gauge["largest_class"] == 1.0 and gauge["class_entropy"] == 0.0
    warning = collapse_warning(3, gauge)
    assert warning is not None and "look nearly alike" in warning
    assert "one class" in (collapse_warning(3, gauge | {"effective_rank": 20.0}) or "")
    assert collapse_warning(3, {"effective_rank": 20.0, "class_entropy": 0.9, "largest_class": 0.3}) is None


def test_the_warning_reaches_the_run(tmp_path: Path) -> None:
    images = np.full((32, 16, 16, 3), 128, np.uint8)
    images[::2, 0, 0] = 130
    model = quick("self-classifier", views="none", n_classes=2, epochs=3).fit(images, run_dir=tmp_path / "run")
    assert model.history_.warnings
    assert selfsort.load(tmp_path / "run").history_.warnings == model.history_.warnings


def test_divergence_is_one_sentence() -> None:
    with pytest.raises(UserError, match="diverged in epoch 1 .*lower learning_rate"):
        quick("conv-autoencoder", optimizer="sgd", learning_rate=1e30, loss="mse", precision="32").fit(pictures())


def test_pictures_of_a_memory_map_are_fetched_whole(tmp_path: Path) -> None:
    images = pictures(10)
    mapped = np.memmap(tmp_path / "pictures", np.uint8, "w+", shape=images.shape)
    mapped[:] = images
    batch = ImageData(mapped, torch.device("cpu")).inputs(np.array([7, 2]))
    assert torch.allclose(batch, torch.from_numpy(images[[7, 2]]).permute(0, 3, 1, 2) / 255)
    assert batch.is_contiguous()


def test_a_damaged_checkpoint_is_one_sentence(tmp_path: Path) -> None:
    net = nn.Linear(2, 2)
    optimizer = torch.optim.Adam(net.parameters())
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(3, net, optimizer, Progress(loss_sum=0.5))
    (tmp_path / "step-000000004.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(UserError, match="cannot be read: delete it"):
        checkpoints.restore(net, optimizer)


def test_a_changed_bit_of_a_checkpoint_is_noticed_or_changes_nothing(tmp_path: Path) -> None:
    net = nn.Linear(2, 2)
    optimizer = torch.optim.Adam(net.parameters())
    checkpoints, path = Checkpoints(tmp_path), tmp_path / "step-000000003.safetensors"
    checkpoints.save(3, net, optimizer, Progress(rows=[{"loss": 0.25}]))
    before, weights, noticed = path.read_bytes(), net.weight.detach().clone(), 0
    places = range(0, 8 * len(before), 37)
    for place in places:
        changed = bytearray(before)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed)
        try:
            found = checkpoints.restore(net, optimizer)
        except UserError as error:
            noticed += "cannot be read: delete it" in str(error)
        else:  # in white space, or in the name of the digest
            assert found == (3, Progress(rows=[{"loss": 0.25}])) and torch.equal(net.weight, weights)
        net.weight.data.copy_(weights)
    assert noticed > 0.9 * len(places)


def test_checkpoints_give_back_everything(tmp_path: Path) -> None:
    def stepped() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
        net(torch.randn(8, 3)).sum().backward()
        optimizer.step()
        return net, optimizer

    net, optimizer = stepped()
    Checkpoints(tmp_path).save(9, net, optimizer, Progress(rows=[{"loss": 0.1}]))
    fresh = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    other = torch.optim.AdamW(fresh.parameters(), lr=0.5)
    assert Checkpoints(tmp_path).restore(fresh, other) == (9, Progress(rows=[{"loss": 0.1}]))
    for a, b in zip(net.state_dict().values(), fresh.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    old, new = optimizer.state_dict(), other.state_dict()
    assert old["param_groups"][0]["lr"] == new["param_groups"][0]["lr"] == 0.1
    for key, state in old["state"].items():
        assert all(torch.equal(state[name], new["state"][key][name]) for name in state)


def test_seeds_are_mixed() -> None:
    seeds = {seed_of(a, b, c) for a in range(4) for b in range(4) for c in range(4)}
    assert len(seeds) == 64 and all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_training_on_cuda() -> None:
    model = quick("simclr", device="cuda", epochs=4).fit(pictures())
    assert model.history_.rows[-1]["loss"] < model.history_.rows[0]["loss"]


@pytest.mark.skipif(os.name == "nt", reason="signals differ on Windows")
def test_ctrl_c_handler_is_restored() -> None:
    before = signal.getsignal(signal.SIGINT)
    quick("simclr").fit(pictures())
    assert signal.getsignal(signal.SIGINT) is before
