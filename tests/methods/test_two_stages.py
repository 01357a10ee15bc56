"""Methods that start from another method's network: what they accept, what they refuse, and SCAN's stages."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import selfsort
from samples import kinds, pictures, quick
from selfsort.data.image_set import ImageSet
from selfsort.evaluation.metrics import clustering_scores
from selfsort.methods import scan
from selfsort.methods.base import Estimator
from selfsort.methods.scan import SCAN
from selfsort.methods.stage import Context
from selfsort.models.base import Batch
from selfsort.training.data import NeighbourPairs

TWO_STAGES = ["kmeans", "scan"]


def images_of(n: int) -> ImageSet:
    return ImageSet(pictures(n), tuple(map(str, range(n))))


@pytest.fixture(scope="module")
def encoder() -> Estimator:
    return quick("simclr").fit(pictures())


@pytest.mark.parametrize("name", TWO_STAGES)
def test_a_fitted_encoder_is_used_and_not_changed(name: str, encoder: Estimator, tmp_path: Path) -> None:
    before = {key: tensor.clone() for key, tensor in encoder.net_.state_dict().items()}
    model = quick(name, encoder=encoder).fit(pictures())
    assert all(torch.equal(tensor, before[key]) for key, tensor in encoder.net_.state_dict().items())
    model.save(tmp_path / "run")
    again = selfsort.load(tmp_path / "run")
    assert np.array_equal(again.predict_proba(pictures(5)), model.predict_proba(pictures(5)))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"size": 24}, "pictures of 16x16 pixels but these have 24x24: load them with size=16"),
        ({"channels": 1}, "coloured pictures but these are grey: load them with channels=3"),
    ],
)
@pytest.mark.parametrize("name", TWO_STAGES)
def test_an_encoder_of_another_kind_of_picture_is_refused(
    name: str, changes: dict[str, int], what: str, encoder: Estimator
) -> None:
    with pytest.raises(selfsort.UserError, match=what):
        quick(name, encoder=encoder).fit(pictures(12, **changes))


@pytest.mark.parametrize("name", TWO_STAGES)
def test_an_encoder_with_data_on_each_picture_needs_the_same_pictures(name: str) -> None:
    first = quick("moco").fit(pictures(24))
    with pytest.raises(selfsort.UserError, match=r"each of its 24 pictures but these are 20: fit both stages"):
        quick(name, encoder=first).fit(pictures(20))
    quick(name, encoder=first).fit(pictures(24))


def test_a_pre_trained_encoder_sets_the_input_and_is_not_changed(tmp_path: Path) -> None:
    first = quick("frozen", resize=None)
    model = quick("scan", encoder=first, epochs=1, labelling_epochs=0, n_neighbours=2, views="none").fit(pictures(6))
    assert model.input_ == first.input_of(images_of(6)) and model.image_shape_[0] > 16
    fresh = first.build(model.image_shape_, 6).state_dict()
    assert all(torch.equal(tensor, fresh[name]) for name, tensor in model.net_.encoder.state_dict().items())
    model.save(tmp_path / "run")
    assert np.array_equal(selfsort.load(tmp_path / "run").predict(pictures(6)), model.labels_)


def test_names_that_an_encoder_learnt_are_left_behind(encoder: Estimator) -> None:
    from selfsort.methods.base import NamedNet

    named = quick("simclr").fit(pictures())
    named.net_ = NamedNet(named.net_, named.embedding_.shape[1], ("a", "b"))
    assert quick("kmeans", encoder=named).fit(pictures()).names_ == ()


def test_scan_learns_from_pairs_of_neighbours_in_the_encoder_then_from_itself(encoder: Estimator) -> None:
    model = quick("scan", encoder=encoder, n_neighbours=4)
    images = images_of(24)
    model.net_ = model.build((16, 16, 3), 24)
    stages = model.stages(images, Context())
    first = next(stages)
    embedding = F.normalize(torch.from_numpy(encoder.transform(pictures(24)))).double()
    apart = torch.cdist(embedding, embedding).fill_diagonal_(math.inf)
    assert isinstance(first.data, NeighbourPairs) and first.name == "clustering"
    assert np.array_equal(np.sort(first.data.neighbours), np.sort(apart.topk(4, largest=False).indices.numpy()))
    second = next(stages)
    assert second.name == "" and second.net.labelling and second.recipe.epochs == 2


def test_scan_learns_only_from_confident_predictions() -> None:
    net = quick("scan", sure=0.6).build((16, 16, 3), 12)
    net.labelling = True
    images = torch.from_numpy(pictures(12)).permute(0, 3, 1, 2) / 255
    changed = images.flip(3)
    net.eval()
    with torch.no_grad():
        net.heads[0].weight.mul_(40)
        shares, scores = torch.softmax(net(images).logits, 1), net(changed).logits
        found = net.loss(Batch(images, (changed,), torch.arange(12)))
    expected, n_classes = 0.0, 0
    for label in range(3):
        own = [
            -math.log(float(torch.softmax(scores[i], 0)[label]))
            for i in range(12)
            if int(shares[i].argmax()) == label and float(shares[i].max()) > 0.6
        ]
        if own:
            expected, n_classes = expected + sum(own) / len(own), n_classes + 1
    assert n_classes and found.item() == pytest.approx(expected / n_classes, rel=1e-4)


def test_self_labelling_that_loses_a_class_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = quick("scan", labelling_epochs=0).fit(pictures())
    counts = iter([3, 2])
    monkeypatch.setattr(scan, "_used_classes", lambda net, data: next(counts))
    model = quick("scan").fit(pictures())
    assert model.history_.warnings[-1].startswith("Self-labelling left 2 of 3 classes")
    assert all(torch.equal(tensor, kept.net_.state_dict()[key]) for key, tensor in model.net_.state_dict().items())


def test_scan_finds_three_kinds() -> None:
    model = quick("scan", epochs=12, batch_size=24, sure=0.9, views="none:noise=0.05").fit(pictures(72))
    assert clustering_scores(kinds(72), model.labels_).accuracy > 0.8


@pytest.mark.parametrize("name", ["scan", "iic"])
def test_a_batch_smaller_than_the_classes_is_refused(name: str) -> None:
    with pytest.raises(selfsort.UserError, match=f"batch_size=4 is smaller than n_classes=5: {name} spreads"):
        quick(name, batch_size=4, n_classes=5).fit(pictures(12))


@pytest.mark.parametrize(
    ("model", "what"),
    [
        (SCAN(n_classes="auto"), "n_classes='auto'"),
        (SCAN(n_neighbours=0), "n_neighbours=0"),
        (SCAN(n_heads=0), "n_heads=0"),
        (SCAN(labelling_epochs=-1), "labelling_epochs=-1"),
        (SCAN(sure=1.0), "sure=1.0"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(model: Estimator, what: str) -> None:
    with pytest.raises(selfsort.UserError, match=what):
        model.fit(pictures(12))
