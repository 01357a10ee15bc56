"""The service as a web application: thin FastAPI routes, and the guard in front of them."""

from selfsort.labelling.server.web.app import make_app, make_audit_app
from selfsort.labelling.server.web.guard import COOKIE, LOCAL_HOSTS

__all__ = ["COOKIE", "LOCAL_HOSTS", "make_app", "make_audit_app"]
