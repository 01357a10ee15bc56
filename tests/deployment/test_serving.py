"""Predictions over HTTP: the same as `selfsort predict`, and a sentence with a 4xx for whatever is no picture."""

import io
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from commands import Cli
from samples import pictures, quick
from selfsort import UserError
from selfsort.data.loading import list_images
from selfsort.deployment import engine as engines
from selfsort.deployment.engine import Engine, engine_of_file, engine_of_run
from selfsort.deployment.files import write_model
from selfsort.deployment.web import prediction_app
from selfsort.labelling.server.serve import listen, run_server, server_of
from selfsort.methods.base import Estimator

Client = Callable[..., TestClient]


@pytest.fixture(scope="module")
def model() -> Estimator:
    return quick("simclr").fit(pictures(12))


@pytest.fixture(scope="module")
def run(model: Estimator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    model.save(folder)
    return folder


@pytest.fixture(scope="module")
def engine(run: Path) -> Engine:
    return engine_of_run(run, 0.0)


@pytest.fixture
def client(engine: Engine) -> Iterator[Client]:
    def make(using: Engine = engine, max_bytes: int = 100_000, max_pixels: int = 1_000_000) -> TestClient:
        app = prediction_app(using, max_bytes=max_bytes, max_pixels=max_pixels)
        return TestClient(app, base_url="http://127.0.0.1:8000")

    yield make


def encoded(pixels: np.ndarray, kind: str = "PNG", size: tuple[int, int] = (40, 30)) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).resize(size).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_the_answer_is_that_of_the_model(
    kind: str,
    client: Client,
    engine: Engine,
    model: Estimator,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if kind == "torch":
        monkeypatch.setattr(engines, "missing_libraries", lambda: ["onnx"])
    app = client(engine if kind == "onnx" else engine_of_run(run, 0.0))
    files = [
        encoded(pixels, how) for pixels, how in zip(pictures(4, seed=3), ("PNG", "JPEG", "PNG", "WEBP"), strict=True)
    ]
    for number, content in enumerate(files):
        (tmp_path / f"{number}.png").write_bytes(content)
    expected = model.predict_proba(model.readable(list_images(str(tmp_path))))
    for content, row in zip(files, expected, strict=True):
        found = app.post("/predict", content=content).json()
        assert np.abs(np.array(list(found["probabilities"].values())) - row).max() < 1e-4
        assert found["name"] == str(row.argmax()) and found["confidence"] == max(found["probabilities"].values())
    assert app.get("/health").json()["engine"] == kind


def test_an_unsure_answer_has_no_name(client: Client, engine: Engine) -> None:
    unsure = replace(engine, facts=replace(engine.facts, threshold=1.1))
    found = client(unsure).post("/predict", content=encoded(pictures(1)[0])).json()
    assert found["name"] is None and found["confidence"] > 0


@pytest.mark.slow
def test_an_exported_file_is_served_as_well(client: Client, model: Estimator, tmp_path: Path, engine: Engine) -> None:
    write_model(model, tmp_path / "model.onnx", threshold=0.25)
    served = engine_of_file(tmp_path / "model.onnx")
    assert served.facts.input == model.input_ and served.facts.threshold == 0.25
    content = encoded(pictures(1)[0])
    assert np.allclose(served.probabilities(content), engine.probabilities(content))
    (tmp_path / "bad.onnx").write_bytes((tmp_path / "model.onnx").read_bytes()[:-2000])
    for name, reason in (("bad.onnx", "is no model of `selfsort export`"), ("none.onnx", "There is no file")):
        with pytest.raises(UserError, match=reason):
            engine_of_file(tmp_path / name)


def test_bad_uploads_are_one_sentence(client: Client) -> None:
    good = encoded(pictures(1)[0])
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    cases = [
        (b"", 400, "There is no picture: send its file as the body of the request."),
        (b"hello", 422, "The picture cannot be read: "),
        (good[:-200], 422, "The picture cannot be read: truncated."),
        (encoded(noise, size=(2000, 2000)), 413, "The picture is larger than 0.1 MB."),
        (encoded(np.zeros_like(noise), size=(1001, 1000)), 422, "The picture cannot be read: "),
    ]
    app = client()
    for content, status, sentence in cases:
        answer = app.post("/predict", content=content)
        assert answer.status_code == status and answer.json()["detail"].startswith(sentence), answer.text
        assert "\n" not in answer.text and "Traceback" not in answer.text
    form = app.post("/predict", files={"file": good})
    assert form.status_code == 422 and "--data-binary" in form.json()["detail"]
    chunked = app.post("/predict", content=iter([b"x" * 60_000] * 3))  # its size is not declared
    assert chunked.status_code == 413
    assert app.get("/predict").status_code == 405


def test_other_hosts_and_sites_are_refused(client: Client) -> None:
    app, content = client(), encoded(pictures(1)[0])
    assert app.get("/health", headers={"Host": "evil.example"}).status_code == 400
    assert app.post("/predict", content=content, headers={"Origin": "http://evil.example"}).status_code == 403
    own = app.post("/predict", content=content, headers={"Origin": "http://127.0.0.1:8000"})
    assert own.status_code == 200 and own.headers["X-Content-Type-Options"] == "nosniff"


def test_the_pages_describe_every_request(client: Client) -> None:
    app = client()
    described = app.get("/openapi.json").json()
    assert set(described["paths"]) == {"/predict", "/health"}
    assert "image/*" in described["paths"]["/predict"]["post"]["requestBody"]["content"]
    page = app.get("/")
    assert "curl --data-binary @picture.jpg http://127.0.0.1:8000/predict" in page.text and "413" in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"] and "//cdn" not in page.text
    assert app.get("/page.css").headers["Content-Type"].startswith("text/css")


def test_over_a_socket(engine: Engine) -> None:
    with closing(listen(None, None)) as listener:
        server = server_of(prediction_app(engine, max_bytes=10_000, max_pixels=10_000), 32)
        thread = threading.Thread(target=run_server, args=(server, listener))
        thread.start()
        try:
            address = f"http://127.0.0.1:{listener.getsockname()[1]}"
            assert httpx.post(f"{address}/predict", content=encoded(pictures(1)[0])).status_code == 200
            assert httpx.post(f"{address}/predict", content=b"x" * 2_000_000).status_code == 413
        finally:
            server.should_exit = True
            thread.join()


def test_the_command_serves_a_run(run: Path, engine: Engine, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    called: dict[str, Any] = {}
    monkeypatch.setattr(engines, "engine_of_run", lambda folder, threshold: engine)
    monkeypatch.setattr(
        "selfsort.deployment.serve.serve_predictions", lambda engine, **how: called.update(how, e=engine)
    )
    cli("serve", run, "--port", "9000", "--allow-host", "sorter.local", "--max-mb", "4")
    assert called["e"].facts.names == ("0", "1", "2") and called["port"] == 9000
    assert called["allowed"] == ["sorter.local"] and called["max_megabytes"] == 4


def test_the_dockerfile_starts_the_command(cli: Cli) -> None:
    text = (Path(__file__).parents[2] / "Dockerfile").read_text()
    words = [json.loads(found) for found in re.findall(r"^(?:ENTRYPOINT|CMD) (\[.*\])$", text, re.MULTILINE)]
    program, *arguments = sum(words, [])
    assert program == "selfsort"
    answer = cli(*(word.replace("/model", "/no-such-model") for word in arguments))
    assert answer.code == 1 and "/no-such-model" in answer.err  # a wrong option would be 2
