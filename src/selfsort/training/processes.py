"""Start the processes that train one model together, on one machine or several, with Lightning Fabric."""

import hashlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from selfsort import ranks
from selfsort.errors import UserError
from selfsort.training.recipe import Device, pick_device

if TYPE_CHECKING:
    from lightning.fabric import Fabric

# The others wait while the first one groups the embedding; a process that dies is noticed at once.
_PATIENCE = timedelta(hours=12)
_ENDING = 60  # seconds in which the other processes end after the first
_LOST = ("Connection closed", "Connection reset", "Broken pipe", "gloo", "NCCL", "Timed out", "ProcessGroup")


class Layout(NamedTuple):
    """How many processes there are on each machine, and how many machines."""

    devices: int = 1
    nodes: int = 1


_layout = Layout()


def layout_of_launcher(environment: Mapping[str, str]) -> Layout | None:
    """Return what torchrun or SLURM's srun has started; None if neither has.

    >>> layout_of_launcher({"TORCHELASTIC_RUN_ID": "a", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"})
    Layout(devices=4, nodes=2)
    >>> layout_of_launcher({"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "6", "SLURM_STEP_NUM_NODES": "3"})
    Layout(devices=2, nodes=3)
    """
    if "TORCHELASTIC_RUN_ID" in environment:
        each = int(environment["LOCAL_WORLD_SIZE"])
        return Layout(each, int(environment["WORLD_SIZE"]) // each)
    # Without srun, a batch script runs once, however many tasks were asked for.
    if "SLURM_STEP_ID" in environment and int(environment.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        nodes = int(environment.get("SLURM_STEP_NUM_NODES", "1"))
        return Layout(int(environment["SLURM_STEP_NUM_TASKS"]) // nodes, nodes)
    return None


def layout(devices: int | None, nodes: int | None, environment: Mapping[str, str]) -> Layout:
    """Return the layout that is wanted, or that of the launcher.

    Raises
    ------
    UserError
        If the launcher started other processes than are wanted, or the machines do not know each other.

    """
    started = layout_of_launcher(environment)
    wanted = Layout(devices or 1, nodes or 1)
    if started is not None:
        asked = Layout(devices or started.devices, nodes or started.nodes)
        if asked != started:
            raise UserError(
                f"devices={asked.devices}, nodes={asked.nodes} do not fit what the launcher started, "
                f"{started.devices} on each of {started.nodes}: leave them out, or start as many."
            )
        return started
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK") if name not in environment]
    if wanted.nodes > 1 and missing:
        raise UserError(
            f"nodes={wanted.nodes} needs {', '.join(missing)} in the environment of each machine: "
            "set them, or start with torchrun or srun."
        )
    return wanted


@contextmanager
def processes(devices: int | None = None, nodes: int | None = None, device: Device = "auto") -> Iterator[None]:
    """Do the block in several processes, each of which trains with its share of every batch.

    On one machine they are started here, with the command of this one; under torchrun or SLURM's srun they exist. All
    of them do the same, but only the first writes files and prints.

    Parameters
    ----------
    devices
        Processes on each machine, each with a GPU of its own if it uses GPUs; None takes the launcher's.
    nodes
        Machines; None takes the launcher's.
    device
        "auto" uses CUDA if available.

    Raises
    ------
    UserError
        If they cannot be started, or one of them ends before the others.

    """
    global _layout
    found = layout(devices, nodes, os.environ)
    if found == Layout() or ranks.size() > 1:
        yield
        return
    accelerator = pick_device(device).type
    if accelerator == "cuda" and (there := torch.cuda.device_count()) < found.devices:
        raise UserError(f"devices={found.devices}, but there are {there} GPUs here: give fewer, or device='cpu'.")
    is_child = "LOCAL_RANK" in os.environ and layout_of_launcher(os.environ) is None
    if is_child:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process decides
    before, _layout = _layout, found
    started: list[subprocess.Popen[bytes]] = []
    try:
        fabric = _launched(accelerator, "32-true")
        started += getattr(fabric.strategy.launcher, "procs", [])
        with _one_voice(), _companions():
            yield
        _wait_for(started)
    finally:
        _layout = before
        for process in started:
            process.terminate()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def make_fabric(device: torch.device, precision: Any) -> "Fabric":
    """Return the Fabric of this process, by itself or among others."""
    if ranks.size() > 1:
        return _launched(device.type, precision)
    from lightning.fabric import Fabric

    _quieten()
    return Fabric(accelerator=device.type, devices=1, precision=precision)


def _launched(accelerator: str, precision: Any) -> "Fabric":
    from lightning.fabric import Fabric
    from lightning.fabric.strategies.ddp import DDPStrategy

    class Together(DDPStrategy):
        """Processes whose gradients the loop averages: a stage may train only a part of a network."""

        def setup_module(self, module: nn.Module) -> nn.Module:  # type: ignore[override]
            return module

    _quieten()
    backend = "gloo" if accelerator == "cpu" else "cpu:gloo,cuda:nccl"
    strategy = Together(process_group_backend=backend, timeout=_PATIENCE)
    devices, nodes = _layout
    fabric = Fabric(accelerator=accelerator, devices=devices, num_nodes=nodes, precision=precision, strategy=strategy)
    fabric.launch()
    return fabric


def _quieten() -> None:
    """Keep Fabric from announcing precision and processes; its warnings still come through."""
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)


@contextmanager
def _one_voice() -> Iterator[None]:
    """Print nothing but errors unless this is the first process."""
    if ranks.is_first():
        yield
        return
    spoken = sys.stdout
    with open(os.devnull, "w", encoding="utf-8") as silent:
        sys.stdout = silent
        try:
            yield
        finally:
            sys.stdout = spoken


@contextmanager
def _companions() -> Iterator[None]:
    """Say in one sentence that another process has ended."""
    try:
        yield
    except RuntimeError as error:
        if not any(sign in str(error) for sign in _LOST):
            raise
        raise UserError(
            "Another process of this training has ended, and its own message says why: continue with resume=True."
        ) from error


def _wait_for(started: list[subprocess.Popen[bytes]]) -> None:
    for process in started:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_ENDING)


def check_alike(facts: Mapping[str, Any]) -> None:
    """Check that all processes train the same way, on the same pictures, with the same code.

    Raises
    ------
    UserError
        If they do not; it names the first difference.

    """
    if ranks.size() == 1:
        return
    found = ranks.all_values((socket.gethostname(), {"code": _code_digest(), **facts}))
    here, expected = found[0]
    for number, (machine, other) in enumerate(found[1:], 2):
        for name in expected:
            if other.get(name) != expected[name]:
                values = f"{name}={expected[name]!r} and {other.get(name)!r}"
                what = {"code": "different versions of selfsort or torch", "pictures": "different pictures"}
                sentence = (
                    f"Process 1 on {here!r} and process {number} on {machine!r} have {what.get(name, values)}: "
                    "give all processes the same."
                )
                raise UserError(sentence) if ranks.is_first() else ranks.Elsewhere(sentence)


def _code_digest() -> str:
    """Return a digest of the versions of torch and Python, and of selfsort's own files."""
    digest = hashlib.sha256(f"{torch.__version__} {sys.version}".encode())
    for path in sorted(Path(ranks.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
