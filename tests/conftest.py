"""What every test gets: a cache of its own, the real data where they are, and a browser where there is one."""

import os
import shutil
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


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Start a headless Chromium that reports its console."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("chromium and chromedriver are not installed")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    quiet = ("no-first-run", "disable-background-networking", "disable-component-update", "disable-sync")
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", *quiet):
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(driver, log_output=os.devnull))
    yield chrome
    chrome.quit()
