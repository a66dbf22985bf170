"""The service's HTTP interface: messages in, twins out, service twins, health and metrics. Every error is one line that says what is allowed."""

from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp

from edgetwin.twin import views, web
from edgetwin.twin.messages import MAX_INTEGER, lines_in
from edgetwin.twin.refusal import Refused
from edgetwin.twin.service import Service
from edgetwin.twin.stream import stream

MOVE_STATUS = {"moved": 200, "waiting": 202, "aborted": 409}
"""What a move's outcome is in HTTP."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Enrolment(_Strict):
    """What enrols a device: its kind."""

    kind: str = Field(max_length=128)


class Desired(_Strict):
    """Changes of a desired state, null taking a property away; `if_revision`: only if it is at this revision."""

    state: dict[str, Any] = Field(min_length=1)
    if_revision: int | None = None


class When(_Strict):
    """How a twin was at a revision, or at a time by the host's clock (seconds since 1970)."""

    revision: int | None = Field(None, ge=0, le=MAX_INTEGER)
    time_s: float | None = Field(None, allow_inf_nan=False)


class Page(_Strict):
    """A part of a list: what comes after an id."""

    after: str = ""
    limit: int = Field(100, ge=1, le=1000)


class HistoryPage(_Strict):
    """The newest entries of a log, before BOOT_ID.SEQ where that is given."""

    before: str | None = Field(None, pattern=r"^\d{1,18}\.\d{1,18}$")
    limit: int = Field(100, ge=1, le=10_000)


class Move(_Strict):
    """Where a twin shall live."""

    host: str = Field(max_length=128)


class MovesPage(_Strict):
    """The newest moves since the service started, of a twin where one is given."""

    twin: str | None = None
    limit: int = Field(100, ge=1, le=1000)


class QuarantinePage(_Strict):
    """The newest messages in quarantine, of a device where one is given, and in which host's store."""

    device: str | None = None
    host: str | None = None
    limit: int = Field(100, ge=1, le=1000)


def app(service: Service, token: str | None = None) -> ASGIApp:
    """The ASGI application of a service. With a token, every request but /health and /ready must carry `Authorization: Bearer TOKEN`."""

    @asynccontextmanager
    async def lifespan(_: FastAPI):
        await service.start()
        yield
        await service.close()

    api = FastAPI(title="edgetwin", version=version("edgetwin"), lifespan=lifespan, docs_url=None, redoc_url=None)
    for kind, answer in web.ERRORS.items():
        api.add_exception_handler(kind, answer)
    centre = service.centre

    async def updates(request: Request) -> Response:
        body = await web.body_of(request)
        return web.acknowledged(await centre.take(lines_in(body)))

    api.router.routes.append(Route("/v1/updates", updates, methods=["POST"]))
    api.router.routes.append(WebSocketRoute("/v1/stream", stream(centre, centre.where)))
    api.router.routes.append(WebSocketRoute("/v1/link", service.linked.door.link))
    api.router.routes += [Route("/health", web.health), Route("/metrics", web.metrics)]

    @api.put("/v1/twins/{twin_id}")
    async def enrol(twin_id: str, enrolment: Enrolment) -> Response:
        new = await centre.enrol(twin_id, enrolment.kind)
        return JSONResponse(service.view(twin_id), 201 if new else 200)

    @api.get("/v1/twins")
    async def twins(page: Annotated[Page, Query()]) -> dict[str, Any]:
        return {"twins": service.listed(page.after, page.limit)}

    @api.get("/v1/twins/{twin_id}")
    async def twin(twin_id: str, when: Annotated[When, Query()]) -> dict[str, Any]:
        if when.revision is not None and when.time_s is not None:
            raise Refused(422, "revision and time_s: one of them")
        if when.revision is None and when.time_s is None:
            return service.view(twin_id)
        revision, state = await centre.home(twin_id).at(twin_id, when.revision, when.time_s)
        return {"id": twin_id, "revision": revision, "reported": state}

    @api.get("/v1/twins/{twin_id}/history")
    async def history(twin_id: str, page: Annotated[HistoryPage, Query()]) -> dict[str, Any]:
        before = None if page.before is None else (int(page.before.split(".")[0]), int(page.before.split(".")[1]))
        return {
            "entries": [views.entry_fields(entry) for entry in await centre.home(twin_id).entries(twin_id, page.limit, before)]
        }

    @api.patch("/v1/twins/{twin_id}/desired")
    async def desire(twin_id: str, desired: Desired) -> dict[str, Any]:
        await centre.desire(twin_id, desired.state, desired.if_revision)
        return service.view(twin_id)

    @api.delete("/v1/twins/{twin_id}", status_code=204)
    async def erase(twin_id: str) -> None:
        await service.erase(twin_id)

    @api.post("/v1/twins/{twin_id}/migrate")
    async def migrate(twin_id: str, asked: Move) -> Response:
        move = views.move_fields(await centre.migrate(twin_id, asked.host))
        return JSONResponse(move, MOVE_STATUS[move["outcome"]])

    @api.get("/v1/moves")
    async def moves(page: Annotated[MovesPage, Query()]) -> dict[str, Any]:
        return {"moves": [views.move_fields(move) for move in centre.migrations.newest(page.limit, page.twin)]}

    @api.get("/v1/hosts")
    async def hosts() -> dict[str, Any]:
        return {"hosts": service.hosts_listed()}

    @api.delete("/v1/hosts/{host}", status_code=204)
    async def forget_host(host: str) -> None:
        await centre.forget(host)

    @api.put("/v1/hosts/{host}/cordon", status_code=204)
    async def cordon(host: str) -> None:
        await centre.cordon(host)

    @api.delete("/v1/hosts/{host}/cordon", status_code=204)
    async def undo_cordon(host: str) -> None:
        await centre.cordon(host, False)

    @api.post("/v1/hosts/{host}/drain", status_code=202)
    async def drain(host: str) -> dict[str, Any]:
        return (await service.drain(host)).fields()

    @api.get("/v1/hosts/{host}/drain")
    async def drained(host: str) -> dict[str, Any]:
        if host not in service.drains:
            raise Refused(404, f"host {host!r}: not drained since the service started")
        return service.drains[host].fields()

    @api.get("/v1/kinds")
    async def kinds() -> dict[str, Any]:
        return {"kinds": {name: kind.model_dump(exclude_defaults=True) for name, kind in centre.kinds.items()}}

    @api.get("/v1/quarantine")
    async def quarantine(page: Annotated[QuarantinePage, Query()]) -> dict[str, Any]:
        return await service.quarantine(page.limit, page.device, page.host)

    @api.get("/v1/services")
    async def services() -> dict[str, Any]:
        return {"services": service.services_listed()}

    @api.put("/v1/services/{service_id}")
    async def define(service_id: str, request: Request) -> Response:
        new = await service.define(service_id, web.json_object(await web.body_of(request)))
        return JSONResponse(service.service_view(service_id), 201 if new else 200)

    @api.get("/v1/services/{service_id}")
    async def service_twin(service_id: str) -> dict[str, Any]:
        return service.service_view(service_id)

    @api.delete("/v1/services/{service_id}", status_code=204)
    async def forget(service_id: str) -> None:
        await service.forget(service_id)

    @api.get("/ready")
    async def ready() -> Response:
        away = [host.name for host in centre.hosts.values() if host.url is None and not host.available]
        if away:
            return JSONResponse({"status": "unavailable", "hosts": away}, 503, {"Retry-After": web.RETRY_AFTER_S})
        return JSONResponse({"status": "ready", "hosts": list(centre.hosts), "twins": centre.count})

    return web.guarded(api, token)
