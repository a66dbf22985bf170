"""How a fleet's messages reach the service: batches by HTTP, frames by WebSocket, or MQTT. A courier has one connection, for some of the devices.

`deliver` answers for each line with its acknowledgement as plain data, None where none came; it raises OSError where the service cannot be
reached, and connects anew the next time.
"""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol
from urllib.parse import urlsplit

from edgetwin.errors import InputError

ANSWER_S = 10.0
"""How long an answer may take before the connection counts as broken; by MQTT, before a message is sent again."""
SEGMENT_BYTES = 2**16

Acks = list[dict[str, Any] | None]


class Courier(Protocol):
    """One connection to the service."""

    async def deliver(self, devices: Sequence[str], lines: Sequence[bytes]) -> Acks:
        """Sends lines and waits for their acknowledgements. devices: whose each line is. Raises OSError."""

    async def close(self) -> None: ...


class HttpCourier:
    """HTTP/1.1 over one connection that is kept, with no more of the protocol than the service's answers need.

    url: http://HOST:PORT or https://HOST:PORT. Raises InputError for another.
    """

    def __init__(self, url: str, token: str | None = None):
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1 or parts.path not in ("", "/"):
            raise InputError(f"url {url}: http://HOST:PORT or https://HOST:PORT")
        self._host, self._tls = parts.hostname, parts.scheme == "https"
        self._port = port or (443 if self._tls else 80)
        bearer = f"Authorization: Bearer {token}\r\n" if token is not None else ""
        self._head = f"HTTP/1.1\r\nHost: {parts.netloc}\r\n{bearer}Content-Type: application/json\r\nContent-Length: "
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def deliver(self, devices: Sequence[str], lines: Sequence[bytes]) -> Acks:
        status, body = await self.ask("POST", "/v1/updates", b"\n".join(lines))
        if status not in (200, 503):
            raise InputError(f"POST /v1/updates: {status} {body[:200].decode(errors='replace')}")
        return _acks(body, len(lines))

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """A request's answer: its status and body. Raises OSError where none comes."""
        try:
            async with asyncio.timeout(ANSWER_S):
                if self._streams is None:
                    self._streams = await asyncio.open_connection(
                        self._host, self._port, ssl=True if self._tls else None, limit=SEGMENT_BYTES
                    )
                reader, writer = self._streams
                writer.write(f"{method} {path} {self._head}{len(body)}\r\n\r\n".encode() + body)
                await writer.drain()
                status, fields = _head_of(await reader.readuntil(b"\r\n\r\n"))
                answer = await reader.readexactly(int(fields.get("content-length", 0)))
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, OSError) as error:
            await self.close()
            raise ConnectionError(f"{method} {path}: {error}") from None
        except BaseException:
            await self.close()
            raise
        if fields.get("connection", "").lower() == "close":
            await self.close()
        return status, answer

    async def close(self) -> None:
        if self._streams is not None:
            (_, writer), self._streams = self._streams, None
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


class WebSocketCourier:
    """One WebSocket for many devices, a frame for each batch."""

    def __init__(self, url: str, token: str | None = None):
        HttpCourier(url)
        self._url = f"ws{url.rstrip('/').removeprefix('http')}/v1/stream"
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._socket: Any = None

    async def deliver(self, devices: Sequence[str], lines: Sequence[bytes]) -> Acks:
        from websockets.asyncio.client import connect
        from websockets.exceptions import WebSocketException

        try:
            async with asyncio.timeout(ANSWER_S):
                if self._socket is None:
                    self._socket = await connect(self._url, additional_headers=self._headers, max_size=2**24, compression=None)
                await self._socket.send(b"\n".join(lines))
                return _acks(await self._socket.recv(), len(lines))
        except (WebSocketException, OSError) as error:
            await self.close()
            raise ConnectionError(f"{self._url}: {error}") from None
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        if self._socket is not None:
            socket, self._socket = self._socket, None
            with suppress(OSError):
                await socket.close()


class MqttCourier:
    """MQTT with QoS 1 for the given devices: lines to a topic of each device, acknowledgements from another.

    broker: mqtt://HOST:PORT. Raises InputError for another.
    """

    def __init__(self, broker: str, devices: Sequence[str]):
        parts = urlsplit(broker)
        if parts.scheme != "mqtt" or not parts.hostname:
            raise InputError(f"broker {broker}: mqtt://HOST:PORT")
        self._host, self._port, self._devices = parts.hostname, parts.port or 1883, devices
        self._client: Any = None
        self._hearing: asyncio.Task | None = None
        self._answers: dict[str, asyncio.Future[bytes]] = {}

    async def deliver(self, devices: Sequence[str], lines: Sequence[bytes]) -> Acks:
        from aiomqtt import MqttError

        try:
            if self._client is None:
                await self._connect()
            places: dict[str, list[int]] = {}
            for place, device in enumerate(devices):
                places.setdefault(device, []).append(place)
            answers = await asyncio.gather(*(self._send(name, [lines[i] for i in at]) for name, at in places.items()))
        except (MqttError, OSError) as error:
            await self.close()
            raise ConnectionError(f"mqtt://{self._host}:{self._port}: {error}") from None
        except BaseException:
            await self.close()
            raise
        acks: Acks = [None] * len(lines)
        for at, answer in zip(places.values(), answers, strict=True):
            for place, ack in zip(at, answer, strict=True):
                acks[place] = ack
        return acks

    async def _send(self, device: str, lines: Sequence[bytes]) -> Acks:
        answer = self._expect(device)
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._client.publish(f"edgetwin/v1/updates/{device}", b"\n".join(lines), qos=1, timeout=ANSWER_S)
                while True:
                    acks = _acks(await answer, len(lines))
                    if all(_may_be_of(ack, line) for ack, line in zip(acks, lines, strict=True)):
                        return acks
                    answer = self._expect(device)
        except TimeoutError:
            return [None] * len(lines)

    def _expect(self, device: str) -> asyncio.Future[bytes]:
        self._answers[device] = asyncio.get_running_loop().create_future()
        return self._answers[device]

    async def _connect(self) -> None:
        from aiomqtt import Client

        client = Client(self._host, self._port, timeout=ANSWER_S, max_queued_outgoing_messages=0)
        client.pending_calls_threshold = max(len(self._devices), client.pending_calls_threshold)
        await client.__aenter__()
        self._client = client
        # with QoS 0, since NATS allows a connection 63 subscriptions of QoS 1; an answer that is lost is asked for by sending again
        await client.subscribe([(f"edgetwin/v1/acks/{device}", 0) for device in self._devices])
        self._hearing = asyncio.create_task(self._hear())

    async def _hear(self) -> None:
        from aiomqtt import MqttError

        lost: Exception = ConnectionError("the broker is gone")
        try:
            async for message in self._client.messages:
                answer = self._answers.get(message.topic.value.rpartition("/")[2])
                if answer is not None and not answer.done():
                    answer.set_result(message.payload)
        except MqttError as error:
            lost = error
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(lost)
                answer.exception()

    async def close(self) -> None:
        from aiomqtt import MqttError

        if self._hearing is not None:
            self._hearing.cancel()
            await asyncio.gather(self._hearing, return_exceptions=True)
            self._hearing = None
        if self._client is not None:
            client, self._client = self._client, None
            with suppress(MqttError, OSError):
                await client.__aexit__(None, None, None)


def _head_of(head: bytes) -> tuple[int, dict[str, str]]:
    """Status and fields, small letters, of an answer's head. Raises ValueError."""
    first, *rest = head.decode("latin-1").split("\r\n")
    fields = dict(line.split(":", 1) for line in rest if line)
    return int(first.split(" ")[1]), {name.lower(): value.strip() for name, value in fields.items()}


def _may_be_of(ack: dict[str, Any] | None, line: bytes) -> bool:
    """Whether an acknowledgement can be that of a line, and is not one of a message before that came late."""
    return ack is not None and (ack.get("seq") is None or b'"boot_id":%d,"seq":%d,' % (ack["boot_id"], ack["seq"]) in line)


def _acks(answer: str | bytes, lines: int) -> Acks:
    """An answer's acknowledgements, by place; all None where it has not one for each line, so that all are sent again."""
    try:
        acks = json.loads(answer)["acks"]
        if len(acks) == lines and all(isinstance(ack["status"], str) for ack in acks):
            return acks
    except (ValueError, KeyError, TypeError):
        pass
    return [None] * lines
