"""The naming page from Python: in a notebook's frame in a real Chromium, with answers available at once."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import selfsort
from samples import pictures, quick
from selfsort.errors import UserError
from selfsort.labelling.core.answers import Event
from selfsort.labelling.server.notebook import LabelPage
from selfsort.labelling.store import Store


@contextmanager
def notebook(folder: Path, html: str) -> Iterator[str]:
    """Serve a page on another port with what a notebook would show."""
    (folder / "notebook.html").write_text(f"<!doctype html><title>notebook</title>{html}")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"{server.server_address[1]}/notebook.html"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def page(run, images) -> Iterator[LabelPage]:
    with LabelPage(run, images, n_groups=6) as opened:
        yield opened


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_an_answer_in_the_notebook_s_frame_is_seen_at_once(page: LabelPage, browser: Any, tmp_path: Path, host: str):
    heard: list[tuple[Event, bool]] = []
    page.on_answer(lambda event, taken_back: heard.append((event, taken_back)))
    with notebook(tmp_path, page._repr_html_()) as place:
        tab = browser.new_page()
        tab.goto(f"http://{host}:{place}")
        frame = tab.frame_locator("iframe")
        frame.locator(".picture").first.wait_for(timeout=60_000)
        frame.locator("#name").fill("bars")
        frame.locator("#name").press("Enter")
        assert page.wait_for(1, 60)
        assert set(page.names().values()) == {"bars"}
        frame.locator("#live:has-text('Saved')").wait_for(state="attached", timeout=60_000)
        frame.locator("[data-command=undo]").first.click()
        page._told.wait()
        while len(heard) < 2:
            tab.wait_for_timeout(50)
        tab.close()
    assert [(event.name, taken_back) for event, taken_back in heard] == [("bars", False), ("bars", True)]
    assert page.answers == ()


def test_names_given_in_python_are_on_the_page(page: LabelPage, images):
    page.assign([0, 3], "across")
    state = httpx.get(page.address.replace("/?", "/api/state?"), headers=token_of(page)).json()
    assert state["names"][0]["name"] == "across" and page.names()[images.ids[3]] == "across"
    with pytest.raises(UserError, match="empty"):
        page.assign([1], " ")


def token_of(page: LabelPage) -> dict[str, str]:
    return {"X-Selfsort-Token": page.address.rpartition("=")[2]}


def test_only_pages_of_this_machine_may_show_it_in_a_frame(page: LabelPage):
    policy = httpx.get(page.address, follow_redirects=True).headers["content-security-policy"]
    ancestors = policy.rpartition("frame-ancestors ")[2]
    assert ancestors == "http://127.0.0.1:* http://localhost:* http://[::1]:*"


def test_after_the_end_the_run_is_free_and_the_answers_are_in_it(run, images):
    with LabelPage(run, images, n_groups=6) as opened:
        opened.assign([0], "across")
        with pytest.raises(UserError, match="labelled already"):
            LabelPage(run, images)
    with pytest.raises(httpx.ConnectError):
        httpx.get(opened.address)
    with LabelPage(run, images) as again:
        assert again.names()[images.ids[0]] == "across"
    store = Store.open(run)
    assert [item.client for item in store.events()] == ["python"]
    store.close()


def test_a_listener_that_fails_does_not_stop_the_others(page: LabelPage, caplog: pytest.LogCaptureFixture):
    heard: list[str | None] = []
    page.on_answer(lambda event, taken_back: heard.append(event.names[0]))

    def fail(event: Event, taken_back: bool) -> None:
        raise ValueError("no room")

    page.on_answer(fail)
    page.assign([0], "across")
    page.assign([1], "down")
    page._told.wait()
    assert heard == ["across", "down"] and "no room" in caplog.text


class TestModel:
    def test_a_model_in_a_folder_is_labelled_without_further_arguments(self, tmp_path):
        from PIL import Image

        for index, pixels in enumerate(pictures(30, 16)):
            (tmp_path / "photos").mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "photos" / f"{index:02d}.png")
        photos = selfsort.load_images(tmp_path / "photos", size=16, cache=False)
        model = quick("kmeans").fit(photos, run_dir=tmp_path / "run")
        with model.label() as page:
            page.assign([0], "across")
        with selfsort.load(tmp_path / "run").label() as page:
            assert page.names()["00.png"] == "across"

    def test_a_model_without_a_folder_is_saved_in_the_given_one(self, images, tmp_path):
        model = quick("kmeans").fit(images)
        with model.label(images, run=tmp_path / "new", n_groups=6) as page:
            page.assign([0], "across")
        assert selfsort.load(tmp_path / "new").ids_ == images.ids

    def test_missing_arguments_are_reported(self, images, tmp_path):
        with pytest.raises(UserError, match="not fitted yet"):
            quick("kmeans").label(images)
        model = quick("kmeans").fit(images)
        with pytest.raises(UserError, match="run='runs/names'"):
            model.label(images)
        with pytest.raises(UserError, match="give its pictures as images"):
            model.label(run=tmp_path / "new")
        with pytest.raises(UserError, match="not the pictures"):
            model.label(np.zeros((9, 16, 16, 3), np.uint8), run=tmp_path / "new")
        assert not (tmp_path / "new").exists()
