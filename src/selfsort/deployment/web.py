"""Predictions over HTTP: one picture in a request's body, the probabilities of the names back."""

import asyncio
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from jinja2 import Environment, FileSystemLoader
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from selfsort.deployment.engine import Engine
from selfsort.errors import UserError
from selfsort.labelling.server.web.guard import LOCAL_HOSTS, Seal

_PATIENCE = 30.0  # seconds that a picture may take to arrive
_PROBLEMS = {
    400: "The body is empty.",
    403: "Another site made a browser send this.",
    408: "The picture took too long to arrive.",
    413: "The file is too large.",
    422: "The picture cannot be read; the sentence says why.",
}
_HERE = Path(__file__).parent


class Prediction(BaseModel):
    """What the model says about a picture."""

    name: str | None
    """The likeliest name, null if its probability is below the model's threshold."""
    confidence: float
    """The probability of the likeliest name."""
    probabilities: dict[str, float]
    """The probability of each name."""


class Health(BaseModel):
    """What is being served."""

    status: Literal["ok"]
    engine: str
    method: str
    names: list[str]
    threshold: float
    selfsort: str


class Problem(BaseModel):
    """Why there is no prediction, in one sentence."""

    detail: str


class _Refused(Exception):
    """A request is refused, with a status and a sentence."""

    def __init__(self, status: int, detail: str):
        super().__init__(detail)
        self.status = status


def prediction_app(engine: Engine, *, hosts: Iterable[str] = LOCAL_HOSTS, max_bytes: int, max_pixels: int) -> FastAPI:
    """Return the application that answers with an engine's predictions.

    `hosts` are the names by which the server may be addressed, "*" any. Bodies of more than `max_bytes` and pictures of
    more than `max_pixels` are refused.
    """
    app = FastAPI(title="selfsort", version=version("selfsort"), docs_url=None, redoc_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*hosts], www_redirect=False)
    app.add_middleware(Seal)
    app.add_exception_handler(_Refused, _refusal)
    _add_pages(app)
    body = {"required": True, "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}}
    problems: dict[int | str, dict[str, Any]] = {
        status: {"model": Problem, "description": meaning} for status, meaning in _PROBLEMS.items()
    }

    @app.post("/predict", openapi_extra={"requestBody": body}, responses=problems)
    async def predict(request: Request) -> Prediction:
        """Name the picture whose file is the body of the request."""
        _check_origin(request)
        content = await _uploaded(request, max_bytes)
        try:
            found = await run_in_threadpool(engine.probabilities, content, max_pixels)
        except UserError as error:
            raise _Refused(422, str(error)) from error
        names, best = engine.facts.names, int(found.argmax())
        confidence = float(found[best])
        name = names[best] if confidence >= engine.facts.threshold else None
        return Prediction(name=name, confidence=confidence, probabilities=dict(zip(names, found.tolist(), strict=True)))

    @app.get("/health")
    async def health() -> Health:
        """Say that the server is ready, and what it serves."""
        facts = engine.facts
        return Health(
            status="ok",
            engine=engine.kind,
            method=facts.method,
            names=list(facts.names),
            threshold=facts.threshold,
            selfsort=facts.selfsort,
        )

    return app


def _refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, _Refused)
    return JSONResponse({"detail": str(error)}, error.status, {"Connection": "close"})


def _check_origin(request: Request) -> None:
    """Refuse what other sites make a browser send; programs send no origin."""
    origin = request.headers.get("origin")
    if origin is not None and origin.lower().partition("://")[2] != request.headers["host"].lower():
        raise _Refused(403, "Other sites may not send this request.")


async def _uploaded(request: Request, most: int) -> bytes:
    """Return the body of a request; refuse one that is empty, too large or too slow."""
    parts, size = [], 0
    too_large = _Refused(413, f"The picture is larger than {most / 1e6:,g} MB.")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most:
        raise too_large
    if request.headers.get("content-type", "").startswith("multipart/"):
        raise _Refused(422, "Send the picture's file itself as the body, not a form (curl --data-binary @FILE).")
    try:
        async with asyncio.timeout(_PATIENCE):
            async for part in request.stream():
                size += len(part)
                if size > most:
                    raise too_large
                parts.append(part)
    except TimeoutError as error:
        raise _Refused(408, "The picture took too long to arrive.") from error
    if not size:
        raise _Refused(400, "There is no picture: send its file as the body of the request.")
    return b"".join(parts)


def _add_pages(app: FastAPI) -> None:
    """Add a page about the requests that loads nothing from elsewhere, as FastAPI's own would."""
    template = Environment(loader=FileSystemLoader(_HERE), autoescape=True).get_template("page.html.j2")

    @app.get("/", include_in_schema=False)
    async def page(request: Request) -> HTMLResponse:
        return HTMLResponse(template.render(described=app.openapi(), address=request.base_url))

    @app.get("/page.css", include_in_schema=False)
    async def style() -> FileResponse:
        return FileResponse(_HERE / "page.css")
