"""What the services' web applications share: acknowledgements as answers, errors in one line, and who is let in with how much."""

import asyncio
import hmac
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgetwin.errors import InputError
from edgetwin.twin.messages import Ack, TooMany, ack_fields
from edgetwin.twin.refusal import Full, Refused
from edgetwin.twin.stores.store import StoreUnavailable

MAX_BODY_BYTES = 4 * 2**20
DISCARDED_BYTES = 16 * MAX_BODY_BYTES
"""Of a body that is too long, before the connection is cut instead of being answered."""
BODY_S = 30
RETRY_AFTER_S = "1"


def guarded(application: ASGIApp, token: str | None) -> ASGIApp:
    """An application that takes no body that is too long, from who shows the token, or without one from programs on this machine only."""
    return Bounded(Guarded(application, token) if token is not None else Local(application))


async def metrics(_: Request) -> Response:
    """What this process counts, for Prometheus."""
    return Response(await asyncio.to_thread(generate_latest), media_type=CONTENT_TYPE_LATEST)


async def health(_: Request) -> Response:
    """That this process answers."""
    return JSONResponse({"status": "ok"})


def acknowledged(acks: Sequence[Ack]) -> Response:
    """The answer to messages: 200 with their acknowledgements, or 503 where none of them could be taken."""
    content = b'{"acks":' + json.dumps([ack_fields(ack) for ack in acks], separators=(",", ":")).encode() + b"}"
    if acks and all(ack.status == "retry" for ack in acks):
        return Response(content, 503, {"Retry-After": RETRY_AFTER_S}, "application/json")
    return Response(content, media_type="application/json")


async def body_of(request: Request) -> bytes:
    """A request's body. Raises Refused where it does not come in time."""
    try:
        async with asyncio.timeout(BODY_S):
            return await request.body()
    except TimeoutError:
        raise Refused(408, f"body: all of it within {BODY_S} s") from None


def json_object(body: bytes) -> dict[str, Any]:
    """The object in a body. Raises InputError."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InputError(f"body: not JSON ({error})") from None
    if not isinstance(found, dict):
        raise InputError("body: a JSON object")
    return found


def said(status: int, message: str, retry: bool = False) -> JSONResponse:
    """An error as an answer, to a WebSocket that is not opened as well."""
    return JSONResponse({"error": message}, status, {"Retry-After": RETRY_AFTER_S} if retry else None)


async def _invalid(_: Request, error: Any) -> Response:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part not in ("body", "query"))
    return said(422, f"{where or 'body'}: {first['msg']}")


def _telling(status: Callable[[Any], int], retry: bool = False) -> Callable[[Request, Any], Awaitable[Response]]:
    async def answer(_: Request, error: Any) -> Response:
        return said(status(error), " ".join(str(getattr(error, "detail", None) or error).split()), retry)

    return answer


ERRORS: dict[Any, Callable[[Request, Any], Awaitable[Response]]] = {
    Refused: _telling(lambda error: error.status),
    Full: _telling(lambda error: 503, retry=True),
    StoreUnavailable: _telling(lambda error: 503, retry=True),
    TooMany: _telling(lambda error: 413),
    InputError: _telling(lambda error: 422),
    HTTPException: _telling(lambda error: error.status_code),
    RequestValidationError: _invalid,
}


class Bounded:
    """An application that is sent no body longer than `MAX_BODY_BYTES`."""

    def __init__(self, inner: ASGIApp):
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        too_long = f"body: at most {MAX_BODY_BYTES} bytes; send several"
        if int(_header(scope, b"content-length") or 0) > MAX_BODY_BYTES:
            discarded = 0
            while discarded < DISCARDED_BYTES and (message := await receive()).get("more_body"):
                discarded += len(message["body"])
            await said(413, too_long)(scope, receive, send)
            return
        size = 0

        async def bounded() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > MAX_BODY_BYTES:
                raise Refused(413, too_long)
            return message

        await self._inner(scope, bounded, send)


class Guarded:
    """An application behind a bearer token."""

    OPEN = ("/health", "/ready")

    def __init__(self, inner: ASGIApp, token: str):
        self._inner, self._expected = inner, f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        guarded = scope["type"] in ("http", "websocket") and scope["path"] not in self.OPEN
        if guarded and not hmac.compare_digest(_header(scope, b"authorization"), self._expected):
            await said(401, "Authorization: Bearer TOKEN, as in the service's token file")(scope, receive, send)
            return
        await self._inner(scope, receive, send)


class Local:
    """An application without a token: for programs on this machine, and not for pages that a browser here has open."""

    NAMES = ("localhost", "127.0.0.1", "[::1]")

    def __init__(self, inner: ASGIApp):
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            host, origin = _header(scope, b"host").decode("latin-1"), _header(scope, b"origin").decode("latin-1")
            if re.sub(r":\d*$", "", host.lower()) not in self.NAMES or origin and origin.partition("://")[2] != host:
                why = f"asked as {host!r}, from {origin or 'nowhere'!r}: without a token only {', '.join(self.NAMES)}, and no other site's pages"
                await said(403, why)(scope, receive, send)
                return
        await self._inner(scope, receive, send)


def _header(scope: Scope, name: bytes) -> bytes:
    return dict(scope["headers"]).get(name, b"")
