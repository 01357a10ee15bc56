"""The application: routes, the guard, and the response to each error."""

from collections.abc import Callable, Iterable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles

from selfsort.errors import UserError
from selfsort.labelling.core.answers import SimilarName, Taken
from selfsort.labelling.server.audit_review import AuditReview
from selfsort.labelling.server.journal import Conflict
from selfsort.labelling.server.service import LabelService, Missing
from selfsort.labelling.server.web import routes
from selfsort.labelling.server.web.guard import LOCAL_HOSTS, Guard, Seal
from selfsort.labelling.server.web.words import STATIC
from selfsort.labelling.store import Unwritable

_SUBJECTS = (
    routes.session,
    routes.names,
    routes.naming,
    routes.exchange,
    routes.embedding_map,
    routes.images,
    routes.answers,
    routes.people,
    routes.checks,
)


def make_app(
    service: LabelService,
    token: str,
    *,
    hosts: Iterable[str] = LOCAL_HOSTS,
    password: str | None = None,
    framed: bool = False,
) -> FastAPI:
    """Return the application for a service, which answers no request without the token.

    `hosts` are the names by which the server may be addressed, in lower case, with IPv6 addresses in brackets. With a
    `password`, there is a login page that accepts it instead of the token. With `framed`, other pages of this machine
    may show it in a frame, as a notebook does.
    """
    app = _guarded(token, hosts, login=password is not None, framed=framed)
    app.include_router(routes.pages(token, password))
    for subject in _SUBJECTS:
        app.include_router(subject(service), prefix="/api")
    return app


def make_audit_app(review: AuditReview, token: str) -> FastAPI:
    """Return the application for the page of an audit; every request needs the token."""
    app = _guarded(token, LOCAL_HOSTS)
    app.include_router(routes.audit(review))
    return app


def _guarded(token: str, hosts: Iterable[str], login: bool = False, framed: bool = False) -> FastAPI:
    app = FastAPI(title="selfsort", docs_url=None, redoc_url=None, openapi_url="/api/openapi.json")
    app.add_middleware(Guard, token=token, login=login)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*hosts], www_redirect=False)
    app.add_middleware(Seal, framed=framed)
    for error, answer in _ANSWERS.items():
        app.add_exception_handler(error, answer)
    app.mount("/static", StaticFiles(directory=STATIC))
    return app


def _refusal(status: int, error: Exception, **more: Any) -> JSONResponse:
    if isinstance(error, UserError) and error.code:
        more |= {"code": error.code, "values": error.values}
    return JSONResponse({"detail": str(error), **more}, status)


def _invalid(request: Request, error: Exception) -> JSONResponse:
    """Describe the first invalid field, without repeating what was sent."""
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
