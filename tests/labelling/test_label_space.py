"""The label space: kept in the run, described by the run itself, and the same whoever computes it."""

import subprocess
import sys

import numpy as np
import pytest

from run_files import edit
from selfsort.clustering import reduce_sampled
from selfsort.clustering.space import centred
from selfsort.errors import UserError
from selfsort.labelling import label_space
from selfsort.labelling.core.head import HeadSpace
from selfsort.runs import RunFolder, read_run, seal

WITHOUT_TORCH = """
import sys
from pathlib import Path
from selfsort.labelling import label_space
label_space.compute(Path(sys.argv[1]))
assert "torch" not in sys.modules
"""


def test_a_run_gives_its_label_space_without_torch(run):
    assert read_run(run)["labelling"] == {"space": "umap", "view": "embedding"}
    edit(run, labelling={"space": "pca", "view": "centred"})
    RunFolder(run).points.unlink()
    subprocess.run([sys.executable, "-c", WITHOUT_TORCH, str(run)], check=True)
    embedding = np.load(RunFolder(run).embedding)
    points = label_space.kept_points(run, label_space.stamp_of(embedding))
    np.testing.assert_allclose(points, reduce_sampled(centred(embedding)[0], "pca"), atol=1e-4)
    assert label_space.kept_points(run, label_space.stamp_of(embedding + 1)) is None, "another embedding"


def test_a_run_tells_the_stamp_of_its_embedding(run, monkeypatch):
    stamp = label_space.stamp_of(np.load(RunFolder(run).embedding))
    edit(run, "files")
    assert label_space.stamp_of_run(run) == stamp, "computed, as runs of earlier versions do not tell it"
    seal(run)
    monkeypatch.setattr(label_space, "stamp_of", lambda embedding: pytest.fail("computed"))
    assert label_space.stamp_of_run(run) == stamp


@pytest.mark.parametrize("labelling", [{}, {"space": "moon", "view": "embedding"}, {"space": "pca", "view": 3}])
def test_a_run_with_an_unknown_label_space(run, labelling):
    edit(run, labelling=labelling)
    with pytest.raises(UserError, match=r"run\.json' is damaged \(its "):
        label_space.compute(run)


def test_runs_of_earlier_versions_use_the_label_space_of_their_method(run):
    edit(run, "labelling", method="topdown-vae")
    RunFolder(run).points.unlink()
    label_space.compute(run)
    embedding = np.load(RunFolder(run).embedding)
    points = label_space.kept_points(run, label_space.stamp_of(embedding))
    assert np.array_equal(points, embedding) and label_space.is_embedding(run, points)


def test_rough_points_are_directions_along_the_first_axes():
    rng = np.random.default_rng(0)
    embedding = rng.normal(size=(300, 80)).astype(np.float32)
    embedding[:, 3] += np.where(np.arange(300) % 2, 9, -9)
    points = label_space.rough_points(HeadSpace(embedding))
    assert points.shape == (300, 50)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, rtol=1e-5)
    assert (label_space.rough_points(HeadSpace(np.zeros((4, 3), np.float32))) == 0).all()
