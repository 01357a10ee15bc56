"""The application: routes, the guard, and what each error is answered with."""

from collections.abc import Callable, Iterable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles

from selfsort.errors import UserError
from selfsort.labelling.core.answers import SimilarName, Taken
from selfsort.labelling.server.journal import Conflict
from selfsort.labelling.server.service import LabelService, Missing
from selfsort.labelling.server.web import routes
from selfsort.labelling.server.web.guard import LOCAL_HOSTS, STATIC, Guard, Seal
from selfsort.labelling.store import Unwritable


def make_app(
    service: LabelService, token: str, *, hosts: Iterable[str] = LOCAL_HOSTS, password: str | None = None
) -> FastAPI:
    """Return the application for a service, which answers nothing without the token.

    `hosts` are the names that the server may be called by, in lower case, IPv6 addresses in brackets. With a
    `password`, there is a login page that takes it in place of the token.
    """
    app = FastAPI(title="selfsort", docs_url=None, redoc_url=None, openapi_url="/api/openapi.json")
    app.add_middleware(Guard, token=token, login=password is not None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*hosts], www_redirect=False)
    app.add_middleware(Seal)
    for error, answer in _ANSWERS.items():
        app.add_exception_handler(error, answer)
    app.mount("/static", StaticFiles(directory=STATIC))
    app.include_router(routes.pages(token, password))
    for subject in (routes.session, routes.names, routes.embedding_map, routes.images, routes.answers, routes.checks):
        app.include_router(subject(service), prefix="/api")
    return app


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
