"""The bus: who is told what, that nobody waits for a slow subscriber, and that who missed something knows it. Over a real NATS server too."""

import asyncio
import re
import signal
import time
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetwin.twin.bus import PATTERN, SUBJECT, LocalBus, Lost, News, desired_news, is_wild, matches
from edgetwin.twin.nats import bus as nats_bus
from edgetwin.twin.nats.bus import DROPPED, NatsBus
from edgetwin.twin.record import Twin
from twin.nats_server import NatsServer, nats_server

WORDS = st.sampled_from(["a", "b", "cc"])
SUBJECTS = st.lists(WORDS, min_size=1, max_size=4).map(".".join)
PATTERNS = st.tuples(st.lists(st.one_of(WORDS, st.just("*")), max_size=3), st.sampled_from(["a", "b", "*", ">"])).map(
    lambda parts: ".".join([*parts[0], parts[1]])
)


@given(PATTERNS, SUBJECTS)
def test_a_pattern_stands_for_the_subjects_that_nats_says(pattern, subject):
    as_regex = re.escape(pattern).replace(r"\*", r"[^.]+").replace(">", r".+")
    assert matches(pattern, subject) == bool(re.fullmatch(as_regex, subject))
    assert PATTERN.fullmatch(pattern) and SUBJECT.fullmatch(subject)
    assert is_wild(pattern) or matches(pattern, subject) == (pattern == subject)


@pytest.mark.parametrize("subject", ["", ".", "a.", ".a", "a..b", "a b", "a.*", ">", "a\n"])
def test_what_is_no_subject_cannot_be_told(subject):
    with pytest.raises(ValueError, match="words joined by dots"):
        asyncio.run(LocalBus().publish(subject, b""))


@pytest.mark.parametrize("pattern", ["", "a.", ">.a", "a.>.b", "a*", "*a", "a b", "a>"])
def test_what_is_no_pattern_cannot_be_listened_to(pattern):
    async def main():
        async with LocalBus().subscribe(pattern):
            pass

    with pytest.raises(ValueError, match="words joined by dots"):
        asyncio.run(main())


@given(st.lists(st.one_of(SUBJECTS, st.none()), max_size=60), PATTERNS, st.integers(1, 5))
def test_a_slow_subscriber_loses_the_oldest_and_is_told_how_many(steps, pattern, room):
    """None in `steps` is the subscriber taking one item, if there is one. The model is a list cut from the front."""

    async def main():
        bus, waiting, lost = LocalBus(), deque(), 0
        async with bus.subscribe(pattern, room) as subscription:
            for number, step in enumerate(steps):
                if step is not None:
                    await bus.publish(step, b"%d" % number)
                    if matches(pattern, step):
                        waiting.append(News(step, b"%d" % number))
                    while len(waiting) > room:
                        waiting.popleft()
                        lost += 1
                elif lost or waiting:
                    async with asyncio.timeout(1):
                        item = await anext(subscription)
                    assert item == (Lost(lost) if lost else waiting.popleft())
                    lost = 0

    asyncio.run(main())


def test_each_subscriber_has_its_own_and_none_after_it_left():
    async def main():
        bus = LocalBus()
        async with bus.subscribe("twins.*") as wide, bus.subscribe("twins.a") as narrow:
            async with bus.subscribe("twins.a") as short:
                await bus.publish("twins.a", b"1")
            await bus.publish("twins.b", b"2")
            await bus.publish("other", b"3")
            await bus.close()
            assert [one.payload async for one in wide] == [b"1", b"2"]
            assert [one.payload async for one in narrow] == [b"1"]
            assert (await anext(short)).payload == b"1"
            assert bus.subscriptions != []
        assert bus.subscriptions == []

    asyncio.run(main())


def test_one_who_waits_is_woken_by_news():
    async def main():
        bus = LocalBus()
        async with bus.subscribe(">") as subscription:
            waiting = asyncio.create_task(anext(subscription))
            await asyncio.sleep(0)
            assert not waiting.done()
            await bus.publish("a", b"x")
            assert await waiting == News("a", b"x")

    asyncio.run(main())


def test_desired_state_is_told_under_the_twins_name():
    news = desired_news(Twin("car-1", "vehicle", desired={"speed_mps": 2.5}, desired_revision=4))
    assert news == News("desired.car-1", b'{"desired":{"speed_mps":2.5},"desired_revision":4}')


async def until(condition, within_s=10.0):
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)


async def next_news(subscription, within_s=10.0):
    """The next news, passing over what says that some may be missing."""
    async with asyncio.timeout(within_s):
        while isinstance(item := await anext(subscription), Lost):
            pass
    return item


def test_news_reaches_other_processes_once_and_its_own_directly(tmp_path):
    async def main():
        async with nats_server(tmp_path) as server:
            one, other = NatsBus(server.url), NatsBus(server.url)
            await until(lambda: one.connected and other.connected)
            async with (
                one.subscribe("twins.>") as here,
                other.subscribe("twins.>") as there,
                other.subscribe("desired.*") as beside,
            ):
                for number in range(50):
                    await one.publish("twins.changed", b"%d" % number)
                await one.publish("desired.car-1", b"d")
                for subscription in (here, there):
                    assert [(await next_news(subscription)).payload for _ in range(50)] == [b"%d" % n for n in range(50)]
                assert await next_news(beside) == News("desired.car-1", b"d")
                with pytest.raises(TimeoutError):
                    await next_news(here, within_s=0.2)
            await other.publish("twins.changed", b"late")
            assert other._remote == {}
            await one.close()
            await other.close()

    asyncio.run(main())


def test_without_the_server_news_stays_in_the_process_and_the_rest_is_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("edgetwin.twin.nats.link.PAUSE_S", 0.1)

    async def main():
        server = NatsServer(tmp_path)
        one, other = NatsBus(server.url), NatsBus(server.url)
        async with one.subscribe("a.*") as here, other.subscribe("a.*") as there:
            dropped = DROPPED._value.get()
            await one.publish("a.b", b"1")
            assert await next_news(here) == News("a.b", b"1")
            assert DROPPED._value.get() == dropped + 1
            try:
                for number in range(2):
                    await server.start()
                    await until(lambda: one.connected and other.connected)
                    async with asyncio.timeout(5):
                        assert await anext(there) == Lost(None)
                        assert await anext(here) == Lost(None)
                    await one.publish("a.b", b"%d" % number)
                    assert await next_news(there) == await next_news(here) == News("a.b", b"%d" % number)
                    server.kill()
                    await until(lambda: not one.connected and not other.connected)
            finally:
                server.kill()
        await one.close()
        await other.close()

    asyncio.run(main())


def test_a_server_that_hangs_holds_up_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr("edgetwin.twin.nats.link.PAUSE_S", 0.1)
    monkeypatch.setattr("edgetwin.twin.nats.link.PING_S", 1)
    monkeypatch.setattr(nats_bus, "MAX_UNSENT_BYTES", 200_000)

    async def main():
        async with nats_server(tmp_path) as server:
            bus = NatsBus(server.url)
            await until(lambda: bus.connected)
            server.signal(signal.SIGSTOP)
            dropped, slowest_s = DROPPED._value.get(), 0.0
            for _ in range(2_000):
                began_s = time.perf_counter()
                async with asyncio.timeout(5):
                    await bus.publish("a.b", bytes(10_000))
                slowest_s = max(slowest_s, time.perf_counter() - began_s)
                await asyncio.sleep(0)
            assert slowest_s < 0.5
            assert DROPPED._value.get() > dropped
            await until(lambda: not bus.connected)
            server.signal(signal.SIGCONT)
            await until(lambda: bus.connected)
            await bus.close()

    asyncio.run(main())
