"""A backbone's weights in a file: torchvision's and timm's networks load them and compute the same."""

import runpy
from pathlib import Path

import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torchvision.models.detection import fasterrcnn_resnet50_fpn
from torchvision.models.segmentation import fcn_resnet50

from commands import Cli
from samples import pictures, quick
from selfsort.deployment.backbone import backbone_of, write_backbone
from selfsort.errors import UserError
from selfsort.methods.base import Estimator

HERE = Path(__file__).parent


def built(method: str, shape: tuple[int, int, int], **settings: object) -> Estimator:
    """Return a method with an untrained network, which is all that is exported."""
    torch.manual_seed(0)
    model = quick(method, **settings)
    model.net_ = model.build(shape, 8)
    return model


def test_torchvisions_segmentation_and_detection_models_load_a_backbone(tmp_path: Path) -> None:
    model = built("self-classifier", (32, 32, 3), backbone="resnet50", n_heads=1)
    found = write_backbone(model, tmp_path / "new/weights.pth")
    assert (found.network, found.channels) == ("torchvision:resnet50", 3)
    weights = torch.load(tmp_path / "new/weights.pth", weights_only=True)
    first = model.net_.backbone.layers.conv1.weight
    segmentation = fcn_resnet50(weights=None, weights_backbone=None)
    segmentation.backbone.load_state_dict(weights)
    assert torch.equal(segmentation.backbone.conv1.weight, first)
    detection = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    detection.backbone.body.load_state_dict(weights)
    assert torch.equal(detection.backbone.body.conv1.weight, first)


def test_timm_computes_the_same_features_with_the_weights(tmp_path: Path) -> None:
    model = built("simclr", (32, 32, 3), backbone="resnet18")
    found = write_backbone(model, tmp_path / "weights.safetensors")
    with safe_open(tmp_path / "weights.safetensors", "pt") as file:
        assert file.metadata() == {"network": "torchvision:resnet18", "mean": "[0.5]", "std": "[0.25]"}
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    network = timm.create_model("resnet18", num_classes=0).eval()
    network.load_state_dict(weights)
    images = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        expected = model.net_.eval().backbone(images)
        features = network((images - found.mean[0]) / found.std[0])
    assert torch.allclose(features, expected, atol=1e-5)


def test_a_backbone_of_timm_has_timms_names() -> None:
    found = backbone_of(built("frozen", (32, 32, 3), backbone="timm:resnet10t=random"))
    assert found.network == "timm:resnet10t" and len(found.mean) == 3
    timm.create_model("resnet10t", num_classes=0).load_state_dict(found.tensors)


def test_the_command_writes_the_weights_of_a_run(tmp_path: Path, cli: Cli) -> None:
    model = quick("self-classifier", epochs=1, n_heads=1).fit(pictures(), run_dir=tmp_path / "run")
    answer = cli.json("export", tmp_path / "run", "--backbone", tmp_path / "weights.pth")
    assert answer["kind"] == "backbone" and answer["network"] == "small-conv" and answer["std"] == [0.25]
    weights = torch.load(tmp_path / "weights.pth", weights_only=True)
    assert torch.equal(weights["0.weight"], model.net_.backbone.layers[0].weight)
    for options, said in (
        ((), "--backbone FILE"),
        (("--out", tmp_path / "x.csv", "--backbone", tmp_path / "x.pth"), "give one of them"),
        (("--backbone", tmp_path / "x.bin"), "end the name in .pth"),
    ):
        refused = cli("export", tmp_path / "run", *options)
        assert refused.code == 1 and said in refused.err


def test_a_method_with_a_network_of_its_own_has_no_backbone() -> None:
    with pytest.raises(UserError, match="conv-autoencoder has no backbone"):
        backbone_of(built("conv-autoencoder", (16, 16, 3)))


@pytest.mark.slow
def test_the_segmentation_example_beats_training_from_scratch(tmp_path: Path) -> None:
    """The weights are those of the run that the example describes, in half precision and up to its layer 8."""
    example = runpy.run_path(str(HERE.parents[1] / "examples/segmentation.py"))
    torch.save(load_file(HERE / "digits-small-conv.safetensors"), tmp_path / "weights.pth")
    fine_tuned = example["fine_tuned"]
    scores = {
        seed: [fine_tuned(weights, "small-conv", 24, 20, seed) for weights in (tmp_path / "weights.pth", None)]
        for seed in (0, 2)
    }
    assert all(ours > scratch + 0.03 for ours, scratch in scores.values()), scores
