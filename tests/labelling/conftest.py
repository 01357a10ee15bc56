"""A finished run that is quick to open: its points are there already, so nothing waits for UMAP."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from samples import pictures, quick
from selfsort.data.image_set import ImageSet, as_image_set
from selfsort.labelling.label_space import stamp_of
from selfsort.runs import RunFolder


@pytest.fixture(scope="session")
def images() -> ImageSet:
    """Sixty pictures of three kinds, in turn."""
    return as_image_set(pictures(60))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, images: ImageSet) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    model = quick("kmeans").fit(images, run_dir=folder)
    np.savez(RunFolder(folder).points, stamp=stamp_of(model.embedding_), points=model.embedding_)
    np.save(folder.parent / "pictures.npy", images.images)
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the run that a test may write to."""
    return shutil.copytree(finished, tmp_path / "run")
