"""A service for tests of devices: a real centre and host over SQLite behind HTTP and WebSocket, in a thread, to be stopped and started."""

import asyncio
import json
import threading
import time
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from edgetwin.errors import InputError
from edgetwin.twin.centre import Centre
from edgetwin.twin.host import Host
from edgetwin.twin.http import Enrolment
from edgetwin.twin.kinds import read_kinds
from edgetwin.twin.messages import Ack, ack_fields
from edgetwin.twin.moves.directory import SQLiteDirectory
from edgetwin.twin.refusal import Refused
from edgetwin.twin.stores.sqlite import SQLiteStore
from edgetwin.twin.stream import stream


class Live:
    """The service over the store in a folder. `answer` stands between what the centre says and what devices hear."""

    def __init__(self, folder: Path):
        self._folder, self._port = folder, 0
        self.answer = lambda acks: acks

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> "Live":
        started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main(started)), daemon=True)
        self._thread.start()
        assert started.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()

    def do(self, work):
        """The result of a coroutine of the centre, run where the centre lives."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def entries(self, device: str) -> list:
        """A twin's log, oldest first."""
        return self.do(self.centre.home(device).entries(device, 100_000))[::-1]

    async def _main(self, started: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        kinds = read_kinds()
        host = Host("edge", SQLiteStore(self._folder / "edge.sqlite"), kinds)
        self.centre = Centre([host], kinds, SQLiteDirectory(self._folder / "directory.sqlite"))
        await self.centre.start()
        take = self.centre.take

        async def answered(lines, sender=None) -> list[Ack]:
            return self.answer(await take(lines, sender))

        self.centre.take = answered
        app = Starlette(
            routes=[
                Route("/v1/twins/{id}", self._enrol, methods=["PUT"]),
                Route("/v1/updates", self._updates, methods=["POST"]),
                WebSocketRoute("/v1/stream", stream(self.centre)),
            ]
        )
        config = uvicorn.Config(app, "127.0.0.1", self._port, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        serving = asyncio.create_task(self._server.serve())
        while not self._server.started:
            await asyncio.sleep(0.005)
        self._port = self._server.servers[0].sockets[0].getsockname()[1]
        started.set()
        await serving
        await self.centre.close()

    async def _enrol(self, request: Request) -> Response:
        try:
            await self.centre.enrol(request.path_params["id"], Enrolment.model_validate_json(await request.body()).kind)
            twin = self.centre.twin(request.path_params["id"])
        except (Refused, InputError) as error:
            return JSONResponse({"error": str(error)}, getattr(error, "status", 422))
        return JSONResponse({"id": twin.id, "boot_id": twin.boot_id}, 201)

    async def _updates(self, request: Request) -> Response:
        lines = [line for line in (await request.body()).split(b"\n") if line.strip()]
        acks = await self.centre.take(lines)
        status = 503 if acks and all(ack.status == "retry" for ack in acks) else 200
        return Response(json.dumps({"acks": [ack_fields(ack) for ack in acks]}), status, media_type="application/json")


def until(condition, timeout_s: float = 10.0) -> None:
    """Waits for a condition, which must come true in time."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
