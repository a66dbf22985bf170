"""A JetStream stream as a queue with one reader: what was published waits there until the reader has done with it, in its order.

The reader's place is made anew with each connection, so that whatever was not done with, by a reader that was killed say, comes again first.
"""

import asyncio
import json
import time
from collections import deque
from contextlib import suppress

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error
from nats.js.api import ConsumerConfig, DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

MAX_STREAM_BYTES = 512 * 1024 * 1024
MAX_AGE_S = 86_400.0
"""What a new stream holds at most: beyond that it refuses, and what is older is gone."""
MAX_UNSETTLED = 4_000
"""Messages that the reader may have and not be done with."""
BATCH = 1_000
BATCH_BYTES = 16 * 1024 * 1024
"""What the reader asks for at a time."""
ASK_S = 20.0
"""How long it is asked for."""
REDELIVER_S = 60.0
"""After which a message comes again that the reader is not done with."""


async def made_ready(client: Client, stream: str, subjects: str) -> None:
    """Has a stream in a file of the server capture the subjects; one of that name that is there stays as it is."""
    jetstream = client.jetstream()
    try:
        await jetstream.stream_info(stream)
    except NotFoundError:
        await jetstream.add_stream(
            StreamConfig(
                name=stream,
                subjects=[subjects],
                retention=RetentionPolicy.WORK_QUEUE,
                storage=StorageType.FILE,
                discard=DiscardPolicy.NEW,
                max_bytes=MAX_STREAM_BYTES,
                max_age=MAX_AGE_S,
            )
        )


class Reader:
    """The one reader of a stream over one connection; another that opens later takes its place, and `next` then raises nats.errors.Error."""

    def __init__(self, client: Client, stream: str, name: str):
        self._client, self._stream, self._name = client, stream, name
        self._inbox = client.new_inbox()
        self._came: deque[Msg] = deque()
        self._ready = asyncio.Event()
        self._asked, self._asked_s = 0, 0.0

    async def open(self) -> None:
        """To be awaited once, before `next`."""
        jetstream = self._client.jetstream()
        with suppress(NotFoundError):
            await jetstream.delete_consumer(self._stream, self._name)
        await jetstream.add_consumer(
            self._stream, ConsumerConfig(durable_name=self._name, ack_wait=REDELIVER_S, max_ack_pending=MAX_UNSETTLED)
        )

        async def hear(message: Msg) -> None:
            self._came.append(message)
            self._ready.set()

        await self._client.subscribe(self._inbox, cb=hear)

    async def next(self, wait_s: float) -> list[Msg]:
        """Messages that came, in their order; none where `wait_s` passed without, or a request ended. A message is done with by its `ack`."""
        await self._ask()
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._ready.wait()
        self._ready.clear()
        came = [self._came.popleft() for _ in range(len(self._came))]
        return [message for message in came if self._counted(message)]

    async def _ask(self) -> None:
        now_s = time.monotonic()
        if now_s - self._asked_s > 1.5 * ASK_S:
            self._asked = 0
        if self._asked > BATCH // 2:
            return
        request = {"batch": BATCH - self._asked, "max_bytes": BATCH_BYTES, "expires": int(ASK_S * 1e9)}
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._name}"
        self._asked, self._asked_s = BATCH, now_s
        await self._client.publish(subject, json.dumps(request).encode(), self._inbox)

    def _counted(self, message: Msg) -> bool:
        """Whether it is a message of the stream, not the server's word that a request has ended."""
        headers = message.headers or {}
        if message.reply.startswith("$JS.ACK."):
            self._asked -= 1
            return True
        if headers.get("Status") == "503" or "Consumer" in headers.get("Description", ""):
            raise Error(
                f"stream {self._stream}: {headers.get('Description', 'no responders')}; another reader may have opened it"
            )
        self._asked -= int(headers.get("Nats-Pending-Messages", self._asked))
        return False
