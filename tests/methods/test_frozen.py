"""Pre-trained features and a head: what is kept, what is computed once, and the defaults."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import selfsort
from run_files import edit
from samples import pictures, quick
from selfsort import methods
from selfsort.methods import choice
from selfsort.methods.frozen import Frozen, FrozenNet
from selfsort.models import pretrained


def folder_of(path: Path, count: int, mode: str = "RGB", side: int = 40) -> Path:
    path.mkdir(exist_ok=True)
    for number, pixels in enumerate(pictures(count, size=side)):
        Image.fromarray(pixels).convert(mode).save(path / f"{number:02d}.png")
    return path


def test_a_run_holds_the_networks_name_and_hash_instead_of_its_weights(tmp_path: Path) -> None:
    model = quick("frozen").fit(pictures(12), run_dir=tmp_path / "run")
    assert (tmp_path / "run/model.safetensors").stat().st_size < 2_000_000
    again = selfsort.load(tmp_path / "run")
    assert again.run_["weights"]["backbone"]["name"] == "efficientnet-lite0"
    for name, tensor in model.net_.state_dict().items():
        assert torch.equal(tensor, again.net_.state_dict()[name]), name


def test_pictures_that_cannot_be_read_are_left_out_and_reported(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "photos", 9)
    (folder / "04.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    model = quick("frozen").fit(selfsort.list_images(folder), run_dir=tmp_path / "run")
    assert len(model.ids_) == 8 and [item.id for item in model.skipped_] == ["04.png"]
    assert (tmp_path / "run/skipped.csv").read_text().splitlines()[1].startswith("04.png,")


def test_features_are_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, seen = folder_of(tmp_path / "photos", 9), []
    forward = FrozenNet.forward
    monkeypatch.setattr(FrozenNet, "forward", lambda net, inputs: seen.append(len(inputs)) or forward(net, inputs))
    first = quick("frozen").fit(selfsort.list_images(folder))
    decoded: list[int] = []
    monkeypatch.setattr(selfsort.ImageSet, "blocks", lambda *_: decoded.append(1) or iter(()))
    second = quick("frozen", n_classes=2).fit(selfsort.list_images(folder))
    assert np.array_equal(first.embedding_, second.embedding_) and not decoded


def test_the_number_of_classes_is_estimated_and_kept(tmp_path: Path) -> None:
    model = Frozen(device="cpu").fit(pictures(45), run_dir=tmp_path / "run")
    count = model.class_count_
    assert count is not None and model.n_clusters_ == count.estimate == model.probabilities_.shape[1]
    again = selfsort.load(tmp_path / "run")
    assert again.class_count_ == count and again.n_classes_ == count.estimate
    assert again.run_["training"]["backbone"] == "efficientnet-lite0" and "apache" in again.run_["training"]["licence"]


@pytest.mark.slow
def test_fine_tuning_changes_the_last_stages_only_and_is_kept(tmp_path: Path) -> None:
    images = pictures(12)
    labelling = selfsort.LabelSession(quick("frozen", batch_size=4).fit(images), images, n_groups=4)
    for name in ("one", "other", "one", "other"):
        labelling.answer(labelling.next(), name)
    before = {name: tensor.clone() for name, tensor in labelling.model.net_.state_dict().items()}
    tuned = labelling.refine(frozen=False, epochs=1, n_groups=0)
    after = {name.removeprefix("net."): tensor for name, tensor in tuned.net_.state_dict().items()}
    changed = [name for name, tensor in before.items() if not torch.equal(tensor, after[name])]
    assert "tuned" in changed and any("blocks.6" in name for name in changed)
    assert not any("blocks.0" in name or "conv_stem" in name for name in changed)
    tuned.save(tmp_path / "run")
    again = selfsort.load(tmp_path / "run")
    assert np.allclose(again.transform(images), tuned.embedding_, atol=1e-4)
    assert not np.allclose(again.embedding_, labelling.model.embedding_ * 0 + quick("frozen").fit(images).embedding_)


@pytest.mark.slow
def test_a_run_that_was_read_can_be_fine_tuned_and_read_again(tmp_path: Path) -> None:
    """Weights that a run refers to by name are kept by value once they have learnt."""
    images = pictures(12)
    quick("frozen", batch_size=4).fit(images, run_dir=tmp_path / "run")
    labelling = selfsort.LabelSession(selfsort.load(tmp_path / "run"), images, n_groups=4)
    for name in ("one", "other", "one", "other"):
        labelling.answer(labelling.next(), name)
    tuned = labelling.refine(frozen=False, epochs=1, n_groups=0)
    tuned.save(tmp_path / "named")
    again = selfsort.load(tmp_path / "named")
    assert again.run_.get("weights") is None
    assert np.allclose(again.transform(images), tuned.embedding_, atol=1e-4)
    # Earlier versions still referred to the weights from before.
    edit(tmp_path / "named", weights=selfsort.load(tmp_path / "run").run_["weights"])
    assert np.array_equal(selfsort.load(tmp_path / "named").transform(images), again.transform(images))


@pytest.mark.parametrize(
    ("mode", "side", "method"), [("RGB", 40, "frozen"), ("L", 40, "frozen"), ("L", 28, "simclr"), ("RGB", 28, "frozen")]
)
def test_small_grey_pictures_train_from_scratch(mode: str, side: int, method: str, tmp_path: Path) -> None:
    chosen = choice.choose(selfsort.list_images(folder_of(tmp_path / "photos", 6, mode, side)))
    assert chosen.method == method and chosen.reason
    methods.make(chosen.method, chosen.settings)


def test_with_a_reachable_hub_the_better_network_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choice.choose_backbone()[0] == pretrained.DEFAULT
    monkeypatch.setattr(choice.hubs, "is_reachable", lambda: True)
    assert choice.choose_backbone()[0] == choice.BETTER


def test_the_name_of_a_head_is_a_method() -> None:
    assert isinstance(methods.make("kmeans", {}), selfsort.KMeans)
    chosen = methods.make("turtle", {"class_prior": "0.5"})
    assert isinstance(chosen, Frozen) and (chosen.head, chosen.class_prior) == ("turtle", 0.5)
    with pytest.raises(selfsort.UserError, match="Unknown method 'forzen': did you mean 'frozen'"):
        methods.make("forzen", {})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"backbone": "efficientnet-lit0"}, "did you mean 'efficientnet-lite0'"),
        ({"head": "kmean"}, "did you mean"),
        ({"class_prior": 1.0}, "class_prior=1.0 is for head='turtle': 'kmeans' does not use it"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_anything_is_computed(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(selfsort.UserError, match=said):
        quick("frozen", **changes).fit(pictures(6))


def test_equal_pictures_are_one_group() -> None:
    model = Frozen(device="cpu").fit(np.repeat(pictures(1), 15, 0))
    assert model.n_clusters_ == 1 and model.class_count_ is not None and "look the same" in model.class_count_.reason


@pytest.mark.slow
def test_the_edges_of_a_wide_picture_are_seen(tmp_path: Path) -> None:
    wide = np.repeat(pictures(2, size=40), 4, 2)
    other = wide[:1].copy()
    other[:, :, :50], other[:, :, -50:] = 0, 255
    both = np.concatenate([other, wide])
    squashed, cropped = (quick("frozen", n_classes=2, **how).fit(both).embedding_ for how in ({}, {"resize": "crop"}))
    assert not np.allclose(squashed[0], squashed[1], atol=1e-3) and np.allclose(cropped[0], cropped[1], atol=1e-3)


@pytest.mark.slow
def test_a_head_that_learns_receives_the_class_prior_and_is_restored(tmp_path: Path) -> None:
    images = pictures(30)
    even, uneven = (
        quick("frozen", head="turtle", class_prior=prior).fit(images, run_dir=tmp_path / f"{prior}")
        for prior in (0.0, 3.0)
    )
    assert not np.allclose(even.probabilities_, uneven.probabilities_)
    again = selfsort.load(tmp_path / "3.0")
    assert again.class_prior == 3.0 and np.allclose(again.predict_proba(images), uneven.probabilities_, atol=1e-3)
