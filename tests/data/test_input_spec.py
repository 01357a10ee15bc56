import json

import numpy as np
import pytest

import selfsort
from samples import pictures, quick
from selfsort.data.input_spec import InputSpec
from selfsort.data.reading import ALONE, EARLIER
from selfsort.errors import UserError
from selfsort.schema import Invalid


def test_json_and_back():
    spec = InputSpec(224, 3, "pad", (0.5, 0.4, 0.3), (0.2, 0.2, 0.2), width=200)
    assert InputSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    assert spec.image_shape == (224, 200, 3) and spec.normalised


def test_of_shape_takes_values_as_they_are():
    assert InputSpec.of_shape((8, 8, 1), "squash") == InputSpec(8, 1, "squash")
    assert not InputSpec.of_shape((8, 6, 3)).normalised
    assert InputSpec.of_shape((8, 6, 3)).image_shape == (8, 6, 3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"side": 0}, "side=0"),
        ({"side": 8.0}, "side=8.0"),
        ({"width": -1}, "width=-1"),
        ({"channels": 4}, "channels=4"),
        ({"resize": "stretch"}, "resize='stretch'"),
        ({"mean": (0.5, 0.5)}, "mean="),
        ({"std": (0.0,)}, "std="),
    ],
)
def test_what_no_network_takes(changes, words):
    with pytest.raises(UserError, match=words):
        InputSpec(**{"side": 8, "channels": 3} | changes)


@pytest.mark.parametrize("values", [{}, {"side": 8}, {"mean": 1, "std": 1}, {"side": 8, "channels": 1, "mean": 0}])
def test_damaged(values):
    with pytest.raises(Invalid, match="its "):
        InputSpec.from_json(values)


def test_runs_that_did_not_name_their_input():
    run = {"data": {"image_shape": [64, 64, 3], "options": {"size": 64, "resize": "pad"}}}
    assert InputSpec.of_run(run) == InputSpec(64, 3, "pad", reading=EARLIER)
    run["data"]["options"] = {}
    assert InputSpec.of_run(run) == InputSpec(64, 3, reading=EARLIER)
    assert InputSpec.of_run(run | {"input": InputSpec(8, 1).to_json()}) == InputSpec(8, 1)


def test_a_model_keeps_its_input(tmp_path):
    model = quick("kmeans").fit(selfsort.load_images(pictures(size=12), size=10, resize="squash"))
    model.save(tmp_path / "run")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["input"] == model.input_.to_json()
    restored = selfsort.load(tmp_path / "run")
    assert restored.input_ == model.input_ == InputSpec(10, 3, "squash", reading=ALONE)
    assert restored.image_shape_ == (10, 10, 3)
    np.testing.assert_array_equal(restored.predict(selfsort.load_images(pictures(size=12), size=10)), model.labels_)
