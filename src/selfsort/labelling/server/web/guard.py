"""Who is let in: requests from the page's own site, with the token, and of a bearable size; what seals every answer."""

import hmac
from collections.abc import MutableMapping
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")
COOKIE = "selfsort_token"
STATIC = Path(str(files("selfsort.labelling.server").joinpath("static")))
_LARGEST_BODY = 1_000_000
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    # With "no-referrer" browsers send the form of the login page as if it came from nowhere.
    "Referrer-Policy": "same-origin",
}
_LOCKED = (
    "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>selfsort</title>"
    "<link rel='icon' href='data:,'><link rel='stylesheet' href='/static/app.css'></head><body><main class='login'>"
    "<h1>This page is locked</h1><p>Open the address that <code>selfsort</code> printed in the terminal: it holds the "
    "key.</p></main></body></html>"
)

_NO_TOKEN = "Open the address with the token that was printed in the terminal."
_NO_PASSWORD = "Load the page again and give the password."
_WRONG = '<p class="error" id="wrong">That is not the password: try again.</p>'


class Seal:
    """Gives every answer the headers that keep a page from loading anything from elsewhere."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; let nothing but HTTP in."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self.app(scope, receive, _sealed(scope["path"], send))


class Guard:
    """Lets in only requests from the page's own site, with the token, and of a bearable size."""

    def __init__(self, app: ASGIApp, token: str, login: bool):
        self.app, self.token, self.login = app, token, login

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        refusal = self._refusal(scope)
        body = None if refusal else await _body(receive)
        if body is None:
            refusal = refusal or JSONResponse({"detail": "The request is larger than 1 MB."}, 413)
            await refusal(scope, receive, send)
        else:
            await self.app(scope, _replayed(body, receive), send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        safe = scope["method"] in ("GET", "HEAD", "OPTIONS")
        own = f"http://{headers['host']}".lower()
        if not safe and origin is not None and origin.lower() != own:
            return JSONResponse({"detail": "Another site may not send this."}, 403)
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
            return HTMLResponse(_login_page(scope["query_string"] == b"wrong") if self.login else _LOCKED, 401)
        return JSONResponse({"detail": _NO_PASSWORD if self.login else _NO_TOKEN}, 401)

    def _is_token(self, *given: str) -> bool:
        return any(same_text(each, self.token) for each in given)


def same_text(given: str, expected: str) -> bool:
    """Compare in a time that does not depend on where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode("utf-8", "replace"))


def _login_page(wrong: bool) -> str:
    page = (STATIC / "login.html").read_text("utf-8")
    return page.replace("<!-- wrong -->", _WRONG if wrong else "")


def welcome(token: str, host: str) -> Response:
    """Return what sends a browser to the page with the token in a cookie."""
    answer = RedirectResponse("/", 303)
    # Browsers send cookies to every port of a host: the name keeps servers of several runs apart.
    port = host.rpartition(":")[2]
    name = f"{COOKIE}_{port}" if port.isdecimal() else COOKIE
    answer.set_cookie(name, token, httponly=True, samesite="strict", path="/")
    return answer


async def _body(receive: Receive) -> bytes | None:
    """Return the whole body of a request, or None when it is too large."""
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        part = message.get("body", b"")
        more = message["type"] == "http.request" and message.get("more_body", False)
        size += len(part)
        if size > _LARGEST_BODY:
            return None
        parts.append(part)
    return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return what hands out a body that was read already, and then what comes after it."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> MutableMapping[str, Any]:
        return waiting.pop() if waiting else await receive()

    return replay


def _sealed(path: str, send: Send) -> Send:
    """Return what sends an answer with the headers that every answer has."""

    async def seal(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "no-cache" if path.startswith("/static/") else "no-store")
        await send(message)

    return seal
