"""The routes, grouped by subject; each calls the service and turns its reply into a response."""

import asyncio
from ipaddress import IPv6Address
from typing import Annotated, Literal
from urllib.parse import parse_qs
from weakref import WeakValueDictionary

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, StreamingResponse

from selfsort.export.named import file_formats
from selfsort.labelling.about import About
from selfsort.labelling.core.answers import Event
from selfsort.labelling.server.audit_review import AuditReview
from selfsort.labelling.server.image_files import ImageFile
from selfsort.labelling.server.payloads import Order
from selfsort.labelling.server.service import LabelService
from selfsort.labelling.server.shot_table import Fact, ShotFact
from selfsort.labelling.server.web.bodies import (
    AboutBody,
    AnswerBody,
    AssignBody,
    Body,
    CheckBody,
    ChoiceBody,
    DropBody,
    GatherBody,
    ImportBody,
    Key,
    LassoBody,
    MergeBody,
    MoreBody,
    Name,
    Number,
    PathNumber,
    PersonBody,
    PullBody,
    RefineBody,
)
from selfsort.labelling.server.web.guard import same_text, welcome
from selfsort.labelling.server.web.words import STATIC

_WRONG_PASSWORD = 1.0  # seconds that each wrong password from an address takes, one after another


def pages(token: str, password: str | None) -> APIRouter:
    """Return the routes of the page itself and of its login."""
    router = APIRouter(include_in_schema=False)
    # Wrong passwords from one address do not delay others; a lock is dropped when nobody from its address waits.
    trying: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @router.get("/")
    def page() -> Response:
        return FileResponse(STATIC / "index.html")

    @router.post("/login")
    async def log_in(request: Request) -> Response:
        form = parse_qs((await request.body()).decode("utf-8", "replace"))
        given = form.get("password", [""])[0]
        async with trying.setdefault(_address(request), asyncio.Lock()):
            if password is None or not same_text(given, password):
                await asyncio.sleep(_WRONG_PASSWORD)
                return RedirectResponse("/?wrong", 303)
        return welcome(token, request.headers["host"])

    return router


def _address(request: Request) -> str:
    """Return where a request comes from; for IPv6 the network, as one machine may use any number of addresses."""
    host = request.client.host if request.client else ""
    return IPv6Address(host).exploded[:19] if ":" in host else host


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
        return JSONResponse(service.refine(sent.key, sent.client, sent.epochs))

    @router.post("/refine/cancel")
    def cancel(sent: Body) -> Response:
        return JSONResponse(service.cancel_refinement())

    return router


def names(service: LabelService) -> APIRouter:
    """Return the routes that show the names given."""
    router = APIRouter()

    @router.get("/names/pictures")
    def named(
        name: Annotated[Name, Query()],
        offset: Annotated[Number, Query()] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 200,
        order: Order = "doubtful",
        fact: Fact | None = None,
        value: Annotated[Name, Query()] = "",
    ) -> Response:
        taken = None if fact is None else ShotFact(fact, value)
        return JSONResponse(service.named(name, offset, limit, order, taken))

    @router.get("/facts")
    def facts() -> Response:
        return JSONResponse(service.facts())

    @router.get("/find")
    def find(wanted: Annotated[Name, Query(min_length=1)]) -> Response:
        return JSONResponse(service.find(wanted))

    @router.get("/suspects")
    def suspects() -> Response:
        return JSONResponse(service.suspects())

    return router


def naming(service: LabelService) -> APIRouter:
    """Return the routes that change names, or the pictures that have them."""
    router = APIRouter()

    @router.post("/merge")
    def merge(sent: MergeBody) -> Response:
        return JSONResponse(service.tell(sent.key, sent.client, Event("merge", name=sent.into, names=sent.names)))

    @router.post("/about")
    def describe(sent: AboutBody) -> Response:
        return JSONResponse(
            service.describe(sent.key, sent.client, sent.name, About.of(sent.description, sent.note, sent.colour))
        )

    @router.post("/assign")
    def assign(sent: AssignBody) -> Response:
        chosen = (0,) * len(sent.pictures)
        event = Event("assign", None, None, 5, sent.pictures, (sent.name,), sent.distinct, chosen)
        return JSONResponse(service.tell(sent.key, sent.client, event))

    @router.post("/drop")
    def drop(sent: DropBody) -> Response:
        return JSONResponse(service.tell(sent.key, sent.client, Event("drop", names=(sent.name,))))

    @router.post("/pull")
    def pull(sent: PullBody) -> Response:
        event = Event("pull", None, sent.to, 5, sent.pictures, (sent.name,), sent.distinct)
        return JSONResponse(service.tell(sent.key, sent.client, event))

    return router


def exchange(service: LabelService) -> APIRouter:
    """Return the routes for exporting and importing names."""
    router = APIRouter()

    @router.get("/export/csv")
    def labels(bom: Annotated[bool, Query()] = False) -> Response:
        return _exported(service, "csv", bom=bom)

    @router.get("/export/{kind}")
    def exported(kind: Literal["json", "coco", "zip"]) -> Response:
        return _exported(service, kind)

    @router.post("/import")
    def imported(sent: ImportBody) -> Response:
        return JSONResponse(service.import_names(sent.key, sent.table.encode("utf-8")))

    return router


def _exported(service: LabelService, kind: str, **options: bool) -> Response:
    known = file_formats()[kind]
    headers = {"Content-Disposition": f'attachment; filename="{known.FILE}"'}
    chunks = known.chunks(service.named_pictures(), **options)
    return StreamingResponse(chunks, media_type=known.MEDIA_TYPE, headers=headers)


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
        return JSONResponse(service.lasso(sent.key, sent.client, list(sent.pictures), sent.nearby, sent.only_unnamed))

    @router.post("/gather")
    def gather(sent: GatherBody) -> Response:
        return JSONResponse(service.gather(sent.key, sent.client, ShotFact(sent.fact, sent.value)))

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
    # Cached per cookie, as the next server on this port may have other pictures and has another token.
    headers = {"Cache-Control": "private, max-age=86400", "Vary": "Cookie"}
    return Response(file.content, media_type=file.media_type, headers=headers)


def audit(review: AuditReview) -> APIRouter:
    """Return the routes of an audit's page and of the decisions on it."""
    router = APIRouter()

    @router.get("/", include_in_schema=False)
    def page() -> Response:
        return HTMLResponse(review.page)

    @router.get("/page.css", include_in_schema=False)
    def style() -> Response:
        return Response(review.style, media_type="text/css")

    @router.get("/api/choices")
    def choices() -> Response:
        return JSONResponse(review.state())

    @router.post("/api/choices")
    def choose(body: ChoiceBody) -> Response:
        state = review.choose(body.picture, body.kept)
        return _no_picture() if state is None else JSONResponse(state)

    @router.get("/api/images/{index}/original")
    def original(index: PathNumber) -> Response:
        file = review.original(index)
        return _no_picture() if file is None else _kept(file)

    return router


def _no_picture() -> Response:
    return JSONResponse({"detail": "The audit has no such picture."}, 404)


def people(service: LabelService) -> APIRouter:
    """Return the routes about people, and for second opinions."""
    router = APIRouter()

    @router.get("/people")
    def overview(client: Annotated[Key, Query()]) -> Response:
        return JSONResponse(service.people.overview(client))

    @router.post("/people")
    def call(sent: PersonBody) -> Response:
        return JSONResponse(service.people.call(sent.client, sent.name))

    @router.get("/opinion")
    def next_opinion(client: Annotated[Key, Query()]) -> Response:
        return JSONResponse(service.people.next(client))

    @router.post("/opinions")
    def opinion(sent: AnswerBody) -> Response:
        event = Event(sent.kind, sent.group, sent.name, sent.confidence, sent.excluded)
        return JSONResponse(service.people.opinion(sent.key, sent.client, event))

    return router


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

    @router.post("/redo")
    def redo(sent: Body) -> Response:
        return JSONResponse(service.redo(sent.key, sent.client))

    @router.post("/back")
    def back_to_skipped(sent: Body) -> Response:
        return JSONResponse(service.back_to_skipped(sent.key, sent.client))

    @router.get("/history")
    def history(client: Annotated[Key, Query()]) -> Response:
        return JSONResponse(service.history(client))

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

    @router.post("/checks/more")
    def more_checks(sent: MoreBody) -> Response:
        return JSONResponse(service.certification.extend(sent.key, sent.more))

    @router.post("/checks/undo")
    def undo_check(sent: Body) -> Response:
        return JSONResponse(service.certification.undo(sent.key))

    return router
