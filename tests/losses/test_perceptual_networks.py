"""Feature layers and their weights; AlexNet's and SqueezeNet's own files are imitated in their format."""

import hashlib
import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models

from selfsort.errors import UserError
from selfsort.losses.perceptual import PerceptualLoss, feature_layers, load_weights


def state(network: str = "squeezenet1_1", layers: int = 6, prefix: str = "features.") -> dict[str, Tensor]:
    """Return weights as torchvision saves them, those of a classifier among them."""
    torch.manual_seed(3)
    weights = {f"{prefix}{name}": value for name, value in feature_layers(network, layers).state_dict().items()}
    return {name: torch.rand_like(value) for name, value in weights.items()} | {"classifier.1.bias": torch.zeros(10)}


def test_layers_are_torchvisions() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        whole = models.squeezenet1_1(weights=None).eval()
    features = feature_layers("squeezenet1_1", 6)
    features.load_state_dict(whole.features[:6].state_dict())
    images = torch.rand(2, 3, 65, 65)
    torch.testing.assert_close(features(images), whole.features[:6](images))


def test_layers_are_frozen_and_keep_what_came_before() -> None:
    features = feature_layers("alexnet", 5)
    assert [type(layer).__name__ for layer in features] == ["Conv2d", "ReLU", "MaxPool2d", "Conv2d", "ReLU"]
    assert not any(weight.requires_grad for weight in features.parameters())
    assert not any(getattr(layer, "inplace", False) or layer.training for layer in features.modules())
    assert all(weight.isfinite().all() and weight.device.type == "cpu" for weight in features.parameters())


def test_random_layers_follow_the_seed_and_do_not_fade() -> None:
    images = torch.rand(4, 3, 64, 64)
    maps = []
    for _ in range(2):
        torch.manual_seed(5)
        maps.append(feature_layers("vgg11", 20)(images))
    assert torch.equal(*maps) and maps[0].std() > 0.05


@pytest.mark.parametrize(
    ("network", "layer", "words"),
    [
        ("alexnot", 5, "Unknown perceptual network 'alexnot': did you mean 'alexnet'"),
        ("\u00e9\u00e9", 5, "Unknown perceptual network '\u00e9\u00e9': choose alexnet"),
        ("resnet18", 3, "resnet18 has no sequence of feature layers"),
        ("vit_b_16", 3, "vit_b_16 has no sequence of feature layers"),
        ("googlenet", 3, "googlenet has no sequence of feature layers"),
        ("swin_t", 3, r"features\.0\.1 \(Permute\).*choose another"),
        ("densenet121", 6, r"features\.denseblock1 \(_DenseBlock\).*use at most 4 layers"),
        ("alexnet", 14, "alexnet has no feature layer 14: choose a layer from 1 to 13"),
        ("alexnet", 0, "no feature layer 0"),
        ("alexnet", -1, "no feature layer -1"),
    ],
)
def test_networks_and_layers_that_are_not_available(network: str, layer: int, words: str) -> None:
    with pytest.raises(UserError, match=words) as raised:
        feature_layers(network, layer)
    assert "\n" not in str(raised.value)


def test_the_first_layers_of_a_residual_network_are_local() -> None:
    PerceptualLoss(feature_layers("densenet121", 4), (16, 16), canvas=64)(torch.rand(1, 3, 16, 16))


@pytest.mark.parametrize("prefix", ["features.", ""])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
def test_weights_from_a_file(tmp_path: Path, prefix: str, suffix: str) -> None:
    path, weights = tmp_path / f"weights{suffix}", state(prefix=prefix)
    save_file(weights, path) if suffix == ".safetensors" else torch.save(weights, path)
    features = feature_layers("squeezenet1_1", 5)
    load_weights(features, "squeezenet1_1", str(path))
    for name, value in features.state_dict().items():
        assert torch.equal(value, weights[f"{prefix}{name}"])
    assert not any(weight.requires_grad for weight in features.parameters())


def test_random_leaves_the_layers_alone() -> None:
    features = feature_layers("alexnet", 3)
    before = features[0].weight.clone()
    load_weights(features, "alexnet", "random")
    assert torch.equal(features[0].weight, before)


def missing(folder: Path) -> Path:
    return folder / "nowhere.pth"


def damaged(folder: Path) -> Path:
    (folder / "damaged.pth").write_bytes(b"PK\x03\x04 half a file")
    return folder / "damaged.pth"


def damaged_safetensors(folder: Path) -> Path:
    (folder / "damaged.safetensors").write_bytes(b"\xff" * 64)
    return folder / "damaged.safetensors"


def empty(folder: Path) -> Path:
    (folder / "empty.pt").touch()
    return folder / "empty.pt"


def code(folder: Path) -> Path:
    """Write a pickle that would run code if it were opened."""
    (folder / "code.pth").write_bytes(pickle.dumps(print))
    return folder / "code.pth"


def a_list(folder: Path) -> Path:
    torch.save([torch.zeros(3)], folder / "list.pth")
    return folder / "list.pth"


def of_vgg(folder: Path) -> Path:
    save_file(state("vgg11", 3), folder / "vgg.safetensors")
    return folder / "vgg.safetensors"


def too_few(folder: Path) -> Path:
    save_file(state(layers=3), folder / "short.safetensors")
    return folder / "short.safetensors"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (missing, "There are no weights .*nowhere.pth"),
        (damaged, "damaged.pth' cannot be read"),
        (damaged_safetensors, "damaged.safetensors' cannot be read"),
        (empty, "empty.pt' cannot be read"),
        (code, "code.pth' cannot be read"),
        (a_list, "list.pth' hold no named tensors"),
        (of_vgg, "not those of squeezenet1_1: features.0.weight is 64x3x3x3"),
        (too_few, "lack features.3.squeeze.weight: give weights for squeezenet1_1"),
    ],
)
def test_weights_that_do_not_fit_change_nothing(tmp_path: Path, make: object, words: str) -> None:
    network = "alexnet" if make is of_vgg else "squeezenet1_1"
    features = feature_layers(network, 5)
    before = {name: value.clone() for name, value in features.state_dict().items()}
    with pytest.raises(UserError, match=words.replace("squeezenet1_1", network)) as raised:
        load_weights(features, network, str(make(tmp_path)))
    assert "\n" not in str(raised.value)
    assert all(torch.equal(value, before[name]) for name, value in features.state_dict().items())


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Return a hub on this computer that holds AlexNet's first layers, and the folder for downloads."""
    path = tmp_path / "alexnet.pth"
    weights = state("alexnet", 5)
    torch.save(weights, path)
    served = path.rename(tmp_path / f"alexnet-owt-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(
        models, "get_model_weights", lambda name: SimpleNamespace(DEFAULT=SimpleNamespace(url=served.as_uri()))
    )
    folder = tmp_path / "home" / "hub" / "checkpoints"
    return SimpleNamespace(weights=weights, served=served, cached=folder / served.name)


def test_hub_downloads_once(hub: SimpleNamespace) -> None:
    for _ in range(2):
        features = feature_layers("alexnet", 5)
        load_weights(features, "alexnet", "hub")
        assert torch.equal(features[3].bias, hub.weights["features.3.bias"])
        hub.served.unlink(missing_ok=True)


def test_hub_without_network_says_what_to_put_where(hub: SimpleNamespace) -> None:
    hub.served.unlink()
    with pytest.raises(UserError) as raised:
        load_weights(feature_layers("alexnet", 5), "alexnet", "hub")
    message = str(raised.value)
    assert hub.served.as_uri() in message and str(hub.cached.parent) in message and "perceptual_weights=PATH" in message
    assert "\n" not in message and not hub.cached.exists()


def test_hub_checks_hashes(hub: SimpleNamespace) -> None:
    hub.cached.parent.mkdir(parents=True)
    hub.cached.write_bytes(hub.served.read_bytes()[:-10])
    with pytest.raises(UserError, match="damaged: delete the file"):
        load_weights(feature_layers("alexnet", 5), "alexnet", "hub")
    hub.cached.unlink()
    hub.served.write_bytes(b"not what the name says")
    with pytest.raises(UserError, match="cannot be downloaded"):
        load_weights(feature_layers("alexnet", 5), "alexnet", "hub")
    assert not hub.cached.exists()


def test_torchvisions_own_url_contains_a_hash() -> None:
    url = models.get_model_weights("alexnet").DEFAULT.url
    assert url.endswith("alexnet-owt-7be5be79.pth")


def test_trained_squeezenet(data_root: Path) -> None:
    features = feature_layers("squeezenet1_1", 13)
    load_weights(features, "squeezenet1_1", str(data_root / "squeezenet1_1_features.safetensors"))
    net = PerceptualLoss(features, (64, 64), normalise=True)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    naive = [net.naive(batch) for batch in (images, 1 - images)]
    torch.testing.assert_close(net.loss(images, 1 - images), nn.functional.mse_loss(*naive), rtol=1e-5, atol=0)
