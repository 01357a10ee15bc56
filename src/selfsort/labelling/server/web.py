"""The desk as a web application: a thin layer of FastAPI, and the guard in front of it."""

import asyncio
import hmac
from collections.abc import Callable, Iterable, MutableMapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs

from fastapi import FastAPI, Query, Request, Response
from fastapi import Path as InPath
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from selfsort.errors import UserError
from selfsort.labelling.core.session import LONGEST_NAME, Event, SimilarName, Taken
from selfsort.labelling.server.desk import Conflict, Desk, Missing
from selfsort.labelling.store import Unwritable

LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")
COOKIE = "selfsort_token"
_STATIC = Path(str(files("selfsort.labelling.server").joinpath("static")))
_LARGEST_BODY = 1_000_000
_WRONG_PASSWORD = 1.0  # seconds that each wrong password takes, one after the other
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

_LARGEST = 2**53 - 1  # the integers that JavaScript holds exactly
Key = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]
Name = Annotated[str, StringConstraints(max_length=2 * LONGEST_NAME)]
Number = Annotated[int, Field(ge=0, le=_LARGEST)]
PathNumber = Annotated[int, InPath(ge=0, le=_LARGEST)]
Pictures = Annotated[tuple[Number, ...], Field(max_length=100_000)]


class Sent(BaseModel):
    """What every change carries: a key that its sender made up, so that sending it twice counts once."""

    model_config = ConfigDict(extra="forbid")
    key: Key
    client: Key


class Answer(Sent):
    """An answer about a group."""

    group: Number
    kind: Literal["name", "mixed", "junk", "skip"]
    name: Name | None = None
    confidence: Annotated[int, Field(ge=1, le=5)] = 5
    excluded: Pictures = ()
    distinct: bool = False


class Lasso(Sent):
    """Pictures that are to be one group; with `nearby`, also those not on the map that are nearest to them."""

    pictures: Pictures
    nearby: bool = False


class Merge(Sent):
    """Names that become one."""

    names: Annotated[tuple[Name, ...], Field(min_length=1, max_length=1000)]
    into: Name


class Pull(Sent):
    """Pictures that do not have a name, and the one that they have instead, if known."""

    name: Name
    pictures: Pictures
    to: Name | None = None
    distinct: bool = False


class Improve(Sent):
    """Passes over the pictures; the usual number when None."""

    epochs: Annotated[int, Field(ge=1, le=10_000)] | None = None


class Check(Sent):
    """The right name of a picture."""

    picture: Number
    name: Annotated[str, StringConstraints(min_length=1, max_length=2 * LONGEST_NAME)]


def make_app(desk: Desk, token: str, *, hosts: Iterable[str] = LOCAL_HOSTS, password: str | None = None) -> FastAPI:
    """Return the application for a desk, which answers nothing without the token.

    `hosts` are the names that the server may be called by, in lower case, IPv6 addresses in brackets. With a
    `password`, there is a login page that takes it in place of the token.
    """
    app = FastAPI(title="selfsort", docs_url=None, redoc_url=None, openapi_url="/api/openapi.json")
    app.add_middleware(Guard, token=token, hosts=frozenset(hosts), login=password is not None)
    for error, answer in _ANSWERS.items():
        app.add_exception_handler(error, answer)
    app.mount("/static", StaticFiles(directory=_STATIC))
    _add_pages(app, token, password)
    _add_reading(app, desk)
    _add_pictures(app, desk)
    _add_writing(app, desk)
    _add_checks(app, desk)
    return app


def _add_pages(app: FastAPI, token: str, password: str | None) -> None:
    trying = asyncio.Lock()

    @app.get("/", include_in_schema=False)
    def page() -> Response:
        return FileResponse(_STATIC / "index.html")

    @app.post("/login", include_in_schema=False)
    async def log_in(request: Request) -> Response:
        form = parse_qs((await request.body()).decode("utf-8", "replace"))
        given = form.get("password", [""])[0]
        async with trying:
            if password is None or not _same(given, password):
                await asyncio.sleep(_WRONG_PASSWORD)
                return RedirectResponse("/?wrong", 303)
        return _welcome(token, request.headers["host"])


def _add_reading(app: FastAPI, desk: Desk) -> None:
    @app.get("/api/state")
    def state() -> Response:
        return JSONResponse(desk.state())

    @app.get("/api/group")
    def next_group(client: Annotated[Key, Query()], after: Annotated[Number | None, Query()] = None) -> Response:
        group = desk.next_group(client, after)
        return JSONResponse({"group": group, "state": desk.state()})

    @app.get("/api/groups/{number}")
    def group(number: PathNumber) -> Response:
        return JSONResponse(desk.group(number))

    @app.get("/api/names/pictures")
    def named(
        name: Annotated[Name, Query()],
        offset: Annotated[Number, Query()] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 200,
        order: Literal["doubtful", "typical"] = "doubtful",
    ) -> Response:
        return JSONResponse(desk.named(name, offset, limit, order))

    @app.get("/api/map")
    def map_of_all() -> Response:
        return JSONResponse(desk.map())

    @app.get("/api/map/names")
    def map_names() -> Response:
        return JSONResponse(desk.map_names())

    @app.get("/api/labels.csv")
    def labels() -> Response:
        headers = {"Content-Disposition": 'attachment; filename="labels.csv"'}
        return Response(desk.labels_csv(), media_type="text/csv; charset=utf-8", headers=headers)


def _add_pictures(app: FastAPI, desk: Desk) -> None:
    @app.get("/api/groups/{number}/centre.png")
    def centre(number: PathNumber) -> Response:
        return Response(desk.centre(number), media_type="image/png")

    @app.get("/api/pictures/{index}.png")
    def thumbnail(index: PathNumber) -> Response:
        return _kept(desk.thumbnail(index), "image/png")

    @app.get("/api/pictures/{index}/full")
    def full(index: PathNumber) -> Response:
        return _kept(*desk.full(index))

    @app.get("/api/pictures/{index}")
    def picture(index: PathNumber) -> Response:
        return JSONResponse(desk.picture(index))


def _kept(content: bytes, media_type: str) -> Response:
    # By cookie, for the next server on this port may have other pictures: its token is another one.
    headers = {"Cache-Control": "private, max-age=86400", "Vary": "Cookie"}
    return Response(content, media_type=media_type, headers=headers)


def _add_writing(app: FastAPI, desk: Desk) -> None:
    @app.post("/api/answers")
    def answer(sent: Answer) -> Response:
        event = Event(sent.kind, sent.group, sent.name, sent.confidence, sent.excluded, distinct=sent.distinct)
        return JSONResponse(desk.answer(sent.key, sent.client, event))

    @app.post("/api/undo")
    def undo(sent: Sent) -> Response:
        return JSONResponse(desk.undo(sent.key, sent.client))

    @app.post("/api/lasso")
    def lasso(sent: Lasso) -> Response:
        return JSONResponse(desk.lasso(sent.key, sent.client, list(sent.pictures), sent.nearby))

    @app.post("/api/merge")
    def merge(sent: Merge) -> Response:
        return JSONResponse(desk.tell(sent.key, sent.client, Event("merge", name=sent.into, names=sent.names)))

    @app.post("/api/pull")
    def pull(sent: Pull) -> Response:
        event = Event("pull", None, sent.to, 5, sent.pictures, (sent.name,), sent.distinct)
        return JSONResponse(desk.tell(sent.key, sent.client, event))

    @app.post("/api/improve")
    def improve(sent: Improve) -> Response:
        return JSONResponse(desk.improve(sent.key, sent.epochs))


def _add_checks(app: FastAPI, desk: Desk) -> None:
    @app.get("/api/check")
    def next_check() -> Response:
        return JSONResponse(desk.next_check())

    @app.post("/api/checks")
    def check(sent: Check) -> Response:
        return JSONResponse(desk.add_check(sent.key, sent.client, sent.picture, sent.name))

    @app.post("/api/checks/undo")
    def undo_check(sent: Sent) -> Response:
        return JSONResponse(desk.undo_check(sent.key))


def _refusal(status: int, error: Exception, **more: Any) -> JSONResponse:
    return JSONResponse({"detail": str(error), **more}, status)


def _invalid(request: Request, error: Exception) -> JSONResponse:
    """Say what is wrong with the first field that is, without repeating what was sent."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:]) or "The request"
    return JSONResponse({"detail": f"{place}: {first['msg']}."}, 422)


_ANSWERS: dict[type[Exception], Callable[[Request, Exception], Response]] = {
    Taken: lambda request, error: _refusal(409, error, taken=True),
    SimilarName: lambda request, error: _refusal(409, error, similar=getattr(error, "existing", None)),
    Conflict: lambda request, error: _refusal(409, error),
    Missing: lambda request, error: _refusal(404, error),
    Unwritable: lambda request, error: _refusal(507, error),
    UserError: lambda request, error: _refusal(422, error),
    RequestValidationError: _invalid,
}


class Guard:
    """Lets in only requests to this host, from its own pages, with the token, and of a bearable size.

    Every answer gets the headers that keep a page from loading anything from elsewhere.
    """

    def __init__(self, app: ASGIApp, token: str, hosts: frozenset[str], login: bool):
        self.app, self.token, self.hosts, self.login = app, token, hosts, login

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            sealed = _sealed(scope["path"], send)
            refusal = self._refusal(scope)
            body = None if refusal else await _body(receive)
            if body is None:
                refusal = refusal or JSONResponse({"detail": "The request is larger than 1 MB."}, 413)
                await refusal(scope, receive, sealed)
            else:
                await self.app(scope, _replayed(body, receive), sealed)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or _host_name(hosts[0]) not in self.hosts:
            return JSONResponse({"detail": "This server is not called by that name."}, 400)
        origin = headers.get("origin")
        safe = scope["method"] in ("GET", "HEAD", "OPTIONS")
        own = f"http://{hosts[0]}".lower()
        if not safe and origin is not None and origin.lower() != own:
            return JSONResponse({"detail": "Another site may not send this."}, 403)
        return self._locked(scope, headers)

    def _locked(self, scope: Scope, headers: Headers) -> Response | None:
        path = scope["path"]
        if path == "/" and self._is_token(*parse_qs(scope["query_string"].decode("latin-1")).get("token", [])):
            return _welcome(self.token, headers["host"])
        cookies = cookie_parser(headers.get("cookie", "")).items()
        if self._is_token(headers.get("x-selfsort-token", ""), *(v for k, v in cookies if k.startswith(COOKIE))):
            return None
        if (path == "/login" and self.login) or (path.startswith("/static/") and path.endswith(".css")):
            return None
        if path == "/":
            return HTMLResponse(_login_page(scope["query_string"] == b"wrong") if self.login else _LOCKED, 401)
        return JSONResponse({"detail": _NO_PASSWORD if self.login else _NO_TOKEN}, 401)

    def _is_token(self, *given: str) -> bool:
        return any(_same(each, self.token) for each in given)


def _same(given: str, expected: str) -> bool:
    """Compare in a time that does not depend on where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode("utf-8", "replace"))


def _login_page(wrong: bool) -> str:
    page = (_STATIC / "login.html").read_text("utf-8")
    return page.replace("<!-- wrong -->", _WRONG if wrong else "")


def _welcome(token: str, host: str) -> Response:
    answer = RedirectResponse("/", 303)
    # Browsers send cookies to every port of a host: the name keeps servers of several runs apart.
    port = host.rpartition(":")[2]
    name = f"{COOKIE}_{port}" if port.isdecimal() else COOKIE
    answer.set_cookie(name, token, httponly=True, samesite="strict", path="/")
    return answer


def _host_name(host: str) -> str:
    """Return a Host header without its port, in lower case."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdecimal() else host).lower()


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
