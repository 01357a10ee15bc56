"""What every method must do; a new file in `methods/` is tested here automatically."""

import copy
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import selfsort
from samples import kinds, pictures, quick
from selfsort import methods
from selfsort.data.image_set import ImageSet
from selfsort.methods.base import Estimator
from selfsort.models.base import Batch
from selfsort.training import loop
from selfsort.training.data import ImageData
from selfsort.training.outputs import outputs

METHODS = methods.names()
TRAINED = [name for name in METHODS if methods.find(name).trains]
every_method = pytest.mark.parametrize("name", METHODS)
every_trained_method = pytest.mark.parametrize("name", TRAINED)
RESUMED_FIRST = ("conv-autoencoder", "dcgan", "moco", "scan", "self-classifier", "simclr")
every_resumed_method = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in RESUMED_FIRST else pytest.mark.slow) for name in TRAINED]
)


@pytest.fixture(scope="module")
def fitted() -> dict[str, Estimator]:
    return {name: quick(name).fit(pictures()) for name in METHODS}


@dataclass
class SecondFit:
    """A fit of the same pictures under everything that must change nothing, and what was seen of it."""

    started: Estimator
    returned: Estimator
    folder: Path
    seen: list[tuple[str, Any, Any]]
    generators: tuple[torch.Tensor, torch.Tensor]


def spied(cls: type[Estimator], hook: str, seen: list[tuple[str, Any, Any]]) -> Any:
    original = getattr(cls, hook)

    def spy(model: Estimator, images: ImageSet, *rest: Any) -> Any:
        seen.append((hook, images.labels, images.label_names))
        return original(model, images, *rest)

    return spy


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, SecondFit]]:
    """Fit every method with labels in the image set and as `y`, into a run folder, the global generator elsewhere."""
    labelled = ImageSet(pictures(), tuple(map(str, range(48))), labels=kinds(), label_names=("a", "b", "c"))
    folders, fits = tmp_path_factory.mktemp("again"), {}
    for name in METHODS:
        cls, seen, model = methods.find(name), [], quick(name)
        folder = folders / name
        torch.rand(3)
        before = torch.get_rng_state()
        with pytest.MonkeyPatch.context() as patch:
            for hook in ("check", "stages"):
                patch.setattr(cls, hook, spied(cls, hook, seen))
            returned = model.fit(labelled, y=kinds(), run_dir=folder)
        fits[name] = SecondFit(model, returned, folder, seen, (before, torch.get_rng_state()))
    yield fits
    shutil.rmtree(folders)  # hundreds of megabytes


def weights(model: Estimator) -> dict[str, torch.Tensor]:
    return model.net_.state_dict()


def assert_same_weights(one: Estimator, other: Estimator) -> None:
    assert weights(one).keys() == weights(other).keys()
    for name, tensor in weights(one).items():
        assert torch.equal(tensor, weights(other)[name]), name


def test_a_batch_cannot_hold_labels() -> None:
    assert Batch._fields == ("inputs", "views", "indices")


@every_method
def test_constructor_only_stores_and_clone_copies(name: str) -> None:
    model = quick(name, random_state=7)
    assert vars(model) == model.get_params(deep=False)
    assert clone(model).get_params() == model.get_params()
    assert model.set_params(n_classes=4).n_classes == 4


@every_method
def test_every_parameter_is_described(name: str) -> None:
    assert all(row["meaning"] for row in methods.parameters(name))
    assert methods.about(name)


@every_method
def test_fit_returns_self(name: str, again: dict[str, SecondFit]) -> None:
    assert again[name].returned is again[name].started


@every_method
def test_labels_and_y_change_nothing(name: str, fitted: dict[str, Estimator], again: dict[str, SecondFit]) -> None:
    model = again[name].returned
    assert_same_weights(model, fitted[name])
    assert np.array_equal(model.labels_, fitted[name].labels_)
    assert np.array_equal(model.probabilities_, fitted[name].probabilities_)


@every_method
def test_no_code_of_a_method_receives_a_label(name: str, again: dict[str, SecondFit]) -> None:
    assert sorted(again[name].seen) == [("check", None, ()), ("stages", None, ())]


@every_method
def test_shapes_and_types(name: str, fitted: dict[str, Estimator]) -> None:
    model, new = fitted[name], pictures(7, seed=1)
    assert model.labels_.shape == (48,) and model.labels_.dtype == np.int64
    assert model.embedding_.shape[0] == 48 and model.embedding_.dtype == np.float32
    assert model.transform(new).shape == (7, model.embedding_.shape[1])
    probabilities = model.predict_proba(new)
    assert probabilities.shape == (7, 3) and probabilities.dtype == np.float32
    assert np.allclose(probabilities.sum(1), 1, atol=1e-5)
    assert np.array_equal(model.predict(new), probabilities.argmax(1))
    assert model.classes_.tolist() == [0, 1, 2] and model.predict(new).dtype == np.int64


@every_method
def test_set_output(name: str, fitted: dict[str, Estimator]) -> None:
    model, new = copy.copy(fitted[name]).set_output(transform="pandas"), pictures(7, seed=1)
    frame = model.transform(new)
    assert list(frame.columns) == list(model.get_feature_names_out())
    assert np.array_equal(frame.to_numpy(), fitted[name].transform(new))
    assert isinstance(model.transform_and_predict(new)[0], np.ndarray)


@every_method
def test_training_pictures_are_predicted_as_in_labels_(name: str, fitted: dict[str, Estimator]) -> None:
    assert np.array_equal(fitted[name].predict(pictures()), fitted[name].labels_)


@every_method
def test_embedding_does_not_depend_on_the_batch(name: str, fitted: dict[str, Estimator]) -> None:
    model, images = fitted[name], pictures(20)
    data = ImageData(images, torch.device("cpu"))
    whole = outputs(model.net_, data, batch_size=20)[0]
    for size in (1, 3, 7):
        parts = outputs(model.net_, data, batch_size=size)[0]
        assert np.allclose(whole, parts, rtol=1e-4, atol=1e-5)


@every_method
def test_save_and_load(name: str, fitted: dict[str, Estimator], tmp_path: Path) -> None:
    model, new = fitted[name], pictures(9, seed=2)
    model.save(tmp_path / "run")
    again = selfsort.load(tmp_path / "run")
    assert type(again) is type(model) and again.get_params() == model.get_params()
    assert np.array_equal(again.predict_proba(new), model.predict_proba(new))
    assert np.array_equal(again.transform(new), model.transform(new))
    assert np.array_equal(again.labels_, model.labels_)
    assert np.array_equal(again.embedding_, model.embedding_)


@every_method
def test_a_run_folder_is_a_saved_model(name: str, fitted: dict[str, Estimator], again: dict[str, SecondFit]) -> None:
    loaded = selfsort.load(again[name].folder)
    assert_same_weights(loaded, fitted[name])
    assert np.array_equal(loaded.labels_, fitted[name].labels_)


@every_resumed_method
def test_resumed_run_equals_an_uninterrupted_one(
    name: str, fitted: dict[str, Estimator], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_step = loop.Loop.one_step

    def dies(loop: Any) -> None:
        if loop.step == 3:  # what a kill between two epochs would leave; that at 5 is in the middle of one
            shutil.copytree(tmp_path / "5", tmp_path / "3")
        if loop.step == 5:
            raise SystemError("as if killed")
        one_step(loop)

    monkeypatch.setattr(loop.Loop, "one_step", dies)
    with pytest.raises(SystemError):
        quick(name, checkpoint_minutes=0).fit(pictures(), run_dir=tmp_path / "5")
    monkeypatch.setattr(loop.Loop, "one_step", one_step)
    for step in (3, 5):
        resumed = quick(name, checkpoint_minutes=0).fit(pictures(), run_dir=tmp_path / str(step), resume=True)
        assert_same_weights(resumed, fitted[name])
        assert [r["loss"] for r in resumed.history_.rows] == [r["loss"] for r in fitted[name].history_.rows]


@every_trained_method
def test_another_seed_gives_another_model(name: str, fitted: dict[str, Estimator]) -> None:
    other = quick(name, random_state=1).fit(pictures())
    assert any(not torch.equal(tensor, weights(fitted[name])[key]) for key, tensor in weights(other).items())


@every_method
def test_fit_leaves_the_global_generator_alone(name: str, again: dict[str, SecondFit]) -> None:
    assert torch.equal(*again[name].generators)


# What one of dcgan's two networks gains, the other loses.
@pytest.mark.parametrize("name", [name for name in TRAINED if name != "dcgan"])
def test_loss_falls(name: str) -> None:
    model = quick(name, epochs=5).fit(pictures())
    losses = [row["loss"] for row in model.history_.rows]
    # Random keys at the start of the queue are easy to tell from a picture's own.
    assert min(losses[-2:]) < max(losses[:3])


@every_method
@pytest.mark.parametrize(("channels", "n_classes"), [(1, 5), (3, 2)])
def test_grey_and_colour_few_and_more_classes(name: str, channels: int, n_classes: int) -> None:
    model = quick(name, n_classes=n_classes).fit(pictures(20, channels=channels))
    assert set(model.labels_) <= set(range(n_classes))
    assert model.predict_proba(pictures(4, channels=channels)).shape == (4, n_classes)


@every_method
def test_fewer_pictures_than_a_batch(name: str) -> None:
    assert quick(name).fit(pictures(6)).labels_.shape == (6,)


@every_method
def test_uint8_float_and_tensor_are_the_same(name: str, fitted: dict[str, Estimator]) -> None:
    images = pictures(5)
    expected = fitted[name].predict_proba(images)
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2)
    for same in (images / 255, (images / 255).astype(np.float32), tensor, tensor / 255):
        assert np.array_equal(fitted[name].predict_proba(same), expected)


@every_method
def test_pictures_of_any_size_are_fitted_to_the_models_input(name: str, fitted: dict[str, Estimator]) -> None:
    larger, grey = pictures(4, size=24), pictures(4, size=16, channels=1)
    for images in (larger, grey):
        assert fitted[name].predict_proba(images).shape == (4, 3)


@every_method
@pytest.mark.parametrize("n_classes", [1, 49])
def test_class_count_out_of_range(name: str, n_classes: int, tmp_path: Path) -> None:
    with pytest.raises(selfsort.UserError, match=f"n_classes={n_classes}"):
        quick(name, n_classes=n_classes).fit(pictures(), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@every_method
def test_use_before_fit(name: str, tmp_path: Path) -> None:
    with pytest.raises(selfsort.UserError, match="not fitted"):
        quick(name).predict(pictures())
    with pytest.raises(NotFittedError):
        quick(name).transform(pictures())
    assert not hasattr(quick(name), "classes_")
    with pytest.raises(selfsort.UserError, match="not fitted"):
        quick(name).save(tmp_path / "run")
