"""A bus over NATS: subscribers in this process are told directly, those in others through the server, which may come and go.

While the server is away news for other processes is dropped and counted; when the connection stands again, every subscriber is told that it
may have missed something. Subjects have `edgetwin.bus.` before them on the server.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as Remote
from nats.errors import Error
from prometheus_client import Counter

from edgetwin.twin.bus import MAX_PENDING, LocalBus, News, Subscription
from edgetwin.twin.nats.link import checked_url, while_connected

PREFIX = "edgetwin.bus."
MAX_UNSENT_BYTES = 4 * 1024 * 1024
"""What may wait to be sent to the server."""
FLUSH_S = 1
"""How long a new subscriber waits until the server knows of it."""
DROPPED = Counter("edgetwin_bus_dropped_total", "News that could not be sent to other processes")


class NatsBus:
    """A bus over the NATS server at `url`, which need not be there yet; to be made in the event loop that uses it. Raises InputError."""

    def __init__(self, url: str):
        self._local = LocalBus()
        self._client: Client | None = None
        self._remote: dict[Subscription, Remote] = {}
        self._link = asyncio.create_task(while_connected(checked_url(url), "bus", self._use))

    @property
    def connected(self) -> bool:
        """Whether news reaches other processes now."""
        return self._client is not None and self._client.is_connected

    async def publish(self, subject: str, payload: bytes) -> None:
        await self._local.publish(subject, payload)
        client = self._client
        if client is None or not client.is_connected or client.pending_data_size + len(payload) > MAX_UNSENT_BYTES:
            DROPPED.inc()
            return
        try:
            await client.publish(PREFIX + subject, payload)
        except (OSError, Error):
            DROPPED.inc()

    @asynccontextmanager
    async def subscribe(self, pattern: str, max_pending: int = MAX_PENDING) -> AsyncIterator[Subscription]:
        async with self._local.subscribe(pattern, max_pending) as subscription:
            if self._client is not None:
                await self._attach(self._client, subscription)
            try:
                yield subscription
            finally:
                await self._detach(subscription)

    async def close(self) -> None:
        self._link.cancel()
        with suppress(asyncio.CancelledError):
            await self._link
        await self._local.close()

    async def _use(self, client: Client) -> None:
        self._client, self._remote = client, {}
        try:
            for subscription in self._local.subscriptions:
                await self._attach(client, subscription)
            for subscription in self._local.subscriptions:
                subscription.lose()
            await asyncio.Event().wait()
        finally:
            self._client = None

    async def _attach(self, client: Client, subscription: Subscription) -> None:
        async def hear(message: Msg) -> None:
            subscription.put(News(message.subject.removeprefix(PREFIX), message.data))

        with suppress(OSError, Error, TimeoutError):
            self._remote[subscription] = await client.subscribe(PREFIX + subscription.pattern, cb=hear)
            for _ in range(2):  # a ping overtakes what waits to be sent: only the second comes after the subscription
                await client.flush(timeout=FLUSH_S)

    async def _detach(self, subscription: Subscription) -> None:
        remote = self._remote.pop(subscription, None)
        if remote is not None:
            with suppress(OSError, Error):
                await remote.unsubscribe()
