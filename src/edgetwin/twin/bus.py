"""What the parts of the twin layer tell each other: news of twins, desired states, health. News may be lost; never is it the only copy of anything.

Subjects are words joined by dots, `desired.car-7`; in a pattern `*` stands for one word and a last `>` for one or more. A subscriber that is too
slow loses the oldest news and is told so in its place, so that it can read anew what it follows. `LocalBus` serves one process, `nats.bus` several.
"""

import asyncio
import json
import re
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from edgetwin.twin.record import Twin

MAX_PENDING = 10_000
"""News that may wait for a subscriber."""
WORD = r"[^\s.*>\x00-\x1f]+"
SUBJECT = re.compile(rf"{WORD}(\.{WORD})*")
PATTERN = re.compile(rf"(({WORD}|\*)\.)*({WORD}|\*|>)")


class News(NamedTuple):
    """Something that was told under a subject."""

    subject: str
    payload: bytes


@dataclass(frozen=True)
class Lost:
    """News that the subscriber did not get: how many, None where nobody can tell. It reads anew what it follows."""

    count: int | None


class Bus(Protocol):
    """Carries news from publishers to subscribers, each publisher's in their order."""

    async def publish(self, subject: str, payload: bytes) -> None:
        """Tells news to all who subscribed by now. Never waits for anyone. Raises ValueError for no subject."""

    def subscribe(self, pattern: str, max_pending: int = MAX_PENDING) -> AbstractAsyncContextManager["Subscription"]:
        """News under the subjects of a pattern from entering until leaving. Entering raises ValueError for no pattern."""

    async def close(self) -> None:
        """Ends all subscriptions."""


class Subscription:
    """News that wait for one subscriber, to be iterated over: `News`, and `Lost` where something is missing. Ends when the bus is closed."""

    def __init__(self, pattern: str, max_pending: int = MAX_PENDING):
        if not PATTERN.fullmatch(pattern):
            raise ValueError(f"pattern {pattern!r}: words joined by dots, * for one, a last > for one or more")
        if max_pending < 1:
            raise ValueError(f"max_pending = {max_pending}: at least 1")
        self.pattern = pattern
        self._waiting: deque[News] = deque(maxlen=max_pending)
        self._lost: int | None = 0
        self._closed = False
        self._ready = asyncio.Event()

    def put(self, news: News) -> None:
        """Adds news, in place of the oldest where there is no more room."""
        if len(self._waiting) == self._waiting.maxlen and self._lost is not None:
            self._lost += 1
        self._waiting.append(news)
        self._ready.set()

    def lose(self) -> None:
        """Says that news may be missing, nobody knows how many; what waits is told after that."""
        self._lost = None
        self._ready.set()

    def end(self) -> None:
        """Lets the iteration end once what waits is told."""
        self._closed = True
        self._ready.set()

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> News | Lost:
        while True:
            if self._lost != 0:
                lost, self._lost = Lost(self._lost), 0
                return lost
            if self._waiting:
                return self._waiting.popleft()
            if self._closed:
                raise StopAsyncIteration
            self._ready.clear()
            await self._ready.wait()


class LocalBus:
    """A bus within one process and event loop."""

    def __init__(self) -> None:
        self._exact: dict[str, set[Subscription]] = {}
        self._wild: set[Subscription] = set()

    async def publish(self, subject: str, payload: bytes) -> None:
        if not SUBJECT.fullmatch(subject):
            raise ValueError(f"subject {subject!r}: words joined by dots, without blanks, * and >")
        news = News(subject, payload)
        for subscription in self._exact.get(subject, ()):
            subscription.put(news)
        for subscription in self._wild:
            if matches(subscription.pattern, subject):
                subscription.put(news)

    @asynccontextmanager
    async def subscribe(self, pattern: str, max_pending: int = MAX_PENDING) -> AsyncIterator[Subscription]:
        subscription = Subscription(pattern, max_pending)
        self.add(subscription)
        try:
            yield subscription
        finally:
            self.remove(subscription)

    async def close(self) -> None:
        for subscription in self.subscriptions:
            subscription.end()

    @property
    def subscriptions(self) -> list[Subscription]:
        """All there are now."""
        return [*self._wild, *(one for several in self._exact.values() for one in several)]

    def add(self, subscription: Subscription) -> None:
        """Lets a subscription have news."""
        if is_wild(subscription.pattern):
            self._wild.add(subscription)
        else:
            self._exact.setdefault(subscription.pattern, set()).add(subscription)

    def remove(self, subscription: Subscription) -> None:
        """Lets it have no more."""
        self._wild.discard(subscription)
        several = self._exact.get(subscription.pattern, set())
        several.discard(subscription)
        if not several:
            self._exact.pop(subscription.pattern, None)


def is_wild(pattern: str) -> bool:
    """Whether a pattern stands for more than one subject."""
    return "*" in pattern or ">" in pattern


def matches(pattern: str, subject: str) -> bool:
    """Whether a subject is one of a pattern's."""
    wanted, words = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        wanted.pop()
        if len(words) <= len(wanted):
            return False
        words = words[: len(wanted)]
    return len(wanted) == len(words) and all(want in ("*", word) for want, word in zip(wanted, words, strict=True))


def desired_news(twin: Twin) -> News:
    """The news that a twin's desired state has changed, under `desired.ID`, as its device is told it."""
    return News(f"desired.{twin.id}", desired_payload(twin))


def desired_payload(twin: Twin) -> bytes:
    """`desired_fields` as JSON."""
    return json.dumps(desired_fields(twin), separators=(",", ":")).encode()


def desired_fields(twin: Twin) -> dict[str, Any]:
    """A twin's desired state as its device is told it, whatever it speaks."""
    return {"desired": dict(twin.desired), "desired_revision": twin.desired_revision}
