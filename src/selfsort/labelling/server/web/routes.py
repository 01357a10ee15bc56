"""The routes in groups by subject; each hands on to the service and turns its reply into a response."""

import asyncio
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse

from selfsort.labelling.core.answers import Event
from selfsort.labelling.server.image_files import ImageFile
from selfsort.labelling.server.payloads import Order
from selfsort.labelling.server.service import LabelService
from selfsort.labelling.server.web.bodies import (
    AnswerBody,
    Body,
    CheckBody,
    Key,
    LassoBody,
    MergeBody,
    Name,
    Number,
    PathNumber,
    PullBody,
    RefineBody,
)
from selfsort.labelling.server.web.guard import STATIC, same_text, welcome

_WRONG_PASSWORD = 1.0  # seconds that each wrong password takes, one after the other


def pages(token: str, password: str | None) -> APIRouter:
    """Return the routes of the page itself and of its login."""
    router = APIRouter(include_in_schema=False)
    trying = asyncio.Lock()

    @router.get("/")
    def page() -> Response:
        return FileResponse(STATIC / "index.html")

    @router.post("/login")
    async def log_in(request: Request) -> Response:
        form = parse_qs((await request.body()).decode("utf-8", "replace"))
        given = form.get("password", [""])[0]
        async with trying:
            if password is None or not same_text(given, password):
                await asyncio.sleep(_WRONG_PASSWORD)
                return RedirectResponse("/?wrong", 303)
        return welcome(token, request.headers["host"])

    return router


def session(service: LabelService) -> APIRouter:
    """Return the routes of the state, the groups and the refinement."""
    router = APIRouter()

    @router.get("/state")
    def state() -> Response:
        return JSONResponse(service.state())

    @router.get("/group")
    def next_group(client: Annotated[Key, Query()], after: Annotated[Number | None, Query()] = None) -> Response:
        group = service.next_group(client, after)
        return JSONResponse({"group": group, "state": service.state()})

    @router.get("/groups/{number}")
    def group(number: PathNumber) -> Response:
        return JSONResponse(service.group(number))

    @router.get("/groups/{number}/centre.png")
    def centre(number: PathNumber) -> Response:
        return _sent(service.centre(number))

    @router.post("/refine")
    def refine(sent: RefineBody) -> Response:
        return JSONResponse(service.refine(sent.key, sent.epochs))

    return router


def names(service: LabelService) -> APIRouter:
    """Return the routes of the names given."""
    router = APIRouter()

    @router.get("/names/pictures")
    def named(
        name: Annotated[Name, Query()],
        offset: Annotated[Number, Query()] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 200,
        order: Order = "doubtful",
    ) -> Response:
        return JSONResponse(service.named(name, offset, limit, order))

    @router.get("/labels.csv")
    def labels(bom: Annotated[bool, Query()] = False) -> Response:
        headers = {"Content-Disposition": 'attachment; filename="labels.csv"'}
        return Response(service.labels_csv(bom), media_type="text/csv; charset=utf-8", headers=headers)

    @router.post("/merge")
    def merge(sent: MergeBody) -> Response:
        return JSONResponse(service.tell(sent.key, sent.client, Event("merge", name=sent.into, names=sent.names)))

    @router.post("/pull")
    def pull(sent: PullBody) -> Response:
        event = Event("pull", None, sent.to, 5, sent.pictures, (sent.name,), sent.distinct)
        return JSONResponse(service.tell(sent.key, sent.client, event))

    return router


def embedding_map(service: LabelService) -> APIRouter:
    """Return the routes of the map."""
    router = APIRouter()

    @router.get("/map")
    def places() -> Response:
        return JSONResponse(service.map())

    @router.get("/map/names")
    def map_names() -> Response:
        return JSONResponse(service.map_names())

    @router.post("/lasso")
    def lasso(sent: LassoBody) -> Response:
        return JSONResponse(service.lasso(sent.key, sent.client, list(sent.pictures), sent.nearby))

    return router


def images(service: LabelService) -> APIRouter:
    """Return the routes of single pictures."""
    router = APIRouter()

    @router.get("/images/{index}")
    def image(index: PathNumber) -> Response:
        return JSONResponse(service.image(index))

    @router.get("/images/{index}/thumbnail")
    def thumbnail(index: PathNumber) -> Response:
        return _kept(service.thumbnail(index))

    @router.get("/images/{index}/original")
    def original(index: PathNumber) -> Response:
        return _kept(service.original(index))

    return router


def _sent(file: ImageFile) -> Response:
    return Response(file.content, media_type=file.media_type)


def _kept(file: ImageFile) -> Response:
    # By cookie, for the next server on this port may have other pictures: its token is another one.
    headers = {"Cache-Control": "private, max-age=86400", "Vary": "Cookie"}
    return Response(file.content, media_type=file.media_type, headers=headers)


def answers(service: LabelService) -> APIRouter:
    """Return the routes of answers about groups."""
    router = APIRouter()

    @router.post("/answers")
    def answer(sent: AnswerBody) -> Response:
        event = Event(sent.kind, sent.group, sent.name, sent.confidence, sent.excluded, distinct=sent.distinct)
        return JSONResponse(service.answer(sent.key, sent.client, event))

    @router.post("/leave")
    def leave(sent: Body) -> Response:
        service.leave(sent.client)
        return Response(status_code=204)

    @router.post("/undo")
    def undo(sent: Body) -> Response:
        return JSONResponse(service.undo(sent.key, sent.client))

    return router


def checks(service: LabelService) -> APIRouter:
    """Return the routes of the certificate's sample."""
    router = APIRouter()

    @router.get("/check")
    def next_check() -> Response:
        return JSONResponse(service.certification.next())

    @router.post("/checks")
    def check(sent: CheckBody) -> Response:
        return JSONResponse(service.certification.add(sent.key, sent.client, sent.picture, sent.name))

    @router.post("/checks/undo")
    def undo_check(sent: Body) -> Response:
        return JSONResponse(service.certification.undo(sent.key))

    return router
