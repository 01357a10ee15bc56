"""Admit only requests from the page's own site, with the token and of limited size; add headers to every response."""

import asyncio
import hmac
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from selfsort.labelling.server.web.words import locked_page, login_page, words_for

LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")
COOKIE = "selfsort_token"
_LARGEST_BODY, _LARGEST_TABLE = 1_000_000, 64_000_000  # bytes
_PATIENCE = 30.0  # seconds that a body may take to arrive
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'"
)
_LOCAL_PAGES = "http://127.0.0.1:* http://localhost:* http://[::1]:*"
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    # Browsers send the cookie to every port of a machine; pages on other ports must not show the pictures.
    "Cross-Origin-Resource-Policy": "same-origin",
    # With "no-referrer", browsers would send the login form without an origin.
    "Referrer-Policy": "same-origin",
}
_NO_TOKEN = "Open the address with the token that was printed in the terminal."
_NO_PASSWORD = "Load the page again and enter the password."


class Seal:
    """Adds headers to every response that keep the page from loading anything from elsewhere."""

    def __init__(self, app: ASGIApp, framed: bool = False):
        self.app, self.frames = app, _LOCAL_PAGES if framed else "'none'"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on HTTP requests, and nothing else."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self.app(scope, receive, _sealed(scope["path"], self.frames, send))


class Guard:
    """Admits only requests from the page's own site, with the token and of limited size."""

    def __init__(self, app: ASGIApp, token: str, login: bool):
        self.app, self.token, self.login = app, token, login

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        largest = _LARGEST_TABLE if scope["path"] == "/api/import" else _LARGEST_BODY
        refusal, body = self._refusal(scope), None
        if refusal is None:
            try:
                body = await asyncio.wait_for(_body(receive, largest), _PATIENCE)
            except TimeoutError:
                refusal = JSONResponse({"detail": "The request took too long."}, 408, {"Connection": "close"})
        if body is None:
            detail = f"The request is larger than {largest // 1_000_000} MB."
            refusal = refusal or JSONResponse({"detail": detail}, 413)
            await refusal(scope, receive, send)
        else:
            await self.app(scope, _replayed(body, receive), send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        safe = scope["method"] in ("GET", "HEAD", "OPTIONS")
        own = f"http://{headers['host']}".lower()
        if not safe and origin is not None and origin.lower() != own:
            return JSONResponse({"detail": "Other sites may not send this request."}, 403)
        return self._locked(scope, headers)

    def _locked(self, scope: Scope, headers: Headers) -> Response | None:
        path = scope["path"]
        if path == "/" and self._is_token(*parse_qs(scope["query_string"].decode("latin-1")).get("token", [])):
            return welcome(self.token, headers["host"])
        cookies = cookie_parser(headers.get("cookie", "")).items()
        if self._is_token(headers.get("x-selfsort-token", ""), *(v for k, v in cookies if k.startswith(COOKIE))):
            return None
        if (path == "/login" and self.login) or (path.startswith("/static/") and path.endswith(".css")):
            return None
        if path == "/":
            words = words_for(headers.get("accept-language", ""))
            page = login_page(words, wrong=scope["query_string"] == b"wrong") if self.login else locked_page(words)
            return HTMLResponse(page, 401)
        if self.login:
            return JSONResponse({"detail": _NO_PASSWORD, "code": "no-password"}, 401)
        return JSONResponse({"detail": _NO_TOKEN, "code": "no-token"}, 401)

    def _is_token(self, *given: str) -> bool:
        return any(same_text(each, self.token) for each in given)


def same_text(given: str, expected: str) -> bool:
    """Compare two texts in a time that does not depend on where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode("utf-8", "replace"))


def welcome(token: str, host: str) -> Response:
    """Return a response that redirects a browser to the page, with the token in a cookie."""
    answer = RedirectResponse("/", 303)
    # Browsers send cookies to every port of a host; the name distinguishes the servers of several runs.
    port = host.rpartition(":")[2]
    name = f"{COOKIE}_{port}" if port.isdecimal() else COOKIE
    answer.set_cookie(name, token, httponly=True, samesite="strict", path="/")
    return answer


async def _body(receive: Receive, largest: int) -> bytes | None:
    """Return the whole body of a request, or None if it is too large."""
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        part = message.get("body", b"")
        more = message["type"] == "http.request" and message.get("more_body", False)
        size += len(part)
        if size > largest:
            return None
        parts.append(part)
    return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that first returns a body that was already read, and then what follows."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> MutableMapping[str, Any]:
        return waiting.pop() if waiting else await receive()

    return replay


def _sealed(path: str, frames: str, send: Send) -> Send:
    """Return a `send` that adds the common headers to a response."""

    async def seal(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            headers["Content-Security-Policy"] = f"{_POLICY}; frame-ancestors {frames}"
            headers.setdefault("Cache-Control", "no-cache" if path.startswith("/static/") else "no-store")
        await send(message)

    return seal
