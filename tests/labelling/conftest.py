"""A finished run that opens quickly, as it has its points already; and the naming page in a browser."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commands import run_here
from naming_page import DESKTOP, Server, Tab, copy_of
from samples import pictures, quick
from selfsort.data.image_set import ImageSet, as_image_set
from selfsort.labelling.label_space import stamp_of
from selfsort.runs import RunFolder


@pytest.fixture(scope="session")
def images() -> ImageSet:
    """Sixty pictures of three alternating kinds."""
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
    """A copy of the run that a test may change."""
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture(scope="session")
def with_better_groups(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the digits that a server has found its better groups for, which takes as long as many tests."""
    run = tmp_path_factory.mktemp("page") / "digits"
    words = ["fit", "digits", "--out", str(run), "--method", "kmeans", "--classes", "10"]
    assert run_here(*words) == 0
    running = Server(run, "label")
    running.settle()
    running.kill()
    return run


@pytest.fixture(scope="module")
def fitted(with_better_groups: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of(with_better_groups, tmp_path_factory.mktemp("fitted"))


@pytest.fixture(scope="module")
def server(fitted: Path) -> Iterator[Server]:
    running = Server(fitted, "label")
    yield running
    running.kill()


@pytest.fixture
def open_tab(browser: Any, server: Server) -> Iterator[Any]:
    tabs: list[Tab] = []
    contexts: list[Any] = []

    def opened(at: Server = server, beside: Tab | None = None, **options: Any) -> Tab:
        if beside is None:
            contexts.append(browser.new_context(**{"viewport": DESKTOP} | options))
            contexts[-1].set_default_timeout(60_000)
        tabs.append(Tab(beside.page.context if beside else contexts[-1], at))
        return tabs[-1]

    yield opened
    for tab in tabs:
        tab.check()
        tab.close()
    for context in contexts:
        context.close()
