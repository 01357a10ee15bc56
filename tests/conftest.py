"""What every test gets: a cache of its own, and the real data where they are."""

import os
import signal
from pathlib import Path

import pytest

# A shell that starts the tests in the background hands on an ignored Ctrl-C, which some of them send to processes.
signal.signal(signal.SIGINT, signal.default_int_handler)

_SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory, monkeypatch):
    """Keep the tests out of the user's own cache."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SELFSORT_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def data_root():
    """Return the folder of real data that SELFSORT_DATA names, or the one beside the checkout."""
    folder = Path(os.environ.get("SELFSORT_DATA", _SHARED_DATA)).expanduser()
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder} (set SELFSORT_DATA)")
    return folder
