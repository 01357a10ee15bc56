"""Fixtures of all tests: a separate cache, the real data if available, and a browser if there is one."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from commands import Cli

# A shell that starts the tests in the background passes on an ignored SIGINT, which some tests send to processes.
signal.signal(signal.SIGINT, signal.default_int_handler)

_SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory, monkeypatch):
    """Keep the tests out of the user's own cache."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SELFSORT_CACHE", str(folder))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)  # thousands of them would fill a small disk


@pytest.fixture
def cli(capsys):
    """Run `selfsort` commands in this process."""
    return Cli(capsys)


@pytest.fixture(scope="session")
def data_root():
    """Return the folder of real data that SELFSORT_DATA names, or the one beside the checkout."""
    folder = Path(os.environ.get("SELFSORT_DATA", _SHARED_DATA)).expanduser()
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder} (set SELFSORT_DATA)")
    return folder


@pytest.fixture
def closed(tmp_path):
    """Return a folder that this process may not read, and a block in which that holds."""
    folder = tmp_path / "closed"
    folder.mkdir()

    @contextmanager
    def held():
        before = os.geteuid()
        try:
            folder.chmod(0)
            if before == 0:  # root may look everywhere, so become somebody else
                os.seteuid(65534)
            yield
        finally:
            if before == 0:
                os.seteuid(before)
            folder.chmod(stat.S_IRWXU)

    return folder, held


@pytest.fixture(scope="module")  # while it runs, asyncio cannot be used in this thread
def browser():
    """Start the headless Chromium that is on the PATH."""
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    chromium = next(filter(None, found), None)
    if chromium is None:
        pytest.skip("no chromium on the PATH")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def phone(browser):
    """Return a function that opens a file like a phone, in a colour scheme; nothing may go wrong on the page."""
    complaints, pages = [], []

    def opened(path: Path, scheme: str):
        screen = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True}
        page = browser.new_page(**screen, color_scheme=scheme)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(path.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
        pages.append(page)
        return page

    yield opened
    for page in pages:
        page.close()
    assert complaints == []


@pytest.fixture(scope="session")
def s3_address(tmp_path_factory):
    """Start an S3 server, moto's, in another process, and return its address."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    log = tmp_path_factory.mktemp("s3") / "log"
    with open(log, "wb") as output:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        server = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        until = time.monotonic() + 60
        while True:
            assert server.poll() is None and time.monotonic() < until, log.read_text()
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def bucket(s3_address, monkeypatch):
    """Return fsspec's file system of an S3 server with a new, empty bucket called `photos`."""
    import s3fs

    for name, value in (("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_address)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    s3fs.S3FileSystem.clear_instance_cache()
    store = s3fs.S3FileSystem(use_listings_cache=False)
    store.mkdir("photos")
    yield store
    store.rm("photos", recursive=True)
    s3fs.S3FileSystem.clear_instance_cache()
